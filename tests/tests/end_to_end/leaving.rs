//! Leaving on purpose: handing over, giving up seats, closing; and forming without a word.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use crate::common::{meeting_place, soon};
use futures::future::join_all;
use quorate::{
    Group, GroupKey, LeaveError, Network, PeerId, Read, TransferError, WriteError, testing::Cluster,
};

const LONG: Duration = Duration::from_secs(60);

fn numbers(group: &Group) -> quorate::Map<u64, u64> {
    group.map("n")
}

/// Starts a peer that says nothing of how the group comes to be.
async fn plain(directory: &Path) -> (Network, Group) {
    let net = Network::builder("test").rendezvous(directory);
    let net = net.build().await.unwrap();
    let group = net.group(GroupKey::named("plain")).open().await.unwrap();
    (net, group)
}

fn voters(group: &Group) -> BTreeSet<PeerId> {
    let configuration = group.status().configuration;
    configuration
        .voters
        .iter()
        .map(|member| member.peer)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_closes_under_load_and_writes_go_on() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let others: Vec<usize> = (0..3).filter(|i| *i != leader).collect();
    let mut writers = Vec::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for i in &others {
        let group = cluster.peer(*i).group.clone();
        let (client, first) = (soon(group.client()).await.unwrap(), *i as u64);
        let stopped = stopped.clone();
        writers.push(tokio::spawn(async move {
            let mut key = first;
            let mut longest = Duration::ZERO;
            while !*stopped.borrow() {
                let began = Instant::now();
                let write = numbers(&group).insert(key, key).timeout(LONG);
                assert_eq!(client.write(write).await.unwrap().outcome, None);
                longest = longest.max(began.elapsed());
                key += 3;
            }
            (key / 3, longest)
        }));
    }
    let net = cluster.peer(leader).net.clone();
    let survivor = cluster.peer(others[0]).group.clone();
    soon(survivor.when().holds(|status| status.applied.index.0 > 100))
        .await
        .unwrap();
    let began = Instant::now();
    soon(net.close()).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "closing took {took:?}");
    let gone = |status: &quorate::GroupStatus| {
        let configuration = &status.configuration;
        status.configuration_committed
            && !configuration.is_joint()
            && configuration
                .voters
                .iter()
                .all(|voter| voter.peer != net.peer())
    };
    soon(survivor.when().holds(gone)).await.unwrap();
    assert_eq!(voters(&survivor).len(), 2);
    // And the two that are left go on.
    let done = numbers(&survivor).insert(u64::MAX, 1).timeout(LONG);
    soon(done).await.unwrap();
    stop.send(true).unwrap();
    let mut written = 1;
    for writer in soon(join_all(writers)).await {
        let (count, longest) = writer.unwrap();
        written += count;
        // Far more than handing over takes, far less than a group without a leader waits.
        assert!(longest < Duration::from_secs(5), "a write took {longest:?}");
    }
    let len = numbers(&survivor).len(Read::Linearizable).timeout(LONG);
    assert_eq!(soon(len).await, Ok(written));
    for i in others {
        cluster.peer(i).net.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_peers_leave_one_by_one_and_come_back() {
    let directory = meeting_place();
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(plain(directory.path()).await);
    }
    soon(peers[0].1.when().voters(3)).await.unwrap();
    soon(numbers(&peers[2].1).insert(1, 1)).await.unwrap();
    for left in [2, 1] {
        let (net, group) = peers.remove(0);
        soon(group.leave(false).timeout(LONG)).await.unwrap();
        net.close().await;
        let group = &peers[0].1;
        let fewer = group.when().holds(|status| {
            let configuration = &status.configuration;
            status.configuration_committed
                && !configuration.is_joint()
                && configuration.voters.len() == left
        });
        soon(fewer).await.unwrap();
        let key = left as u64 * 10;
        soon(numbers(group).insert(key, key).timeout(LONG))
            .await
            .unwrap();
    }
    let last = &peers[0].1;
    let refused = soon(last.leave(false).timeout(LONG)).await;
    assert_eq!(refused, Err(LeaveError::LastVoter));
    soon(numbers(last).insert(2, 2).timeout(LONG))
        .await
        .unwrap();

    for _ in 0..2 {
        peers.push(plain(directory.path()).await);
    }
    let status = soon(peers[0].1.when().voters(3)).await.unwrap();
    for (_, group) in &peers {
        soon(group.when().voter()).await.unwrap();
        assert_eq!(group.status().genesis, status.genesis);
        let len = numbers(group).len(Read::Linearizable).timeout(LONG);
        assert_eq!(soon(len).await, Ok(4));
    }
    join_all(peers.iter().map(|(net, _)| net.close())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_voter_dissolves_the_group_and_the_next_peer_founds_another() {
    let directory = meeting_place();
    let (net, group) = plain(directory.path()).await;
    soon(group.when().leader_elected()).await.unwrap();
    let genesis = group.status().genesis;
    soon(numbers(&group).insert(1, 1)).await.unwrap();
    assert_eq!(soon(group.leave(true)).await, Ok(()));
    let write = numbers(&group)
        .insert(2, 2)
        .timeout(Duration::from_millis(300));
    let refused = soon(write).await.unwrap_err();
    assert!(refused.is_surely_not_applied(), "{refused}");
    assert!(
        !matches!(refused, WriteError::Closed { .. }),
        "the network is open"
    );
    net.close().await;

    let (net, group) = plain(directory.path()).await;
    soon(group.when().leader_elected()).await.unwrap();
    assert_ne!(group.status().genesis, genesis);
    assert_eq!(soon(numbers(&group).len(Read::Linearizable)).await, Ok(0));
    net.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_whom_it_is_handed() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let (next, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    let peer = cluster.peer(next).net.peer();
    // Any peer may be asked.
    let wish = cluster.peer(asked).group.transfer_leader(Some(peer));
    soon(wish.timeout(LONG)).await.unwrap();
    assert_eq!(soon(cluster.leader()).await.unwrap().0, next);
    let wish = cluster.peer(next).group.transfer_leader(None);
    soon(wish.timeout(LONG)).await.unwrap();
    assert_ne!(soon(cluster.leader()).await.unwrap().0, next);
    let stranger = Some(PeerId([1; 32]));
    let wish = cluster.peer(asked).group.transfer_leader(stranger);
    assert_eq!(soon(wish.timeout(LONG)).await, Err(TransferError::NotVoter));
    let write = numbers(&cluster.peer(asked).group).insert(1, 1);
    soon(write.timeout(LONG)).await.unwrap();
    cluster.close().await;
    let wish = TransferError::Closed;
    assert!(wish.to_string().contains("closed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_start_without_a_word_form_one_group() {
    for round in 0..3 {
        let directory = meeting_place();
        // At once, or each after the one before has a leader, or something in between.
        let first = plain(directory.path()).await;
        if round == 1 {
            soon(first.1.when().leader_elected()).await.unwrap();
        }
        let path = directory.path();
        let (second, third) = if round == 2 {
            let second = plain(path).await;
            soon(second.1.when().caught_up()).await.unwrap();
            (second, plain(path).await)
        } else {
            tokio::join!(plain(path), plain(path))
        };
        let peers = [first, second, third];
        for (i, (_, group)) in peers.iter().enumerate() {
            soon(group.when().voters(3)).await.unwrap();
            let write = numbers(group).insert(i as u64, round).timeout(LONG);
            soon(write).await.unwrap();
        }
        let histories: BTreeSet<_> = peers
            .iter()
            .map(|(_, group)| group.status().genesis.unwrap())
            .collect();
        assert_eq!(histories.len(), 1, "round {round}");
        join_all(peers.iter().map(|(net, _)| net.close())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_to_found_goes_on_when_its_holder_dies() {
    let directory = meeting_place();
    // It has half a second to look around, and dies before it has.
    drop(plain(directory.path()).await);
    let others = [plain(directory.path()).await, plain(directory.path()).await];
    for (_, group) in &others {
        soon(group.when().caught_up()).await.unwrap();
    }
    let genesis = |at: usize| others[at].1.status().genesis.unwrap();
    assert_eq!(genesis(0), genesis(1));
    join_all(others.iter().map(|(net, _)| net.close())).await;
}

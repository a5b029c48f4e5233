//! Peers of one process at a switchboard: groups without sockets, and without anybody to name.

use crate::common::{assert_equal, fill, small_reserve, soon, wait_caught_up, wait_for};
use futures::future::{join_all, select_all};
use quorate::{
    BuildError, Form, Group, GroupEvent, GroupKey, GroupStatus, Network, NetworkBuilder, Read,
    Switchboard, testing::Cluster,
};

fn peer(switchboard: &Switchboard) -> NetworkBuilder {
    Network::builder("test").within(switchboard)
}

async fn open(net: &Network, form: Option<Form>) -> Group {
    let group = net.group(GroupKey::named("orders"));
    let group = match form {
        Some(form) => group.form(form),
        None => group,
    };
    soon(group.open()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_are_told_nothing_become_one_group() {
    let switchboard = Switchboard::new();
    let start = async || {
        let net = soon(peer(&switchboard).build()).await.unwrap();
        let group = open(&net, None).await;
        (net, group)
    };
    let peers = join_all((0..5).map(|_| start())).await;
    // Those who met late may have founded apart: what nobody has used dissolves into one.
    let history = loop {
        let mut seen = Vec::new();
        for (net, group) in &peers {
            let led = |status: &GroupStatus| status.leader.is_some() && status.genesis.is_some();
            let status = soon(group.when().holds(led)).await.unwrap();
            seen.push(status.genesis);
            assert_eq!(net.addresses(), []);
        }
        if seen.iter().all(|genesis| *genesis == seen[0]) {
            break seen[0];
        }
        let moves = peers.iter().zip(seen).map(|((_, group), genesis)| {
            let moved = move |status: &GroupStatus| status.genesis != genesis;
            Box::pin(group.when().holds(moved))
        });
        soon(select_all(moves)).await.0.unwrap();
    };
    let map = peers[0].1.map::<u64, u64>("n");
    soon(map.insert(1, 2)).await.unwrap();
    for (_, group) in &peers {
        let map = group.map::<u64, u64>("n");
        assert_eq!(soon(map.get(&1, Read::Linearizable)).await, Ok(Some(2)));
    }
    // What is plugged in elsewhere is out of reach.
    let elsewhere = Switchboard::new();
    let other = soon(peer(&elsewhere).build()).await.unwrap();
    let alone = open(&other, None).await;
    let led = |status: &GroupStatus| status.leader.is_some();
    let status = soon(alone.when().holds(led)).await.unwrap();
    assert_ne!(status.genesis, history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rendezvous_only_who_is_named_is_dialed() {
    let switchboard = Switchboard::new();
    let blind = || peer(&switchboard).without_rendezvous();
    let first = soon(blind().build()).await.unwrap();
    let founder = open(&first, Some(Form::Alone)).await;
    soon(founder.when().leader_elected()).await.unwrap();
    let second = blind().know(first.peer(), first.addresses());
    let second = soon(second.build()).await.unwrap();
    let joiner = open(&second, Some(Form::Join)).await;
    soon(joiner.when().caught_up()).await.unwrap();
    let third = soon(blind().build()).await.unwrap();
    let nobody = open(&third, Some(Form::Join)).await;
    assert!(nobody.status().peers.is_empty());
    // A ticket names a peer as well as anything.
    let fourth = blind().ticket(&first.ticket([7; 32])).build();
    let fourth = soon(fourth).await.unwrap();
    let guest = open(&fourth, None).await;
    soon(guest.when().caught_up()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_is_there_once_and_free_when_its_peer_is_gone() {
    let switchboard = Switchboard::new();
    let keyed = || peer(&switchboard).secret_key([3; 32]);
    let first = soon(keyed().build()).await.unwrap();
    let twice = soon(keyed().build()).await;
    match twice.map(drop) {
        Err(BuildError::IdentityInUse { peer, pid }) => {
            assert_eq!((peer, pid), (first.peer(), std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    soon(first.close()).await;
    let second = soon(keyed().build()).await.unwrap();
    // As a crash.
    drop(second);
    soon(keyed().build()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_peer_restores_from_all_the_others() {
    let cluster = Cluster::builder(3).memory().profile(small_reserve());
    let mut cluster = soon(cluster.start()).await.unwrap();
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let map = cluster.peer(leader).group.map::<u64, u64>("n");
    fill(&map, 0..20_000).await;
    let late = cluster.add().await.unwrap();
    let mut events = cluster.events(late);
    soon(wait_for(&mut events, |event| {
        matches!(event, GroupEvent::Restored { .. }).then_some(())
    }))
    .await;
    soon(wait_caught_up(&mut events)).await;
    assert_equal(&cluster).await;
    soon(cluster.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_back_under_its_key_is_found_again() {
    let mut cluster = soon(Cluster::memory(3)).await.unwrap();
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let map = cluster.peer((leader + 1) % 3).group.map::<u64, u64>("n");
    soon(map.insert(1, 1)).await.unwrap();
    soon(cluster.restart(leader)).await.unwrap();
    soon(cluster.caught_up(leader)).await.unwrap();
    let map = cluster.peer(leader).group.map::<u64, u64>("n");
    assert_eq!(soon(map.get(&1, Read::Linearizable)).await, Ok(Some(1)));
    soon(cluster.converged()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_of_links_that_have_no_endpoint() {
    let cluster = soon(Cluster::memory(3)).await.unwrap();
    let metrics = cluster.peer(0).net.metrics();
    // A leader needs one of the two links, not both.
    let linked = || metrics.openmetrics().contains("quorate_link_up 2\n");
    soon(async {
        while !linked() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let text = metrics.openmetrics();
    assert!(!text.contains("socket_"), "{text}");
}

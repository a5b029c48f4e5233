//! Clients: writes that are applied once, whatever happens on the way.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use crate::common::{
    bank::{Ask, bankers, deposit_to},
    meeting_place, soon,
};
use futures::{StreamExt, future::join_all};
use quorate::{
    ClientId, Committed, GenesisId, Group, Index, Read, RequestName, WriteError, testing::Cluster,
};

fn named(client: ClientId, sequence: u64, open: u64) -> RequestName {
    RequestName {
        client,
        sequence,
        open,
    }
}

/// Long enough for any number of elections on a loaded machine.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_repeated_through_another_peer_after_the_leaders_death_is_applied_once() {
    let mut cluster = soon(Cluster::local(3)).await.unwrap();
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let client = soon(cluster.peer(leader).group.client()).await.unwrap();
    let map = |cluster: &Cluster, i: usize| cluster.peer(i).group.map::<u64, u64>("n");
    let name = named(client.id(), 1, 1);
    let first = soon(map(&cluster, leader).insert(1, 10).named(name)).await;
    let first: Committed<Option<u64>> = first.unwrap();
    assert_eq!(first.outcome, None);
    soon(map(&cluster, leader).insert(1, 20)).await.unwrap();

    cluster.kill(leader);
    let other = (leader + 1) % 3;
    // The text form is what travels between processes.
    let name: RequestName = name.to_string().parse().unwrap();
    let again = map(&cluster, other).insert(1, 10).named(name).timeout(LONG);
    assert_eq!(
        soon(again).await.unwrap(),
        first,
        "what came of it the first time"
    );
    let now = map(&cluster, other)
        .get(&1, Read::Linearizable)
        .timeout(LONG);
    assert_eq!(soon(now).await, Ok(Some(20)), "it was not applied again");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_deposit_is_lost_or_made_twice_when_the_leader_dies_under_load() {
    const EACH: u64 = 400;
    let directory = meeting_place();
    let mut peers = bankers(directory.path(), 3).await;
    let leader = soon(peers[0].1.when().leader_elected()).await.unwrap();
    let at = peers.iter().position(|(net, _)| net.peer() == leader.peer);
    let (killed, _) = peers.remove(at.unwrap());

    let mut writers = Vec::new();
    for (_, group) in &peers {
        let (client, group) = (soon(group.client()).await.unwrap(), group.clone());
        writers.push(tokio::spawn(async move {
            let deposits = (0..EACH).map(|_| {
                let deposit = group.execute(deposit_to("pot", 1)).timeout(LONG);
                client.write(deposit)
            });
            let mut answers = futures::stream::iter(deposits).buffer_unordered(64);
            let mut seen = Vec::new();
            while let Some(done) = answers.next().await {
                seen.push(done.unwrap().outcome.unwrap());
            }
            seen
        }));
    }
    let total = |group: &Group<_>| group.query(Ask::Total, Read::Local);
    // Some of them are through and most are not.
    loop {
        let applied = soon(
            peers[0]
                .1
                .when()
                .holds(|status| status.applied.index.0 > 50),
        )
        .await;
        applied.unwrap();
        if soon(total(&peers[0].1)).await.unwrap() > 10 {
            break;
        }
        tokio::task::yield_now().await;
    }
    // All handles are gone without a goodbye: a crash.
    drop(killed);
    let mut sums: Vec<u64> = Vec::new();
    for seen in soon(join_all(writers)).await {
        sums.extend(seen.unwrap());
    }
    // Each deposit was told another sum: none was applied twice, none told another's outcome.
    sums.sort_unstable();
    assert!(sums.iter().copied().eq(1..=2 * EACH), "{sums:?}");
    let fresh = peers[1]
        .1
        .query(Ask::Total, Read::Linearizable)
        .timeout(LONG);
    assert_eq!(soon(fresh).await, Ok(2 * EACH));
    join_all(peers.iter().map(|(net, _)| net.close())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_nobody_has_or_has_any_more_apply_nothing() {
    let cluster = soon(Cluster::local(1)).await.unwrap();
    let group = &cluster.peer(0).group;
    let client = soon(group.client()).await.unwrap();
    let map = group.map::<u64, u64>("n");
    let write = |name: RequestName| soon(map.insert(7, 7).named(name));

    let of_another_history = ClientId {
        genesis: GenesisId([9; 16]),
        ..client.id()
    };
    let unknown = ClientId {
        index: Index(client.id().index.0 + 1_000),
        ..client.id()
    };
    let nobody = ClientId {
        index: Index(0),
        ..client.id()
    };
    for id in [of_another_history, unknown, nobody] {
        match write(named(id, 1, 1)).await {
            Err(WriteError::Expired { value }) => assert_eq!(value, (7, 7)),
            other => panic!("{other:?}"),
        }
    }
    let third = write(named(client.id(), 3, 3)).await.unwrap();
    assert_eq!(third.outcome, None);
    // It has said that it would not repeat anything below 3.
    match write(named(client.id(), 2, 2)).await {
        Err(WriteError::Dropped { value }) => assert_eq!(value, (7, 7)),
        other => panic!("{other:?}"),
    }
    assert_eq!(write(named(client.id(), 3, 3)).await.unwrap(), third);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_numbers_its_writes_and_closes_what_is_dropped() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let group = &cluster.peer(0).group;
    let client = soon(group.client()).await.unwrap();
    let map = group.map::<u64, u64>("n");
    // A write that is never polled takes no number.
    drop(client.write(map.insert(0, 0)));
    {
        let mut dropped = pin!(client.write(map.insert(1, 1)));
        let polled = poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
    }
    let second = soon(client.write(map.insert(2, 2))).await.unwrap();
    // The second one was sent as the lowest that is open.
    match soon(map.insert(1, 1).named(named(client.id(), 1, 1))).await {
        Err(WriteError::Dropped { .. }) => {}
        other => panic!("{other:?}"),
    }
    let again = map.insert(2, 2).named(named(client.id(), 2, 2));
    assert_eq!(soon(again).await.unwrap(), second);
    let other = client.clone();
    let writes = (3..500).map(|key| other.write(map.insert(key, key)));
    for done in soon(join_all(writes)).await {
        assert_eq!(done.unwrap().outcome, None);
    }
    let dropped = soon(map.get(&1, Read::Linearizable)).await.unwrap();
    assert!(matches!(dropped, None | Some(1)), "applied or not");
    assert!(soon(map.len(Read::Linearizable)).await.unwrap() >= 498);

    // A client of one group is nobody in another.
    let net = &cluster.peer(0).net;
    let stranger = net.group(quorate::GroupKey::named("other"));
    let stranger = stranger.form(quorate::Form::Alone).open().await.unwrap();
    let elsewhere = stranger.map::<u64, u64>("n").insert(1, 1).timeout(LONG);
    let refused = soon(client.write(elsewhere)).await.unwrap_err();
    assert!(matches!(refused, WriteError::Expired { .. }), "{refused}");

    cluster.peer(0).net.close().await;
    match soon(client.write(map.insert(9, 9))).await {
        Err(WriteError::Closed { value }) => assert_eq!(value, (9, 9)),
        other => panic!("{other:?}"),
    }
    assert!(soon(group.client()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_a_clients_write_ends_at_its_deadline() {
    let mut cluster = soon(Cluster::local(3)).await.unwrap();
    let group = cluster.peer(0).group.clone();
    let client = soon(group.client()).await.unwrap();
    cluster.kill(1);
    cluster.kill(2);
    let alone = group.when().holds(|status| status.leader.is_none());
    soon(alone).await.unwrap();
    let write = group.map::<u64, u64>("n").insert(1, 1);
    let write = client.write(write.timeout(Duration::from_millis(300)));
    match soon(write).await {
        Err(WriteError::Unavailable { value }) => assert_eq!(value, (1, 1)),
        other => panic!("{other:?}"),
    }
}

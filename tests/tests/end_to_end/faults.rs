//! Peers that are cut off, hang or come back: the others go on, and in the end all hold the same.
//! Over QUIC, and within the process.

use std::{collections::BTreeMap, time::Duration};

use crate::common::{assert_equal, fill, small_reserve, soon, wait_caught_up, wait_for};
use futures::StreamExt;
use quorate::{
    Changes, ChangesError, Cursor, GroupEvent, GroupStatus, LinkState, Map, Read, Since,
    StandstillCause, WriteError,
    testing::{Cluster, ClusterBuilder, ClusterError},
};

/// Clusters of `n` peers, linked in either way.
fn both(n: usize) -> [ClusterBuilder; 2] {
    [Cluster::builder(n), Cluster::builder(n).memory()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_in_a_minority_decides_nothing_and_the_majority_goes_on() {
    for cluster in both(5) {
        minority_decides_nothing(cluster).await;
    }
}

async fn minority_decides_nothing(cluster: ClusterBuilder) {
    let mut cluster = soon(cluster.start()).await.unwrap();
    let (leader, term) = soon(cluster.leader()).await.unwrap();
    let minority = [leader, (leader + 1) % 5];
    let majority: Vec<usize> = (0..5).filter(|i| !minority.contains(i)).collect();
    let map = |i: usize| cluster.peer(i).group.map::<u64, u64>("n");
    let maps: Vec<Map<u64, u64>> = (0..5).map(map).collect();
    soon(maps[leader].insert(1, 1)).await.unwrap();
    cluster.partition(&[&minority, &majority]);
    for peer in minority {
        let late = maps[peer].insert(2, peer as u64);
        match soon(late.timeout(Duration::from_millis(500))).await {
            Err(WriteError::Unavailable { .. } | WriteError::Unknown) => {}
            other => panic!("decided without a quorum: {other:?}"),
        }
        let cut_off = |status: &GroupStatus| {
            let standstill = status.standstill();
            standstill.is_some_and(|it| it.cause == StandstillCause::NoQuorum { voters: 5 })
        };
        let status = soon(cluster.peer(peer).group.when().holds(cut_off)).await;
        let missing = status.unwrap().standstill().unwrap().missing;
        assert_eq!(missing.len(), 3);
        assert!(
            missing
                .iter()
                .all(|it| it.link != LinkState::Up && !it.said_goodbye())
        );
    }
    let (next, next_term) = soon(cluster.leader_among(&majority)).await.unwrap();
    assert!(majority.contains(&next) && next_term > term);
    let written = soon(maps[majority[0]].insert(3, 3)).await.unwrap();
    // What the majority has decided does not reach the minority.
    let behind = cluster.peer(leader).group.status().applied;
    assert!(behind.index < written.cursor.index);

    cluster.heal();
    soon(cluster.leader()).await.unwrap();
    soon(cluster.applied(written.cursor)).await.unwrap();
    let held = soon(cluster.converged()).await.unwrap();
    assert!(held.cursor.index >= written.cursor.index);
    for map in &maps {
        assert_eq!(soon(map.get(&3, Read::Local)).await, Ok(Some(3)));
        assert_eq!(soon(map.get(&1, Read::Linearizable)).await, Ok(Some(1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_holds_for_those_who_come_back_and_not_for_those_on_no_side() {
    for cluster in both(3) {
        partition_holds(cluster).await;
    }
}

async fn partition_holds(cluster: ClusterBuilder) {
    let mut cluster = soon(cluster.start()).await.unwrap();
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let (cut, rest) = ((leader + 1) % 3, [leader, (leader + 2) % 3]);
    cluster.partition(&[&[cut], &rest]);
    cluster.kill(cut);
    cluster.restart(cut).await.unwrap();
    let late = cluster.add().await.unwrap();
    soon(cluster.caught_up(late)).await.unwrap();
    let ids = rest.map(|i| cluster.peer(i).net.peer());
    let late_id = cluster.peer(late).net.peer();
    let linked = |status: &GroupStatus| {
        let up = |peer| status.peer(peer).is_some_and(|it| it.link == LinkState::Up);
        // The cards of the others are there to be read, but no dial comes through.
        let seen = |peer| {
            status
                .peer(peer)
                .is_some_and(|it| it.link == LinkState::Down)
        };
        up(late_id) && ids.iter().all(|id| seen(*id))
    };
    soon(cluster.peer(cut).group.when().holds(linked))
        .await
        .unwrap();
    cluster.heal();
    soon(cluster.caught_up(cut)).await.unwrap();
    assert_equal(&cluster).await;
}

/// Follows a map by its changes alone up to the one at `until`; counts the snapshots that were put
/// in between.
async fn follow(mut changes: Changes<u64, u64>, until: Cursor) -> (BTreeMap<u64, u64>, usize) {
    let (mut items, mut installed) = (BTreeMap::new(), 0);
    loop {
        match soon(changes.next()).await.expect("the stream goes on") {
            Ok(change) => {
                match change.value {
                    Some(value) => items.insert(change.key, value),
                    None => items.remove(&change.key),
                };
                if change.cursor.index >= until.index {
                    return (items, installed);
                }
            }
            Err(ChangesError::Lagged(_)) => installed += 1,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hung_for_too_long_restores_and_its_watchers_miss_nothing() {
    for cluster in both(3) {
        hung_peer_restores(cluster).await;
    }
}

async fn hung_peer_restores(cluster: ClusterBuilder) {
    let cluster = cluster.profile(small_reserve()).start();
    let mut cluster = soon(cluster).await.unwrap();
    let (leader, _) = soon(cluster.leader()).await.unwrap();
    let hung = (leader + 1) % 3;
    let map = cluster.peer(leader).group.map::<u64, u64>("n");
    let watched = cluster.peer(hung).group.map::<u64, u64>("n");
    let changes = watched.changes(Since::Now);
    // Who is linked late restores already now, and the log after that snapshot is kept as long as
    // the snapshot is: the one that hangs could go on from it.
    let first = soon(map.insert(0, 0)).await.unwrap().cursor;
    soon(cluster.applied(first)).await.unwrap();
    fill(&map, 0..100).await;
    let before = soon(map.insert(7, 70)).await.unwrap().cursor;
    soon(cluster.applied(before)).await.unwrap();
    let mut events = cluster.events(hung);

    cluster.pause(hung).await;
    assert_eq!(cluster.awake().len(), 2);
    fill(&map, 100..3_000).await;
    // More than the leader sends without an answer: the rest of the log goes on without the peer.
    let large = cluster.peer(leader).group.map::<u64, Vec<u8>>("large");
    for key in 0..384 {
        let written = large.insert(key, vec![0; 64 << 10]);
        soon(written.timeout(Duration::from_secs(60)))
            .await
            .unwrap();
    }
    for key in 0..50 {
        soon(map.remove(key)).await.unwrap();
    }
    let missed = soon(map.insert(8, 80)).await.unwrap().cursor;
    assert!(cluster.peer(hung).group.status().applied.index < missed.index);
    // The leader keeps the log for who may still answer; what it waits for before it gives that up
    // is learnt from the answers. What is under way to the one that hangs it gets all the same: all
    // but the reserve must be gone.
    for awake in cluster.awake() {
        let gone = |status: &GroupStatus| status.base.index.0 + 128 > missed.index.0;
        soon(cluster.peer(awake).group.when().holds(gone))
            .await
            .unwrap();
    }

    cluster.resume(hung);
    soon(wait_for(&mut events, |event| match event {
        GroupEvent::Restored { anchor, .. } => Some(anchor),
        _ => None,
    }))
    .await;
    soon(wait_caught_up(&mut events)).await;
    soon(cluster.applied(missed)).await.unwrap();
    let last = soon(map.insert(9, 90)).await.unwrap().cursor;
    let (items, installed) = follow(changes, last).await;
    assert!(installed >= 1);
    let mut expected: BTreeMap<u64, u64> = (50..3_000).map(|key| (key, key)).collect();
    expected.extend([(8, 80), (9, 90)]);
    assert_eq!(items.len(), expected.len());
    assert!(
        items == expected,
        "they have the same keys but not the same values"
    );
    soon(cluster.converged()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hangs_is_replaced_and_follows_when_it_wakes() {
    for cluster in both(3) {
        hung_leader_is_replaced(cluster).await;
    }
}

async fn hung_leader_is_replaced(cluster: ClusterBuilder) {
    let mut cluster = soon(cluster.start()).await.unwrap();
    let (leader, term) = soon(cluster.leader()).await.unwrap();
    cluster.pause(leader).await;
    let (next, next_term) = soon(cluster.leader()).await.unwrap();
    assert!(next != leader && next_term > term);
    let map = cluster.peer(next).group.map::<u64, u64>("n");
    let written = soon(map.insert(1, 1)).await.unwrap();
    cluster.resume(leader);
    soon(cluster.applied(written.cursor)).await.unwrap();
    soon(cluster.leader()).await.unwrap();
    soon(cluster.converged()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_about_nobody_do_not_hang() {
    let mut cluster = soon(Cluster::local(1)).await.unwrap();
    cluster.pause(0).await;
    let leader = soon(cluster.leader()).await;
    assert!(matches!(leader, Err(ClusterError::Empty)), "{leader:?}");
    cluster.resume(0);
    soon(cluster.leader()).await.unwrap();
    soon(cluster.stop(0)).await;
    let held = soon(cluster.converged()).await;
    assert!(matches!(held, Err(ClusterError::Empty)), "{held:?}");
}

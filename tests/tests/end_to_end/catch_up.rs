//! Peers that lag behind are brought up to date from all the others, whatever happens meanwhile.

use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use crate::common::{
    assert_equal, fill, meeting_place, peer_in, small_reserve, soon, wait_caught_up, wait_for,
};
use futures::{
    StreamExt,
    future::{join, join_all},
};
use quorate::{
    ChangesError, Cursor, Form, GroupEvent, GroupKey, GroupProfile, Map, PeerId, Read, Since,
    WriteError, testing::Cluster,
};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Writes one key after the other until it is told to stop; returns those acknowledged.
async fn write_on(map: Map<u64, u64>, first: u64, mut stop: oneshot::Receiver<()>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut key = first;
    while stop.try_recv() == Err(TryRecvError::Empty) {
        match soon(map.insert(key, key).timeout(Duration::from_secs(1))).await {
            Ok(_) => acknowledged.push(key),
            Err(WriteError::Closed { .. }) => break,
            // Whether it was applied or not: this key is not written again.
            Err(_) => {}
        }
        key += 1;
    }
    acknowledged
}

/// Starts a writer through each of these peers.
fn write_through(
    cluster: &Cluster,
    peers: &[usize],
) -> (
    Vec<oneshot::Sender<()>>,
    Vec<tokio::task::JoinHandle<Vec<u64>>>,
) {
    let start = |i: &usize| {
        let (stop, stopped) = oneshot::channel();
        let map = cluster.peer(*i).group.map("n");
        let first = (*i as u64 + 1) << 32;
        (stop, tokio::spawn(write_on(map, first, stopped)))
    };
    peers.iter().map(start).unzip()
}

/// Checks that every running peer holds every acknowledged key.
async fn assert_held(cluster: &Cluster, keys: &[u64]) {
    assert_equal(cluster).await;
    for i in cluster.living() {
        let snapshot = cluster.peer(i).group.snapshot(Read::Local).await.unwrap();
        for key in keys {
            let value = snapshot.get::<u64, u64>("n", key).unwrap();
            assert_eq!(value, Some(*key), "peer {i}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_peer_restores_from_several_while_writes_go_on() {
    let cluster = Cluster::builder(3).profile(small_reserve()).start();
    let mut cluster = soon(cluster).await.unwrap();
    fill(&cluster.peer(0).group.map("n"), 0..20_000).await;
    let (stops, writers) = write_through(&cluster, &[0, 1, 2]);
    let late = cluster.add().await.unwrap();
    let mut events = cluster.events(late);
    let mut feed = cluster
        .peer(late)
        .group
        .map::<u64, u64>("n")
        .changes(Since::Now);
    let mut providers = BTreeSet::<PeerId>::new();
    let anchor = soon(wait_for(&mut events, |event| match event {
        GroupEvent::RestoreProgress { from, .. } => {
            providers.insert(from);
            None
        }
        GroupEvent::Restored { anchor, .. } => Some(anchor),
        _ => None,
    }))
    .await;
    assert!(anchor > Cursor::ZERO);
    assert!(providers.len() > 1, "from {providers:?} only");
    // What led to the snapshot was never here: a watcher is told what it brought, and goes on
    // behind it.
    let lagged = soon(feed.next()).await.unwrap().unwrap_err();
    assert_eq!(lagged, ChangesError::Lagged(anchor));
    let mut brought = BTreeSet::new();
    let next = loop {
        let change = soon(feed.next()).await.unwrap().unwrap();
        if change.cursor > anchor {
            break change;
        }
        assert_eq!((change.cursor, change.value), (anchor, Some(change.key)));
        assert!(brought.insert(change.key), "{} twice", change.key);
    };
    assert!(next.cursor > anchor);
    assert!((0..20_000).all(|key| brought.contains(&key)));
    soon(wait_caught_up(&mut events)).await;
    drop(stops);
    let acknowledged = soon(join_all(writers)).await;
    let acknowledged: Vec<u64> = acknowledged.into_iter().flat_map(Result::unwrap).collect();
    assert!(!acknowledged.is_empty());
    let keys: Vec<u64> = (0..20_000).chain(acknowledged).collect();
    assert_held(&cluster, &keys).await;
    // The late peer takes writes like any other.
    soon(cluster.peer(late).group.map::<u64, u64>("n").insert(7, 8))
        .await
        .unwrap();
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_late_peers_at_once_share_one_snapshot() {
    // Requests that come within one heartbeat share a marker: long enough for a busy machine.
    let profile = GroupProfile {
        heartbeat: Duration::from_secs(1),
        election_min: Duration::from_secs(3),
        election_max: Duration::from_secs(6),
        ..small_reserve()
    };
    let cluster = Cluster::builder(3).profile(profile).start();
    let mut cluster = soon(cluster).await.unwrap();
    fill(&cluster.peer(0).group.map("n"), 0..5_000).await;
    let mut cuts = cluster.peer(0).group.events().await.unwrap();
    let first = cluster.add().await.unwrap();
    let second = cluster.add().await.unwrap();
    let (mut one, mut two) = (cluster.events(first), cluster.events(second));
    let restored = |event| match event {
        GroupEvent::Restored { anchor, .. } => Some(anchor),
        _ => None,
    };
    let (one, two) = soon(join(
        wait_for(&mut one, restored),
        wait_for(&mut two, restored),
    ))
    .await;
    assert_eq!(one, two);
    let cut = soon(wait_for(&mut cuts, |event| match event {
        GroupEvent::SnapshotCut { anchor, .. } => Some(anchor),
        _ => None,
    }))
    .await;
    assert_eq!(cut, one);
    assert_equal(&cluster).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_during_the_catch_up_delays_it_and_loses_nothing() {
    let cluster = Cluster::builder(5).profile(small_reserve()).start();
    let mut cluster = soon(cluster).await.unwrap();
    fill(&cluster.peer(0).group.map("n"), 0..40_000).await;
    let (stops, writers) = write_through(&cluster, &[0, 1, 2, 3, 4]);
    let late = cluster.add().await.unwrap();
    let mut events = cluster.events(late);
    soon(wait_for(&mut events, |event| {
        matches!(event, GroupEvent::RestoreProgress { .. }).then_some(())
    }))
    .await;
    let (leader, term) = soon(cluster.leader()).await.unwrap();
    assert_ne!(leader, late);
    cluster.kill(leader);
    soon(wait_caught_up(&mut events)).await;
    let (_, next) = soon(cluster.leader()).await.unwrap();
    assert!(next > term);
    drop(stops);
    let acknowledged = soon(join_all(writers)).await;
    let acknowledged: Vec<u64> = acknowledged.into_iter().flat_map(Result::unwrap).collect();
    let keys: Vec<u64> = (0..40_000).chain(acknowledged).collect();
    assert_held(&cluster, &keys).await;
}

/// A peer on a thread of its own that stands still, from its first part of a snapshot on, until it
/// is told to go on. Meanwhile neither its driver nor its endpoint does anything, as if its
/// process were stopped.
struct Sleeper {
    asleep: Receiver<()>,
    wake: std::sync::mpsc::SyncSender<()>,
    caught_up: Receiver<(Vec<Cursor>, u64)>,
    done: oneshot::Sender<()>,
}

fn start_sleeper(directory: std::path::PathBuf, key: GroupKey, profile: GroupProfile) -> Sleeper {
    let (fell_asleep, asleep) = sync_channel(1);
    let (wake, woken) = sync_channel(1);
    let (tell, caught_up) = sync_channel(1);
    let (done, may_go) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let net = quorate::Network::builder("test").rendezvous(directory);
            let net = net.build().await.unwrap();
            let mut events = net.events().await.unwrap();
            let group = net.group(key).profile(profile).open().await.unwrap();
            let mut anchors = Vec::new();
            let mut slept = false;
            soon(wait_for(&mut events, |event| match event {
                GroupEvent::RestoreStarted { anchor, .. } => {
                    anchors.push(anchor);
                    None
                }
                GroupEvent::RestoreProgress { .. } if !slept => {
                    slept = true;
                    fell_asleep.send(()).unwrap();
                    woken.recv().unwrap();
                    None
                }
                GroupEvent::CaughtUp { .. } => Some(()),
                _ => None,
            }))
            .await;
            let len = soon(group.map::<u64, u64>("n").len(Read::Local))
                .await
                .unwrap();
            tell.send((anchors, len)).unwrap();
            may_go.await.unwrap_or_default();
            net.close().await;
        });
    });
    Sleeper {
        asleep,
        wake,
        caught_up,
        done,
    }
}

/// Waits for a message from another thread without standing in the way of this one's tasks.
async fn from<T: Send + 'static>(told: Receiver<T>) -> T {
    let wait = tokio::task::spawn_blocking(move || told.recv_timeout(Duration::from_secs(60)));
    wait.await.unwrap().expect("the other thread says so")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_snapshots_expire_the_late_peer_asks_again() {
    let directory = meeting_place();
    let key = GroupKey::named("expiring");
    let profile = GroupProfile {
        snapshot_ttl: Duration::from_millis(400),
        batch_items: 100,
        ..small_reserve()
    };
    let founders = (0..3).map(|_| {
        peer_in(
            directory.path(),
            key.clone(),
            Form::Expect(3),
            profile.clone(),
        )
    });
    let founders = join_all(founders).await;
    let map = founders[0].1.map::<u64, u64>("n");
    soon(founders[0].1.when().leader_elected()).await.unwrap();
    fill(&map, 0..30_000).await;
    let mut watched = Vec::new();
    for (_, group) in &founders {
        watched.push(group.events().await.unwrap());
    }
    let sleeper = start_sleeper(directory.path().to_owned(), key, profile);
    from(sleeper.asleep).await;
    // Every founder forgets every snapshot that it has cut.
    for events in &mut watched {
        let mut open = BTreeSet::new();
        soon(wait_for(events, |event| match event {
            GroupEvent::SnapshotCut { anchor, .. } => {
                open.insert(anchor);
                None
            }
            GroupEvent::SnapshotForgotten { anchor } => {
                open.remove(&anchor);
                open.is_empty().then_some(())
            }
            _ => None,
        }))
        .await;
    }
    // What is written meanwhile cannot be in the old snapshot.
    fill(&map, 30_000..30_100).await;
    sleeper.wake.send(()).unwrap();
    let (anchors, len) = from(sleeper.caught_up).await;
    assert!(anchors.len() > 1, "restored from {anchors:?}");
    assert!(anchors[0] < anchors[1]);
    assert!(len >= 30_000);
    drop(sleeper.done);
    for (net, _) in founders {
        net.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_gap_is_replayed_from_the_log() {
    let mut cluster = soon(Cluster::local(3)).await.unwrap();
    fill(&cluster.peer(0).group.map("n"), 0..100).await;
    let late = cluster.add().await.unwrap();
    let mut events = cluster.events(late);
    soon(cluster.peer(late).group.when().caught_up())
        .await
        .unwrap();
    assert_equal(&cluster).await;
    cluster.peer(late).net.close().await;
    while let Some(event) = soon(events.next()).await {
        if let Ok(quorate::Event::Group { event, .. }) = event {
            assert!(
                !matches!(event, GroupEvent::RestoreStarted { .. }),
                "{event:?}"
            );
        }
    }
}

//! What the end-to-end tests share.
// Each test file uses a part of it, it is nobody's public interface, and it is all tests.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

pub mod bank;

use std::{future::Future, panic::Location, path::Path, time::Duration};

use futures::StreamExt;
use quorate::{
    CloseCode, Event, Events, Form, Group, GroupEvent, GroupKey, GroupProfile, Map, Network,
    testing::Cluster,
};
use tempfile::TempDir;

/// Longer than anything here takes, so that what hangs fails and says where.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for something that must happen.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let from = Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("what was waited for at {from} did not happen"),
        }
    }
}

/// A profile in which the log keeps little: an empty peer restores once a group has written more.
pub fn small_reserve() -> GroupProfile {
    GroupProfile {
        reserve_entries: 64,
        ..GroupProfile::lan()
    }
}

/// Writes `key -> key` for all keys of the range, pipelined through one peer.
pub async fn fill(map: &Map<u64, u64>, keys: std::ops::Range<u64>) {
    let writes = futures::stream::iter(keys).map(|key| map.insert(key, key));
    let mut written = writes.buffer_unordered(512);
    while let Some(done) = soon(written.next()).await {
        done.unwrap();
    }
}

/// Waits for the first event of a group for which `pick` has something.
pub async fn wait_for<T>(events: &mut Events, mut pick: impl FnMut(GroupEvent) -> Option<T>) -> T {
    loop {
        let event = events.next().await.expect("the network is open");
        // Shown if the test fails.
        println!("{event:?}");
        if let Ok(Event::Group { event, .. }) = event
            && let Some(found) = pick(event)
        {
            return found;
        }
    }
}

/// Waits until a peer is refused, by this one or the other way round.
pub async fn refused(events: &mut Events) -> CloseCode {
    loop {
        let event = events.next().await.expect("the network is open");
        if let Ok(Event::PeerRefused { code, .. }) = event {
            return code;
        }
    }
}

/// Waits until a peer follows the live log after a catch-up.
pub async fn wait_caught_up(events: &mut Events) {
    wait_for(events, |event| {
        matches!(event, GroupEvent::CaughtUp { .. }).then_some(())
    })
    .await;
}

/// Checks that all running peers hold the same; returns the number of their items.
pub async fn assert_equal(cluster: &Cluster) -> u64 {
    let digests = soon(cluster.digests()).await.unwrap();
    for (peer, digest) in &digests {
        assert_eq!(*digest, digests[0].1, "peer {peer}");
    }
    digests[0].1.items
}

/// Makes a directory where peers meet, for this user alone.
pub fn meeting_place() -> TempDir {
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let builder = tempfile::Builder::new().permissions(private).tempdir();
    builder.unwrap()
}

/// Starts a peer that meets others in `directory`.
pub async fn peer_in(
    directory: &Path,
    key: GroupKey,
    form: Form,
    profile: GroupProfile,
) -> (Network, Group) {
    let net = Network::builder("test").rendezvous(directory);
    let net = net.build().await.unwrap();
    let group = net.group(key).form(form).profile(profile);
    let group = group.open().await.unwrap();
    (net, group)
}

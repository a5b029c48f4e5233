//! The group that is measured: peers of one process, each with its own endpoint on loopback.

use std::{
    collections::VecDeque,
    future::{Future as _, poll_fn},
    task::Poll,
};

use anyhow::Context as _;
use quorate::{GroupProfile, Map, WriteError, testing::Cluster};

use crate::raw::ENTRY;

/// The map that is written to.
pub(crate) type Entries = Map<u64, String>;

/// Writes that one loader has under way.
const WINDOW: usize = 4_096;

/// What fills a value up.
const FILL: &str = match std::str::from_utf8(&[b'.'; ENTRY]) {
    Ok(fill) => fill,
    Err(_) => panic!("dots are text"),
};

/// Starts `peers` peers and waits until they have a leader.
pub(crate) async fn start(peers: usize) -> anyhow::Result<Cluster> {
    Ok(Cluster::local(peers).await?)
}

/// Starts three peers whose log is too short for a late peer to catch up from.
pub(crate) async fn start_with_short_log() -> anyhow::Result<Cluster> {
    let profile = GroupProfile {
        reserve_entries: 1_024,
        reserve_bytes: 1 << 20,
        ..GroupProfile::lan()
    };
    Ok(Cluster::builder(3).profile(profile).start().await?)
}

/// Returns the map as peer `i` sees it.
pub(crate) fn entries(cluster: &Cluster, i: usize) -> Entries {
    cluster.peer(i).group.map("entries")
}

/// Makes the value of entry `key`: 100 bytes that differ from entry to entry.
pub(crate) fn value(key: u64) -> String {
    let mut value = key.to_string();
    value.push_str(&FILL[value.len()..]);
    value
}

/// Writes the entries `0..count` through every peer at once.
pub(crate) async fn load(cluster: &Cluster, count: u64) -> anyhow::Result<()> {
    let living = cluster.living();
    let step = living.len();
    let loaders: Vec<_> = living
        .into_iter()
        .zip(0..)
        .map(|(i, first)| {
            let map = entries(cluster, i);
            tokio::spawn(async move { write_all(&map, (first..count).step_by(step)).await })
        })
        .collect();
    for loader in loaders {
        loader.await??;
    }
    Ok(())
}

/// Writes entries, many at a time, until each is acknowledged.
///
/// Answers come about in the order of the writes and are awaited in it: that costs the client less
/// than any set of futures that tells which of thousands is ready.
pub(crate) async fn write_all(
    map: &Entries,
    keys: impl Iterator<Item = u64>,
) -> anyhow::Result<()> {
    let mut window = VecDeque::with_capacity(WINDOW);
    for key in keys {
        let mut write = Box::pin(write(map, key));
        // A write leaves with the first poll.
        match poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await {
            Poll::Ready(done) => done?,
            Poll::Pending => window.push_back(write),
        }
        if window.len() == WINDOW
            && let Some(first) = window.pop_front()
        {
            first.await?;
        }
    }
    for write in window {
        write.await?;
    }
    Ok(())
}

/// Writes one entry; writing it again is harmless.
async fn write(map: &Entries, key: u64) -> anyhow::Result<()> {
    loop {
        match map.insert(key, value(key)).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Busy { .. } | WriteError::Superseded { .. } | WriteError::Unknown) => {
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error).context("a write was refused"),
        }
    }
}

//! The group that is measured: peers of one process, each with its own endpoint on loopback.

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use quorate::{GroupProfile, Map, WriteError, testing::Cluster};

use crate::raw::ENTRY;

/// The map that is written to.
pub(crate) type Entries = Map<u64, String>;

/// Writes that one loader has under way.
const WINDOW: usize = 4_096;

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
    format!("{key:0width$}", width = ENTRY)
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
pub(crate) async fn write_all(
    map: &Entries,
    keys: impl Iterator<Item = u64>,
) -> anyhow::Result<()> {
    stream::iter(keys)
        .map(|key| write(map, key))
        .buffer_unordered(WINDOW)
        .try_collect()
        .await
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

//! Writes that go on while the late peer catches up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use quorate::{Map, WriteError, testing::Cluster};
use tokio::task::JoinHandle;

use super::{
    LIVE,
    entries::{Line, generate},
};

/// How long a writer waits for one write: what a leader that is killed had under way stays unknown,
/// and the writers are to go on.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a writer waits when the group has too much under way.
const PAUSE: Duration = Duration::from_millis(2);

/// One writer per founder, each writing one entry after the other.
#[derive(Debug)]
pub(super) struct Writers {
    tasks: Vec<JoinHandle<anyhow::Result<Written>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// What was written, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Keys of acknowledged writes.
    keys: Vec<u64>,
    /// Writes of which nobody knows whether they were applied.
    pub(super) unknown: u64,
}

/// Starts to write through every living peer.
pub(super) fn start(cluster: &Cluster, seed: u64) -> Writers {
    let shared = Arc::new(Shared::default());
    let tasks = cluster
        .living()
        .into_iter()
        .map(|i| {
            let map = cluster.peer(i).group.map(LIVE);
            tokio::spawn(write(map, i as u64, seed, Arc::clone(&shared)))
        })
        .collect();
    Writers { tasks, shared }
}

/// Returns what a live write with this key says.
pub(super) fn value(seed: u64, key: u64) -> Line {
    generate(!seed, key)
}

impl Writers {
    /// Returns how many writes were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops after the writes under way; returns what was written.
    pub(super) async fn stop(self) -> anyhow::Result<Written> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Written::default();
        for task in self.tasks {
            let written = task.await.context("a writer failed")??;
            all.keys.extend(written.keys);
            all.unknown += written.unknown;
        }
        Ok(all)
    }
}

impl Written {
    /// Says what was written, for those who test what is made of it.
    #[cfg(test)]
    pub(super) fn of(keys: Vec<u64>, unknown: u64) -> Self {
        Self { keys, unknown }
    }

    /// Returns how many writes were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Returns the keys of acknowledged writes.
    pub(super) fn keys(&self) -> &[u64] {
        &self.keys
    }
}

/// Writes through one peer until it is told to stop, or its peer is killed.
async fn write(
    map: Map<u64, Line>,
    writer: u64,
    seed: u64,
    shared: Arc<Shared>,
) -> anyhow::Result<Written> {
    let mut written = Written::default();
    let mut key = writer << 40;
    let mut line = value(seed, key);
    while !shared.stop.load(Ordering::Relaxed) {
        line = match map.insert(key, line).timeout(PATIENCE).await {
            Ok(_) => {
                written.keys.push(key);
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                key += 1;
                value(seed, key)
            }
            Err(WriteError::Unknown) => {
                written.unknown += 1;
                key += 1;
                value(seed, key)
            }
            Err(WriteError::Busy { value }) => {
                tokio::time::sleep(PAUSE).await;
                value.1
            }
            Err(WriteError::Superseded { value } | WriteError::Unavailable { value }) => value.1,
            Err(WriteError::Closed { .. }) => break,
            Err(error) => bail!("a live write was refused: {error}"),
        };
    }
    Ok(written)
}

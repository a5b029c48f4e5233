//! Loading the entries: pipelined writes through all peers at once.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use quorate::{Cursor, Map, WriteError, testing::Cluster};
use tokio::sync::Semaphore;

use super::{
    ENTRIES,
    entries::{Entries, Line},
};

/// Writes that one loader has under way: enough to fill batches, and a small part of what a group
/// lets wait.
const WINDOW: usize = 2_048;

/// Bytes of entries that one loader has under way, for inputs with long lines.
const WINDOW_BYTES: u32 = 4 << 20;

/// How long one write may take: the machine is busy, and nobody waits for a single one.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a loader waits when the group has too much under way.
const PAUSE: Duration = Duration::from_millis(2);

/// Writes all entries but the first, which is there already; returns the last cursor.
pub(super) async fn load(cluster: &Cluster, entries: &Arc<Entries>) -> anyhow::Result<Cursor> {
    let living = cluster.living();
    let step = living.len() as u64;
    let loaders: Vec<_> = living
        .into_iter()
        .zip(2..)
        .map(|(i, first)| {
            let map = cluster.peer(i).group.map::<u64, Line>(ENTRIES);
            tokio::spawn(load_through(map, Arc::clone(entries), first, step))
        })
        .collect();
    let mut last = cluster.peer(0).group.status().applied;
    for loader in loaders {
        last = last.max(loader.await.context("a loader failed")??);
    }
    Ok(last)
}

/// Writes every `step`th entry through one peer.
async fn load_through(
    map: Map<u64, Line>,
    entries: Arc<Entries>,
    first: u64,
    step: u64,
) -> anyhow::Result<Cursor> {
    let room = Semaphore::new(WINDOW_BYTES as usize);
    let numbers = (first..=entries.count()).step_by(usize::try_from(step)?);
    stream::iter(numbers)
        .map(|i| write_in(&room, &map, &entries, i))
        .buffer_unordered(WINDOW)
        .try_fold(
            Cursor::ZERO,
            |last, cursor| async move { Ok(last.max(cursor)) },
        )
        .await
}

/// Writes one entry when there is room for its bytes.
async fn write_in(
    room: &Semaphore,
    map: &Map<u64, Line>,
    entries: &Entries,
    i: u64,
) -> anyhow::Result<Cursor> {
    let line = entries.entry(i);
    let bytes = u32::try_from(line.len()).unwrap_or(u32::MAX);
    let _room = room.acquire_many(bytes.clamp(1, WINDOW_BYTES)).await?;
    write(map, entries, i, line).await
}

/// Writes entry `i`, which is `line`, until it is acknowledged.
///
/// Writing the same entry again is harmless, so an unknown outcome is settled by doing it.
pub(super) async fn write(
    map: &Map<u64, Line>,
    entries: &Entries,
    i: u64,
    mut line: Line,
) -> anyhow::Result<Cursor> {
    loop {
        line = match map.insert(i, line).timeout(PATIENCE).await {
            Ok(done) => return Ok(done.cursor),
            Err(WriteError::Busy { value }) => {
                tokio::time::sleep(PAUSE).await;
                value.1
            }
            Err(WriteError::Superseded { value }) => value.1,
            Err(WriteError::Unknown) => entries.entry(i),
            Err(error) => bail!("entry {i} was not committed: {error}"),
        };
    }
}

//! How long a fourth peer takes to catch up from three.

use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt as _;
use quorate::{Event, GroupEvent, testing::Cluster};

use crate::{
    cluster,
    sample::{median, millis},
};

const ROUNDS: usize = 3;

/// Measures from the start of a fourth peer, its endpoint included, until it follows the live log
/// of three peers that hold `entries` entries of 100 bytes, in milliseconds.
pub(crate) async fn entries_ms(entries: u64) -> anyhow::Result<f64> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut cluster = cluster::start_with_short_log().await?;
        cluster::load(&cluster, entries).await?;
        rounds.push(add_peer(&mut cluster).await?);
        cluster.close().await;
    }
    Ok(median(rounds))
}

/// Adds a peer; returns how many milliseconds it took to restore and to follow the live log.
pub(crate) async fn add_peer(cluster: &mut Cluster) -> anyhow::Result<f64> {
    let began = Instant::now();
    let late = cluster.add().await?;
    let mut events = cluster.events(late);
    let mut restored = false;
    loop {
        let event = events.next().await.context("the late peer stopped")?;
        let Ok(Event::Group { event, .. }) = event else {
            continue;
        };
        match event {
            GroupEvent::Restored { .. } => restored = true,
            GroupEvent::CaughtUp { .. } => break,
            _ => {}
        }
    }
    let took = millis(began.elapsed());
    anyhow::ensure!(
        restored,
        "the late peer replayed the log instead of restoring a snapshot"
    );
    Ok(took)
}

//! What a write costs: one at a time, and many.

use std::time::Instant;

use crate::{
    cluster::{self, Entries},
    sample::{median, micros},
};

const WARM_UP: u64 = 1_000;
const WRITES: u64 = 5_000;
/// Writes of one pipelined round: about a second's worth.
const PIPELINED: u64 = 300_000;
const ROUNDS: u64 = 5;
/// Tasks that write at the same time, as the requests of a server do.
const WRITERS: u64 = 4;

/// Measures one write at a time through the leader of three peers, in microseconds.
pub(crate) async fn leader_p50_us() -> anyhow::Result<f64> {
    let cluster = cluster::start(3).await?;
    let (leader, _) = cluster.leader().await?;
    let took = one_at_a_time(&cluster::entries(&cluster, leader)).await?;
    cluster.close().await;
    Ok(took)
}

/// Measures one write at a time through a follower, in microseconds.
pub(crate) async fn follower_p50_us() -> anyhow::Result<f64> {
    let cluster = cluster::start(3).await?;
    let (leader, _) = cluster.leader().await?;
    let took = one_at_a_time(&cluster::entries(&cluster, (leader + 1) % 3)).await?;
    cluster.close().await;
    Ok(took)
}

/// Measures how many writes of 100 bytes per second the leader of three peers acknowledges while
/// thousands are under way.
pub(crate) async fn pipelined_per_s() -> anyhow::Result<f64> {
    let cluster = cluster::start(3).await?;
    let (leader, _) = cluster.leader().await?;
    let map = cluster::entries(&cluster, leader);
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let map = map.clone();
                // Every round writes the same keys, so that the state stays as large.
                let keys = (writer..PIPELINED).step_by(WRITERS as usize);
                tokio::spawn(async move { cluster::write_all(&map, keys).await })
            })
            .collect();
        for writer in writers {
            writer.await??;
        }
        if round > 0 {
            rates.push(PIPELINED as f64 / began.elapsed().as_secs_f64());
        }
    }
    cluster.close().await;
    Ok(median(rates))
}

/// Measures one write at a time, in microseconds.
pub(crate) async fn one_at_a_time(map: &Entries) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    for key in 0..WARM_UP + WRITES {
        let value = cluster::value(key);
        let began = Instant::now();
        map.insert(key, value).await?;
        if key >= WARM_UP {
            took.push(micros(began.elapsed()));
        }
    }
    Ok(median(took))
}

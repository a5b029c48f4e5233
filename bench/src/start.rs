//! From nothing to the first committed write.

use std::time::Instant;

use crate::{
    cluster,
    sample::{median, millis},
};

const ROUNDS: u64 = 7;

/// Measures from three peers that do not exist to the first acknowledged write, in milliseconds:
/// endpoints, finding each other, proving the key, genesis, election, commit.
pub(crate) async fn first_write_ms() -> anyhow::Result<f64> {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let began = Instant::now();
        let cluster = cluster::start(3).await?;
        cluster::entries(&cluster, 0)
            .insert(round, cluster::value(round))
            .await?;
        rounds.push(millis(began.elapsed()));
        cluster.close().await;
    }
    Ok(median(rounds))
}

//! What a cluster costs in memory.

use std::process::Command;

use anyhow::Context as _;

use crate::{catch_up, cluster};

/// The hidden argument that makes this program measure itself.
pub(crate) const ARGUMENT: &str = "measure-memory";

/// Measures by how much a process grows when four of its peers hold 1,000,000 entries of 100 bytes
/// each, in MB; in a process of its own, because the allocator keeps what other rows have freed.
pub(crate) fn growth_mb() -> anyhow::Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .arg(format!("--{ARGUMENT}"))
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "the measuring process failed: {error}"
    );
    let text = String::from_utf8(output.stdout)?;
    text.trim()
        .parse()
        .context("the measuring process printed no number")
}

/// Is that process: loads three peers, lets a fourth catch up, and returns the growth in MB.
pub(crate) async fn measure_here() -> anyhow::Result<f64> {
    let before = resident_mb()?;
    let mut cluster = cluster::start_with_short_log().await?;
    cluster::load(&cluster, 1_000_000).await?;
    catch_up::add_peer(&mut cluster).await?;
    let grown = resident_mb()? - before;
    cluster.close().await;
    Ok(grown)
}

/// Returns how much of this process is in memory, as Linux counts it.
fn resident_mb() -> anyhow::Result<f64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("memory is measured on Linux only")?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("the kernel does not say how much is in memory")?
        .trim()
        .parse()?;
    Ok(kib * 1_024.0 / 1e6)
}

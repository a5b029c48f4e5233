//! The rows: what each measures, in which unit, and what it should reach.

use std::collections::BTreeMap;

use crate::{catch_up, memory, raw, start, write};

/// One row of the table. Names stay as they are, so that runs can be compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Row {
    /// Round trip of 100 bytes through plain iroh.
    RawRtt,
    /// One stream of plain iroh.
    RawThroughput,
    /// The bytes of 1,000,000 entries through plain iroh.
    RawMillion,
    /// One write at a time, at the leader.
    WriteLeader,
    /// One write at a time, through a follower.
    WriteFollower,
    /// Many writes under way.
    WritePipelined,
    /// A fourth peer catches up on 100,000 entries.
    CatchUpSmall,
    /// A fourth peer catches up on 1,000,000 entries.
    CatchUpMillion,
    /// Four peers of one process with 1,000,000 entries each.
    Memory,
    /// Three peers, from nothing to the first committed write.
    Start,
}

/// What a row should reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

const ALL: [Row; 10] = [
    Row::RawRtt,
    Row::RawThroughput,
    Row::RawMillion,
    Row::WriteLeader,
    Row::WriteFollower,
    Row::WritePipelined,
    Row::CatchUpSmall,
    Row::CatchUpMillion,
    Row::Memory,
    Row::Start,
];

impl Row {
    /// Returns the row's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RawRtt => "raw.rtt_us",
            Self::RawThroughput => "raw.mib_s",
            Self::RawMillion => "raw.1m_ms",
            Self::WriteLeader => "write.leader_p50_us",
            Self::WriteFollower => "write.follower_p50_us",
            Self::WritePipelined => "write.pipelined_per_s",
            Self::CatchUpSmall => "catchup.100k_ms",
            Self::CatchUpMillion => "catchup.1m_ms",
            Self::Memory => "memory.4_peers_1m_mb",
            Self::Start => "start.3_ms",
        }
    }

    /// Returns the unit of its value.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::RawRtt | Self::WriteLeader | Self::WriteFollower => "us",
            Self::RawThroughput => "MiB/s",
            Self::WritePipelined => "1/s",
            Self::RawMillion | Self::CatchUpSmall | Self::CatchUpMillion | Self::Start => "ms",
            Self::Memory => "MB",
        }
    }
}

/// Returns the rows whose names start with one of the prefixes; all of them without a prefix.
pub(crate) fn select(prefixes: &[String]) -> anyhow::Result<Vec<Row>> {
    let wanted = |row: &Row| {
        prefixes.is_empty() || prefixes.iter().any(|prefix| row.name().starts_with(prefix))
    };
    let rows: Vec<Row> = ALL.into_iter().filter(wanted).collect();
    anyhow::ensure!(
        !rows.is_empty(),
        "no row starts with {prefixes:?}; the rows are: {}",
        ALL.map(Row::name).join(", ")
    );
    Ok(rows)
}

/// What this run has measured: a target that is a multiple of a raw row needs that row's value.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    values: BTreeMap<Row, f64>,
}

impl Measured {
    /// Measures a row, once.
    pub(crate) async fn value_of(&mut self, row: Row) -> anyhow::Result<f64> {
        if let Some(value) = self.values.get(&row) {
            return Ok(*value);
        }
        let value = match row {
            Row::RawRtt => raw::rtt_us().await?,
            Row::RawThroughput => raw::mib_s().await?,
            Row::RawMillion => raw::entries_ms(1_000_000).await?,
            Row::WriteLeader => write::leader_p50_us().await?,
            Row::WriteFollower => write::follower_p50_us().await?,
            Row::WritePipelined => write::pipelined_per_s().await?,
            Row::CatchUpSmall => catch_up::entries_ms(100_000).await?,
            Row::CatchUpMillion => catch_up::entries_ms(1_000_000).await?,
            Row::Memory => memory::growth_mb()?,
            Row::Start => start::first_write_ms().await?,
        };
        self.values.insert(row, value);
        Ok(value)
    }

    /// Returns what a row should reach on this machine, if anything is asked of it.
    pub(crate) async fn target_of(&mut self, row: Row) -> anyhow::Result<Option<Target>> {
        use Target::{AtLeast, AtMost};
        Ok(match row {
            Row::RawRtt | Row::RawThroughput | Row::RawMillion | Row::CatchUpSmall => None,
            Row::WriteLeader => Some(AtMost(1.3 * self.value_of(Row::RawRtt).await?)),
            Row::WriteFollower => Some(AtMost(2.3 * self.value_of(Row::RawRtt).await?)),
            Row::WritePipelined => Some(AtLeast(250_000.0)),
            Row::CatchUpMillion => Some(AtMost(4.0 * self.value_of(Row::RawMillion).await?)),
            Row::Memory => Some(AtMost(1_000.0)),
            Row::Start => Some(AtMost(1_000.0)),
        })
    }
}

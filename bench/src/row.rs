//! The rows: what each measures, in which unit, and what it should reach.

use std::collections::BTreeMap;

use crate::{
    catch_up, durable, in_process, memory,
    order::{self, Pair},
    raw, start, write,
};

/// One row of the table. Names stay as they are, so that runs can be compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Row {
    /// Three peers of the core on one thread, one command at a time.
    CoreDepth1,
    /// The same with the crate `raft`.
    RaftRsDepth1,
    /// Three peers of the core on one thread, 256 commands under way.
    CoreDepth256,
    /// The same with the crate `raft`.
    RaftRsDepth256,
    /// The driver, one client.
    InprocC1,
    /// The same with the crate `openraft`.
    OpenraftC1,
    /// The driver, 64 clients.
    InprocC64,
    /// The same with the crate `openraft`.
    OpenraftC64,
    /// The driver, 4,096 clients.
    InprocC4096,
    /// The same with the crate `openraft`.
    OpenraftC4096,
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
    /// A write to the disk and its sync.
    RawSync,
    /// The same by three at once, until the second is done.
    RawSync3,
    /// One write at a time at the leader of three peers with data directories.
    DurableOne,
    /// Many writes under way there.
    DurablePipelined,
    /// A peer that starts with 1,000,000 entries in its log.
    Restart,
    /// What an entry takes in the log.
    LogEntry,
}

/// What a row should reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

const ALL: [Row; 26] = [
    Row::CoreDepth1,
    Row::RaftRsDepth1,
    Row::CoreDepth256,
    Row::RaftRsDepth256,
    Row::InprocC1,
    Row::OpenraftC1,
    Row::InprocC64,
    Row::OpenraftC64,
    Row::InprocC4096,
    Row::OpenraftC4096,
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
    Row::RawSync,
    Row::RawSync3,
    Row::DurableOne,
    Row::DurablePipelined,
    Row::Restart,
    Row::LogEntry,
];

impl Row {
    /// Returns the row's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CoreDepth1 => "core.depth1_per_s",
            Self::RaftRsDepth1 => "raft_rs.depth1_per_s",
            Self::CoreDepth256 => "core.depth256_per_s",
            Self::RaftRsDepth256 => "raft_rs.depth256_per_s",
            Self::InprocC1 => "inproc.c1_per_s",
            Self::OpenraftC1 => "openraft.c1_per_s",
            Self::InprocC64 => "inproc.c64_per_s",
            Self::OpenraftC64 => "openraft.c64_per_s",
            Self::InprocC4096 => "inproc.c4096_per_s",
            Self::OpenraftC4096 => "openraft.c4096_per_s",
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
            Self::RawSync => "raw.sync_us",
            Self::RawSync3 => "raw.sync3_us",
            Self::DurableOne => "durable.p50_us",
            Self::DurablePipelined => "durable.pipelined_per_s",
            Self::Restart => "restart.1m_ms",
            Self::LogEntry => "log.bytes_per_entry",
        }
    }

    /// Returns the unit of its value.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::RawRtt
            | Self::WriteLeader
            | Self::WriteFollower
            | Self::RawSync
            | Self::RawSync3
            | Self::DurableOne => "us",
            Self::RawThroughput => "MiB/s",
            Self::CoreDepth1
            | Self::RaftRsDepth1
            | Self::CoreDepth256
            | Self::RaftRsDepth256
            | Self::InprocC1
            | Self::OpenraftC1
            | Self::InprocC64
            | Self::OpenraftC64
            | Self::InprocC4096
            | Self::OpenraftC4096
            | Self::WritePipelined
            | Self::DurablePipelined => "1/s",
            Self::RawMillion
            | Self::CatchUpSmall
            | Self::CatchUpMillion
            | Self::Start
            | Self::Restart => "ms",
            Self::Memory => "MB",
            Self::LogEntry => "B",
        }
    }

    /// Returns whose row it is.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::RaftRsDepth1 | Self::RaftRsDepth256 => "raft",
            Self::OpenraftC1 | Self::OpenraftC64 | Self::OpenraftC4096 => "openraft",
            Self::RawRtt | Self::RawThroughput | Self::RawMillion => "iroh",
            Self::RawSync | Self::RawSync3 => "quorate-bench",
            _ => "quorate",
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
            Row::CoreDepth1 | Row::RaftRsDepth1 => {
                let Pair { quorate, raft_rs } = order::depth1_per_s()?;
                self.values.insert(Row::CoreDepth1, quorate);
                self.values.insert(Row::RaftRsDepth1, raft_rs);
                return Ok(self.values[&row]);
            }
            Row::CoreDepth256 | Row::RaftRsDepth256 => {
                let Pair { quorate, raft_rs } = order::depth256_per_s()?;
                self.values.insert(Row::CoreDepth256, quorate);
                self.values.insert(Row::RaftRsDepth256, raft_rs);
                return Ok(self.values[&row]);
            }
            Row::InprocC1 | Row::OpenraftC1 => {
                return self
                    .beside_openraft(row, [Row::InprocC1, Row::OpenraftC1], 1)
                    .await;
            }
            Row::InprocC64 | Row::OpenraftC64 => {
                return self
                    .beside_openraft(row, [Row::InprocC64, Row::OpenraftC64], 64)
                    .await;
            }
            Row::InprocC4096 | Row::OpenraftC4096 => {
                let rows = [Row::InprocC4096, Row::OpenraftC4096];
                return self.beside_openraft(row, rows, 4_096).await;
            }
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
            Row::RawSync => durable::sync_us()?,
            Row::RawSync3 => durable::sync3_us()?,
            Row::DurableOne => durable::p50_us().await?,
            Row::DurablePipelined => durable::pipelined_per_s().await?,
            Row::Restart | Row::LogEntry => {
                let restart = durable::restart().await?;
                self.values.insert(Row::Restart, restart.ms);
                self.values.insert(Row::LogEntry, restart.bytes_per_entry);
                return Ok(self.values[&row]);
            }
        };
        self.values.insert(row, value);
        Ok(value)
    }

    /// Measures the driver and `openraft` together, and returns one of them.
    async fn beside_openraft(
        &mut self,
        row: Row,
        [ours, theirs]: [Row; 2],
        clients: u64,
    ) -> anyhow::Result<f64> {
        let pair = in_process::per_s(clients).await?;
        self.values.insert(ours, pair.quorate);
        self.values.insert(theirs, pair.openraft);
        Ok(self.values[&row])
    }

    /// Returns what a row should reach on this machine, if anything is asked of it.
    pub(crate) async fn target_of(&mut self, row: Row) -> anyhow::Result<Option<Target>> {
        use Target::{AtLeast, AtMost};
        Ok(match row {
            Row::RaftRsDepth1
            | Row::RaftRsDepth256
            | Row::OpenraftC1
            | Row::OpenraftC64
            | Row::OpenraftC4096
            | Row::RawRtt
            | Row::RawThroughput
            | Row::RawMillion
            | Row::CatchUpSmall
            | Row::RawSync
            | Row::RawSync3
            | Row::LogEntry => None,
            Row::CoreDepth1 => Some(AtLeast(300_000.0)),
            Row::CoreDepth256 => Some(AtLeast(3_000_000.0)),
            Row::InprocC1 => Some(AtLeast(self.value_of(Row::OpenraftC1).await?)),
            Row::InprocC64 => Some(AtLeast(self.value_of(Row::OpenraftC64).await?)),
            Row::InprocC4096 => Some(AtLeast(self.value_of(Row::OpenraftC4096).await?)),
            Row::WriteLeader => Some(AtMost(1.3 * self.value_of(Row::RawRtt).await?)),
            Row::WriteFollower => Some(AtMost(2.3 * self.value_of(Row::RawRtt).await?)),
            Row::WritePipelined => Some(AtLeast(250_000.0)),
            Row::CatchUpMillion => Some(AtMost(4.0 * self.value_of(Row::RawMillion).await?)),
            Row::Memory => Some(AtMost(1_000.0)),
            Row::Start => Some(AtMost(1_000.0)),
            Row::DurableOne => {
                let trip = self.value_of(Row::RawRtt).await?;
                let syncs = self.value_of(Row::RawSync3).await?;
                Some(AtMost(trip + syncs + 100.0))
            }
            Row::DurablePipelined => Some(AtLeast(50_000.0)),
            Row::Restart => Some(AtMost(2_000.0)),
        })
    }
}

//! The rows: what each measures, in which unit, and what it should reach.

use std::collections::BTreeMap;

use crate::raw;

/// One row of the table. Names stay as they are, so that runs can be compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Row {
    /// Round trip of 100 bytes through plain iroh.
    RawRtt,
    /// One stream of plain iroh.
    RawThroughput,
    /// The bytes of 1,000,000 entries through plain iroh.
    RawMillion,
}

/// What a row should reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

const ALL: [Row; 3] = [Row::RawRtt, Row::RawThroughput, Row::RawMillion];

impl Row {
    /// Returns the row's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RawRtt => "raw.rtt_us",
            Self::RawThroughput => "raw.mib_s",
            Self::RawMillion => "raw.1m_ms",
        }
    }

    /// Returns the unit of its value.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::RawRtt => "us",
            Self::RawThroughput => "MiB/s",
            Self::RawMillion => "ms",
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
        };
        self.values.insert(row, value);
        Ok(value)
    }

    /// Returns what a row should reach on this machine, if anything is asked of it.
    pub(crate) async fn target_of(&mut self, row: Row) -> anyhow::Result<Option<Target>> {
        Ok(match row {
            Row::RawRtt | Row::RawThroughput | Row::RawMillion => None,
        })
    }
}

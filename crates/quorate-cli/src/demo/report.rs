//! The result for programs.

use std::collections::BTreeMap;

use serde::Serialize;

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether everything that was promised was kept.
    pub(crate) ok: bool,
    /// How many peers founded the group.
    pub(crate) peers: usize,
    /// How many entries were loaded before the late peer came.
    pub(crate) entries: u64,
    /// Who leads at the end.
    pub(crate) leader: String,
    /// In which term.
    pub(crate) term: u64,
    /// Where the snapshot was cut that the late peer restored.
    pub(crate) anchor: Anchor,
    /// Who brought how much of it.
    pub(crate) providers: Vec<Provider>,
    /// From the late peer's start until it followed the live log.
    pub(crate) catch_up_ms: u64,
    /// Writes acknowledged meanwhile.
    pub(crate) writes_during_catch_up: u64,
    /// From the start of the process to the first committed write.
    pub(crate) formation_ms: u64,
    /// The digest of every living peer at one cursor.
    pub(crate) digests: BTreeMap<String, String>,
    /// Whether they are equal.
    pub(crate) digests_equal: bool,
}

/// A cursor, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Anchor {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// What one provider brought.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Provider {
    pub(crate) peer: String,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
}

//! What one history has made of the clients' operations.
//!
//! A write that is acknowledged stands in one history and must stay there; another history of the
//! group knows nothing of it. So places in the log, and what somebody was shown of them, are kept
//! per history.

use std::collections::BTreeMap;

use quorate_core::{Cursor, Index};
use quorate_state::ClientLimits;

use super::names::Names;

/// What a command must have answered; values by the number of the operation that wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Expected {
    pub(crate) done: bool,
    pub(crate) before: Option<usize>,
}

/// The books of one history.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The names of commands, and what they come to.
    pub(crate) names: Names,
    /// What each command must have answered.
    pub(crate) answers: BTreeMap<Index, Expected>,
    /// The highest index that any finished operation has shown.
    pub(crate) floor: Index,
    /// The highest cursor that a client of each peer was told of.
    pub(crate) seen: BTreeMap<usize, Cursor>,
    /// What each command of a user's machine answered, hashed.
    pub(crate) said: BTreeMap<Index, u128>,
    versions: BTreeMap<u32, Vec<(Index, Option<usize>)>>,
}

impl Ledger {
    /// Starts with nothing written, and with an empty client table.
    pub(crate) fn new(limits: ClientLimits) -> Self {
        Self {
            names: Names::new(limits),
            answers: BTreeMap::new(),
            floor: Index(0),
            seen: BTreeMap::new(),
            said: BTreeMap::new(),
            versions: BTreeMap::new(),
        }
    }

    /// Notes that a client of `peer` was shown the log up to `cursor`.
    pub(crate) fn show(&mut self, peer: usize, cursor: Cursor) {
        self.floor = self.floor.max(cursor.index);
        let seen = self.seen.entry(peer).or_default();
        *seen = cursor.max(*seen);
    }

    /// Notes that a key has a new value, or none, from `index` on.
    pub(crate) fn write(&mut self, key: u32, index: Index, writer: Option<usize>) {
        self.versions.entry(key).or_default().push((index, writer));
    }

    /// Returns who wrote the last committed value of a key.
    pub(crate) fn latest(&self, key: u32) -> Option<usize> {
        self.versions.get(&key)?.last()?.1
    }

    /// Returns who wrote the value that a key had at `index`.
    pub(crate) fn version_at(&self, key: u32, index: Index) -> Option<usize> {
        let versions = self.versions.get(&key)?;
        let after = versions.partition_point(|(at, _)| *at <= index);
        versions[..after].last()?.1
    }
}

//! Hands committed entries to the state, in order, cut at markers.
//!
//! Invariant: a batch never crosses a marker, so that a snapshot is cut exactly at the marker's
//! index on every peer, however each of them batches; and entries are handed over once, from the
//! last applied one on. A command that the machine here cannot run is not handed over, nor anything
//! after it ([`Body::Upgrade`]).

use crate::{
    canary::{Canary, Planted},
    cursor::{Cursor, Index},
    entries::Entries,
    entry::{Body, Entry, Marker},
    event::GroupEvent,
    limits,
    out::Out,
    raft::Raft,
    state_op::StateOp,
    sync::one_batch,
    time::Now,
    versions::Versions,
};

use super::group::Group;

/// How far the state is.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Applier {
    /// The last cursor the state has applied.
    pub(crate) applied: Cursor,
    /// The last cursor that was handed to it.
    handed: Cursor,
    /// Batches handed over and not answered.
    under_way: usize,
    /// The version of the state machine after what was handed over.
    version: u32,
    /// The versions that can be run here.
    versions: Versions,
    /// Whether the next entry is a command of a version that cannot be run here.
    stuck: bool,
    /// Items in the state.
    pub(crate) items: u64,
    /// Bytes of keys and values in the state.
    pub(crate) bytes: u64,
    planted: Planted,
}

/// Batches the state may have before it has answered one: one to work on, one to go on with.
const AHEAD: usize = 2;

impl Applier {
    /// Starts at the beginning of a history.
    pub(crate) fn new(versions: Versions, planted: Planted) -> Self {
        Self {
            applied: Cursor::ZERO,
            handed: Cursor::ZERO,
            under_way: 0,
            version: Versions::BEGINNING,
            versions,
            stuck: false,
            items: 0,
            bytes: 0,
            planted,
        }
    }

    /// Hands over the next batch; returns false if there is none, or the state is busy.
    ///
    /// A marker at the end of the batch is returned with its cursor.
    pub(crate) fn hand_over(
        &mut self,
        raft: &Raft,
        out: &mut Out,
    ) -> Option<Option<(Cursor, Marker)>> {
        if self.stuck
            || self.under_way >= AHEAD
            || self.handed.index >= raft.commit()
            || self.handed.index < raft.log().base().index
        {
            return None;
        }
        let first = self.handed.index.next();
        let committed = usize::try_from(raft.commit().since(self.handed.index)).ok()?;
        let mut entries = raft.log().slice(
            first,
            committed.min(limits::APPLY_ENTRIES),
            limits::APPLY_BYTES,
        );
        if entries.is_empty() {
            return None;
        }
        // Mostly there is no marker, nor anything else that a batch would be cut at.
        let marked = if entries.are_plain() {
            0
        } else {
            one_batch(&entries)
        };
        if marked > 0 && !self.planted.has(Canary::CutPastTheMarker) {
            entries.truncate(marked);
        }
        entries.truncate(self.runnable(&entries));
        let Some(last) = entries.last() else {
            self.get_stuck(out);
            return None;
        };
        let last_index = Index(self.handed.index.0 + entries.len() as u64);
        let cursor = Cursor::new(last.term, last_index);
        let marker = marked.checked_sub(1).and_then(|place| {
            let Entry { term, body } = entries.get(place)?;
            let at = Index(self.handed.index.0 + marked as u64);
            match body {
                Body::Marker(marker) => Some((Cursor::new(*term, at), (**marker).clone())),
                _ => None,
            }
        });
        let first = Cursor::new(entries.first()?.term, first);
        let outcomes = raft.awaits(last_index);
        self.handed = cursor;
        self.under_way += 1;
        self.note_upgrades(&entries, out);
        out.state.push(StateOp::Apply {
            first,
            entries,
            outcomes,
        });
        Some(marker)
    }

    /// Returns how many of `entries` come before the first command that cannot be run here.
    fn runnable(&self, entries: &Entries) -> usize {
        if entries.are_plain() && self.versions.contains(self.version) {
            return entries.len();
        }
        let mut version = self.version;
        let cannot = |entry: &Entry| {
            version = entry.body.version_after(version);
            entry.body.is_command() && !self.versions.contains(version)
        };
        entries.iter().position(cannot).unwrap_or(entries.len())
    }

    fn note_upgrades(&mut self, entries: &Entries, out: &mut Out) {
        if entries.are_plain() {
            return;
        }
        for entry in entries {
            let version = entry.body.version_after(self.version);
            if version != self.version {
                self.version = version;
                out.mark("upgrade.in_effect");
                out.event(GroupEvent::Upgraded { version });
            }
        }
    }

    fn get_stuck(&mut self, out: &mut Out) {
        let (version, runs) = (self.version, self.versions);
        self.stuck = true;
        if version > runs.last() {
            out.mark("upgrade.too_old");
        }
        out.event(GroupEvent::CannotRun { version, runs });
    }

    /// Takes note of an applied batch.
    pub(crate) fn applied(&mut self, last: Cursor, items: u64, bytes: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        self.applied = last;
        self.items = items;
        self.bytes = bytes;
    }

    /// Takes note of a snapshot that replaced the state.
    pub(crate) fn installed(&mut self, anchor: Cursor, version: u32, (items, bytes): (u64, u64)) {
        *self = Self {
            applied: anchor,
            handed: anchor,
            version,
            items,
            bytes,
            ..Self::new(self.versions, self.planted)
        };
    }

    /// Returns the version of the state machine after what was handed over.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// Returns the versions that can be run here.
    pub(crate) fn versions(&self) -> Versions {
        self.versions
    }

    /// Tells whether the next entry is a command that cannot be run here.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Returns the last cursor that was handed over.
    pub(crate) fn handed(&self) -> Cursor {
        self.handed
    }
}

impl Group {
    /// Hands over what the state has room for.
    pub(super) fn feed_state(&mut self, now: Now, out: &mut Out) {
        while let Some(raft) = &self.raft {
            if self.syncing.is_installing() {
                break;
            }
            let Some(marker) = self.applier.hand_over(raft, out) else {
                break;
            };
            if let Some((anchor, marker)) = marker {
                self.on_marker(now, anchor, &marker, out);
            }
        }
        if let Some(raft) = &mut self.raft {
            let (upto, version) = (self.applier.handed.index, self.applier.version);
            raft.note_version(upto, version, out);
        }
    }
}

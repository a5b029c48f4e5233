//! The log in memory, and how much of it is known to be durable.
//!
//! Invariant: the entries are those after `base`, without a gap; `durable` never covers an entry
//! whose write is still under way, in whatever order completions come; an entry that replaced
//! another one is durable only by its own write.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    canary::{Canary, Planted},
    cursor::{Cursor, Index, Term},
    disk_op::{DiskId, DiskWrite},
    entries::{Entries, LogEntries},
    entry::{Body, Entry},
    out::Out,
    wire::entry_size,
};

/// The entries of one group after its base.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Log {
    base: Cursor,
    entries: LogEntries,
    bytes: u64,
    /// Appends under way: the first index that each writes.
    writing: VecDeque<(DiskId, Index)>,
    planted: Planted,
    /// For a planted bug: up to where the write that finished last went.
    watermark: Option<Index>,
    ends: BTreeMap<DiskId, Index>,
}

/// An index up to which the log is durable here.
///
/// Only [`Log::durable`] makes one, so whatever is built from it (an ack, the leader's own share
/// of a commit) was made true by a finished disk operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Durable(Index);

impl Durable {
    /// Returns the index.
    pub(crate) fn index(self) -> Index {
        self.0
    }

    /// Returns the part of the promise that `upto` needs.
    pub(crate) fn upto(self, upto: Index) -> Self {
        Self(self.0.min(upto))
    }
}

impl Log {
    /// Takes over what recovery found; all of it is durable.
    pub(crate) fn recovered(base: Cursor, entries: Vec<Entry>, planted: Planted) -> Self {
        let bytes = entries.iter().map(|entry| entry_size(entry) as u64).sum();
        Self {
            base,
            entries: entries.into(),
            bytes,
            writing: VecDeque::new(),
            planted,
            watermark: None,
            ends: BTreeMap::new(),
        }
    }

    /// Returns the cursor before the first entry.
    pub(crate) fn base(&self) -> Cursor {
        self.base
    }

    /// Returns the index of the first entry, present or to come.
    pub(crate) fn first(&self) -> Index {
        self.base.index.next()
    }

    /// Returns the entries.
    pub(crate) fn entries(&self) -> &LogEntries {
        &self.entries
    }

    /// Returns about how many bytes the entries take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tells whether nothing was ever in the log: its peer is a joiner.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.base == Cursor::ZERO
    }

    /// Returns the cursor of the last entry.
    pub(crate) fn last(&self) -> Cursor {
        match self.entries.last() {
            Some(entry) => Cursor::new(entry.term, self.last_index()),
            None => self.base,
        }
    }

    /// Returns the index of the last entry: what is asked for most, and needs no look at it.
    fn last_index(&self) -> Index {
        Index(self.base.index.0 + self.entries.len() as u64)
    }

    /// Returns the term of the entry at `index`, if the log holds it or starts right after it.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// Returns the entry at `index`.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.offset(index)?)
    }

    /// Tells whether the log holds, or starts right after, the entry at `cursor`.
    pub(crate) fn matches(&self, cursor: Cursor) -> bool {
        self.term_at(cursor.index) == Some(cursor.term)
    }

    /// Returns the entries from `first` on, within the bounds, at least one if there is one.
    pub(crate) fn slice(&self, first: Index, max_entries: usize, max_bytes: usize) -> Entries {
        let Some(offset) = self.offset(first) else {
            return Entries::default();
        };
        let offset = offset.min(self.entries.len());
        let most = max_entries.min(self.entries.len() - offset);
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += entry_size(entry);
            first || bytes <= max_bytes
        };
        let entries = self.entries.iter_from(offset).take(most);
        let count = entries.take_while(fits).count();
        self.entries.slice(offset, count)
    }

    /// Returns about how many bytes the entries after `after` up to `last` take.
    pub(crate) fn bytes_between(&self, after: Index, last: Index) -> usize {
        let from = self.offset(after.next()).unwrap_or(0);
        let count = usize::try_from(last.since(after)).unwrap_or(usize::MAX);
        let between = self.entries.iter_from(from).take(count);
        between.map(entry_size).sum()
    }

    /// Returns up to where the log is durable.
    pub(crate) fn durable(&self) -> Durable {
        if self.planted.has(Canary::AckBeforeSync) {
            return Durable(self.last_index());
        }
        if let Some(watermark) = self.watermark {
            return Durable(watermark.min(self.last_index()));
        }
        let written = self
            .writing
            .iter()
            .map(|(_, first)| first.0 - 1)
            .min()
            .unwrap_or(u64::MAX);
        Durable(Index(written.min(self.last_index().0)))
    }

    /// Appends entries and writes them to the durable log.
    pub(crate) fn append(&mut self, entries: Entries, out: &mut Out) {
        if entries.is_empty() {
            return;
        }
        let previous = self.last();
        for (offset, entry) in (1..).zip(&entries) {
            if matches!(entry.body, Body::Marker(_)) {
                out.markers.push(Index(previous.index.0 + offset));
            }
        }
        self.bytes += entries.bytes() as u64;
        self.entries.push(entries.clone());
        let id = out.write(DiskWrite::Append { previous, entries });
        if self.planted.has(Canary::Openraft1960) {
            self.ends.insert(id, self.last().index);
        }
        self.writing.push_back((id, previous.index.next()));
    }

    /// Drops the entries after `last`; the next append drops them from the durable log too.
    pub(crate) fn truncate(&mut self, last: Index) {
        let keep = usize::try_from(last.since(self.base.index)).unwrap_or(usize::MAX);
        self.bytes -= self.entries.truncate(keep) as u64;
    }

    /// Drops the entries up to `base`, which the log holds.
    pub(crate) fn prune(&mut self, base: Cursor) {
        let gone = usize::try_from(base.index.since(self.base.index)).unwrap_or(usize::MAX);
        if gone > 0 {
            self.bytes -= self.entries.drop_first(gone) as u64;
            self.base = base;
        }
    }

    /// Replaces everything by nothing after `base`; the write of the base is under way as `id`.
    ///
    /// Until it is done nothing is durable: what the disk still holds is not this log, and what
    /// lies below the base may never have been on it.
    pub(crate) fn reset(&mut self, base: Cursor, id: DiskId) {
        self.entries.clear();
        self.bytes = 0;
        self.base = base;
        self.writing.clear();
        self.watermark = None;
        self.writing.push_back((id, Index(1)));
    }

    /// Makes acks wait for a write that replaces the base, as `id`.
    pub(crate) fn rebase(&mut self, id: DiskId) {
        self.writing.push_back((id, self.base.index));
    }

    /// Returns the oldest write under way.
    pub(crate) fn oldest_write(&self) -> Option<DiskId> {
        self.writing.iter().map(|(id, _)| *id).min()
    }

    /// Notes that a write is finished.
    pub(crate) fn written(&mut self, id: DiskId) {
        self.writing.retain(|(writing, _)| *writing != id);
        if self.planted.has(Canary::Openraft1960) {
            self.watermark = self.ends.remove(&id).or(self.watermark);
        }
    }

    fn offset(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.base.index.0.checked_add(1)?)?).ok()
    }
}

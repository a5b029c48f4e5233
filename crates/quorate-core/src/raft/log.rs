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
    /// The cursor of the last entry, or the base: asked for all the time.
    last: Cursor,
    entries: LogEntries,
    bytes: u64,
    /// Appends under way: the first index that each writes.
    writing: VecDeque<(DiskId, Index)>,
    /// The last index that none of them writes, nor anything after it.
    written: Index,
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
        let mut log = Self {
            base,
            last: base,
            entries: entries.into(),
            bytes,
            writing: VecDeque::new(),
            written: Index(u64::MAX),
            planted,
            watermark: None,
            ends: BTreeMap::new(),
        };
        log.find_last();
        log
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
        self.last
    }

    /// Returns the term of the entry at `index`, if the log holds it or starts right after it.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.last.index {
            return Some(self.last.term);
        }
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index > self.last.index {
            return None;
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
        self.entries.slice(offset, max_entries, max_bytes)
    }

    /// Returns about how many bytes the entries after `after` up to `last` take.
    pub(crate) fn bytes_between(&self, after: Index, last: Index) -> usize {
        let from = self.offset(after.next()).unwrap_or(0);
        let count = usize::try_from(last.since(after)).unwrap_or(usize::MAX);
        self.entries.bytes_from(from, count)
    }

    /// Returns up to where the log is durable.
    pub(crate) fn durable(&self) -> Durable {
        if self.planted.has(Canary::AckBeforeSync) {
            return Durable(self.last.index);
        }
        if let Some(watermark) = self.watermark {
            return Durable(watermark.min(self.last.index));
        }
        Durable(self.written.min(self.last.index))
    }

    /// Appends entries and writes them to the durable log.
    pub(crate) fn append(&mut self, entries: Entries, out: &mut Out) {
        if entries.is_empty() {
            return;
        }
        let previous = self.last;
        if !entries.are_plain() {
            for (offset, entry) in (1..).zip(&entries) {
                if matches!(entry.body, Body::Marker(_)) {
                    out.markers.push(Index(previous.index.0 + offset));
                }
            }
        }
        self.bytes += entries.bytes() as u64;
        self.entries.push(entries.clone());
        self.find_last();
        let id = out.write(DiskWrite::Append { previous, entries });
        if self.planted.has(Canary::Openraft1960) {
            self.ends.insert(id, self.last().index);
        }
        self.await_write(id, previous.index.next());
    }

    /// Drops the entries after `last`; the next append drops them from the durable log too.
    pub(crate) fn truncate(&mut self, last: Index) {
        let keep = usize::try_from(last.since(self.base.index)).unwrap_or(usize::MAX);
        self.bytes -= self.entries.truncate(keep) as u64;
        self.find_last();
    }

    /// Drops the entries up to `base`, which the log holds.
    pub(crate) fn prune(&mut self, base: Cursor) {
        let gone = usize::try_from(base.index.since(self.base.index)).unwrap_or(usize::MAX);
        if gone > 0 {
            self.bytes -= self.entries.drop_first(gone) as u64;
            self.base = base;
            self.find_last();
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
        self.last = base;
        self.writing.clear();
        self.watermark = None;
        self.written = Index(u64::MAX);
        self.await_write(id, Index(1));
    }

    /// Makes acks wait for a write that replaces the base, as `id`.
    pub(crate) fn rebase(&mut self, id: DiskId) {
        self.await_write(id, self.base.index);
    }

    /// Returns the oldest write under way.
    pub(crate) fn oldest_write(&self) -> Option<DiskId> {
        self.writing.iter().map(|(id, _)| *id).min()
    }

    /// Notes that a write is finished.
    pub(crate) fn written(&mut self, id: DiskId) {
        self.writing.retain(|(writing, _)| *writing != id);
        let firsts = self.writing.iter().map(|(_, first)| first.previous());
        self.written = firsts.min().unwrap_or(Index(u64::MAX));
        if self.planted.has(Canary::Openraft1960) {
            self.watermark = self.ends.remove(&id).or(self.watermark);
        }
    }

    /// Takes note of a write that is under way and begins at `first`.
    fn await_write(&mut self, id: DiskId, first: Index) {
        self.writing.push_back((id, first));
        self.written = self.written.min(first.previous());
    }

    /// Takes note of where the log ends, after a change.
    fn find_last(&mut self) {
        let end = Index(self.base.index.0 + self.entries.len() as u64);
        let last = self.entries.last();
        self.last = last.map_or(self.base, |entry| Cursor::new(entry.term, end));
    }

    fn offset(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.base.index.0.checked_add(1)?)?).ok()
    }
}

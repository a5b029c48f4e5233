//! Entries in a row, shared by everybody who has to do with them.
//!
//! What is appended once goes to the log, to the disk, to every follower and to the state. If each
//! of them had a copy, a busy leader would spend most of its time on making and dropping them; so
//! they share one batch, which nobody changes. A log is the row of the batches as they were
//! appended: it hands on what lies within one of them, and copies only what spans several, which
//! is what a follower is sent that lags.
//!
//! Where batches begin and end means nothing: rows of equal entries are equal, and hash equally.

use std::{
    collections::VecDeque,
    fmt,
    hash::{Hash, Hasher},
    ops::{Deref, Index, Range},
    sync::Arc,
};

use crate::{entry::Entry, wire::entry_size};

/// Some entries in a row; clones and slices share them.
#[derive(Clone, Default)]
pub struct Entries {
    shared: Arc<Vec<Entry>>,
    range: Range<usize>,
    bytes: usize,
}

impl Entries {
    /// Returns about how many bytes they take on the wire; see [`entry_size`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns those in `range`, which are shared. Costs a look at each unless all are wanted.
    ///
    /// # Panics
    ///
    /// If the range is not within these entries.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        if range == (0..self.len()) {
            return self.clone();
        }
        Self {
            bytes: self[range.clone()].iter().map(entry_size).sum(),
            shared: Arc::clone(&self.shared),
            range: self.range.start + range.start..self.range.start + range.end,
        }
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        Self {
            range: 0..entries.len(),
            bytes: entries.iter().map(entry_size).sum(),
            shared: Arc::new(entries),
        }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self::from(Vec::from_iter(entries))
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.shared[self.range.clone()]
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The entries of a log.
#[derive(Clone, Default)]
pub struct LogEntries {
    /// None of them empty, each with the number of its first entry.
    batches: VecDeque<(u64, Entries)>,
    /// The number of the first entry; numbers count on from the first entry that ever was here.
    first: u64,
    len: usize,
}

impl LogEntries {
    /// Makes a row without entries.
    pub const fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            first: 0,
            len: 0,
        }
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the entry at a place, counted from 0; O(log batches), O(1) in the last one.
    pub fn get(&self, at: usize) -> Option<&Entry> {
        let (batch, within) = self.find(at)?;
        self.batches[batch].1.get(within)
    }

    /// Returns the last entry.
    pub fn last(&self) -> Option<&Entry> {
        self.batches.back()?.1.last()
    }

    /// Returns all of them in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.batches.iter().flat_map(|(_, batch)| batch)
    }

    /// Returns those from a place on, in order.
    pub fn iter_from(&self, at: usize) -> impl DoubleEndedIterator<Item = &Entry> {
        let (batch, within) = self.find(at).unwrap_or((self.batches.len(), 0));
        let skip = self
            .batches
            .get(batch)
            .map_or(0, |(first, _)| first + within as u64);
        self.batches.range(batch..).flat_map(move |(first, batch)| {
            let skip = usize::try_from(skip.saturating_sub(*first)).unwrap_or(usize::MAX);
            &batch[skip.min(batch.len())..]
        })
    }

    /// Returns `count` of them from a place on; shares them if they lie in one batch.
    ///
    /// # Panics
    ///
    /// If there are not as many.
    pub(crate) fn slice(&self, at: usize, count: usize) -> Entries {
        if let Some((batch, within)) = self.find(at)
            && let batch = &self.batches[batch].1
            && within + count <= batch.len()
        {
            return batch.slice(within..within + count);
        }
        let copied: Entries = self.iter_from(at).take(count).cloned().collect();
        assert_eq!(copied.len(), count, "a slice beyond the end of the log");
        copied
    }

    /// Adds entries at the end.
    pub(crate) fn push(&mut self, entries: Entries) {
        if !entries.is_empty() {
            let number = self.first + self.len as u64;
            self.len += entries.len();
            self.batches.push_back((number, entries));
        }
    }

    /// Drops all but the first `len`; returns how many bytes they took.
    pub(crate) fn truncate(&mut self, len: usize) -> usize {
        let mut bytes = 0;
        while self.len > len
            && let Some((_, batch)) = self.batches.pop_back()
        {
            let keep = batch.len().saturating_sub(self.len - len);
            self.len -= batch.len();
            bytes += batch.bytes();
            let kept = batch.slice(0..keep);
            bytes -= kept.bytes();
            self.push(kept);
        }
        bytes
    }

    /// Drops the first `count`; returns how many bytes they took.
    pub(crate) fn drop_first(&mut self, count: usize) -> usize {
        let mut bytes = 0;
        let end = self.first + count.min(self.len) as u64;
        while self.first < end
            && let Some((_, batch)) = self.batches.pop_front()
        {
            let gone = usize::try_from(end - self.first).unwrap_or(usize::MAX);
            let gone = gone.min(batch.len());
            self.first += gone as u64;
            self.len -= gone;
            bytes += batch.bytes();
            if gone < batch.len() {
                let kept = batch.slice(gone..batch.len());
                bytes -= kept.bytes();
                self.batches.push_front((self.first, kept));
            }
        }
        bytes
    }

    /// Drops all of them.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Returns in which batch a place is, and where within it.
    fn find(&self, at: usize) -> Option<(usize, usize)> {
        if at >= self.len {
            return None;
        }
        let number = self.first + at as u64;
        let after = match self.batches.back() {
            // What is looked for is mostly new.
            Some((first, _)) if *first <= number => self.batches.len(),
            _ => self.batches.partition_point(|(first, _)| *first <= number),
        };
        let batch = after.checked_sub(1)?;
        let within = number - self.batches[batch].0;
        Some((batch, usize::try_from(within).ok()?))
    }
}

impl From<Vec<Entry>> for LogEntries {
    fn from(entries: Vec<Entry>) -> Self {
        let mut row = Self::new();
        row.push(entries.into());
        row
    }
}

impl Index<usize> for LogEntries {
    type Output = Entry;

    fn index(&self, at: usize) -> &Entry {
        self.get(at).expect("a place within the log")
    }
}

impl Hash for LogEntries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl fmt::Debug for LogEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use proptest::prelude::*;

    use super::*;
    use crate::{cursor::Term, entry::Body};

    fn some(first: u64, count: u64) -> Vec<Entry> {
        let entry = |number: u64| Entry {
            term: Term(number),
            body: Body::Command(vec![7; number as usize % 5].into()),
        };
        (first..first + count).map(entry).collect()
    }

    fn hash(value: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    fn bytes(entries: &[Entry]) -> usize {
        entries.iter().map(entry_size).sum()
    }

    proptest! {
        /// However it is made of batches and cut, a log holds what a plain vector would.
        #[test]
        fn a_row_of_batches_is_like_a_vector(
            steps in prop::collection::vec((0_u8..6, 0_u64..5, 0_u64..5), 0..60)
        ) {
            let (mut row, mut plain, mut next) = (LogEntries::new(), Vec::new(), 0);
            for (what, some_count, other) in steps {
                let count = some_count as usize;
                let len = plain.len();
                match what {
                    0..=2 => {
                        row.push(some(next, some_count).into());
                        plain.extend(some(next, some_count));
                        next += some_count;
                    }
                    3 => {
                        let keep = len.saturating_sub(count);
                        prop_assert_eq!(row.truncate(keep), bytes(&plain[keep..]));
                        plain.truncate(keep);
                    }
                    4 => {
                        let gone = bytes(&plain[..count.min(len)]);
                        prop_assert_eq!(row.drop_first(count), gone);
                        plain.drain(..count.min(len));
                    }
                    _ => {
                        let at = (other as usize).min(len);
                        let count = count.min(len - at);
                        let slice = row.slice(at, count);
                        prop_assert_eq!(&slice[..], &plain[at..at + count]);
                        prop_assert_eq!(slice.bytes(), bytes(&slice));
                    }
                }
                let from = other as usize;
                prop_assert!(row.iter().eq(&plain) && row.iter().rev().eq(plain.iter().rev()));
                prop_assert!(row.iter_from(from).eq(plain.iter().skip(from)));
                prop_assert_eq!((row.len(), row.last()), (plain.len(), plain.last()));
                prop_assert!((0..plain.len() + 2).all(|at| row.get(at) == plain.get(at)));
                prop_assert_eq!(hash(&row), hash(&LogEntries::from(plain.clone())));
            }
        }
    }

    #[test]
    fn what_lies_in_one_batch_is_shared() {
        let mut row = LogEntries::new();
        row.push(some(0, 3).into());
        row.push(some(3, 4).into());
        let shared = row.slice(4, 2);
        assert!(std::ptr::eq(&shared[0], &row[4]));
        assert!(!std::ptr::eq(&row.slice(2, 2)[0], &row[2]));
    }
}

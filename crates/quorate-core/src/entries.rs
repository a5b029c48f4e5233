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
    /// Whether one of them may be of a kind that a step looks for; see [`Entries::are_plain`].
    special: bool,
}

impl Entries {
    /// Returns about how many bytes they take on the wire; see [`entry_size`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells whether none of them changes the configuration, cuts a snapshot or raises the version
    /// of the machine; false only means that one of them may.
    ///
    /// What every step looks for in entries is hardly ever there, so it is looked for once, where
    /// they come from.
    pub(crate) fn are_plain(&self) -> bool {
        !self.special
    }

    /// Tells whether both are the same entries in memory, and not only equal.
    pub(crate) fn are_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.range == other.range
    }

    /// Drops all but the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len < self.len() {
            *self = self.slice(0..len);
        }
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
            special: self.special,
        }
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        let (mut bytes, mut special) = (0, false);
        for entry in &entries {
            bytes += entry_size(entry);
            special |= entry.body.is_special();
        }
        Self {
            range: 0..entries.len(),
            bytes,
            special,
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

    /// Returns the entry at a place, counted from 0; O(log batches from the end), O(1) in the last.
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

    /// Returns those from a place on, within the bounds, at least one if there is one; shares them
    /// if they lie in one batch.
    pub(crate) fn slice(&self, at: usize, max_entries: usize, max_bytes: usize) -> Entries {
        let Some((place, within)) = self.find(at) else {
            return Entries::default();
        };
        let batch = &self.batches[place].1;
        let rest = batch.len() - within;
        let most = max_entries.min(self.len - at);
        if most <= rest && batch.bytes() <= max_bytes {
            return batch.slice(within..within + most);
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += entry_size(entry);
            first || bytes <= max_bytes
        };
        let wanted = self.iter_from(at).take(most).take_while(fits);
        let count = wanted.count();
        if count <= rest {
            return batch.slice(within..within + count);
        }
        self.iter_from(at).take(count).cloned().collect()
    }

    /// Returns about how many bytes `count` of them take, from a place on.
    pub(crate) fn bytes_from(&self, at: usize, count: usize) -> usize {
        let Some((place, mut within)) = self.find(at) else {
            return 0;
        };
        let (mut bytes, mut left) = (0, count);
        for (_, batch) in self.batches.range(place..) {
            let some = left.min(batch.len() - within);
            if some == batch.len() {
                bytes += batch.bytes();
            } else {
                let part = &batch[within..within + some];
                bytes += part.iter().map(entry_size).sum::<usize>();
            }
            left -= some;
            within = 0;
            if left == 0 {
                break;
            }
        }
        bytes
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
        // What is looked for is mostly new: it is looked for one batch from the end, two, four and
        // so on, and then, between the last two of these, in halves.
        let end = self.batches.len();
        let (mut low, mut after, mut back) = (end, end, 1);
        while low > 0 {
            low = end.saturating_sub(back);
            if self.batches[low].0 <= number {
                break;
            }
            after = low;
            back *= 2;
        }
        while after - low > 1 {
            let middle = low + (after - low) / 2;
            if self.batches[middle].0 <= number {
                low = middle;
            } else {
                after = middle;
            }
        }
        let within = number - self.batches[low].0;
        Some((low, usize::try_from(within).ok()?))
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
                        prop_assert_eq!(row.bytes_from(at, count), bytes(&plain[at..at + count]));
                        for max_bytes in [0, 33, 80, 1_000] {
                            let slice = row.slice(at, count, max_bytes);
                            let fits =
                                |n: &usize| *n == 1 || bytes(&plain[at..at + n]) <= max_bytes;
                            let wanted = (0..=count).take_while(fits).last().unwrap_or(0);
                            prop_assert_eq!(&slice[..], &plain[at..at + wanted]);
                            prop_assert_eq!(slice.bytes(), bytes(&slice));
                        }
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
        let shared = row.slice(4, 2, 1_000);
        assert!(std::ptr::eq(&shared[0], &row[4]));
        assert!(std::ptr::eq(&row.slice(2, 2, 1)[0], &row[2]));
        assert!(!std::ptr::eq(&row.slice(2, 2, 1_000)[0], &row[2]));
    }

    #[test]
    fn a_place_is_found_however_far_from_the_end_it_is() {
        let mut row = LogEntries::new();
        for number in 0..100 {
            row.push(some(number, 1 + number % 3).into());
        }
        let numbers: Vec<u64> = (0..100).flat_map(|n| n..n + 1 + n % 3).collect();
        for (at, number) in numbers.iter().enumerate() {
            assert_eq!(row[at].term, Term(*number));
        }
        assert_eq!(row.get(numbers.len()), None);
    }
}

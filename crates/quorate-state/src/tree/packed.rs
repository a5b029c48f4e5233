//! A list of byte strings in one buffer: how nodes hold their items and separators.
//!
//! One allocation for a whole node's bytes instead of one per item: about 10 bytes of overhead per
//! item instead of 60, one `memcpy` to copy a node, and the buffer of a leaf is also its
//! canonical encoding, so hashing and sending it need no encoding step. The price is that an insert
//! moves the bytes behind it: about a kilobyte in a usual leaf.

use std::{cmp::Ordering, ops::Range};

#[derive(Clone, Default, Debug)]
pub(super) struct Packed {
    data: Vec<u8>,
    /// Where each string ends; it starts where the one before ends.
    ends: Vec<usize>,
}

impl Packed {
    /// Takes over `data`, of which `ends` says where each string ends.
    pub(super) fn from_parts(data: Vec<u8>, ends: Vec<usize>) -> Self {
        debug_assert_eq!(ends.last().copied().unwrap_or(0), data.len());
        Self { data, ends }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All strings, one after the other.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        &self.data[self.span(at)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Returns the first position whose string is not `before`; all strings before it must be.
    pub(super) fn partition_point(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Finds a string by how it compares to the one that is sought: where it is, or belongs.
    pub(super) fn search(&self, compare: impl Fn(&[u8]) -> Ordering) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match compare(self.get(middle)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Inserts the string made of `parts` at position `at`.
    pub(super) fn insert(&mut self, at: usize, parts: &[&[u8]]) {
        let start = self.start(at);
        let added = self.write(start..start, parts);
        for end in &mut self.ends[at..] {
            *end += added;
        }
        reserve(&mut self.ends, 1);
        self.ends.insert(at, start + added);
    }

    /// Puts the string made of `parts` in the place of the one at position `at`.
    pub(super) fn replace(&mut self, at: usize, parts: &[&[u8]]) {
        let span = self.span(at);
        let removed = span.len();
        let added = self.write(span, parts);
        if added != removed {
            for end in &mut self.ends[at..] {
                *end = *end - removed + added;
            }
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        let span = self.span(at);
        let removed = span.len();
        self.write(span, &[]);
        self.ends.remove(at);
        for end in &mut self.ends[at..] {
            *end -= removed;
        }
        self.trim();
    }

    /// Cuts off the strings from position `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let start = self.start(at);
        let data = self.data.split_off(start);
        let mut ends = self.ends.split_off(at);
        for end in &mut ends {
            *end -= start;
        }
        self.trim();
        Self { data, ends }
    }

    pub(super) fn append(&mut self, other: &Self) {
        let base = self.data.len();
        reserve(&mut self.data, other.data.len());
        self.data.extend_from_slice(&other.data);
        reserve(&mut self.ends, other.ends.len());
        self.ends.extend(other.ends.iter().map(|end| base + end));
    }

    /// Bytes allocated beyond the strings themselves.
    pub(super) fn overhead(&self) -> usize {
        self.data.capacity() - self.data.len() + self.ends.capacity() * size_of::<usize>()
    }

    fn start(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] }
    }

    fn span(&self, at: usize) -> Range<usize> {
        self.start(at)..self.ends[at]
    }

    /// Replaces the bytes of `span` by `parts`; returns how many bytes those are.
    fn write(&mut self, span: Range<usize>, parts: &[&[u8]]) -> usize {
        let added = parts.iter().map(|part| part.len()).sum();
        let len = self.data.len();
        let room = span.len();
        if added > room {
            reserve(&mut self.data, added - room);
            self.data.resize(len + (added - room), 0);
        }
        if added != room {
            self.data.copy_within(span.end..len, span.start + added);
        }
        if added < room {
            self.data.truncate(len - (room - added));
        }
        let mut to = span.start;
        for part in parts {
            self.data[to..to + part.len()].copy_from_slice(part);
            to += part.len();
        }
        added
    }

    /// Gives back memory when less than half of it is in use.
    fn trim(&mut self) {
        if self.data.capacity() > 2 * self.data.len() {
            self.data.shrink_to(self.data.len() + self.data.len() / 8);
        }
        if self.ends.capacity() > 2 * self.ends.len() {
            self.ends.shrink_to(self.ends.len() + self.ends.len() / 4);
        }
    }
}

/// Makes room for `more`, by an eighth at a time: a vector's own doubling would leave a third of
/// all memory unused.
fn reserve<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 8));
    }
}

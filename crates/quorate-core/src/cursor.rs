//! Positions in a group's log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of an election; at most one leader per term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Term(pub u64);

/// A place in the log; the first entry has index 1 and index 0 means nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Index(pub u64);

/// An entry's name: the term it was proposed in and its index.
///
/// Ordered by term first, then index, which is the order in which logs are compared in elections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The term the entry was proposed in.
    pub term: Term,
    /// The entry's place in the log.
    pub index: Index,
}

impl Index {
    /// Returns the index after this one, staying at the last possible one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the index before this one; nothing stays nothing.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Returns how many entries lie after `earlier` up to this index.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Term {
    /// Returns the term after this one, staying at the last possible one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Cursor {
    /// The cursor before the first entry.
    pub const ZERO: Self = Self {
        term: Term(0),
        index: Index(0),
    };

    /// Names the entry at `index` proposed in `term`.
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.term.0, self.index.0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.term.0, self.index.0)
    }
}

//! The versions of a state machine that a binary can run.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

/// An unbroken range of versions of a state machine: those that one binary can run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct Versions {
    first: u32,
    last: u32,
}

impl Versions {
    /// The version that every history begins at.
    pub const BEGINNING: u32 = 1;

    /// The first version, and no other.
    pub const ONLY_THE_FIRST: Self = Self {
        first: Self::BEGINNING,
        last: Self::BEGINNING,
    };

    /// Makes a range; nothing if no version is in it.
    pub const fn new(range: RangeInclusive<u32>) -> Option<Self> {
        let (first, last) = (*range.start(), *range.end());
        if first <= last && first >= Self::BEGINNING {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// Returns the lowest version.
    pub const fn first(self) -> u32 {
        self.first
    }

    /// Returns the highest version.
    pub const fn last(self) -> u32 {
        self.last
    }

    /// Tells whether a version is among them.
    pub const fn contains(self, version: u32) -> bool {
        self.first <= version && version <= self.last
    }

    /// Returns those that are in both ranges.
    pub fn common_with(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first)..=self.last.min(other.last))
    }
}

/// What was to be a range of versions has none in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no range of versions: from {0} to {1}")]
pub struct NoVersions(u32, u32);

impl TryFrom<(u32, u32)> for Versions {
    type Error = NoVersions;

    fn try_from((first, last): (u32, u32)) -> Result<Self, NoVersions> {
        Self::new(first..=last).ok_or(NoVersions(first, last))
    }
}

impl From<Versions> for (u32, u32) {
    fn from(versions: Versions) -> Self {
        (versions.first, versions.last)
    }
}

/// As people write a range: `1..=2`.
impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_at_least_one_version_and_none_before_the_first() {
        assert_eq!(Versions::new(0..=1), None);
        assert_eq!(Versions::new(RangeInclusive::new(2, 1)), None);
        let one = Versions::new(1..=2).unwrap();
        let other = Versions::new(2..=3).unwrap();
        assert_eq!(one.common_with(other), Versions::new(2..=2));
        assert_eq!(other.common_with(Versions::ONLY_THE_FIRST), None);
        assert!(one.contains(1) && one.contains(2) && !one.contains(3));
        assert_eq!(one.to_string(), "1..=2");
    }
}

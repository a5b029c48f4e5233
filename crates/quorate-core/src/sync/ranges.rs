//! A set of ranks as disjoint half-open ranges.
//!
//! A restore of ten million items is a handful of ranges at any moment, so the set costs what the
//! transfer's raggedness costs, not what the state costs.

use std::collections::BTreeMap;

/// Ranks, kept as the fewest half-open ranges.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Ranges {
    /// End by start; no two touch or overlap.
    ends: BTreeMap<u64, u64>,
    count: u64,
}

impl Ranges {
    /// Makes the set of all ranks in `start..end`.
    pub(super) fn of(start: u64, end: u64) -> Self {
        let mut ranges = Self::default();
        ranges.insert(start, end);
        ranges
    }

    /// Returns how many ranks are in the set.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Tells whether the set is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the lowest range.
    pub(super) fn first(&self) -> Option<(u64, u64)> {
        self.ends
            .first_key_value()
            .map(|(start, end)| (*start, *end))
    }

    /// Tells whether `rank` is in the set.
    pub(super) fn contains(&self, rank: u64) -> bool {
        self.ends
            .range(..=rank)
            .next_back()
            .is_some_and(|(_, end)| rank < *end)
    }

    /// Adds all ranks in `start..end`; a reversed range adds nothing.
    pub(super) fn insert(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        if let Some((before, reach)) = self.ends.range(..start).next_back()
            && *reach >= start
        {
            start = *before;
        }
        while let Some((other, reach)) = self.ends.range(start..=end).next() {
            let (other, reach) = (*other, *reach);
            end = end.max(reach);
            self.ends.remove(&other);
            self.count -= reach - other;
        }
        self.ends.insert(start, end);
        self.count += end - start;
    }

    /// Takes all ranks in `start..end` out.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let before = self.ends.range(..start).next_back();
        let touched: Vec<(u64, u64)> = before
            .into_iter()
            .filter(|(_, reach)| **reach > start)
            .chain(self.ends.range(start..end))
            .map(|(first, reach)| (*first, *reach))
            .collect();
        for (first, reach) in touched {
            self.ends.remove(&first);
            self.count -= reach - first;
            if first < start {
                self.ends.insert(first, start);
                self.count += start - first;
            }
            if reach > end {
                self.ends.insert(end, reach);
                self.count += reach - end;
            }
        }
    }

    /// Returns the parts of `start..end` that are not in the set.
    pub(super) fn gaps(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut rest = Self::of(start, end);
        let before = self.ends.range(..start).next_back();
        for (first, reach) in before
            .into_iter()
            .chain(self.ends.range(start..end.max(start)))
        {
            rest.remove(*first, *reach);
        }
        rest.ends.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranks(ranges: &Ranges) -> BTreeSet<u64> {
        ranges
            .ends
            .iter()
            .flat_map(|(start, end)| *start..*end)
            .collect()
    }

    proptest! {
        #[test]
        fn ranges_equal_a_plain_set(
            steps in prop::collection::vec((any::<bool>(), 0_u64..60, 0_u64..60), 1..60),
        ) {
            let mut ranges = Ranges::default();
            let mut plain = BTreeSet::new();
            for (add, start, end) in steps {
                if add {
                    ranges.insert(start, end);
                    plain.extend(start..end);
                } else {
                    ranges.remove(start, end);
                    plain.retain(|rank| !(start..end).contains(rank));
                }
                prop_assert_eq!(&ranks(&ranges), &plain);
                prop_assert_eq!(ranges.count(), plain.len() as u64);
                let apart = ranges.ends.iter().zip(ranges.ends.iter().skip(1));
                prop_assert!(apart.into_iter().all(|((_, end), (start, _))| end < start));
                let gaps: BTreeSet<u64> =
                    ranges.gaps(start, end).into_iter().flat_map(|(a, b)| a..b).collect();
                let missing = (start..end).filter(|rank| !plain.contains(rank)).collect();
                prop_assert_eq!(gaps, missing);
                prop_assert_eq!(ranges.contains(start), plain.contains(&start));
            }
        }
    }

    #[test]
    fn the_last_possible_ranks_do_not_overflow() {
        let mut ranges = Ranges::of(0, u64::MAX);
        ranges.remove(5, u64::MAX);
        ranges.insert(u64::MAX - 1, u64::MAX);
        ranges.insert(7, 3);
        assert_eq!(ranges.count(), 6);
        assert_eq!(ranges.gaps(0, u64::MAX), vec![(5, u64::MAX - 1)]);
    }
}

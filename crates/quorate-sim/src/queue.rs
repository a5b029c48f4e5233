//! The queue of what is to happen, by time and, at one instant, by a drawn tie.
//!
//! What happens lies still in a slab while the heap orders small keys: a heap moves what it holds a
//! handful of times for each thing that goes through it, and keys are a third of the size. Places
//! in the slab are used again, so it is as large as the queue ever was.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::world::Happening;

/// When something happens, what goes first at one instant, and where it lies.
///
/// The number makes keys differ, so that the order never depends on the place.
#[derive(PartialEq, Eq, Debug)]
struct Key {
    at: u64,
    tie: u64,
    number: u64,
    place: u32,
}

impl Key {
    /// Time and tie as one number: compared at once, and not one behind the other.
    fn moment(&self) -> u128 {
        (u128::from(self.at) << 64) | u128::from(self.tie)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    // What a heap asks, at each level of each push and pop: the number is hardly ever looked at.
    fn lt(&self, other: &Self) -> bool {
        let (mine, others) = (self.moment(), other.moment());
        mine < others || (mine == others && self.number < other.number)
    }

    fn le(&self, other: &Self) -> bool {
        !other.lt(self)
    }

    fn gt(&self, other: &Self) -> bool {
        other.lt(self)
    }

    fn ge(&self, other: &Self) -> bool {
        !self.lt(other)
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let moments = self.moment().cmp(&other.moment());
        moments.then(self.number.cmp(&other.number))
    }
}

/// What is to happen.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    keys: BinaryHeap<Reverse<Key>>,
    slab: Vec<Option<Happening>>,
    free: Vec<u32>,
    pushed: u64,
}

impl Queue {
    /// Puts something on the queue.
    pub(crate) fn push(&mut self, at: u64, tie: u64, happening: Happening) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            (self.slab.len() - 1) as u32
        });
        self.slab[place as usize] = Some(happening);
        self.pushed += 1;
        self.keys.push(Reverse(Key {
            at,
            tie,
            number: self.pushed,
            place,
        }));
    }

    /// Takes what happens next, and when, unless that is after `end`.
    pub(crate) fn pop_until(&mut self, end: u64) -> Option<(u64, Happening)> {
        if self.keys.peek()?.0.at > end {
            return None;
        }
        let Reverse(Key { at, place, .. }) = self.keys.pop()?;
        self.free.push(place);
        Some((at, self.slab[place as usize].take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_by_time_then_tie_then_age_and_not_before_its_time() {
        let mut queue = Queue::default();
        let keys = [(5, 1), (3, 9), (3, 2), (7, 0), (3, 2)];
        for (number, (at, tie)) in keys.into_iter().enumerate() {
            queue.push(at, tie, Happening::Start(number));
        }
        let mut taken = |end| match queue.pop_until(end) {
            Some((at, Happening::Start(number))) => Some((at, number)),
            _ => None,
        };
        assert_eq!(taken(2), None);
        let first: Vec<_> = std::iter::from_fn(|| taken(5)).collect();
        assert_eq!(first, [(3, 2), (3, 4), (3, 1), (5, 0)]);
        assert_eq!(taken(7), Some((7, 3)));
        assert_eq!(taken(u64::MAX), None);
    }
}

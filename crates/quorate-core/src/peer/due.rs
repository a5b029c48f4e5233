//! When which group is due next.
//!
//! The first one is kept apart from the others: it is asked for after every step, and a busy group
//! puts its own time off with every message. While it stays the first, nobody else is looked at.

use std::collections::BTreeSet;

use crate::{id::GroupId, time::Time};

/// The groups that are due at some time.
///
/// Invariant: the first one comes before all others, and there are no others without it.
#[derive(Clone, Hash, Debug, Default)]
pub(super) struct Due {
    first: Option<(Time, GroupId)>,
    others: BTreeSet<(Time, GroupId)>,
}

impl Due {
    /// Returns when the first group is due.
    pub(super) fn next(&self) -> Time {
        self.first.map_or(Time::NEVER, |(at, _)| at)
    }

    /// Returns the groups that are due at `now`, in order.
    pub(super) fn at(&self, now: Time) -> Vec<GroupId> {
        let all = self.first.iter().chain(&self.others);
        let due = all.take_while(|(at, _)| *at <= now);
        due.map(|(_, id)| *id).collect()
    }

    /// Moves a group from one time to another.
    pub(super) fn move_to(&mut self, group: GroupId, before: Time, after: Time) {
        let next = self.others.first();
        if self.first == Some((before, group)) {
            let stays = after != Time::NEVER && next.is_none_or(|next| (after, group) < *next);
            if stays {
                self.first = Some((after, group));
                return;
            }
            self.first = self.others.pop_first();
        } else {
            self.others.remove(&(before, group));
        }
        if after == Time::NEVER {
            return;
        }
        match &mut self.first {
            Some(first) if (after, group) > *first => {
                self.others.insert((after, group));
            }
            first => {
                let second = first.replace((after, group));
                self.others.extend(second);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It answers as a plain set does, whatever is moved where.
        #[test]
        fn the_first_is_always_the_first(
            moves in prop::collection::vec((0_u8..4, 0_u64..6), 0..60),
        ) {
            let (mut due, mut plain) = (Due::default(), BTreeSet::new());
            let mut times = [Time::NEVER; 4];
            for (group, at) in moves {
                let (id, at) = (GroupId([group; 16]), Time(at.wrapping_sub(1)));
                let before = std::mem::replace(&mut times[usize::from(group)], at);
                due.move_to(id, before, at);
                plain.remove(&(before, id));
                if at != Time::NEVER {
                    plain.insert((at, id));
                }
                let first = plain.first().map_or(Time::NEVER, |(at, _)| *at);
                prop_assert_eq!(due.next(), first);
                for now in (0..6).map(Time) {
                    let due_now = plain.iter().filter(|(at, _)| *at <= now).map(|(_, id)| *id);
                    prop_assert_eq!(due.at(now), due_now.collect::<Vec<_>>());
                }
            }
        }
    }
}

//! Changes of the configuration overlap (dissertation, section 4.1; Raft, section 6).
//!
//! Two leaders may each change one configuration, neither knowing of the other's change. Whichever
//! way they go, a quorum of the one must have a member in common with every quorum of the other,
//! and with every quorum of what they began with: else both decide. Where changes are joint, all of
//! them keep the half that they began with. Asked as soon as two such entries are in any two logs,
//! long before anybody has decided by them.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::{Configuration, Cursor, Index, Member};

use super::Found;

/// The changes of one history, in whatever log they stand.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    seen: BTreeSet<Cursor>,
    /// By where the configuration stands that they change.
    changes: BTreeMap<Index, Vec<Change>>,
}

#[derive(Debug)]
struct Change {
    from: Configuration,
    at: Cursor,
    to: Configuration,
}

impl Succession {
    /// Takes a configuration in somebody's log, and the one before it in the same log.
    pub(crate) fn learn(
        &mut self,
        before: Option<(Index, &Configuration)>,
        at: Cursor,
        next: &Configuration,
    ) -> Result<(), Found> {
        let Some((index, from)) = before.filter(|_| self.seen.insert(at)) else {
            return Ok(());
        };
        let changes = self.changes.entry(index).or_default();
        let siblings = changes.iter().filter(|change| change.from == *from);
        let others = siblings.map(|change| (change.at.index, &change.to));
        for (other, configuration) in others.chain([(index, from)]) {
            if !overlap(configuration, next) {
                return Err(Found::new(
                    "changes-overlap",
                    format!("{next:?} at {at:?} and {configuration:?} at {other:?} both decide"),
                ));
            }
        }
        let (from, to) = (from.clone(), next.clone());
        changes.push(Change { from, at, to });
        Ok(())
    }
}

/// Tells whether a half of the one and a half of the other have no two majorities apart.
fn overlap(one: &Configuration, other: &Configuration) -> bool {
    halves(one).any(|half| halves(other).any(|another| meet(half, another)))
}

fn halves(configuration: &Configuration) -> impl Iterator<Item = &[Member]> {
    let halves = [&configuration.voters, &configuration.outgoing];
    halves
        .into_iter()
        .map(Vec::as_slice)
        .filter(|half| !half.is_empty())
}

fn meet(half: &[Member], other: &[Member]) -> bool {
    let majority = |half: &[Member]| half.len() / 2 + 1;
    let more = other.iter().filter(|member| !half.contains(member)).count();
    majority(half) + majority(other) > half.len() + more
}

#[cfg(test)]
mod tests {
    use quorate_core::{Incarnation, PeerId, Term};

    use super::*;

    fn members(numbers: &[u8]) -> Vec<Member> {
        let member = |number: &u8| Member {
            peer: PeerId([*number; 32]),
            incarnation: Incarnation(0),
        };
        numbers.iter().map(member).collect()
    }

    fn single(voters: &[u8]) -> Configuration {
        Configuration::of_voters(members(voters))
    }

    fn joint(outgoing: &[u8], voters: &[u8]) -> Configuration {
        let outgoing = members(outgoing);
        Configuration {
            outgoing,
            ..single(voters)
        }
    }

    fn learned(changes: &[Configuration]) -> Vec<bool> {
        let start = single(&[1, 2, 3, 4]);
        let mut succession = Succession::default();
        let terms = (2..).map(Term);
        let learn = |(to, term)| {
            let at = Cursor::new(term, Index(7));
            succession.learn(Some((Index(3), &start)), at, to).is_ok()
        };
        changes.iter().zip(terms).map(learn).collect()
    }

    #[test]
    fn one_more_and_one_less_of_four_do_not_meet() {
        let more = single(&[1, 2, 3, 4, 5]);
        let less = single(&[2, 3, 4]);
        assert_eq!(learned(&[more, less]), [true, false]);
    }

    #[test]
    fn joint_changes_meet_in_the_half_that_they_leave() {
        let more = joint(&[1, 2, 3, 4], &[1, 2, 3, 4, 5]);
        let less = joint(&[1, 2, 3, 4], &[3, 4]);
        let others = joint(&[1, 2, 3, 4], &[6, 7, 8]);
        assert_eq!(learned(&[more, less, others]), [true, true, true]);
    }

    #[test]
    fn a_jump_to_other_voters_does_not_meet_what_it_leaves() {
        assert_eq!(learned(&[single(&[1, 2])]), [true]);
        assert_eq!(learned(&[single(&[4, 5, 6])]), [false]);
    }
}

//! Every way that things can go, within bounds: an explicit-state explorer over the real peer.
//!
//! The simulator draws runs at random and runs them long. What lies in no paper (how a group forms,
//! how two of them become one, how a new life of a voter takes its old one's place, what an install
//! does to a log) deserves to be looked at from all sides: three peers, few faults, and every order
//! in which peers take what has come, writes finish and timers fire. How many frames may be held
//! back while others overtake them is a bound, too.
//!
//! A state is three hosts (the real `Peer`, the real `Replica`, a logical disk, a clock), the
//! frames in flight, what may still happen unasked, and the books that the invariants need. From
//! each the explorer takes every action that is possible. What follows from something is not
//! limited, what comes out of the blue is ([`Bounds`]); so the number of states is finite, and an
//! exploration that ends has seen all of them.
//!
//! **Time.** Each host has a clock of its own, which moves only when the peer is woken (to the
//! deadline it named) or when as long as an election timeout passes everywhere. Clocks of different
//! hosts owe nothing to each other, so what is found safe here is safe with any drift and any
//! pause. Between two deadlines of a peer no time passes, which leaves out nothing but finer
//! timings.
//!
//! **When two states are one.** When hosts, frames, bounds and books are equal to the last bit,
//! clocks and random counters included, by a hash of 128 bits. Nothing is abstracted, so nothing is
//! missed that way (but for a collision); ways that differ only in what no longer matters stay
//! apart, which costs states.
//!
//! **What is coarser than reality, and may hide something.** A peer settles after each input. Both
//! ends see the end of a link at once, with all that was in flight on it lost; the greetings of a
//! new link are one action. A process dies between steps, never within one. A disk operation is on
//! the disk or not: the records are the simulator's. Where an exploration says so the disk or the
//! state is instant. There is no reduction by partial order: what commutes meets again.
//!
//! **After the end.** In a sample of the states in which nothing is allowed any more the cluster is
//! left alone, and must come to its goal: nothing may be stuck.
//!
//! Rejected: a model in another language, which would be a second protocol to keep true.

mod action;
mod apart;
mod books;
mod bugs;
mod calm;
mod cluster;
mod explorations;
mod host;
mod search;
mod shelf;
mod stable;
mod tell;
mod visited;

pub use action::Bounds;
pub use bugs::Planting;
pub use search::{Explored, Lapse};

use quorate_core::canary::Canary;

use explorations::{ALL, Exploration};

/// How many states one exploration may see: what fits two gigabytes.
const STATES: usize = 6_000_000;

/// Returns the names of the explorations.
pub fn explorations() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|exploration| exploration.name)
}

/// Returns the bounds within which a named start is explored: all of them, and those of a quick
/// look.
pub fn bounds(name: &str) -> Option<(Bounds, Bounds)> {
    let exploration = named(name)?;
    Some((exploration.bounds, exploration.small))
}

/// Returns what else is explored from a named start: nobody dies, but one queue (a lane, a disk, a
/// state) is held back for any length of time, or one link ends with all that is on it.
pub fn other_bounds(name: &str) -> Option<[Bounds; 2]> {
    let bounds = Bounds {
        crashes: 0,
        ..named(name)?.bounds
    };
    let held = Bounds {
        holds: Some(1),
        ..bounds
    };
    let cut = Bounds { cuts: 1, ..bounds };
    Some([held, cut])
}

/// Explores from a named start; nothing if there is none of that name.
///
/// Within its own bounds it takes up to a minute and two gigabytes; the figures are the same on
/// every machine. `bug` is planted in every peer, to see it found.
pub fn explore(name: &str, bounds: Bounds, bug: Option<Canary>) -> Option<Explored> {
    Some(search::explore(named(name)?, bounds, bug.into(), STATES))
}

/// Returns the planted bugs that are found by exploring, and where.
pub fn plantings() -> impl Iterator<Item = Planting> {
    bugs::PLANTINGS.into_iter()
}

fn named(name: &str) -> Option<&'static Exploration> {
    ALL.iter().find(|exploration| exploration.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_small_bounds_every_way_is_safe_and_leads_back() {
        for name in explorations() {
            let (_, small) = bounds(name).unwrap();
            let explored = explore(name, small, None).unwrap();
            assert!(explored.violation.is_none(), "{explored}");
            assert!(explored.complete && explored.came_back > 0, "{explored}");
        }
    }

    #[test]
    fn one_start_within_one_bound_is_one_exploration() {
        let (_, small) = bounds("install").unwrap();
        let figures = || {
            let explored = explore("install", small, None).unwrap();
            (explored.states, explored.transitions, explored.depth)
        };
        assert_eq!(figures(), figures());
    }

    #[test]
    fn each_planted_bug_of_the_explored_parts_is_found_and_nothing_without_it() {
        for planting in plantings() {
            let explored = |bug| explore(planting.exploration, planting.bounds, bug).unwrap();
            let with = explored(Some(planting.bug));
            let found = with.violation.map(|lapse| lapse.invariant);
            assert_eq!(found, Some(planting.invariant), "{planting:?}");
            let without = explored(None);
            assert!(without.violation.is_none(), "{planting:?}: {without}");
            assert!(without.complete, "{planting:?}: {without}");
        }
    }

    #[test]
    fn an_ack_before_its_sync_is_found() {
        let (_, small) = bounds("change").unwrap();
        let explored = explore("change", small, Some(Canary::AckBeforeSync)).unwrap();
        let lapse = explored.violation.expect("the planted bug is not found");
        assert_eq!(lapse.invariant, "committed-on-a-quorum");
        assert!(!lapse.way.is_empty());
    }
}

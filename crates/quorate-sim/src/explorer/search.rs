//! Breadth first through everything that may happen, each state once.
//!
//! Breadth first, so that the first way to a violation is a shortest one. A state is dropped once
//! what follows from it is known; of its way here a parent and an action stay, from which the way
//! is told and taken again.

use std::{collections::VecDeque, fmt};

use quorate_core::canary::Planted;

use super::{
    action::{Action, Bounds},
    calm::{self, Ended},
    cluster::{Cluster, State},
    explorations::Exploration,
    stable::Stable,
    visited::Visited,
};
use crate::checkers::Found;

/// What became of an exploration.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Its name.
    pub name: &'static str,
    /// What was allowed to happen.
    pub bounds: Bounds,
    /// How many states were seen.
    pub states: usize,
    /// How many ways from one to another, or back to one seen before, were taken.
    pub transitions: u64,
    /// How many hosts that differ were met in them.
    pub hosts: usize,
    /// How many actions the longest of the shortest ways has.
    pub depth: usize,
    /// Whether every state within the bounds was seen; else the bound on states came first.
    pub complete: bool,
    /// From how many states in which nothing is allowed any more the cluster came back when left
    /// alone.
    pub came_back: usize,
    /// Named situations that hosts reached.
    pub marks: Vec<&'static str>,
    /// What did not hold, if anything.
    pub violation: Option<Lapse>,
}

/// Something that did not hold, and a shortest way to it.
#[derive(Clone, Debug)]
pub struct Lapse {
    /// The invariant's name.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
    /// The way there, in words.
    pub way: Vec<String>,
}

/// How many actions a calm run may take.
const CALM: usize = 4_000;

/// From how many last states it is tried whether the cluster comes back, spread over all of them.
const TRIALS: usize = 200;

struct Search {
    cluster: Cluster,
    visited: Visited,
    /// By state, in the order in which they were seen: the state before it, and what happened.
    trail: Vec<(u32, Action)>,
    frontier: VecDeque<(u32, State)>,
    transitions: u64,
    depth: usize,
    lasts: u64,
    came_back: usize,
}

/// Explores, and sees at most `most` states.
pub(super) fn explore(
    exploration: &Exploration,
    bounds: Bounds,
    planted: Planted,
    most: usize,
) -> Explored {
    let (cluster, start) = exploration.start(planted);
    let mut start = match start {
        Ok(start) => start,
        Err(found) => return not_started(exploration, bounds, found),
    };
    start.allow(bounds);
    let mut search = Search {
        cluster,
        visited: Visited::new(),
        trail: Vec::new(),
        frontier: VecDeque::new(),
        transitions: 0,
        depth: 0,
        lasts: 0,
        came_back: 0,
    };
    let first = start.clone();
    search.add(0, Action::Elapse, start);
    let violation = search.run(exploration, most);
    let violation = violation.map(|(at, last, found)| {
        let way = search.way(at, last);
        search.tell(exploration, &first, &way, &found)
    });
    Explored {
        name: exploration.name,
        bounds,
        states: search.trail.len(),
        transitions: search.transitions,
        hosts: search.cluster.seats(),
        depth: search.depth,
        complete: violation.is_none() && search.frontier.is_empty(),
        came_back: search.came_back,
        marks: search.cluster.marks.keys().copied().collect(),
        violation,
    }
}

fn not_started(exploration: &Exploration, bounds: Bounds, found: Found) -> Explored {
    let (invariant, detail) = found.parts();
    Explored {
        name: exploration.name,
        bounds,
        states: 0,
        transitions: 0,
        hosts: 0,
        depth: 0,
        complete: false,
        came_back: 0,
        marks: Vec::new(),
        violation: Some(Lapse {
            invariant,
            detail,
            way: vec!["on the calm way to where the exploration starts".to_owned()],
        }),
    }
}

type Ending = (u32, Option<Action>, Found);

impl Search {
    fn add(&mut self, before: u32, action: Action, state: State) {
        if self.visited.insert(Stable::of(&state)) {
            let number = u32::try_from(self.trail.len()).unwrap_or(u32::MAX);
            self.trail.push((before, action));
            self.frontier.push_back((number, state));
        }
    }

    fn run(&mut self, exploration: &Exploration, most: usize) -> Option<Ending> {
        let mut level_ends = 0;
        while let Some((number, state)) = self.frontier.pop_front() {
            if self.trail.len() >= most {
                self.frontier.push_front((number, state));
                return None;
            }
            let actions = self.cluster.actions(&state);
            if actions.is_empty()
                && let Err(found) = self.come_back(exploration, &state)
            {
                return Some((number, None, found));
            }
            for action in actions {
                self.transitions += 1;
                match self.cluster.after(&state, action) {
                    Ok(after) => self.add(number, action, after),
                    Err(found) => return Some((number, Some(action), found)),
                }
            }
            if number == level_ends {
                level_ends = u32::try_from(self.trail.len() - 1).unwrap_or(u32::MAX);
                self.depth += usize::from(!self.frontier.is_empty());
            }
        }
        None
    }

    /// Nothing is allowed any more: left alone, the cluster must come to what it is there for.
    fn come_back(&mut self, exploration: &Exploration, state: &State) -> Result<(), Found> {
        self.lasts += 1;
        // The first few, and then ever fewer.
        let tried =
            self.lasts <= 16 || self.lasts.is_power_of_two() || self.lasts.is_multiple_of(97);
        // Who has lost the disks of a quorum comes back by an operator's hand only.
        if !tried || self.came_back >= TRIALS || !self.cluster.has_quorums(state) {
            return Ok(());
        }
        let goal = exploration.goal;
        let (mut aside, state) = self.cluster.aside(state);
        match calm::run(&mut aside, state, CALM, |cluster, state| {
            goal(cluster, state)
        }) {
            Ended::Reached(_) => {
                self.came_back += 1;
                Ok(())
            }
            Ended::TimeOut(state) => {
                let hosts = aside.describe(&state);
                let detail = format!("left alone, the cluster does not come back:\n{hosts}");
                Err(Found::new("comes-back", detail))
            }
            Ended::Found(found) => Err(found),
        }
    }

    fn way(&self, at: u32, last: Option<Action>) -> Vec<Action> {
        let mut way: Vec<Action> = last.into_iter().collect();
        let mut at = at;
        while at != 0 {
            let (before, action) = self.trail[at as usize];
            way.push(action);
            at = before;
        }
        way.reverse();
        way
    }

    /// Takes the way again and tells it.
    fn tell(
        &mut self,
        exploration: &Exploration,
        first: &State,
        way: &[Action],
        found: &Found,
    ) -> Lapse {
        let mut told = vec![format!("(start) {}", exploration.from)];
        let mut state = first.clone();
        for action in way {
            told.push(format!(
                "{action}{}",
                self.cluster.tell_flight(&state, *action)
            ));
            let Ok(after) = self.cluster.after(&state, *action) else {
                break;
            };
            for line in self.cluster.difference(&state, &after) {
                told.push(format!("      {line}"));
            }
            state = after;
        }
        let (invariant, detail) = found.parts();
        Lapse {
            invariant,
            detail,
            way: told,
        }
    }
}

/// One line of figures; after a violation also the way to it.
impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match (&self.violation, self.complete) {
            (Some(_), _) => "VIOLATION",
            (None, true) => "complete",
            (None, false) => "cut off",
        };
        writeln!(
            f,
            "{}: {} states, {} transitions, {} hosts, depth {}, {end}; came back {}; {}",
            self.name,
            self.states,
            self.transitions,
            self.hosts,
            self.depth,
            self.came_back,
            self.bounds
        )?;
        if let Some(lapse) = &self.violation {
            writeln!(f, "{} does not hold: {}", lapse.invariant, lapse.detail)?;
            for step in &lapse.way {
                writeln!(f, "  {step}")?;
            }
        }
        Ok(())
    }
}

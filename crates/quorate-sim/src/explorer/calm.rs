//! A cluster to which nothing bad happens: for the way to where an exploration starts, and for the
//! way back from where it ends.
//!
//! Everything that is under way comes to its end before time passes; then it passes to the next
//! deadline, for all alike. So there is one way from each state.

use quorate_core::Time;

use super::{
    action::{Action, HOSTS},
    cluster::{Cluster, State},
    host::Happening,
};
use crate::checkers::Found;

/// How a calm run ends.
#[derive(Debug)]
pub(super) enum Ended {
    /// What was waited for holds.
    Reached(State),
    /// It did not come to hold in time.
    TimeOut(State),
    /// Something that must hold does not.
    Found(Found),
}

/// Runs until `wanted` holds, at most that many actions.
pub(super) fn run(
    cluster: &mut Cluster,
    mut state: State,
    most: usize,
    mut wanted: impl FnMut(&Cluster, &State) -> bool,
) -> Ended {
    for _ in 0..most {
        if wanted(cluster, &state) {
            return Ended::Reached(state);
        }
        match next(cluster, &state) {
            Ok(Some(after)) => state = after,
            Ok(None) => return Ended::TimeOut(state),
            Err(found) => return Ended::Found(found),
        }
    }
    Ended::TimeOut(state)
}

fn next(cluster: &mut Cluster, state: &State) -> Result<Option<State>, Found> {
    let follows = |action: &Action| {
        matches!(
            action,
            Action::Deliver { .. }
                | Action::Finish { .. }
                | Action::Work { .. }
                | Action::Start { .. }
                | Action::Join { .. }
        )
    };
    if let Some(action) = cluster.actions(state).into_iter().find(follows) {
        return cluster.after(state, action).map(Some);
    }
    let wait = |number: usize| {
        let host = cluster.host(state, number);
        let due = host.deadline().unwrap_or(Time::NEVER);
        (due != Time::NEVER).then(|| (due.since(host.now), number))
    };
    let Some((wait, first)) = (0..HOSTS).filter_map(wait).min() else {
        return Ok(None);
    };
    let mut state = state.clone();
    cluster.pass(&mut state, wait)?;
    cluster.happen(&mut state, first, &Happening::Wake)?;
    Ok(Some(state))
}

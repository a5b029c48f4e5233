//! Two histories of one group, founded by peers that did not see each other, which meet.
//!
//! Hosts 0 and 1 have founded together and host 2 has alone; then they get links. Which of the two
//! histories has the lower id is drawn, so the start is the first draw in which it is as wanted.
//! The state is not instant here: between the commit of a dissolve and the burial somebody must be
//! able to see the log that says so.

use std::collections::BTreeSet;

use quorate_core::{Form, GenesisId, GroupView, Role, canary::Planted};

use super::{
    action::HOSTS,
    cluster::{Cluster, State},
    explorations::{go, is_whole, profile},
    host::{Ground, Happening},
};
use crate::checkers::Found;

/// The host that has founded alone.
const LONE: usize = 2;

/// How many draws are tried; each second one is as wanted.
const DRAWS: u64 = 64;

/// A history of two is to be given up for that of one.
pub(super) fn two_go_to_one(planted: Planted) -> (Cluster, Result<State, Found>) {
    founded_apart(planted, |two, one| one < two)
}

/// A history of one is to be given up for that of two.
pub(super) fn one_goes_to_two(planted: Planted) -> (Cluster, Result<State, Found>) {
    founded_apart(planted, |two, one| two < one)
}

/// A history of two is to be given up for that of one, which is used, and would not be for its id.
pub(super) fn two_meet_a_used_one(planted: Planted) -> (Cluster, Result<State, Found>) {
    let (mut cluster, state) = one_goes_to_two(planted);
    let state = state.and_then(|mut state| {
        let aside = state.apart();
        cluster.isolate(&mut state, LONE)?;
        cluster.happen(&mut state, LONE, &Happening::Write(100))?;
        let mut state = go(&mut cluster, state, |cluster, state| {
            is_settled(cluster, state)
                && view(cluster, state, LONE).is_some_and(|view| view.fate().is_used())
        })?;
        state.keep_apart(aside);
        Ok(state)
    });
    (cluster, state)
}

/// Hosts 0 and 1 are in one history, host 2 is in another one, and they may meet from here on.
fn founded_apart(
    planted: Planted,
    wanted: fn(GenesisId, GenesisId) -> bool,
) -> (Cluster, Result<State, Found>) {
    let together = (Form::Expect(2), Form::Expect(2));
    let forms = [together, together, (Form::Alone, Form::Alone)];
    let mut salt = 0;
    loop {
        let mut ground = Ground::new(profile(), &forms, planted);
        ground.apart = true;
        ground.instant_state = false;
        ground.salt = salt << 32;
        let (mut cluster, mut state) = Cluster::new(ground);
        let state = cluster
            .isolate(&mut state, LONE)
            .and_then(|()| go(&mut cluster, state, is_settled));
        let ids = state.as_ref().ok().and_then(|state| {
            let genesis = |number| view(&cluster, state, number)?.genesis;
            Some((genesis(0)?, genesis(LONE)?))
        });
        salt += 1;
        if salt < DRAWS && ids.is_some_and(|(two, one)| !wanted(two, one)) {
            continue;
        }
        let state = state.map(|mut state| {
            state.reunite();
            state
        });
        return (cluster, state);
    }
}

fn view<'a>(cluster: &'a Cluster, state: &State, number: usize) -> Option<GroupView<'a>> {
    cluster.host(state, number).view(&cluster.ground)
}

/// Every host is led, and nothing is under way in any log.
fn is_settled(cluster: &Cluster, state: &State) -> bool {
    (0..HOSTS).all(|number| {
        view(cluster, state, number).is_some_and(|view| {
            view.genesis.is_some()
                && view.leader.is_some()
                && view.commit == view.last.index
                && view.applied == view.last
                && !view.configuration.is_joint()
        })
    })
}

/// One history is left, and it has every write that was acknowledged; or two are used, both are
/// led, and all their members say that they do not mix.
pub(super) fn have_met(cluster: &Cluster, state: &State) -> bool {
    if !is_settled(cluster, state) {
        return false;
    }
    let views: Vec<GroupView<'_>> = (0..HOSTS)
        .filter_map(|number| view(cluster, state, number))
        .collect();
    let living: BTreeSet<GenesisId> = views.iter().filter_map(|view| view.genesis).collect();
    if !cluster
        .books(state)
        .acknowledged()
        .all(|one| living.contains(&one))
    {
        return false;
    }
    if living.len() == 1 {
        return is_whole(cluster, state);
    }
    let leaders = views.iter().filter(|view| view.role == Role::Leader);
    leaders.count() == living.len()
        && views.iter().all(|view| {
            let others = living.iter().filter(|one| view.genesis != Some(**one));
            view.fate().is_used() && view.conflicts().iter().eq(others)
        })
}

//! What is explored: from where, within which bounds, and to where the cluster must come back.

use std::time::Duration;

use quorate_core::{Form, GroupProfile, GroupView, Role, canary::Planted};

use super::{
    action::{Bounds, HOSTS},
    apart,
    calm::{self, Ended},
    cluster::{Cluster, State},
    host::{Ground, Happening},
};
use crate::checkers::Found;

/// One part of the protocols, and what is tried on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exploration {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it starts, for people.
    pub(super) from: &'static str,
    /// What may happen where there is time.
    pub(super) bounds: Bounds,
    /// What may happen in a test between two edits.
    pub(super) small: Bounds,
    /// What the cluster comes to when left alone.
    pub(super) goal: fn(&Cluster, &State) -> bool,
    start: fn(Planted) -> (Cluster, Result<State, Found>),
}

impl Exploration {
    /// Makes the cluster and the state to start from.
    pub(super) fn start(&self, planted: Planted) -> (Cluster, Result<State, Found>) {
        (self.start)(planted)
    }
}

/// Nothing is tried, and nothing that is sent is held back.
pub(super) const ORDERLY: Bounds = Bounds {
    wakes: [0; HOSTS],
    elapses: 0,
    writes: 0,
    crashes: 0,
    wipes: 0,
    cuts: 0,
    holds: Some(0),
};

/// The same, with each peer woken so often at its deadline.
pub(super) const fn wakes(wakes: [u8; HOSTS]) -> Bounds {
    Bounds { wakes, ..ORDERLY }
}

/// The same, and one process dies.
pub(super) const fn one_crash(awake: [u8; HOSTS]) -> Bounds {
    Bounds {
        crashes: 1,
        ..wakes(awake)
    }
}

/// Everything that is explored.
pub(super) const ALL: [Exploration; 11] = [
    Exploration {
        name: "formation",
        from: "three machines that expect each other; nothing runs",
        bounds: one_crash([1, 0, 0]),
        small: ORDERLY,
        goal: is_whole,
        start: expect_three,
    },
    Exploration {
        name: "rivals",
        from: "three machines that each expect one other; nothing runs",
        bounds: one_crash([1, 0, 0]),
        small: ORDERLY,
        goal: is_whole,
        start: expect_two,
    },
    Exploration {
        name: "unasked",
        from: "three machines that were told nothing, one of which has the lock; nothing runs",
        bounds: one_crash([1, 1, 0]),
        small: wakes([1, 1, 0]),
        goal: is_whole,
        start: nobody_said_how,
    },
    Exploration {
        name: "change",
        from: "one voter leads, two learners are ready to vote",
        bounds: Bounds {
            elapses: 1,
            crashes: 1,
            ..wakes([1, 1, 0])
        },
        small: one_crash([1, 0, 0]),
        goal: is_whole,
        start: about_to_grow,
    },
    Exploration {
        name: "replacement",
        from: "three voters, one of which has lost its disk and is a learner again",
        bounds: one_crash([1, 1, 1]),
        small: one_crash([1, 0, 0]),
        goal: is_whole,
        start: about_to_replace,
    },
    Exploration {
        name: "departure",
        from: "the only voter is about to let itself go, for who gets its seat leaves, too",
        bounds: one_crash([1, 1, 1]),
        small: one_crash([1, 0, 0]),
        goal: is_led,
        start: about_to_leave,
    },
    Exploration {
        name: "install",
        from: "three voters, one of which comes back to a leader that has dropped what it needs",
        bounds: Bounds {
            wipes: 1,
            ..wakes([1, 0, 0])
        },
        small: Bounds {
            holds: None,
            ..wakes([1, 0, 0])
        },
        goal: is_whole,
        start: about_to_install,
    },
    Exploration {
        name: "dissolve",
        from: "a history of two meets that of another one, for which it is to be given up",
        bounds: one_crash([1, 1, 0]),
        small: wakes([1, 1, 0]),
        goal: apart::have_met,
        start: apart::two_go_to_one,
    },
    Exploration {
        name: "race",
        from: "as for dissolve; who writes before the history is given up keeps it",
        bounds: Bounds {
            writes: 1,
            crashes: 1,
            ..wakes([1, 0, 0])
        },
        small: Bounds {
            writes: 1,
            ..wakes([1, 0, 0])
        },
        goal: apart::have_met,
        start: apart::two_go_to_one,
    },
    Exploration {
        name: "refuge",
        from: "a history of two meets that of another one, which is to be given up for it",
        bounds: Bounds {
            writes: 1,
            crashes: 1,
            ..wakes([0, 0, 1])
        },
        small: one_crash([0, 0, 1]),
        goal: apart::have_met,
        start: apart::one_goes_to_two,
    },
    Exploration {
        name: "conflict",
        from: "a history of two meets that of another one, in which somebody has written",
        bounds: Bounds {
            writes: 1,
            crashes: 1,
            ..wakes([1, 0, 0])
        },
        small: Bounds {
            writes: 1,
            ..wakes([1, 1, 0])
        },
        goal: apart::have_met,
        start: apart::two_meet_a_used_one,
    },
];

/// Parameters that make the least of everything.
pub(super) fn profile() -> GroupProfile {
    GroupProfile {
        voters: 3,
        replace_after: Duration::from_secs(60),
        request_timeout: Duration::from_secs(1),
        fetch_timeout: Duration::from_millis(500),
        snapshot_ttl: Duration::from_secs(2),
        keep_log: true,
        ..GroupProfile::lan()
    }
}

/// All three run, follow one leader in one history, vote in their present lives, and have applied
/// the same.
pub(super) fn is_whole(cluster: &Cluster, state: &State) -> bool {
    let view = |number| cluster.host(state, number).view(&cluster.ground);
    let Some(first) = view(0) else { return false };
    (0..HOSTS).filter_map(view).count() == HOSTS
        && (0..HOSTS).filter_map(view).all(|one| {
            one.genesis.is_some()
                && one.genesis == first.genesis
                && agree(&one, &first)
                && one.configuration.voters.len() == HOSTS
                && one.configuration.voters.contains(&one.me)
        })
}

/// All run; who has not left follows one leader, is a member, and has applied the same.
fn is_led(cluster: &Cluster, state: &State) -> bool {
    let views: Vec<_> = (0..HOSTS)
        .filter_map(|number| cluster.host(state, number).view(&cluster.ground))
        .collect();
    let Some(leader) = views.iter().find(|view| view.role == Role::Leader) else {
        return false;
    };
    views.len() == HOSTS
        && views
            .iter()
            .filter(|view| !view.has_left())
            .all(|view| agree(view, leader) && view.configuration.contains(view.me))
}

/// Two follow one leader, and have committed and applied all of one log, in no joint configuration.
fn agree(one: &GroupView<'_>, other: &GroupView<'_>) -> bool {
    one.leader.is_some()
        && one.leader == other.leader
        && one.commit == one.last.index
        && one.applied == one.last
        && one.last == other.last
        && !one.configuration.is_joint()
}

fn nothing_runs(forms: [(Form, Form); HOSTS], planted: Planted) -> (Cluster, Result<State, Found>) {
    let (cluster, state) = Cluster::new(Ground::new(profile(), &forms, planted));
    (cluster, Ok(state))
}

fn expect_three(planted: Planted) -> (Cluster, Result<State, Found>) {
    nothing_runs([(Form::Expect(3), Form::Expect(3)); HOSTS], planted)
}

fn expect_two(planted: Planted) -> (Cluster, Result<State, Found>) {
    nothing_runs([(Form::Expect(2), Form::Expect(2)); HOSTS], planted)
}

fn nobody_said_how(planted: Planted) -> (Cluster, Result<State, Found>) {
    let form = Form::Auto { locked: true };
    let mut ground = Ground::new(profile(), &[(form, form); HOSTS], planted);
    ground.founder = Some(0);
    let (cluster, state) = Cluster::new(ground);
    (cluster, Ok(state))
}

/// Runs until something holds.
pub(super) fn go(
    cluster: &mut Cluster,
    state: State,
    wanted: impl FnMut(&Cluster, &State) -> bool,
) -> Result<State, Found> {
    match calm::run(cluster, state, 20_000, wanted) {
        Ended::Reached(state) => Ok(state),
        Ended::TimeOut(state) => {
            let detail = format!("the start is not reached:\n{}", cluster.describe(&state));
            Err(Found::new("comes-back", detail))
        }
        Ended::Found(found) => Err(found),
    }
}

fn leader_of(cluster: &Cluster, state: &State) -> Option<usize> {
    (0..HOSTS).find(|number| {
        let view = cluster.host(state, *number).view(&cluster.ground);
        view.is_some_and(|view| view.role == Role::Leader)
    })
}

/// The last state before a leader proposes a joint configuration, in a calm run.
fn brink(cluster: &mut Cluster, state: State) -> Result<State, Found> {
    brink_of(cluster, state, |cluster, state| {
        (0..HOSTS).any(|number| is_joint(cluster, state, number))
    })
}

/// The last state before something holds, in a calm run.
fn brink_of(
    cluster: &mut Cluster,
    state: State,
    wanted: fn(&Cluster, &State) -> bool,
) -> Result<State, Found> {
    let mut last = state.clone();
    go(cluster, state, |cluster, state| {
        let holds = wanted(cluster, state);
        if !holds {
            last = state.clone();
        }
        holds
    })?;
    Ok(last)
}

fn is_joint(cluster: &Cluster, state: &State, number: usize) -> bool {
    let view = cluster.host(state, number).view(&cluster.ground);
    view.is_some_and(|view| view.configuration.is_joint())
}

/// One machine founds alone, and two are to join; nothing runs.
fn one_founds(profile: GroupProfile, planted: Planted) -> (Cluster, State) {
    let forms = [Form::Alone, Form::Join, Form::Join].map(|form| (form, Form::Join));
    Cluster::new(Ground::new(profile, &forms, planted))
}

fn about_to_grow(planted: Planted) -> (Cluster, Result<State, Found>) {
    let (mut cluster, state) = one_founds(profile(), planted);
    let state = brink(&mut cluster, state);
    (cluster, state)
}

fn about_to_leave(planted: Planted) -> (Cluster, Result<State, Found>) {
    let profile = GroupProfile {
        voters: 1,
        ..profile()
    };
    let (mut cluster, state) = one_founds(profile, planted);
    let admitted = |cluster: &Cluster, state: &State| {
        let view = cluster.host(state, 0).view(&cluster.ground);
        let learners = view.map(|view| view.configuration.learners.len());
        is_led(cluster, state) && learners == Some(HOSTS - 1)
    };
    let state = go(&mut cluster, state, admitted).and_then(|mut state| {
        cluster.happen(&mut state, 0, &Happening::Leave)?;
        let all_joint = |cluster: &Cluster, state: &State| {
            (0..HOSTS).all(|number| is_joint(cluster, state, number))
        };
        let mut state = go(&mut cluster, state, all_joint)?;
        let heir = heir(&cluster, &state).unwrap_or(1);
        cluster.happen(&mut state, heir, &Happening::Leave)?;
        brink_of(&mut cluster, state, |cluster, state| {
            !is_joint(cluster, state, 0)
        })
    });
    (cluster, state)
}

/// Returns which host is to take the seat of host 0.
fn heir(cluster: &Cluster, state: &State) -> Option<usize> {
    let view = cluster.host(state, 0).view(&cluster.ground)?;
    let one = *view.configuration.voters.first()?;
    (0..HOSTS).find(|number| cluster.host(state, *number).member() == one)
}

fn about_to_replace(planted: Planted) -> (Cluster, Result<State, Found>) {
    let forms = [(Form::Expect(3), Form::Join); HOSTS];
    let (mut cluster, state) = Cluster::new(Ground::new(profile(), &forms, planted));
    let state = go(&mut cluster, state, is_whole)
        .and_then(|mut state| {
            let leader = leader_of(&cluster, &state).unwrap_or(0);
            cluster.wipe(&mut state, (leader + 2) % HOSTS)?;
            Ok(state)
        })
        .and_then(|state| brink(&mut cluster, state));
    (cluster, state)
}

fn about_to_install(planted: Planted) -> (Cluster, Result<State, Found>) {
    let forms = [(Form::Expect(3), Form::Join); HOSTS];
    let profile = GroupProfile {
        reserve_entries: 1,
        keep_log: false,
        ..profile()
    };
    let mut ground = Ground::new(profile, &forms, planted);
    ground.instant_disk = true;
    let (mut cluster, state) = Cluster::new(ground);
    let state = go(&mut cluster, state, is_whole).and_then(|mut state| {
        let leader = leader_of(&cluster, &state).unwrap_or(0);
        let late = (leader + 2) % HOSTS;
        cluster.isolate(&mut state, late)?;
        cluster.happen(&mut state, leader, &Happening::Register)?;
        for value in 101..107 {
            cluster.happen(&mut state, leader, &Happening::Write(value))?;
        }
        let mut state = go(&mut cluster, state, |cluster, state| {
            let view = |number| cluster.host(state, number).view(&cluster.ground);
            let base = view(leader).map(|view| view.base.index);
            base > view(late).map(|view| view.last.index)
        })?;
        state.reunite();
        Ok(state)
    });
    (cluster, state)
}

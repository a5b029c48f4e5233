//! How a group forms that nobody was told how to form: one genesis, whoever starts when.

use std::time::Duration;

use quorate_core::{Form, GroupEvent};
use quorate_sim::World;

use crate::cluster::{events, settle, sound, wait, world, write};

const LOCKED: Form = Form::Auto { locked: true };

/// When peers are started, in milliseconds: at once, a little later, within the time in which a
/// founder looks around, and after it.
const STARTS: [u64; 4] = [0, 3, 300, 800];

/// Makes a world of these forms, started at these times.
fn started(seed: u64, forms: &[Form], starts: &[u64]) -> World {
    world(seed, forms, |scenario| {
        for (peer, start) in scenario.peers.iter_mut().zip(starts) {
            peer.start = Duration::from_millis(*start);
        }
    })
}

/// Returns every way of starting `peers` peers.
fn all_starts(peers: u32) -> impl Iterator<Item = Vec<u64>> {
    (0..STARTS.len().pow(peers)).map(move |number| {
        (0..peers)
            .map(|peer| STARTS[number / STARTS.len().pow(peer) % STARTS.len()])
            .collect()
    })
}

/// Checks that all peers take part in one history, and that nobody ever had another one.
#[track_caller]
fn one_genesis(world: &World) {
    let mut formed: Vec<_> = (0..world.peers())
        .flat_map(|peer| {
            events(world, peer, |event| match event {
                GroupEvent::Formed { genesis } => Some(*genesis),
                _ => None,
            })
        })
        .collect();
    formed.sort_unstable();
    formed.dedup();
    assert_eq!(formed.len(), 1, "geneses: {formed:?}");
    sound(world);
}

#[test]
fn with_a_lock_one_group_forms_in_every_order_of_starts() {
    for (number, starts) in (0..).zip(all_starts(3)) {
        let mut world = started(number, &[LOCKED; 3], &starts);
        settle(&mut world);
        one_genesis(&world);
    }
}

#[test]
fn without_a_lock_the_lowest_in_sight_founds() {
    let forms = [Form::Auto { locked: false }; 3];
    for (number, starts) in (0..).zip(all_starts(3)) {
        let mut world = started(number, &forms, &starts);
        settle(&mut world);
        one_genesis(&world);
    }
}

#[test]
fn a_peer_alone_founds_after_it_has_looked_around() {
    let mut world = started(1, &[LOCKED], &[0]);
    world.run_for(Duration::from_millis(500));
    assert!(world.view(0).is_none_or(|view| view.genesis.is_none()));
    wait(&mut world, 1, "leader", |world| world.leader() == Some(0));
    write(&mut world, 0, 0..5, 20);
}

#[test]
fn the_lock_passes_on_when_its_holder_dies_at_any_moment() {
    let mut passed = 0;
    for moment in 0..60 {
        let starts = [0, moment % 4 * 150, moment % 3 * 250];
        let mut world = started(moment, &[LOCKED; 3], &starts);
        wait(&mut world, 2, "founder", |world| world.founder().is_some());
        let first = world.founder().expect("it was waited for");
        world.run_for(Duration::from_millis(moment * 12));
        if world.kill(first) {
            passed += 1;
            world.run_for(Duration::from_millis(moment % 7 * 200));
            world.start(first);
        }
        settle(&mut world);
        one_genesis(&world);
        write(&mut world, first, 0..3, 20);
    }
    // Later than that it has founded, and a memory peer that founded alone must not die.
    assert!(passed > 30, "only {passed} holders died");
}

#[test]
fn holders_that_die_one_after_the_other_do_not_found_twice() {
    for seed in 0..20 {
        let mut world = started(seed, &[LOCKED; 4], &[0, 50, 100, 150]);
        for _ in 0..6 {
            wait(&mut world, 2, "founder", |world| world.founder().is_some());
            let founder = world.founder().expect("it was waited for");
            world.run_for(Duration::from_millis(100 + seed * 20));
            world.crash(founder, Duration::from_millis(700));
        }
        settle(&mut world);
        one_genesis(&world);
    }
}

#[test]
fn a_holder_joins_founders_that_expect_each_other() {
    for (number, starts) in (0..).zip(all_starts(3)) {
        let forms = [Form::Expect(2), LOCKED, Form::Expect(2)];
        // Whoever is alone for longer than it looks around founds: start it within that time.
        if starts[1] + 300 < starts[0].max(starts[2]) {
            continue;
        }
        let mut world = started(number, &forms, &starts);
        settle(&mut world);
        one_genesis(&world);
        let founders = world.configurations()[0].voters.len();
        assert_eq!(founders, 2, "started at {starts:?}");
    }
}

#[test]
fn founders_that_come_after_a_holder_has_founded_join_it() {
    let forms = [LOCKED, Form::Expect(2), Form::Expect(2)];
    let mut world = started(3, &forms, &[0, 2_000, 2_300]);
    settle(&mut world);
    one_genesis(&world);
    assert_eq!(world.configurations()[0].voters.len(), 1);
}

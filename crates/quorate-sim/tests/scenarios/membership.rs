//! How groups come to be, grow, and take back a member that lost its memory.

use std::time::Duration;

use quorate_core::{Configuration, Form, Member};

use crate::cluster::{settle, sound, wait, world, write};

#[test]
fn a_peer_alone_forms_a_group_at_once() {
    let mut world = world(1, &[Form::Alone], |_| {});
    wait(&mut world, 1, "leader", |world| world.leader() == Some(0));
    write(&mut world, 0, 0..10, 20);
    settle(&mut world);
}

#[test]
fn founders_that_start_at_any_time_and_in_any_order_form_one_group() {
    for seed in 0..30_u64 {
        let count = [2, 3, 3, 5][seed as usize % 4];
        let forms = vec![Form::Expect(count); count];
        let mut world = world(seed, &forms, |scenario| {
            for (number, peer) in (0_u64..).zip(&mut scenario.peers) {
                // Spread over 1.5 seconds, in another order for each seed.
                let place = (number * 7 + seed * 13) % 11;
                peer.start = Duration::from_millis(place * 150);
            }
        });
        wait(&mut world, 15, "leader", |world| world.leader().is_some());
        write(&mut world, 0, 0..5, 20);
        settle(&mut world);
        let voters = world.view(0).expect("it runs").configuration.voters.len();
        assert_eq!(voters, count);
    }
}

#[test]
fn nobody_founds_before_all_expected_peers_are_in_sight() {
    let mut world = world(5, &[Form::Expect(3); 3], |scenario| {
        scenario.peers[2].start = Duration::from_secs(5);
    });
    world.run_for(Duration::from_secs(5));
    assert!((0..2).all(|peer| world.view(peer).is_none_or(|view| view.genesis.is_none())));
    settle(&mut world);
}

#[test]
fn joiners_wait_for_a_founder_and_then_join() {
    let mut world = world(2, &[Form::Join, Form::Join, Form::Alone], |scenario| {
        scenario.peers[2].start = Duration::from_secs(3);
    });
    world.run_for(Duration::from_secs(3));
    assert!((0..2).all(|peer| world.view(peer).is_none_or(|view| view.genesis.is_none())));
    settle(&mut world);
    write(&mut world, 1, 0..5, 20);
    assert_eq!(
        world
            .leader()
            .and_then(|peer| world.view(peer))
            .map(|view| view.configuration.voters.len()),
        Some(3)
    );
}

#[test]
fn a_group_grows_from_one_to_three_to_five_voters() {
    let mut world = world(
        3,
        &[Form::Alone, Form::Join, Form::Join, Form::Join, Form::Join],
        |scenario| {
            for (number, peer) in (0_u64..).zip(&mut scenario.peers) {
                peer.start = Duration::from_millis(number * 400);
            }
        },
    );
    settle(&mut world);
    let committed = world.configurations();
    let mut sizes: Vec<usize> = committed
        .iter()
        .filter(|configuration| !configuration.is_joint())
        .map(|configuration| configuration.voters.len())
        .collect();
    sizes.dedup();
    assert_eq!(sizes, [1, 3, 5]);
    assert!(
        committed.iter().any(Configuration::is_joint),
        "voters changed without a joint configuration"
    );
    // The sixth and seventh stay learners: five is what the profile wants.
    write(&mut world, 4, 0..20, 20);
    settle(&mut world);
}

#[test]
fn a_memory_peer_started_again_becomes_learner_and_then_voter_again() {
    for seed in 1..5 {
        let mut world = world(seed, &[Form::Expect(3); 3], |scenario| {
            scenario.profile.reserve_entries = 32;
        });
        settle(&mut world);
        write(&mut world, 0, 0..300, 50);
        let leader = world.leader().expect("a settled group has one");
        let number = if seed % 2 == 0 {
            leader
        } else {
            (leader + 1) % 3
        };
        let before = world.member(number).expect("it runs");
        world.crash(number, Duration::from_millis(700));
        wait(&mut world, 5, "new life", |world| {
            world.member(number).is_some_and(|member| member != before)
        });
        let after = world.member(number).expect("it was waited for");
        settle(&mut world);

        let seats: Vec<Seat> = world
            .configurations()
            .iter()
            .map(|configuration| seat(configuration, before, after))
            .collect();
        let learner = seats.iter().position(|seat| *seat == Seat::Learner);
        let voter = seats.iter().position(|seat| *seat == Seat::Voter);
        assert!(
            learner.is_some() && learner < voter,
            "its seats were {seats:?}"
        );
        assert_eq!(seats.last(), Some(&Seat::Voter));
        sound(&world);
    }
}

#[test]
fn a_learner_that_never_comes_back_is_let_go() {
    let mut world = world(6, &[Form::Expect(3); 4], |scenario| {
        scenario.peers[3].form = Form::Join;
        scenario.profile.voters = 3;
        scenario.profile.replace_after = Duration::from_secs(1);
    });
    settle(&mut world);
    let learner = world.member(3).expect("it runs");
    world.kill(3);
    wait(&mut world, 6, "configuration without it", |world| {
        let committed = world.configurations();
        committed.last().is_some_and(|last| !last.contains(learner))
    });
    world.start(3);
    settle(&mut world);
}

/// What a configuration says of a peer that was started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seat {
    /// Its old life votes, its new one is not known.
    Before,
    /// Its new life learns.
    Learner,
    /// Both may vote: a joint configuration.
    Changing,
    /// Its new life votes in the place of the old one.
    Voter,
}

fn seat(configuration: &Configuration, before: Member, after: Member) -> Seat {
    if configuration.is_learner(after) {
        Seat::Learner
    } else if !configuration.is_voter(after) {
        Seat::Before
    } else if configuration.is_voter(before) {
        Seat::Changing
    } else {
        Seat::Voter
    }
}

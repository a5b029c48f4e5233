//! Joint changes of the voters, and what goes wrong in the middle of them.

use std::time::Duration;

use quorate_core::{Form, Reply};
use quorate_sim::{Action, FaultKind, Scenario, Span, Storage, Told, World};

use crate::cluster::{Load, settle, sound, wait, world, write, write_at_last};

const PATIENCE: Duration = Duration::from_secs(4);

/// Founders, and joiners that come once the founders are settled.
fn growing(seed: u64, founders: usize, joiners: usize, change: impl Fn(&mut Scenario)) -> World {
    let mut forms = vec![Form::Expect(founders); founders];
    if founders == 1 {
        forms = vec![Form::Alone];
    }
    forms.extend(vec![Form::Join; joiners]);
    world(seed, &forms, |scenario| {
        for peer in &mut scenario.peers[founders..] {
            peer.start = Duration::from_secs(3);
        }
        change(scenario);
    })
}

/// Runs, in small steps, until the leader's log holds a joint configuration; returns the leader.
#[track_caller]
fn until_joint(world: &mut World) -> usize {
    let end = world.now() + Duration::from_secs(20);
    while world.now() < end {
        let joint = (0..world.peers()).find(|peer| {
            world.view(*peer).is_some_and(|view| {
                view.role == quorate_core::Role::Leader && view.configuration.is_joint()
            })
        });
        if let Some(leader) = joint {
            return leader;
        }
        world.run_for(Duration::from_micros(100));
        sound(world);
    }
    panic!("the voters did not change\n{}", world.report(0));
}

fn voters(world: &World) -> usize {
    let committed = world.configurations();
    committed.last().expect("there is the genesis").voters.len()
}

fn marked(world: &World, mark: &str) -> bool {
    world.marks().contains_key(mark)
}

/// Returns the sizes that the group had, between its changes.
fn sizes(world: &World) -> Vec<usize> {
    let committed = world.configurations();
    let settled = committed.iter().filter(|one| !one.is_joint());
    let mut sizes: Vec<usize> = settled.map(|one| one.voters.len()).collect();
    sizes.dedup();
    sizes
}

#[test]
fn an_even_number_of_voters_grows_by_one_and_an_odd_one_by_two() {
    for (founders, joiners, wanted, expected) in [
        (2, 1, 5, vec![2, 3]),
        (2, 3, 5, vec![2, 3, 5]),
        (4, 1, 5, vec![4, 5]),
        (3, 1, 5, vec![3]),
        (3, 2, 3, vec![3]),
        // A wish for an even number is one for the odd number below it.
        (1, 4, 4, vec![1, 3]),
        (1, 6, 7, vec![1, 3, 5, 7]),
    ] {
        let mut world = growing(1, founders, joiners, |scenario| {
            scenario.profile.voters = wanted;
        });
        world.run_for(Duration::from_secs(4));
        settle(&mut world);
        world.run_for(Duration::from_secs(1));
        settle(&mut world);
        assert_eq!(sizes(&world), expected, "{founders} and {joiners}");
    }
}

#[test]
fn voters_change_while_one_of_the_old_ones_is_cut_off() {
    for seed in 0..4 {
        let mut world = growing(seed, 3, 2, |scenario| {
            scenario.profile.replace_after = Duration::from_secs(30);
        });
        world.run_for(Duration::from_millis(2_500));
        let leader = world.leader().expect("three that stand by have one");
        let ways = world.ways_of((leader + 1) % 3);
        world.cut(&ways);
        wait(&mut world, 10, "five voters", |world| voters(world) == 5);
        assert!(marked(&world, "raft.joint_across_partition"), "seed {seed}");
        write(&mut world, (leader + 2) % 3, 0..10, 40);
        world.mend(&ways);
        settle(&mut world);
    }
}

#[test]
fn a_leader_that_dies_in_the_middle_of_a_change_leaves_it_to_the_next_one() {
    let mut completed = 0;
    for step in 0..24 {
        let mut world = growing(step % 4, 3, 2, |_| {});
        world.run_for(Duration::from_millis(2_900));
        let leader = until_joint(&mut world);
        world.run_for(Duration::from_micros(step * 120));
        if !world.kill(leader) {
            continue;
        }
        wait(&mut world, 6, "another leader", |world| {
            world.leader().is_some_and(|now| now != leader)
        });
        write_at_last(&mut world, (leader + 1) % 3, 1);
        world.start(leader);
        settle(&mut world);
        assert_eq!(voters(&world), 5, "step {step}");
        completed += u32::from(marked(&world, "membership.successor_completes_joint"));
    }
    assert!(
        completed > 2,
        "{completed} changes were completed by another"
    );
}

#[test]
fn both_sides_of_a_partition_in_the_middle_of_a_change_never_decide_at_once() {
    for step in 0..16 {
        let mut world = growing(step % 4, 3, 2, |scenario| {
            scenario.profile.replace_after = Duration::from_secs(30);
        });
        world.run_for(Duration::from_millis(2_900));
        let leader = until_joint(&mut world);
        world.run_for(Duration::from_micros(step * 100));
        // The leader with both new voters: a majority of the new five, not of the old three.
        let rest: Vec<usize> = (0..3).filter(|peer| *peer != leader).collect();
        let apart: Vec<(usize, usize)> = rest
            .iter()
            .flat_map(|one| [leader, 3, 4].map(|other| [(*one, other), (other, *one)]))
            .flatten()
            .collect();
        world.cut(&apart);
        for peer in 0..5 {
            world.ask(peer, Action::Insert { key: 7, size: 32 }, PATIENCE);
        }
        world.run_for(Duration::from_secs(3));
        sound(&world);
        world.mend(&apart);
        settle(&mut world);
        assert_eq!(voters(&world), 5, "step {step}");
    }
}

#[test]
fn a_learner_that_starts_to_lag_as_it_becomes_a_voter_holds_up_nobody_but_itself() {
    for seed in 0..4 {
        let mut world = growing(seed, 3, 2, |scenario| {
            scenario.profile.replace_after = Duration::from_secs(30);
        });
        world.run_for(Duration::from_millis(2_900));
        let leader = until_joint(&mut world);
        let ways = world.ways_of(4);
        world.cut(&ways);
        wait(&mut world, 5, "five voters", |world| voters(world) == 5);
        assert!(marked(&world, "raft.new_voter_lags"), "seed {seed}");
        write(&mut world, leader, 0..200, 40);
        world.mend(&ways);
        settle(&mut world);
    }
}

#[test]
fn new_voters_that_vanish_before_the_change_is_through_stop_the_group_until_they_are_back() {
    for seed in 0..4 {
        let mut world = growing(seed, 1, 2, |scenario| {
            scenario.profile.replace_after = Duration::from_secs(30);
        });
        world.run_for(Duration::from_millis(2_900));
        let leader = until_joint(&mut world);
        assert_eq!(leader, 0);
        let mut ways = world.ways_of(1);
        ways.extend(world.ways_of(2));
        world.cut(&ways);
        let number = world
            .ask(
                0,
                Action::Insert { key: 1, size: 32 },
                Duration::from_secs(2),
            )
            .expect("it runs");
        wait(&mut world, 3, "answer", |world| {
            world.told(number).is_some()
        });
        // Unless the joint configuration was replicated before, nothing is decided meanwhile.
        let decided = matches!(world.told(number), Some(Told::Written(_)));
        assert!(!decided, "one of three decided alone");
        assert!(marked(&world, "raft.leader_without_quorum"));
        world.mend(&ways);
        settle(&mut world);
        assert_eq!(voters(&world), 3);
        write(&mut world, 2, 0..10, 40);
    }
}

#[test]
fn a_voter_that_was_replaced_comes_back_as_a_learner_and_changes_nothing() {
    for storage in [Storage::Memory, Storage::Disk] {
        let mut world = growing(2, 3, 1, |scenario| {
            scenario.storage = storage;
            scenario.profile.keep_log = storage == Storage::Disk;
            scenario.profile.voters = 3;
            scenario.profile.replace_after = Duration::from_secs(1);
        });
        world.run_for(Duration::from_secs(4));
        settle(&mut world);
        world.run_for(Duration::from_millis(500));
        let leader = world.leader().expect("a settled group has one");
        let gone = (leader + 1) % 3;
        let member = world.member(gone).expect("it runs");
        assert!(world.kill(gone));
        wait(&mut world, 8, "replacement", |world| {
            let committed = world.configurations();
            committed
                .last()
                .is_some_and(|one| !one.is_voter(member) && !one.is_joint())
        });
        assert!(marked(&world, "membership.voter_replaced"));
        assert!(sizes(&world).iter().all(|size| *size == 3));
        write(&mut world, leader, 0..50, 40);
        world.start(gone);
        settle(&mut world);
        world.run_for(Duration::from_secs(1));
        settle(&mut world);
        let back = world.member(gone).expect("it runs");
        let committed = world.configurations();
        let last = committed.last().expect("there are some");
        assert!(last.is_learner(back), "{storage:?}: {back:?} in {last:?}");
        assert_eq!(voters(&world), 3);
    }
}

#[test]
fn a_voter_cut_off_while_it_is_replaced_disturbs_nobody_when_it_is_back() {
    let mut world = growing(3, 3, 1, |scenario| {
        scenario.profile.voters = 3;
        scenario.profile.replace_after = Duration::from_secs(1);
    });
    world.run_for(Duration::from_secs(4));
    settle(&mut world);
    world.run_for(Duration::from_millis(500));
    let leader = world.leader().expect("a settled group has one");
    let gone = (leader + 1) % 3;
    let member = world.member(gone).expect("it runs");
    let ways = world.ways_of(gone);
    world.cut(&ways);
    wait(&mut world, 8, "replacement", |world| {
        let committed = world.configurations();
        committed
            .last()
            .is_some_and(|one| !one.is_voter(member) && !one.is_joint())
    });
    let term = world.view(leader).expect("it runs").ballot.term;
    // It has asked for votes all the time, by the configuration in its own log.
    world.run_for(Duration::from_secs(2));
    world.mend(&ways);
    settle(&mut world);
    assert_eq!(world.leader(), Some(leader));
    let view = world.view(leader).expect("it runs");
    assert_eq!(view.ballot.term, term, "the leader was deposed");
    let back = world.member(gone).expect("it runs");
    assert!(
        view.configuration.is_learner(back),
        "{:?}",
        view.configuration
    );
}

#[test]
fn readers_stay_learners_and_the_leader_knows_why() {
    let mut world = growing(5, 1, 2, |scenario| {
        scenario.profile.reader = true;
    });
    world.run_for(Duration::from_secs(4));
    sound(&world);
    // The founder votes, for without it there is no group; the others only say that they do not.
    assert_eq!(sizes(&world), [1]);
    let view = world.view(0).expect("it runs");
    let why: Vec<_> = view
        .members()
        .iter()
        .filter_map(|one| one.followed.and_then(|it| it.learner))
        .collect();
    assert_eq!(why, [quorate_core::WhyLearner::Reader; 2]);
    world.run_for(Duration::from_secs(5));
    write(&mut world, 2, 0..10, 40);
    assert_eq!(sizes(&world), [1]);
    sound(&world);
}

#[test]
fn there_are_never_fewer_than_three_voters_by_themselves() {
    let mut world = growing(4, 3, 0, |scenario| {
        scenario.profile.replace_after = Duration::from_millis(600);
    });
    settle(&mut world);
    let leader = world.leader().expect("a settled group has one");
    let ways = world.ways_of((leader + 1) % 3);
    world.cut(&ways);
    world.run_for(Duration::from_secs(6));
    write(&mut world, leader, 0..10, 40);
    assert_eq!(sizes(&world), [3]);
    world.mend(&ways);
    settle(&mut world);
    assert_eq!(sizes(&world), [3]);
}

#[test]
fn the_lead_is_handed_over_in_the_middle_of_a_change() {
    let mut reached = 0;
    for step in 0..16 {
        let mut world = growing(step % 4, 3, 2, |_| {});
        world.run_for(Duration::from_millis(2_900));
        let leader = until_joint(&mut world);
        world.run_for(Duration::from_micros(step * 60));
        // To a new voter of the change under way.
        let wish = world.transfer(leader, Some(3), PATIENCE).expect("it runs");
        wait(&mut world, 5, "answer", |world| {
            world.granted(wish).is_some()
        });
        let granted = world.granted(wish);
        assert_eq!(granted, Some(&Reply::Done), "step {step}");
        reached += u32::from(marked(&world, "transfer.while_joint"));
        settle(&mut world);
        assert_eq!(voters(&world), 5, "step {step}");
    }
    assert!(reached > 2, "{reached} were handed over while joint");
}

#[test]
fn a_target_that_lags_gets_the_lead_once_it_has_the_log() {
    let mut lagged = 0;
    for seed in 0..6 {
        let mut world = world(seed, &[Form::Expect(3); 3], |_| {});
        settle(&mut world);
        let leader = world.leader().expect("a settled group has one");
        let target = (leader + 1) % 3;
        world.inject(FaultKind::SlowDisk {
            peer: target,
            delay: Span::micros(15_000, 40_000),
            lasts: Duration::from_secs(20),
        });
        let mut load = Load::new(&[0, 1, 2]);
        let until = world.now() + Duration::from_millis(300);
        load.until(&mut world, 2, "time", |world| world.now() > until);
        let wish = world.transfer(leader, Some(target), PATIENCE);
        let wish = wish.expect("it runs");
        load.until(&mut world, 5, "answer", |world| {
            world.granted(wish).is_some()
        });
        assert_eq!(world.granted(wish), Some(&Reply::Done), "seed {seed}");
        lagged += u32::from(marked(&world, "transfer.target_lags"));
        world.heal();
        settle(&mut world);
    }
    assert!(lagged > 2, "{lagged} targets lagged");
}

#[test]
fn a_member_leaves_while_others_become_voters() {
    for step in 0..12 {
        let mut world = growing(step % 4, 3, 2, |_| {});
        world.run_for(Duration::from_millis(2_900));
        let leader = until_joint(&mut world);
        world.run_for(Duration::from_micros(step * 80));
        let leaver = if step % 2 == 0 {
            leader
        } else {
            (leader + 1) % 3
        };
        let wish = world.leave(leaver, false, PATIENCE).expect("it runs");
        wait(&mut world, 5, "answer", |world| {
            world.granted(wish).is_some()
        });
        assert_eq!(world.granted(wish), Some(&Reply::Done), "step {step}");
        assert_eq!(voters(&world), 4, "step {step}");
        world.stop(leaver);
        world.start(leaver);
        settle(&mut world);
        world.run_for(Duration::from_secs(1));
        settle(&mut world);
        assert_eq!(voters(&world), 5, "step {step}");
    }
}

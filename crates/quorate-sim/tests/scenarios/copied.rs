//! Directories that are copied, or brought back in an older state.

use std::time::Duration;

use quorate_core::{Form, Role};
use quorate_sim::{FaultKind, Keep, Scenario, Storage, World};

/// Five peers with disks, which have formed a group.
fn cluster(seed: u64) -> World {
    let forms = [Form::Expect(5); 5];
    let mut world = World::new(
        Scenario::calm(seed, Storage::Disk, &forms),
        Keep::LastEvents(2_000),
    );
    let formed = world.run_until(Duration::from_secs(5), |world| {
        world.divided().is_none()
            && (0..5).all(|peer| {
                world
                    .view(peer)
                    .is_some_and(|view| view.configuration.voters.len() == 5)
            })
    });
    assert!(formed, "{:?}", world.violation());
    world
}

fn reached(world: &World, mark: &str) -> u64 {
    world.marks().get(mark).copied().unwrap_or(0)
}

/// Runs until the disowned life has ended, and all are voters again in lives that go on.
fn settles(world: &mut World) {
    let ended = world.run_until(Duration::from_secs(20), |world| {
        reached(world, "copy: its incarnation has ended") == 1
    });
    assert!(ended, "{:?}", world.marks());
    let settled = world.run_until(Duration::from_secs(20), |world| {
        let voters = world
            .configurations()
            .pop()
            .map_or(0, |configuration| configuration.voters.len());
        world.divided().is_none() && voters == 5
    });
    assert!(settled, "{:?}: {:?}", world.divided(), world.violation());
}

#[test]
fn a_directory_that_was_brought_back_ends_its_life_and_comes_back_as_a_learner() {
    for seed in 0..4 {
        let mut world = cluster(seed);
        let leader = world.leader().expect("it has formed");
        let peer = (leader + 1) % 5;
        let before = world.member(peer).expect("it runs");
        let (away, after) = (Duration::from_millis(100), Duration::from_secs(2));
        world.copy_directory(peer, away, after, None);
        settles(&mut world);
        assert_eq!(
            reached(&world, "copy: started in the place of its original"),
            1
        );
        assert!(reached(&world, "boots.link_barred") > 0);
        let now = world.member(peer).expect("it runs");
        assert_ne!(now, before, "seed {seed}");
        let last = world.configurations().pop().expect("there are some");
        assert!(last.voters.contains(&now) && !last.contains(before));
    }
}

#[test]
fn a_copy_beside_its_original_is_never_counted_and_ends_its_life() {
    for seed in 0..4 {
        let mut world = cluster(seed);
        let peer = world.leader().expect("it has formed");
        let away = Duration::from_millis(100);
        let lasts = Duration::from_secs(2);
        world.copy_directory(peer, away, Duration::from_secs(2), Some(lasts));
        settles(&mut world);
        assert_eq!(reached(&world, "copy: started beside its original"), 1);
    }
}

#[test]
fn a_restart_is_no_copy() {
    let mut world = cluster(7);
    for round in 0..20 {
        let peer = round % 5;
        let before = world.member(peer).expect("it runs");
        assert!(world.crash(peer, Duration::from_millis(50)));
        let back = world.run_until(Duration::from_secs(10), |world| {
            world.member(peer).is_some() && world.divided().is_none()
        });
        assert!(back, "{:?}", world.divided());
        assert_eq!(world.member(peer), Some(before));
        assert!(
            world
                .view(peer)
                .is_some_and(|view| view.role != Role::Candidate)
        );
    }
    assert_eq!(reached(&world, "boots.link_barred"), 0);
}

/// Starts a copy that reaches nobody but the leader, whose word is too little to end its life.
/// Returns the copy's machine and the ways that are cut.
fn copy_at_large(world: &mut World) -> (usize, Vec<(usize, usize)>) {
    let leader = world.leader().expect("it has formed");
    let peer = (leader + 1) % 5;
    let away = Duration::from_millis(100);
    world.copy_directory(peer, away, Duration::from_secs(2), None);
    let started = world.run_until(Duration::from_secs(5), |world| {
        reached(world, "copy: started in the place of its original") == 1
    });
    assert!(started, "{:?}", world.marks());
    let others = (0..5).filter(|other| ![peer, leader].contains(other));
    let ways: Vec<(usize, usize)> = others
        .flat_map(|other| [(peer, other), (other, peer)])
        .collect();
    world.cut(&ways);
    (peer, ways)
}

#[test]
fn nobody_forgets_a_later_start_while_a_copy_is_at_large() {
    const LEFT_OUT: &str = "fault left out: not survivable";
    let mut world = cluster(3);
    let (peer, ways) = copy_at_large(&mut world);
    let other = (peer + 1) % 5;
    let (before, left_out) = (world.member(other), reached(&world, LEFT_OUT));
    let wipe = FaultKind::WipedDisk {
        peer: other,
        away: Duration::from_millis(50),
    };
    world.inject(wipe.clone());
    assert_eq!(reached(&world, LEFT_OUT), left_out + 1);
    assert_eq!(world.member(other), before);
    world.mend(&ways);
    settles(&mut world);
    world.inject(wipe);
    let renewed = world.run_until(Duration::from_secs(10), |world| {
        world.member(other).is_some_and(|now| Some(now) != before)
    });
    assert!(renewed, "{:?}", world.marks());
}

#[test]
fn a_copy_that_is_refused_gets_nowhere_by_being_started_again() {
    let mut world = cluster(3);
    let (peer, ways) = copy_at_large(&mut world);
    let before = world.member(peer).expect("it runs");
    for start in 0..40 {
        let barred = reached(&world, "boots.link_barred");
        let refused = world.run_until(Duration::from_secs(5), |world| {
            reached(world, "boots.link_barred") > barred
        });
        assert!(refused, "start {start}: {:?}", world.violation());
        assert_eq!(world.member(peer), Some(before));
        assert!(world.crash(peer, Duration::from_millis(50)));
        let back = world.run_until(Duration::from_secs(1), |world| world.member(peer).is_some());
        assert!(back, "start {start}");
    }
    world.mend(&ways);
    settles(&mut world);
}

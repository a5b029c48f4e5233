//! How a group comes to a newer version of its state machine, and what becomes of who cannot.

use std::time::Duration;

use quorate_core::{Event, Form, GroupEvent, Versions, WhyLearner};
use quorate_sim::{Action, FaultKind, Keep, Scenario, Storage, Told, World};

use crate::cluster::{settle, sound, wait, world, write, write_at_last};

const PATIENCE: Duration = Duration::from_secs(3);

/// What each start of a peer reads, by the highest version of each; all read from the first on.
fn reads(highest: &[u32]) -> Vec<Versions> {
    let up_to = |last: &u32| Versions::new(1..=*last).expect("it is at least the first");
    highest.iter().map(up_to).collect()
}

/// Three founders with disks, whose binaries read this at each start.
fn founders(seed: u64, all: [&[u32]; 3]) -> World {
    let mut scenario = Scenario::calm(seed, Storage::Disk, &[Form::Expect(3); 3]);
    for (plan, highest) in scenario.peers.iter_mut().zip(all) {
        plan.reads = reads(highest);
    }
    let mut world = World::new(scenario, Keep::LastEvents(40));
    world.listen();
    world
}

fn restart(world: &mut World, peer: usize) {
    world.inject(FaultKind::Crash {
        peer,
        away: Duration::from_millis(100),
    });
    wait(world, 2, "end of a process", |world| {
        world.member(peer).is_none()
    });
    wait(world, 2, "start", |world| world.member(peer).is_some());
}

fn version(world: &World, peer: usize) -> Option<u32> {
    world.view(peer).map(|view| view.version())
}

#[track_caller]
fn all_at(world: &mut World, peers: &[usize], wanted: u32) {
    wait(world, 20, "version", |world| {
        peers
            .iter()
            .all(|peer| version(world, *peer) == Some(wanted))
    });
}

/// Tells whether a peer was told that its machine cannot run a version.
fn cannot_run(world: &World, peer: usize, wanted: u32) -> bool {
    world.heard().iter().any(|heard| {
        let Event::Group { event, .. } = &heard.event else {
            return false;
        };
        let told = matches!(event, GroupEvent::CannotRun { version, .. } if *version == wanted);
        heard.peer == peer && told
    })
}

#[test]
fn the_last_restart_of_a_rolling_upgrade_upgrades_the_group() {
    let mut world = founders(1, [&[1, 2], &[1, 3], &[1, 2]]);
    settle(&mut world);
    for peer in 0..3 {
        write(&mut world, peer, 0..20, 64);
        world.run_for(Duration::from_secs(2));
        let versions = [0, 1, 2].map(|peer| version(&world, peer));
        assert_eq!(versions, [Some(1); 3], "before {peer} was started anew");
        restart(&mut world, peer);
        settle(&mut world);
    }
    all_at(&mut world, &[0, 1, 2], 2);
    write_at_last(&mut world, 0, 100);
    settle(&mut world);
    // A replica that was started later folds the whole log, through both versions.
    restart(&mut world, 2);
    settle(&mut world);
    assert_eq!(version(&world, 2), Some(2));
}

#[test]
fn a_peer_that_is_too_old_keeps_its_log_and_votes_and_says_why_it_does_not_apply() {
    let mut world = founders(2, [&[2], &[2], &[2, 1, 2]]);
    all_at(&mut world, &[0, 1, 2], 2);
    write_at_last(&mut world, 0, 1);
    settle(&mut world);
    restart(&mut world, 2);
    wait(&mut world, 10, "word of it", |world| {
        cannot_run(world, 2, 2)
    });
    // With one of the others gone, a commit needs what it acknowledges.
    world.inject(FaultKind::Crash {
        peer: 1,
        away: Duration::from_secs(2),
    });
    wait(&mut world, 2, "end", |world| world.member(1).is_none());
    write_at_last(&mut world, 0, 2);
    let (first, old) = (world.view(0).unwrap(), world.view(2).unwrap());
    assert_eq!(old.durable, first.commit);
    assert!(old.applied < first.applied);
    // Its clients may write, but it has nothing to read.
    write_at_last(&mut world, 2, 3);
    let action = Action::Read {
        key: 3,
        linearizable: true,
    };
    let read = world.ask(2, action, PATIENCE).unwrap();
    wait(&mut world, 4, "answer", |world| world.told(read).is_some());
    assert_eq!(world.told(read), Some(Told::Refused));
    assert!(world.marks().contains_key("upgrade.read_refused"));
    sound(&world);
    wait(&mut world, 10, "start", |world| world.member(1).is_some());
    restart(&mut world, 2);
    settle(&mut world);
    assert_eq!(version(&world, 2), Some(2));
}

#[test]
fn a_leader_that_is_too_old_hands_over() {
    let mut world = founders(3, [&[2, 1], &[2], &[2]]);
    all_at(&mut world, &[0, 1, 2], 2);
    write_at_last(&mut world, 1, 1);
    settle(&mut world);
    restart(&mut world, 0);
    wait(&mut world, 10, "word of it", |world| {
        cannot_run(world, 0, 2)
    });
    wait(&mut world, 10, "leader", |world| world.leader().is_some());
    assert_ne!(world.leader(), Some(0));
    let wish = world.transfer(1, Some(0), PATIENCE).unwrap();
    wait(&mut world, 4, "answer", |world| {
        world.granted(wish).is_some()
    });
    wait(&mut world, 4, "other leader", |world| {
        let marked = world.marks().contains_key("upgrade.leader_is_too_old");
        marked && world.leader().is_some_and(|leader| leader != 0)
    });
    write_at_last(&mut world, 0, 2);
    sound(&world);
}

#[test]
fn a_group_whose_members_do_not_read_the_first_version_begins_with_an_upgrade() {
    let mut world = world(4, &[Form::Expect(3); 3], |scenario| {
        for plan in &mut scenario.peers {
            plan.reads = vec![Versions::new(2..=3).unwrap()];
        }
    });
    wait(&mut world, 5, "peers", |world| world.member(2).is_some());
    // Asked before there is a leader: no command may get into the log before the upgrade.
    let early = Action::Insert { key: 1, size: 16 };
    let early = world.ask(1, early, PATIENCE).unwrap();
    wait(&mut world, 5, "answer", |world| world.told(early).is_some());
    assert!(matches!(world.told(early), Some(Told::Written(_))));
    all_at(&mut world, &[0, 1, 2], 3);
    write(&mut world, 0, 0..20, 64);
    settle(&mut world);
}

#[test]
fn a_joiner_that_is_too_old_stays_a_learner() {
    let forms = [Form::Alone, Form::Join, Form::Join];
    let mut world = world(5, &forms, |scenario| {
        for (plan, highest) in scenario.peers.iter_mut().zip([[2], [2], [1]]) {
            plan.reads = reads(&highest);
        }
        scenario.peers[2].start = Duration::from_secs(3);
    });
    all_at(&mut world, &[0, 1], 2);
    write_at_last(&mut world, 0, 1);
    wait(&mut world, 20, "word of it", |world| {
        cannot_run(world, 2, 2)
    });
    world.run_for(Duration::from_secs(10));
    let leader = world.leader().expect("two of the three go on");
    let old = world.member(2).unwrap();
    let view = world.view(leader).unwrap();
    assert!(view.configuration.is_learner(old));
    let other = view.members().into_iter().find(|one| one.member == old);
    let why = other.and_then(|one| one.followed?.learner);
    assert_eq!(why, Some(WhyLearner::OtherVersion));
    write_at_last(&mut world, 2, 2);
    sound(&world);
}

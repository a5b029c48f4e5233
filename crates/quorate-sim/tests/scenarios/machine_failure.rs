//! A machine that panics spoils its peer's state and nothing else: log, ballot and the others.

use std::time::Duration;

use quorate_core::{Form, GroupEvent};
use quorate_sim::{Action, FaultKind, Scenario, Storage, World};

use crate::cluster::{Load, events, restores, settle, sound, wait, world, write, write_at_last};

/// How long clients and operators wait.
const PATIENCE: Duration = Duration::from_secs(60);

const FOUNDERS: [Form; 3] = [Form::Expect(3); 3];

/// Three voters with a leader.
fn three(seed: u64, change: impl FnOnce(&mut Scenario)) -> World {
    let mut world = world(seed, &FOUNDERS, |scenario| {
        scenario.profile.voters = 3;
        change(scenario);
    });
    wait(&mut world, 10, "leader", |world| world.leader().is_some());
    settle(&mut world);
    world
}

/// Three voters that have written values of `size` bytes; the log of `peer` begins after the first.
fn pruned(seed: u64, peer: usize, size: u32) -> World {
    let mut world = three(seed, |scenario| {
        scenario.profile.reserve_entries = 32;
    });
    write(&mut world, 0, 0..400, size);
    wait(&mut world, 10, "pruned log", |world| {
        let view = world.view(peer);
        view.is_some_and(|view| view.base.index.0 > 0)
    });
    world
}

fn on_disk(scenario: &mut Scenario) {
    scenario.storage = Storage::Disk;
    scenario.profile.keep_log = true;
}

fn fails(world: &mut World, peer: usize, times: u32) {
    world.inject(FaultKind::MachineFailure {
        peer,
        times,
        away: Duration::from_millis(200),
    });
}

fn losses(world: &World, peer: usize) -> usize {
    let lost = |event: &GroupEvent| matches!(event, GroupEvent::StateLost { .. }).then_some(());
    events(world, peer, lost).len()
}

fn poisoned(world: &World, peer: usize) -> usize {
    let poisoned = |event: &GroupEvent| matches!(event, GroupEvent::Poisoned { .. }).then_some(());
    events(world, peer, poisoned).len()
}

#[test]
fn a_peer_whose_machine_fails_applies_its_log_once_more() {
    for disk in [false, true] {
        for peer in 0..3 {
            let mut world = three(peer as u64, |scenario| {
                if disk {
                    on_disk(scenario);
                }
            });
            write(&mut world, 0, 0..40, 100);
            fails(&mut world, peer, 1);
            let mut load = Load::new(&[0, 1, 2]);
            load.until(&mut world, 10, "loss", |world| losses(world, peer) == 1);
            load.until(&mut world, 10, "state that is there again", |world| {
                world
                    .view(peer)
                    .is_some_and(|view| view.state_lost.is_none())
            });
            settle(&mut world);
            assert_eq!((losses(&world, peer), restores(&world, peer)), (1, 0));
            assert_eq!(poisoned(&world, peer), 0);
            assert!(load.written(&world) > 0);
        }
    }
}

#[test]
fn a_peer_whose_log_does_not_go_back_far_enough_fetches_its_state_from_the_others() {
    for peer in 0..3 {
        let mut world = pruned(4 + peer as u64, peer, 100);
        fails(&mut world, peer, 1);
        let mut load = Load::new(&[0, 1, 2]);
        load.until(&mut world, 20, "restored state", |world| {
            restores(world, peer) == 1
        });
        settle(&mut world);
        for peer in 0..3 {
            write_at_last(&mut world, peer, 7);
        }
    }
}

#[test]
fn whoever_has_no_state_lets_nobody_go_that_has_it() {
    for peer in 0..3 {
        let mut world = pruned(16 + peer as u64, peer, 1_000);
        let others = [(peer + 1) % 3, (peer + 2) % 3];
        for other in others {
            world.inject(FaultKind::Narrow {
                one: peer,
                other,
                rate: 100_000,
                lasts: Duration::from_secs(60),
            });
        }
        fails(&mut world, peer, 1);
        world.ask(others[0], Action::Insert { key: 1, size: 8 }, PATIENCE);
        wait(&mut world, 10, "loss", |world| losses(world, peer) == 1);
        for other in others {
            world.leave(other, false, PATIENCE);
        }
        wait(&mut world, 60, "end of the others' part", |world| {
            let last = world.configurations().pop();
            last.is_some_and(|last| !last.is_joint() && last.voters.len() == 1)
        });
        let last = world.configurations().pop().expect("there are some");
        assert_eq!(last.voters, world.member(peer).as_slice());
        assert_eq!(restores(&world, peer), 1);
        write_at_last(&mut world, peer, 7);
        sound(&world);
    }
}

#[test]
fn the_only_peer_of_a_group_applies_its_log_once_more() {
    let mut world = world(1, &[Form::Alone], on_disk);
    wait(&mut world, 10, "leader", |world| world.leader().is_some());
    write(&mut world, 0, 0..40, 100);
    fails(&mut world, 0, 1);
    let asked = Action::Insert { key: 1, size: 8 };
    world.ask(0, asked, Duration::from_secs(1));
    wait(&mut world, 10, "loss", |world| losses(world, 0) == 1);
    write_at_last(&mut world, 0, 2);
    settle(&mut world);
}

#[test]
fn a_machine_that_fails_again_meanwhile_poisons_the_group_until_the_next_start() {
    for peer in 0..3 {
        let mut world = three(8 + peer as u64, on_disk);
        write(&mut world, 0, 0..40, 100);
        fails(&mut world, peer, 2);
        let mut load = Load::new(&[(peer + 1) % 3, (peer + 2) % 3]);
        load.until(&mut world, 10, "poisoned group", |world| {
            poisoned(world, peer) == 1
        });
        assert_eq!(losses(&world, peer), 2);
        load.until(&mut world, 10, "next start", |world| {
            world
                .view(peer)
                .is_some_and(|view| view.poisoned.is_none() && view.applied == view.last)
        });
        settle(&mut world);
        sound(&world);
        write_at_last(&mut world, peer, 7);
    }
}

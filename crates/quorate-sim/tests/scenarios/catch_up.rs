//! A peer that lags behind the pruned log, or is new, restores a snapshot from those who have it.

use std::{collections::BTreeSet, time::Duration};

use quorate_core::{Form, GroupEvent};
use quorate_sim::{PeerPlan, Scenario, Span, World};

use crate::cluster::{Load, events, restores, settle, sound, wait, world, write, write_at_last};

const FOUNDERS: [Form; 3] = [Form::Expect(3); 3];

/// Three founders and `late` joiners that start only when told to; a short reserve, small ranges.
fn late_joiners(seed: u64, late: usize) -> World {
    world(seed, &FOUNDERS, |scenario| {
        scenario.profile.reserve_entries = 64;
        scenario.profile.batch_items = 10;
        scenario.network.delay = Span::micros(2_000, 5_000);
        scenario.profile.voters = 3;
        for _ in 0..late {
            scenario.peers.push(PeerPlan {
                start: Duration::from_secs(1_000_000),
                ..PeerPlan::calm(Form::Join)
            });
        }
    })
}

/// Lets the founders form and fills their state beyond what their logs keep.
fn fill(world: &mut World) {
    wait(world, 10, "leader", |world| world.leader().is_some());
    write(world, 0, 0..1_200, 100);
    sound(world);
}

fn caught_up(world: &World, peer: usize) -> bool {
    restores(world, peer) > 0
        && world
            .view(peer)
            .is_some_and(|view| view.session().is_none())
}

/// Returns who brought parts of the snapshot to `peer`.
fn providers(world: &World, peer: usize) -> BTreeSet<quorate_core::PeerId> {
    events(world, peer, |event| match event {
        GroupEvent::RestoreProgress { from, items, .. } if *items > 0 => Some(*from),
        _ => None,
    })
    .into_iter()
    .collect()
}

#[test]
fn three_voters_one_long_gone_log_pruned_a_second_dies_the_first_returns_and_writes_resume() {
    for (seed, leader_dies) in [(1, true), (2, false), (3, true), (4, false)] {
        let mut world = world(seed, &FOUNDERS, |scenario| {
            scenario.profile.reserve_entries = 32;
            scenario.profile.voters = 3;
        });
        wait(&mut world, 10, "leader", |world| world.leader().is_some());
        let leader = world.leader().expect("it was waited for");
        let gone = (leader + 1) % 3;
        let ways = world.ways_of(gone);
        world.cut(&ways);
        let mut load = Load::new(&[leader]);
        load.until(&mut world, 30, "pruned log", |world| {
            let last = world.view(gone).expect("it runs").last.index;
            let others = (0..3).filter(|peer| *peer != gone);
            let bases = others.map(|peer| world.view(peer).expect("it runs").base.index);
            bases.min().is_some_and(|base| base > last)
        });

        let dies = if leader_dies {
            leader
        } else {
            (leader + 2) % 3
        };
        let stays = 3 - dies - gone;
        assert!(world.kill(dies), "two of three keep their memory");
        world.run_for(Duration::from_secs(2));
        assert_eq!(world.leader(), None, "one of three leads");
        world.mend(&ways);
        write_at_last(&mut world, stays, 1_000);
        write_at_last(&mut world, gone, 1_001);
        assert!(
            restores(&world, gone) > 0,
            "the log was pruned: only a restore helps"
        );
        sound(&world);
    }
}

#[test]
fn a_late_joiner_during_writes_restores_from_several_providers() {
    for seed in 1..4 {
        let mut world = late_joiners(seed, 1);
        fill(&mut world);
        let mut load = Load::new(&[0, 1, 2]);
        world.start(3);
        load.until(&mut world, 20, "restored joiner", |world| {
            caught_up(world, 3)
        });
        assert!(load.written(&world) > 10, "writes stood still meanwhile");
        assert!(
            providers(&world, 3).len() >= 2,
            "all came from {:?}",
            providers(&world, 3)
        );
        settle(&mut world);
    }
}

#[test]
fn two_late_joiners_share_one_snapshot() {
    let mut shared = 0;
    for seed in 1..7 {
        let mut world = late_joiners(seed, 2);
        fill(&mut world);
        world.start(3);
        world.start(4);
        let mut load = Load::new(&[0, 1, 2]);
        load.until(&mut world, 20, "restored joiners", |world| {
            caught_up(world, 3) && caught_up(world, 4)
        });
        let anchors = |peer| {
            events(&world, peer, |event| match event {
                GroupEvent::RestoreStarted { anchor, .. } => Some(*anchor),
                _ => None,
            })
        };
        let (three, four) = (anchors(3), anchors(4));
        shared += usize::from(three.iter().any(|anchor| four.contains(anchor)));
        settle(&mut world);
    }
    // Whose request comes late has a marker of its own; that must be the exception.
    assert!(shared >= 4, "{shared} of 6 pairs shared a snapshot");
}

#[test]
fn the_leader_killed_during_catch_up_does_not_stop_it() {
    for seed in 1..5 {
        let mut world = late_joiners(seed, 1);
        fill(&mut world);
        world.start(3);
        wait(&mut world, 20, "first range", |world| {
            !providers(world, 3).is_empty()
        });
        assert_eq!(restores(&world, 3), 0, "the restore was over too soon");
        let leader = world.leader().expect("nothing has happened to it");
        assert!(world.kill(leader));
        wait(&mut world, 40, "restored joiner", |world| {
            caught_up(world, 3)
        });
        let other = (leader + 1) % 3;
        write_at_last(&mut world, other, 5_000);
        write_at_last(&mut world, 3, 5_001);
        sound(&world);
    }
}

#[test]
fn when_all_snapshots_expire_during_catch_up_it_asks_again_and_completes() {
    for seed in 1..5 {
        let mut world = late_joiners(seed, 1);
        fill(&mut world);
        let ttl = Duration::from_secs(3);
        world.start(3);
        wait(&mut world, 20, "first range", |world| {
            !providers(world, 3).is_empty()
        });
        let first = world.view(3).and_then(|view| view.session()?.anchor);
        assert_eq!(restores(&world, 3), 0, "the restore was over too soon");
        let ways = world.ways_of(3);
        world.cut(&ways);
        let mut load = Load::new(&[0, 1, 2]);
        load.until(&mut world, 20, "expiry of all snapshots", |world| {
            (0..3).all(|peer| {
                world
                    .view(peer)
                    .is_some_and(|view| view.snapshots().next().is_none())
            })
        });
        assert!(world.now() > ttl);
        world.mend(&ways);
        load.until(&mut world, 40, "restored joiner", |world| {
            caught_up(world, 3)
        });
        let anchors = events(&world, 3, |event| match event {
            GroupEvent::RestoreStarted { anchor, .. } => Some(*anchor),
            _ => None,
        });
        assert!(
            anchors.last().copied() > first,
            "restored from {anchors:?}, the first of which had expired"
        );
        settle(&mut world);
    }
}

#[test]
fn a_calm_scenario_has_no_faults_of_its_own() {
    let scenario = Scenario::calm(1, quorate_sim::Storage::Memory, &FOUNDERS);
    assert!(scenario.faults.is_empty() && scenario.operations.is_empty());
}

//! How a cluster comes back while some of it stays broken, and that this is really demanded.

use quorate_core::{Form, Role};
use quorate_sim::{Ailment, Canary, Scenario, StaysBroken, Storage, World};

use crate::cluster::{settle, sound, world, write};

const AILMENTS: [Ailment; 7] = [
    Ailment::Down,
    Ailment::Paused,
    Ailment::Apart,
    Ailment::Deaf,
    Ailment::Mute,
    Ailment::NoSpace,
    Ailment::SlowDisk,
];

/// A settled group of five that has written something.
fn five(seed: u64, storage: Storage, change: impl FnOnce(&mut Scenario)) -> World {
    let mut world = world(seed, &[Form::Expect(5); 5], |scenario| {
        scenario.storage = storage;
        scenario.profile.voters = 5;
        change(scenario);
    });
    settle(&mut world);
    write(&mut world, 0, 0..20, 40);
    world
}

#[test]
fn a_majority_comes_back_beside_any_two_that_stay_broken() {
    for (seed, storage) in [(0, Storage::Disk), (1, Storage::Memory), (2, Storage::Disk)] {
        for one in AILMENTS {
            for other in AILMENTS {
                let broken = [(1, one), (3, other)];
                let mut world = five(seed, storage, |scenario| {
                    scenario.broken = broken.map(|(peer, how)| StaysBroken { peer, how }).into();
                });
                world.come_back();
                sound(&world);
                let marks = world.marks();
                assert_eq!(marks.get("liveness: a quorum alone"), Some(&1));
                assert_eq!(marks.get("liveness: too many to stay broken"), None);
            }
        }
    }
}

#[test]
fn a_leader_that_stays_broken_is_replaced() {
    for how in AILMENTS {
        let alike = five(5, Storage::Disk, |_| {});
        let leader = alike.leader().expect("a settled group has one");
        let mut world = five(5, Storage::Disk, |scenario| {
            scenario.broken = vec![StaysBroken { peer: leader, how }];
        });
        assert_eq!(world.leader(), Some(leader));
        world.come_back();
        sound(&world);
        let view = world.view(leader).expect("all are healed at the end");
        assert_ne!(view.role, Role::Leader, "{how:?}");
    }
}

#[test]
fn no_more_stay_broken_than_the_others_can_do_without() {
    let mut world = five(3, Storage::Disk, |scenario| {
        scenario.broken = (0..5)
            .map(|peer| StaysBroken {
                peer,
                how: Ailment::Down,
            })
            .collect();
    });
    world.come_back();
    sound(&world);
    let marks = world.marks();
    assert_eq!(
        marks.get("liveness: without one that is down"),
        Some(&2),
        "{marks:?}"
    );
    assert_eq!(marks.get("liveness: too many to stay broken"), Some(&3));
}

#[test]
fn a_group_that_waits_for_all_its_voters_comes_back_only_once_all_are_healed() {
    let run = |broken: Vec<StaysBroken>| {
        let mut world = five(4, Storage::Disk, |scenario| {
            scenario.bug = Canary::named("all-must-have-it");
            scenario.broken = broken;
        });
        world.come_back();
        world.violation().map(|found| found.detail.clone())
    };
    assert_eq!(run(Vec::new()), None);
    let (peer, how) = (2, Ailment::Down);
    let detail = run(vec![StaysBroken { peer, how }]).expect("a group that waits for all stands");
    assert!(detail.contains("a quorum"), "{detail}");
}

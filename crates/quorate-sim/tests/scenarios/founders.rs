//! Founders that expect each other, and die, stall or lose each other at every point of it.

use std::{collections::BTreeMap, time::Duration};

use quorate_core::Form;
use quorate_sim::{FaultKind, Storage, World};

use crate::cluster::{settle, sound, wait, world, write_at_last};

const BOTH: [Storage; 2] = [Storage::Memory, Storage::Disk];

/// Founders of a group of three, all started at once, and joiners.
fn founders(seed: u64, storage: Storage, forms: &[Form], apart: bool) -> World {
    world(seed, forms, |scenario| {
        scenario.storage = storage;
        scenario.profile.keep_log = storage == Storage::Disk;
        scenario.apart = apart;
    })
}

const THREE: [Form; 3] = [Form::Expect(3); 3];

const TWO_OF_FIVE: [Form; 5] = [
    Form::Expect(2),
    Form::Expect(2),
    Form::Join,
    Form::Join,
    Form::Join,
];

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs until one group stands that takes writes through every peer.
#[track_caller]
fn serves(world: &mut World) {
    settle(world);
    for peer in 0..world.peers() {
        write_at_last(world, peer, 7);
    }
    settle(world);
}

/// When founders are disturbed: from the first links to the first elections.
fn moments() -> impl Iterator<Item = Duration> {
    (0..24).map(|step| Duration::from_micros(step * step * 300))
}

#[test]
fn a_founder_may_die_between_any_two_effects() {
    for storage in BOTH {
        for (number, moment) in (0..).zip(moments()) {
            for peer in 0..3 {
                let mut world = founders(number % 5, storage, &THREE, false);
                world.run_for(moment);
                world.inject(FaultKind::CrashWithin {
                    peer,
                    effects: number % 4,
                    away: millis(1 + number * 37 % 700),
                });
                // It is dead by then, or it was not to be.
                world.run_for(millis(1_000));
                serves(&mut world);
            }
        }
    }
}

#[test]
fn two_founders_may_die_one_after_the_other() {
    for storage in BOTH {
        for (number, moment) in (0..).zip(moments()) {
            let mut world = founders(number, storage, &THREE, false);
            world.run_for(moment);
            let first = usize::try_from(number % 3).unwrap();
            world.crash(first, millis(20 + number * 11));
            world.run_for(millis(number * 5 % 40));
            world.crash((first + 1) % 3, millis(10 + number * 29 % 300));
            serves(&mut world);
        }
    }
}

#[test]
fn all_founders_may_lose_power_at_once() {
    for (number, moment) in (0..).zip(moments()) {
        let mut world = founders(number, Storage::Disk, &THREE, false);
        world.run_for(moment);
        for peer in 0..3 {
            world.crash(peer, millis(50 + peer as u64 * number * 13));
        }
        serves(&mut world);
    }
}

#[test]
fn a_founder_may_stall_or_be_cut_off() {
    for storage in BOTH {
        for (number, moment) in (0..).zip(moments()) {
            let mut world = founders(number, storage, &THREE, false);
            world.run_for(moment);
            let peer = usize::try_from(number % 3).unwrap();
            let lasts = millis(100 + number * 53);
            world.inject(match number % 2 {
                0 => FaultKind::Pause { peer, lasts },
                _ => FaultKind::Partition {
                    side: vec![peer],
                    lasts,
                },
            });
            serves(&mut world);
        }
    }
}

#[test]
fn proposers_that_see_different_peers_end_in_one_group() {
    let mut marks: BTreeMap<&str, u64> = BTreeMap::new();
    for storage in BOTH {
        for number in 0..60_u64 {
            let forms = [Form::Expect(3); 5];
            let mut world = founders(number, storage, &forms, true);
            // Some pairs do not see each other for a while.
            let pairs = (0..5).flat_map(|one| (one + 1..5).map(move |two| (one, two)));
            for (place, (one, other)) in (0..).zip(pairs) {
                if (number.wrapping_mul(0x9e37_79b9) >> place) & 3 == 0 {
                    let lasts = millis(100 + number * 17 % 900);
                    world.inject(FaultKind::Apart { one, other, lasts });
                }
            }
            if number % 3 == 0 {
                world.run_for(millis(number % 40));
                let peer = usize::try_from(number % 5).unwrap();
                world.crash(peer, millis(200));
            }
            serves(&mut world);
            for (mark, count) in world.marks() {
                *marks.entry(*mark).or_default() += count;
            }
        }
    }
    for wanted in ["formation.genesis_dropped", "meeting.dissolved"] {
        assert!(marks.contains_key(wanted), "{wanted} was never reached");
    }
}

#[test]
fn a_stored_genesis_overrides_the_form() {
    for again in [Form::Alone, Form::Expect(3), Form::Auto { locked: false }] {
        let mut world = world(3, &THREE, |scenario| {
            scenario.storage = Storage::Disk;
            scenario.profile.keep_log = true;
            for peer in &mut scenario.peers {
                peer.again = again;
            }
        });
        // As soon as two hold it, before anybody leads.
        wait(&mut world, 5, "held genesis", |world| {
            let holds = |peer: &usize| world.view(*peer).is_some_and(|view| view.durable.0 > 0);
            (0..3).filter(holds).count() >= 2
        });
        let held: Vec<_> = (0..3)
            .filter_map(|peer| world.view(peer)?.genesis)
            .collect();
        for peer in 0..3 {
            world.crash(peer, millis(100 + peer as u64 * 400));
        }
        settle(&mut world);
        sound(&world);
        assert_eq!(world.view(0).unwrap().genesis, held.first().copied());
    }
}

#[test]
fn who_has_seen_the_group_founds_no_other_once_it_is_cut_off() {
    for seed in 0..20 {
        let mut world = founders(seed, Storage::Memory, &TWO_OF_FIVE, false);
        serves(&mut world);
        // One founder forgets, comes back, and is cut off when it has seen the group and is not in
        // it yet; the other one comes back on its side.
        let met = |world: &World| world.marks().get("formation.met_a_history").copied();
        let before = met(&world);
        world.inject(FaultKind::Crash {
            peer: 0,
            away: millis(1),
        });
        let meets = world.run_until(millis(5_000), |world| met(world) > before);
        assert!(meets, "seed {seed}");
        world.inject(FaultKind::Partition {
            side: vec![0, 1],
            lasts: millis(4_000),
        });
        world.inject(FaultKind::Crash {
            peer: 1,
            away: millis(1),
        });
        world.run_for(millis(4_000));
        serves(&mut world);
    }
}

/// All that the two know is that they expect each other: with the group out of sight they would be
/// right to found it. So whoever starts the second one has to know better.
#[test]
fn founders_that_have_left_the_group_do_not_found_it_again() {
    for seed in 0..10 {
        let mut world = founders(seed, Storage::Memory, &TWO_OF_FIVE, false);
        serves(&mut world);
        world.run_for(millis(1_000));
        for peer in [0, 1] {
            world.inject(FaultKind::Leave {
                peer,
                away: millis(6_000 - 2_000 * peer as u64),
                patience: millis(2_000),
            });
            wait(&mut world, 3, "end of the peer", |world| {
                world.view(peer).is_none()
            });
        }
        world.inject(FaultKind::Partition {
            side: vec![0, 1],
            lasts: millis(9_000),
        });
        world.run_for(millis(8_000));
        let forgot = |peer| world.view(peer).is_some_and(|view| view.genesis.is_none());
        assert!(forgot(0) && forgot(1), "seed {seed}");
        serves(&mut world);
        sound(&world);
    }
}

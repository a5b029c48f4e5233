//! Two histories of one group meet: one is given up for the other, or both say that they do not
//! mix.

use std::time::Duration;

use quorate_core::{Fate, Form, GenesisId, GroupEvent};
use quorate_sim::{Storage, World};

use crate::cluster::{events, settle, sound, wait, world, write};

/// Two histories: peers 0 to 2 are on one side, the rest on the other, and each side settles.
fn apart(seed: u64, forms: &[Form], storage: Storage) -> World {
    let mut world = world(seed, forms, |scenario| {
        scenario.apart = true;
        scenario.storage = storage;
        scenario.profile.keep_log = storage == Storage::Disk;
    });
    cut(&mut world, 3);
    wait(&mut world, 20, "two led histories", |world| {
        let led = |peer| world.view(peer).is_some_and(|view| view.leader.is_some());
        (0..world.peers()).all(led) && history(world, 0) != history(world, world.peers() - 1)
    });
    world
}

/// Cuts the first `count` peers off from the rest.
fn cut(world: &mut World, count: usize) {
    let ways = ways(world, count);
    world.cut(&ways);
}

fn mend(world: &mut World, count: usize) {
    let ways = ways(world, count);
    world.mend(&ways);
}

fn ways(world: &World, count: usize) -> Vec<(usize, usize)> {
    let across = |one| (count..world.peers()).flat_map(move |two| [(one, two), (two, one)]);
    (0..count).flat_map(across).collect()
}

fn history(world: &World, peer: usize) -> Option<GenesisId> {
    world.view(peer)?.genesis
}

/// Returns what each peer's history dissolved into, by what it told its user.
fn dissolved(world: &World, peer: usize) -> Vec<(GenesisId, GenesisId)> {
    events(world, peer, |event| match event {
        GroupEvent::Dissolved { genesis, into } => Some((*genesis, *into)),
        _ => None,
    })
}

fn marked(world: &World, mark: &str) -> bool {
    world.marks().contains_key(mark)
}

/// Three founders on either side.
const TWO_GROUPS: [Form; 6] = [Form::Expect(3); 6];

/// One founder on either side; two joiners with the first.
const TWO_ALONE: [Form; 4] = [Form::Alone, Form::Join, Form::Join, Form::Alone];

#[test]
fn of_two_empty_histories_the_higher_dissolves() {
    for seed in 0..6 {
        for storage in [Storage::Memory, Storage::Disk] {
            let mut world = apart(seed, &TWO_GROUPS, storage);
            let (one, two) = (history(&world, 0).unwrap(), history(&world, 5).unwrap());
            mend(&mut world, 3);
            settle(&mut world);
            assert_eq!(history(&world, 0), Some(one.min(two)));
            assert!(marked(&world, "meeting.dissolve_higher_id"));
            let gone = if one < two { 3..6 } else { 0..3 };
            for peer in gone {
                assert_eq!(dissolved(&world, peer), [(one.max(two), one.min(two))]);
            }
        }
    }
}

#[test]
fn an_empty_history_dissolves_into_one_that_is_used() {
    for seed in 0..6 {
        let mut world = apart(seed, &TWO_ALONE, Storage::Memory);
        let used = usize::try_from(seed % 2 * 3).unwrap();
        write(&mut world, used, 0..20, 30);
        let stays = history(&world, used);
        mend(&mut world, 3);
        settle(&mut world);
        assert_eq!(history(&world, 3 - used), stays);
        assert!(marked(&world, "meeting.dissolve_into_used"));
        assert_eq!(world.view(0).unwrap().fate(), Fate::Used);
        write(&mut world, 3 - used, 0..5, 30);
    }
}

#[test]
fn two_used_histories_go_on_and_say_that_they_do_not_mix() {
    let mut world = apart(3, &TWO_GROUPS, Storage::Memory);
    write(&mut world, 0, 0..10, 30);
    write(&mut world, 5, 0..10, 30);
    let before = (history(&world, 0), history(&world, 5));
    mend(&mut world, 3);
    settle(&mut world);
    assert_eq!((history(&world, 0), history(&world, 5)), before);
    for peer in 0..6 {
        let other = history(&world, if peer < 3 { 5 } else { 0 }).unwrap();
        let told = events(&world, peer, |event| match event {
            GroupEvent::Conflict { other } => Some(*other),
            _ => None,
        });
        assert_eq!(told, [other], "peer {peer}");
        write(&mut world, peer, 20..25, 30);
    }
    // Out of sight, there is no conflict to speak of.
    cut(&mut world, 3);
    wait(&mut world, 10, "end of the conflict", |world| {
        (0..6).all(|peer| {
            world
                .view(peer)
                .is_some_and(|view| view.conflicts().is_empty())
        })
    });
    sound(&world);
}

#[test]
fn a_late_member_is_told_whenever_it_comes_back() {
    for storage in [Storage::Memory, Storage::Disk] {
        let mut told = 0;
        for seed in 0..8 {
            let mut world = apart(seed, &TWO_GROUPS, storage);
            let (one, two) = (history(&world, 0).unwrap(), history(&world, 5).unwrap());
            let late = if one < two { 4 } else { 1 };
            let away = world.ways_of(late);
            world.cut(&away);
            mend(&mut world, 3);
            wait(&mut world, 20, "end of one history", |world| {
                (0..6).all(|peer| peer == late || history(world, peer) == Some(one.min(two)))
            });
            assert_eq!(history(&world, late), Some(one.max(two)));
            // Long enough to campaign.
            world.run_for(Duration::from_millis(200 * seed));
            world.mend(&away);
            settle(&mut world);
            told += u32::from(marked(&world, "meeting.late_member_told"));
        }
        assert!(told > 0, "nobody was told ({storage:?})");
    }
}

#[test]
fn whoever_crashes_while_its_history_dissolves_comes_back_into_the_other_one() {
    for seed in 0..60 {
        let mut world = apart(seed % 4, &TWO_GROUPS, Storage::Disk);
        let (one, two) = (history(&world, 0).unwrap(), history(&world, 5).unwrap());
        let first = if one < two { 3 } else { 0 };
        mend(&mut world, 3);
        world.run_for(Duration::from_micros(seed * 2_300));
        // Any one of the losers, or all of them at once.
        for peer in first..first + 3 {
            if seed % 4 == 3 || peer == first + usize::try_from(seed % 4).unwrap() {
                world.crash(peer, Duration::from_millis(30 + seed * 7));
            }
        }
        settle(&mut world);
        assert_eq!(history(&world, first), Some(one.min(two)));
    }
}

#[test]
fn a_chain_of_histories_ends_in_one() {
    for seed in 0..10 {
        let forms = [Form::Alone; 3];
        let mut world = world(seed, &forms, |scenario| scenario.apart = true);
        let alone = [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)];
        world.cut(&alone);
        wait(&mut world, 5, "three histories", |world| {
            (0..3).all(|peer| world.view(peer).is_some_and(|view| view.leader.is_some()))
        });
        let mut ids: Vec<_> = (0..3).filter_map(|peer| history(&world, peer)).collect();
        // Two meet first, the third one while they may be in the middle of it.
        let first = usize::try_from(seed % 3).unwrap() * 2;
        world.mend(&alone[first..first + 2]);
        world.run_for(Duration::from_millis(seed * 30));
        let mut rest = alone.to_vec();
        rest.drain(first..first + 2);
        world.mend(&rest);
        settle(&mut world);
        ids.sort_unstable();
        assert_eq!(history(&world, 0), Some(ids[0]));
    }
}

#[test]
fn nobody_founds_again_when_the_winner_is_lost() {
    let mut world = apart(2, &TWO_ALONE, Storage::Disk);
    write(&mut world, 3, 0..5, 30);
    mend(&mut world, 3);
    wait(&mut world, 10, "end of the empty history", |world| {
        (0..3).all(|peer| !dissolved(world, peer).is_empty())
    });
    // Gone before anybody else votes.
    cut(&mut world, 3);
    let winner = history(&world, 3);
    world.crash(0, Duration::from_millis(100));
    world.run_for(Duration::from_secs(20));
    for peer in 0..3 {
        let formed = events(&world, peer, |event| match event {
            GroupEvent::Formed { genesis } => Some(*genesis),
            _ => None,
        });
        let other = formed.iter().filter(|one| Some(**one) != winner).count();
        assert!(other <= 2, "peer {peer} formed {formed:?}");
    }
    mend(&mut world, 3);
    settle(&mut world);
    assert_eq!(history(&world, 0), winner);
}

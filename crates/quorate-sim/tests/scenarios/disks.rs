//! Disks that lose, fail, fill up and stall, and what becomes of their peers.

use std::time::Duration;

use quorate_core::Form;
use quorate_sim::{Action, FaultKind, Span, Storage, Told, World};

use crate::cluster::{Load, settle, sound, wait, world, write, write_at_last};

const AWAY: Duration = Duration::from_millis(200);

/// Three voters with data directories, and a group that is settled.
fn three(seed: u64) -> World {
    three_with(seed, 4 << 10)
}

/// The same, with files of the log of so many bytes.
fn three_with(seed: u64, segment_bytes: u64) -> World {
    let mut world = world(seed, &[Form::Expect(3); 3], |scenario| {
        scenario.storage = Storage::Disk;
        scenario.profile.keep_log = true;
        for peer in &mut scenario.peers {
            peer.segment_bytes = segment_bytes;
        }
    });
    settle(&mut world);
    world
}

fn leader(world: &World) -> usize {
    world.leader().expect("a settled group has one")
}

fn follower(world: &World) -> usize {
    (leader(world) + 1) % 3
}

fn count(world: &World, mark: &str) -> u64 {
    world.marks().get(mark).copied().unwrap_or(0)
}

#[track_caller]
fn marked(world: &World, mark: &str) {
    assert!(count(world, mark) > 0, "{mark}: {:?}", world.marks());
}

fn local_read(key: u32) -> Action {
    Action::Read {
        key,
        linearizable: false,
    }
}

/// Runs until the peer is there again.
#[track_caller]
fn back(world: &mut World, peer: usize) {
    wait(world, 10, "end of the peer", |world| {
        world.view(peer).is_none()
    });
    wait(world, 10, "new life", |world| world.view(peer).is_some());
}

#[test]
fn whatever_rot_takes_of_a_log_is_refilled() {
    let mut refilled = 0;
    for place in (0..1_000_000).step_by(90_000) {
        for kind in 0..4 {
            let mut world = three(u64::from(place) + kind);
            let at = leader(&world);
            write(&mut world, at, 0..60, 200);
            let peer = follower(&world);
            let away = AWAY;
            world.inject(match kind {
                0 => FaultKind::BitRot { peer, place, away },
                1 => FaultKind::TruncatedFile { peer, place, away },
                2 => FaultKind::MissingFile { peer, place, away },
                _ => FaultKind::MisdirectedWrite {
                    peer,
                    meant: (place + 333_333) % 1_000_000,
                    place,
                    away,
                },
            });
            back(&mut world, peer);
            wait(&mut world, 10, "whole log", |world| {
                world.view(peer).is_some_and(|view| view.floor().is_none())
            });
            write_at_last(&mut world, peer, 500);
            settle(&mut world);
            refilled += count(&world, "disk.damage_refilled") + count(&world, "disk.doubt_lifted");
        }
    }
    assert!(refilled > 30, "{refilled} logs were refilled");
}

/// The one voter that has an acknowledged write, beside the one that lost it, is down: the two that
/// run are a majority, and must wait for it all the same.
#[test]
fn a_voter_that_lost_a_write_elects_nobody_without_it() {
    for seed in 0..6 {
        let mut world = three(seed);
        let (one, damaged) = (leader(&world), follower(&world));
        let behind = 3 - one - damaged;
        let ways = world.ways_of(behind);
        world.cut(&ways);
        write(&mut world, one, 0..20, 100);
        world.run_for(Duration::from_millis(100));
        world.inject(FaultKind::LostName {
            peer: damaged,
            away: Duration::from_millis(20),
        });
        world.inject(FaultKind::Crash {
            peer: one,
            away: Duration::from_secs(8),
        });
        wait(&mut world, 5, "damaged log", |world| {
            world
                .view(damaged)
                .is_some_and(|view| view.floor().is_some())
        });
        world.mend(&ways);
        wait(&mut world, 5, "refused vote", |world| {
            count(world, "disk.limited_vote_refused") > 0
        });
        world.run_for(Duration::from_secs(2));
        assert_eq!(world.leader(), None, "seed {seed}");
        sound(&world);
        wait(&mut world, 20, "leader", |world| world.leader().is_some());
        write_at_last(&mut world, behind, 900);
        settle(&mut world);
        let view = world.view(damaged).expect("it runs");
        assert_eq!(view.floor(), None, "seed {seed}");
    }
}

#[test]
fn a_leader_without_space_steps_down_serves_reads_and_leads_no_more_until_there_is_space() {
    let mut world = three(7);
    let at = leader(&world);
    write(&mut world, at, 0..10, 100);
    world.inject(FaultKind::NoSpace {
        peer: at,
        lasts: Duration::from_secs(4),
    });
    let mut load = Load::new(&[0, 1, 2]);
    load.until(&mut world, 5, "other leader", |world| {
        world.leader().is_some_and(|leader| leader != at)
    });
    marked(&world, "disk.no_space_leader_steps_down");
    let patience = Duration::from_secs(2);
    let read = world.ask(at, local_read(3), patience);
    let read = read.expect("the peer runs");
    wait(&mut world, 3, "read", |world| world.told(read).is_some());
    assert!(matches!(world.told(read), Some(Told::Read(_))));
    let full = |world: &World| world.view(at).is_some_and(|view| view.lacks_space());
    assert!(full(&world), "there is no space yet");
    load.until(&mut world, 10, "space", |world| !full(world));
    marked(&world, "disk.space_again");
    settle(&mut world);
    assert!(load.written(&world) > 0);
}

#[test]
fn a_follower_without_space_takes_no_entries_and_catches_up_when_there_is() {
    let mut world = three(8);
    let (at, peer) = (leader(&world), follower(&world));
    world.inject(FaultKind::NoSpace {
        peer,
        lasts: Duration::from_secs(3),
    });
    write(&mut world, at, 0..40, 300);
    marked(&world, "disk.no_space_for_entries");
    assert_eq!(world.leader(), Some(at));
    world.run_for(Duration::from_secs(4));
    settle(&mut world);
}

#[test]
fn a_leader_whose_syncs_outlast_an_election_timeout_hands_over() {
    for seed in 0..4 {
        let mut world = three(seed);
        let at = leader(&world);
        world.inject(FaultKind::SlowDisk {
            peer: at,
            delay: Span::micros(900_000, 1_100_000),
            lasts: Duration::from_secs(5),
        });
        let mut load = Load::new(&[0, 1, 2]);
        load.until(&mut world, 5, "other leader", |world| {
            world.leader().is_some_and(|leader| leader != at)
        });
        marked(&world, "disk.slow_leader_hands_over");
        settle(&mut world);
    }
}

#[test]
fn a_peer_whose_superblocks_are_bad_comes_back_as_another_and_takes_its_old_seat() {
    for seed in 0..4 {
        let mut world = three(seed);
        let (at, peer) = (leader(&world), follower(&world));
        write(&mut world, at, 0..20, 100);
        let before = world.member(peer).expect("it runs");
        world.inject(if seed % 2 == 0 {
            FaultKind::BadSuperblocks { peer, away: AWAY }
        } else {
            FaultKind::WipedDisk { peer, away: AWAY }
        });
        back(&mut world, peer);
        let after = world.member(peer).expect("it runs");
        assert_eq!(after.peer, before.peer);
        assert_ne!(after.incarnation, before.incarnation);
        wait(&mut world, 20, "replaced voter", |world| {
            let committed = world.configurations();
            let last = committed.last().expect("there is the genesis");
            last.is_voter(after) && !last.members().contains(&before) && !last.is_joint()
        });
        settle(&mut world);
    }
}

#[test]
fn one_bad_superblock_copy_costs_nothing() {
    for second in [false, true] {
        let mut world = three(u64::from(second));
        let (at, peer) = (leader(&world), follower(&world));
        write(&mut world, at, 0..20, 100);
        let before = world.member(peer);
        world.inject(FaultKind::BadSuperblock {
            peer,
            second,
            away: AWAY,
        });
        back(&mut world, peer);
        assert_eq!(world.member(peer), before);
        marked(&world, "disk: superblock copy bad");
        settle(&mut world);
    }
}

#[test]
fn a_failed_write_or_sync_ends_the_process_and_nothing_acknowledged_is_lost() {
    for kind in 0..3 {
        for seed in 0..4 {
            let mut world = three(seed);
            let peer = if seed % 2 == 0 {
                leader(&world)
            } else {
                follower(&world)
            };
            world.inject(match kind {
                0 => FaultKind::WriteError { peer, away: AWAY },
                kind => FaultKind::SyncError {
                    peer,
                    power: kind == 1,
                    away: AWAY,
                },
            });
            let mut load = Load::new(&[0, 1, 2]);
            load.until(&mut world, 5, "end of the peer", |world| {
                world.view(peer).is_none()
            });
            marked(&world, "disk: failed under a peer");
            load.until(&mut world, 5, "new life", |world| {
                world.view(peer).is_some()
            });
            world.inject(FaultKind::LostWrites { peer, away: AWAY });
            settle(&mut world);
        }
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_left_alone_until_it_can_be() {
    let mut world = three(3);
    let (at, peer) = (leader(&world), follower(&world));
    write(&mut world, at, 0..20, 100);
    let before = world.member(peer);
    world.inject(FaultKind::ReadError {
        peer,
        lasts: Duration::from_secs(2),
    });
    back(&mut world, peer);
    marked(&world, "disk: cannot be used at a start");
    assert_eq!(world.member(peer), before, "nothing was forgotten");
    settle(&mut world);
}

/// Of two voters that stay, one without any log can elect nobody: an operator who had a third one
/// leave just then would end the group, whichever of the two came first.
#[test]
fn nobody_leaves_while_another_one_s_log_is_lost() {
    for seed in 0..16 {
        let mut world = three_with(seed, 1 << 20);
        let damaged = follower(&world);
        let leaver = 3 - leader(&world) - damaged;
        let at = leader(&world);
        write(&mut world, at, 0..20, 100);
        let loss = FaultKind::LostName {
            peer: damaged,
            away: Duration::from_secs(2),
        };
        let leave = FaultKind::Leave {
            peer: leaver,
            away: AWAY,
            patience: Duration::from_secs(1),
        };
        world.run_for(Duration::from_millis(seed * 7));
        if seed.is_multiple_of(2) {
            world.inject(loss);
            world.inject(leave);
        } else {
            world.inject(leave);
            world.inject(loss);
        }
        world.run_for(Duration::from_secs(4));
        world.come_back();
        sound(&world);
        assert_eq!(count(&world, "fault left out: not survivable"), 1);
    }
}

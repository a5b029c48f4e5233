//! Accidents under load: processes that are killed, stopped and sent away while writers write
//! through all of them, and files that are damaged while their peer is down. What was acknowledged
//! stays, and what is repeated is applied once.
#![allow(clippy::unwrap_used)] // All of it is tests.

#[path = "../common/mod.rs"]
mod common;
mod full_disk;
mod load;
mod restarts;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use common::{Up, World, dice::Dice, settles};
use load::{Load, Written};
use serde_json::Value;

/// Writers at a time.
const WRITERS: usize = 6;

/// Writes that must be acknowledged between two events.
const SOME: usize = 150;

/// The shortest time after which peers that hear nothing of their leader elect another.
const ELECTION: Duration = Duration::from_millis(250);

#[test]
fn nothing_acknowledged_is_lost_when_the_leader_is_killed() {
    killed(leader);
}

#[test]
fn nothing_acknowledged_is_lost_when_a_follower_is_killed() {
    killed(|peers| (leader(peers) + 1) % peers.len());
}

/// Kills one of three under load; a new process takes its place.
fn killed(victim: impl Fn(&[Up]) -> usize) {
    let mut dice = Dice::thrown();
    let world = World::new();
    let mut peers = world.group(3);
    let load = Load::start(WRITERS, &addresses(&peers), &mut dice);
    load.wait(SOME);
    let victim = victim(&peers);
    peers[victim].kill();
    load.wait(SOME);
    peers[victim] = world.up(&[]);
    load.ask(&addresses(&peers));
    load.wait(SOME);
    voters(&peers);
    load.wait(SOME);
    let written = load.finish();
    assert!(written.repeats > 0, "the accident went by unnoticed");
    all_have(&peers, &written);
}

#[test]
fn a_leader_that_sleeps_while_another_is_elected_tells_nothing_stale() {
    let mut dice = Dice::thrown();
    let world = World::new();
    let peers = world.group(3);
    let load = Load::start(WRITERS, &addresses(&peers), &mut dice);
    for _ in 0..3 {
        load.wait(SOME);
        let at = leader(&peers);
        let mut others = addresses(&peers);
        others.swap_remove(at);
        load.ask(&others);
        peers[at].signal("STOP");
        load.wait(SOME);
        peers[at].signal("CONT");
        // What it hears first is whatever waited for it.
        load.ask(&addresses(&peers));
    }
    load.wait(SOME);
    voters(&peers);
    all_have(&peers, &load.finish());
}

#[test]
fn a_leader_that_is_asked_to_stop_hands_over() {
    let mut dice = Dice::thrown();
    let world = World::new();
    let mut peers = world.group(3);
    let load = Load::start(WRITERS, &addresses(&peers), &mut dice);
    let mut silences = Vec::new();
    for _ in 0..3 {
        load.wait(SOME);
        let at = leader(&peers);
        let mut stopping = peers.swap_remove(at);
        let since = Instant::now();
        let (status, took) = stopping.stop("TERM");
        assert_eq!(status.code(), Some(0), "{:#?}", stopping.lines());
        assert!(
            took < Duration::from_secs(2),
            "{took:?}: {:#?}",
            stopping.lines()
        );
        load.ask(&addresses(&peers));
        load.wait(SOME);
        silences.push(load.longest_silence(since, stopping.http));
        peers.push(world.up(&[]));
        voters(&peers);
        load.ask(&addresses(&peers));
    }
    let written = load.finish();
    all_have(&peers, &written);
    // A machine that is busy with something else may be slow once, but not each time.
    let shortest = silences.iter().min().unwrap();
    assert!(*shortest < ELECTION, "nobody could write for {silences:?}");
}

#[test]
fn a_peer_gives_up_its_seat_and_the_last_one_keeps_it() {
    let mut dice = Dice::thrown();
    let world = World::new();
    let mut peers = world.group(3);
    let load = Load::start(WRITERS, &addresses(&peers), &mut dice);
    load.wait(SOME);
    for left in [2, 1] {
        let mut leaves = peers.swap_remove(dice.below(peers.len()));
        let named = leaves.http.to_string();
        world.run(&["leave", "--http", &named]).code(0);
        let status = leaves.wait_end();
        assert_eq!(status.code(), Some(0), "{:#?}", leaves.lines());
        load.ask(&addresses(&peers));
        voters(&peers);
        assert_eq!(peers.len(), left);
        load.wait(SOME);
    }
    let last = &mut peers[0];
    let named = last.http.to_string();
    let refused = world.run(&["leave", "--http", &named]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.err.contains("--dissolve"), "{}", refused.err);
    load.wait(SOME);
    let written = load.finish();
    assert!(last.is_running());
    written.check(last.http);
    world
        .run(&["leave", "--dissolve", "--http", &named])
        .code(0);
    let status = last.wait_end();
    assert_eq!(status.code(), Some(0), "{:#?}", last.lines());
}

fn addresses(peers: &[Up]) -> Vec<SocketAddr> {
    peers.iter().map(|peer| peer.http).collect()
}

/// Waits until one of them leads, and says which.
fn leader(peers: &[Up]) -> usize {
    settles("one of them leads", || {
        let all = statuses(peers);
        let mut leading = (0..all.len()).filter(|at| all[*at]["role"] == "leader");
        match (leading.next(), leading.next()) {
            (Some(leader), None) => Ok(leader),
            _ => Err(format!("{all:#?}")),
        }
    })
}

/// Waits until these peers, and no others, are the voters.
fn voters(peers: &[Up]) {
    settles("these peers are the voters", || {
        let all = statuses(peers);
        let mut here: Vec<&Value> = all.iter().map(|status| &status["peer"]).collect();
        here.sort_by_key(|peer| peer.as_str());
        let agree = all.iter().all(|status| {
            let mut voters: Vec<&Value> = status["voters"].as_array().unwrap().iter().collect();
            voters.sort_by_key(|peer| peer.as_str());
            voters == here
        });
        if agree {
            Ok(())
        } else {
            Err(format!("{all:#?}"))
        }
    });
}

fn statuses(peers: &[Up]) -> Vec<Value> {
    peers.iter().map(Up::status).collect()
}

/// Checks that every peer has all that is written, and the same.
fn all_have(peers: &[Up], written: &Written) {
    for peer in peers {
        written.check(peer.http);
    }
    settles("equal digests at one cursor", || {
        let ask = common::Request::get("/v1/digest");
        let all: Vec<Value> = peers
            .iter()
            .map(|peer| ask.send(peer.http).unwrap().json())
            .collect();
        let cursor = |digest: &Value| digest["cursor"].clone();
        if all.iter().any(|one| cursor(one) != cursor(&all[0])) {
            return Err(format!("{all:#?}"));
        }
        assert!(
            all.iter().all(|one| *one == all[0]),
            "peers differ: {all:#?}"
        );
        Ok(())
    });
}

//! What others leave behind: cards of peers that were killed, files that are no cards, peers that
//! are paused or gone. None of it keeps the living from each other, and nothing hangs.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::common::{Up, World, eventually, mode, settles};

/// Returns the directory in which the peers of the only network find each other.
fn meeting_place(world: &World) -> PathBuf {
    let entries = fs::read_dir(world.runtime().join("quorate")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find(|path| path.is_dir()).unwrap()
}

/// Returns the names of the cards in it: ids of peers.
fn cards(world: &World) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(meeting_place(world))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() == 64)
        .collect();
    names.sort();
    names
}

fn ids(peers: &[Up]) -> Vec<String> {
    let id = |peer: &Up| peer.status()["peer"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = peers.iter().map(id).collect();
    ids.sort();
    ids
}

#[test]
fn cards_of_the_dead_are_swept_out_and_nobody_waits_for_them() {
    let world = World::new();
    let mut dead = world.group(3);
    let known = ids(&dead);
    eventually("three cards", || (cards(&world) == known).then_some(()));
    dead.iter_mut().for_each(Up::kill);
    world
        .run(&["status"])
        .fails(1, "no peer of group kv in network default", "quorate up");
    let living = [world.up(&[]), world.up(&[])];
    living.iter().for_each(Up::wait_ready);
    world.run(&["put", "k", "v"]).code(0);
    let known = ids(&living);
    eventually("two cards", || (cards(&world) == known).then_some(()));
    let genesis = |peer: &Up| peer.status()["genesis"].clone();
    assert_eq!(genesis(&living[0]), genesis(&living[1]));
}

#[test]
fn files_that_are_no_cards_are_passed_over() {
    let world = World::new();
    world.alone().stop("TERM");
    let place = meeting_place(&world);
    fs::write(place.join("notes.txt"), "not of a peer").unwrap();
    fs::write(place.join("f".repeat(64)), b"\xff\x00 no card at all").unwrap();
    fs::write(place.join("0".repeat(64)), "").unwrap();
    fs::write(place.join("a".repeat(64)), vec![b'x'; 3 << 20]).unwrap();
    fs::create_dir(place.join("e".repeat(64))).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place.join("d".repeat(64))).unwrap();
    std::os::unix::fs::symlink("nowhere", place.join("c".repeat(64))).unwrap();
    fs::write(place.join("b".repeat(64)), "closed").unwrap();
    mode(&place.join("b".repeat(64)), 0o000);
    let peers = [world.up(&[]), world.up(&[])];
    peers.iter().for_each(Up::wait_ready);
    world.run(&["put", "k", "v"]).code(0);
    assert_eq!(world.run(&["get", "k"]).code(0).out, "v");
    let of_others = fs::read_to_string(place.join("notes.txt")).unwrap();
    assert_eq!(of_others, "not of a peer");
}

#[test]
fn whoever_is_gone_is_not_asked_and_whoever_is_paused_is_not_waited_for() {
    let world = World::new();
    let mut peers = world.group(3);
    world.run(&["put", "k", "v"]).code(0);
    peers[1].kill();
    for _ in 0..4 {
        assert_eq!(world.run(&["get", "k"]).code(0).out, "v");
    }
    peers[2].signal("STOP");
    let named = peers[2].http.to_string();
    let began = Instant::now();
    world
        .run(&["get", "k", "--timeout-ms", "200", "--http", &named])
        .fails(5, "has not answered", "another peer");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    peers[2].signal("CONT");
    peers[0].wait_ready();
    peers[2].wait_ready();
    assert_eq!(world.run(&["get", "k"]).code(0).out, "v");
}

#[test]
fn a_learner_whose_only_voter_is_gone_says_for_whom_it_waits() {
    let world = World::new();
    let mut voter = world.alone();
    let learner = world.up(&[]);
    learner.wait_ready();
    let missing = ids(std::slice::from_ref(&voter)).remove(0);
    voter.kill();
    let status = settles("it says who is missing", || {
        let status = world.run(&["status", "--full-ids"]).code(0).out;
        let says = status.contains("no: ") && status.contains(&missing);
        if says { Ok(status) } else { Err(status) }
    });
    assert!(status.contains("voter"), "{status}");
    let put = world.run(&["put", "k", "v", "--timeout-ms", "300"]);
    put.fails(4, "nothing was changed", "quorate status");
    learner.wait_line(|line| line.contains(&missing[..10]));
}

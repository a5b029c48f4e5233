//! Peers with data directories that are killed, one or all at once, and whose files are damaged
//! while they are down. Whoever comes back has everything that was acknowledged.
//!
//! `just torture CYCLES=1000` runs more cycles than the tests do.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    SOME, WRITERS, addresses, all_have,
    common::{Up, World, dice::Dice},
    leader,
    load::Load,
};

/// Cycles of the test, unless the environment says otherwise.
const CYCLES: usize = 25;

/// The variable that may say `CYCLES=1000`.
const VARIABLE: &str = "QUORATE_TORTURE";

/// Files that are damaged, one in each cycle.
const DAMAGES: usize = 8;

/// Three peers, each with a directory of its own, and an address that it has in all its lives.
struct Trio {
    world: World,
    peers: Vec<Up>,
}

impl Trio {
    fn start() -> Self {
        let world = World::new();
        let peers = (0..3).map(|nth| up(&world, nth)).collect();
        let trio = Self { world, peers };
        for peer in &trio.peers {
            peer.wait_ready();
        }
        trio
    }

    fn directory(&self, nth: usize) -> PathBuf {
        self.world.path(&format!("data-{nth}"))
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.peers)
    }

    /// Kills these peers at once, does something while they are down, and starts them again.
    fn kill(&mut self, victims: &[usize], while_down: impl FnOnce(&Self)) {
        for victim in victims {
            self.peers[*victim].signal("KILL");
        }
        for victim in victims {
            self.peers[*victim].wait_end();
        }
        while_down(self);
        for victim in victims {
            self.peers[*victim] = up(&self.world, *victim);
        }
    }
}

fn up(world: &World, nth: usize) -> Up {
    let directory = world.path(&format!("data-{nth}"));
    let directory = directory.to_str().unwrap();
    world.up(&["--expect", "3", "--data-dir", directory])
}

#[test]
fn nothing_acknowledged_is_lost_whoever_is_killed_and_started_again() {
    let cycles = std::env::var(VARIABLE).map_or(CYCLES, |text| {
        let number = text.strip_prefix("CYCLES=").unwrap_or(&text);
        number.parse().unwrap()
    });
    let mut dice = Dice::thrown();
    let mut trio = Trio::start();
    let ids: Vec<_> = trio
        .peers
        .iter()
        .map(|peer| peer.status()["peer"].clone())
        .collect();
    let load = Load::start(WRITERS, &trio.addresses(), &mut dice);
    for cycle in 0..cycles {
        load.wait(SOME);
        let first = leader(&trio.peers);
        let victims = match cycle % 3 {
            0 => vec![first],
            1 => vec![(first + 1 + dice.below(2)) % 3],
            _ => vec![0, 1, 2],
        };
        trio.kill(&victims, |_| {});
        load.ask(&trio.addresses());
    }
    load.wait(SOME);
    let written = load.finish();
    assert!(written.repeats > 0, "the accidents went by unnoticed");
    all_have(&trio.peers, &written);
    for (peer, id) in trio.peers.iter().zip(ids) {
        assert_eq!(peer.status()["peer"], id, "it came back as somebody else");
    }
}

#[test]
fn a_peer_whose_files_are_damaged_while_it_is_down_is_repaired() {
    let mut dice = Dice::thrown();
    let mut trio = Trio::start();
    let load = Load::start(WRITERS, &trio.addresses(), &mut dice);
    for _ in 0..DAMAGES {
        load.wait(SOME);
        let victim = dice.below(3);
        trio.kill(&[victim], |trio| damage(&trio.directory(victim), &mut dice));
        load.ask(&trio.addresses());
        trio.peers[victim].wait_ready();
    }
    load.wait(SOME);
    let written = load.finish();
    all_have(&trio.peers, &written);
    for nth in 0..3 {
        trio.peers[nth].stop("TERM");
        let directory = trio.directory(nth);
        let verified = trio
            .world
            .run(&["log", "verify", directory.to_str().unwrap()]);
        verified.code(0);
    }
}

#[test]
fn a_directory_that_was_copied_is_refused_and_comes_back_as_a_new_member() {
    let mut dice = Dice::thrown();
    let mut trio = Trio::start();
    let load = Load::start(WRITERS, &trio.addresses(), &mut dice);
    load.wait(SOME);
    let (older, data) = (trio.world.path("older"), trio.directory(1));
    trio.kill(&[1], |_| copy(&data, &older));
    load.ask(&trio.addresses());
    trio.peers[1].wait_ready();
    let before = incarnation(&trio.world, &data);
    load.wait(SOME);
    // The older state is brought back in its place.
    trio.peers[1].stop("TERM");
    fs::remove_dir_all(&data).unwrap();
    copy(&older, &data);
    let path = data.to_str().unwrap();
    let mut refused = Up::spawn(
        trio.world
            .command(&["up", "--expect", "3", "--data-dir", path]),
    );
    assert_eq!(refused.wait_end().code(), Some(6), "{:#?}", refused.lines());
    refused.wait_line(|line| line.contains("copied, or brought back"));
    trio.peers[1] = up(&trio.world, 1);
    trio.peers[1].wait_line(|line| line.contains("joins as a new member"));
    load.ask(&trio.addresses());
    load.wait(SOME);
    let written = load.finish();
    all_have(&trio.peers, &written);
    assert_ne!(incarnation(&trio.world, &data), before);
}

/// Returns which life a directory is in.
fn incarnation(world: &World, directory: &Path) -> serde_json::Value {
    let path = directory.to_str().unwrap();
    world.run(&["log", "inspect", path, "--json"]).json()["incarnation"].clone()
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

/// Flips a bit of one file, or cuts it short.
fn damage(directory: &Path, dice: &mut Dice) {
    let mut files: Vec<PathBuf> = fs::read_dir(directory.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push(directory.join("identity-a"));
    files.push(directory.join("identity-b"));
    // A segment may have been made and not written yet.
    files.retain(|path| fs::metadata(path).unwrap().len() > 0);
    files.sort();
    let path = &files[dice.below(files.len())];
    let mut bytes = fs::read(path).unwrap();
    let at = dice.below(bytes.len());
    if dice.below(3) == 0 {
        bytes.truncate(at);
    } else {
        bytes[at] ^= 1 << dice.below(8);
    }
    fs::write(path, bytes).unwrap();
}

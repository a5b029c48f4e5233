//! A disk that is really full: a file system of a few megabytes, which only the system's
//! administrator can make. Without that right the test says so and shows nothing.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    SOME, WRITERS, addresses, all_have,
    common::{Request, Up, World, dice::Dice, eventually},
    load::Load,
};

/// How long it is watched while it finds no space: a few tries.
const TRIES: Duration = Duration::from_millis(500);

/// A file system of a few megabytes.
struct Small(PathBuf);

impl Small {
    /// Mounts one; nothing if that is not allowed here.
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]);
        let mounted = mount.arg(&path).output().ok()?;
        mounted.status.success().then_some(Self(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What is still used goes when it is used no more.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok() || std::thread::panicking());
    }
}

fn up(world: &World, directory: &str) -> Up {
    world.up(&["--expect", "3", "--data-dir", directory])
}

#[test]
fn a_peer_whose_disk_is_full_serves_reads_and_goes_on_when_there_is_space() {
    let mut dice = Dice::thrown();
    let world = World::new();
    let Some(small) = Small::mount(world.path("small")) else {
        eprintln!("skipped: no file system can be mounted here, so no disk can be filled");
        return;
    };
    let own = small.0.join("data");
    let peers = vec![
        up(&world, own.to_str().unwrap()),
        up(&world, world.path("data-1").to_str().unwrap()),
        up(&world, world.path("data-2").to_str().unwrap()),
    ];
    peers.iter().for_each(Up::wait_ready);
    let load = Load::start(WRITERS, &addresses(&peers), &mut dice);
    load.wait(SOME);
    // Somebody else takes all that is left.
    let filler = small.0.join("filler");
    let mut size = 8 << 20;
    while size >= 4096 {
        let before = fs::metadata(&filler).map_or(0, |metadata| metadata.len()) as usize;
        let grown = fs::write(&filler, vec![1; before + size]);
        if grown.is_err() {
            size /= 2;
        }
    }
    let full = &peers[0];
    eventually("it says so", || full.status()["disk"].as_str().map(drop));
    // And goes on saying so while it tries again, ten times a second.
    let until = Instant::now() + TRIES;
    while Instant::now() < until {
        let status = full.status();
        assert!(status["disk"].is_string(), "{status:#}");
    }
    // The others decide, and it serves what they decided.
    load.wait(SOME);
    let read = Request::get("/v1/kv/again-0?consistency=local").send(full.http);
    assert_eq!(read.unwrap().status, 200);
    full.wait_line(|line| line.contains("ALARM: the disk: no space is left"));
    fs::remove_file(&filler).unwrap();
    eventually("it goes on", || {
        full.status()["disk"].is_null().then_some(())
    });
    load.wait(SOME);
    let written = load.finish();
    all_have(&peers, &written);
}

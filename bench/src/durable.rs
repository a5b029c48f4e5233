//! What durability costs: syncs of the disk alone, and peers whose logs are on it.
//!
//! All of it happens below the directory for temporary files: what is measured is the disk that has
//! that one. On a file system in memory the rows say so, by being fast.

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt as _, FileExt as _},
    path::{Path, PathBuf},
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use quorate::{Form, Group, GroupKey, Map, Network, Read};

use crate::{
    cluster::{self, Entries},
    sample::{median, micros, millis},
    write,
};

/// What one batch of a lone write takes on the disk, about.
const BLOCK: usize = 4 << 10;
const SYNCS: u64 = 1_000;
/// Entries that a peer reads when it starts.
const RESTARTED: u64 = 1_000_000;
const RESTARTS: u64 = 3;

/// Measures one write of 4 KiB behind the last and its sync, in microseconds.
pub(crate) fn sync_us() -> anyhow::Result<f64> {
    let directory = Directory::make()?;
    let file = File::create(directory.path("file"))?;
    let mut took = Vec::new();
    for at in 0..SYNCS {
        took.push(sync_once(&file, at)?);
    }
    Ok(median(took))
}

/// Measures the same by three at once on one disk, until the second of them is done: what a quorum
/// of three waits for.
pub(crate) fn sync3_us() -> anyhow::Result<f64> {
    let directory = Directory::make()?;
    let barrier = Barrier::new(3);
    let sync_all = |name: &str| -> anyhow::Result<Vec<f64>> {
        let file = File::create(directory.path(name))?;
        (0..SYNCS)
            .map(|at| {
                barrier.wait();
                sync_once(&file, at)
            })
            .collect()
    };
    let took = std::thread::scope(|scope| {
        let syncing = ["a", "b", "c"].map(|name| scope.spawn(move || sync_all(name)));
        syncing.map(|thread| {
            thread
                .join()
                .expect("a disk that fails is no reason to panic")
        })
    });
    let [a, b, c] = took;
    let rounds = a?.into_iter().zip(b?).zip(c?);
    Ok(median(rounds.map(|((a, b), c)| second(a, b, c)).collect()))
}

fn sync_once(file: &File, at: u64) -> anyhow::Result<f64> {
    let began = Instant::now();
    file.write_all_at(&[7; BLOCK], at * BLOCK as u64)?;
    file.sync_data()?;
    Ok(micros(began.elapsed()))
}

fn second(a: f64, b: f64, c: f64) -> f64 {
    a.min(b).max(a.max(b).min(c))
}

/// Measures one write at a time at the leader of three peers with directories, in microseconds.
pub(crate) async fn p50_us() -> anyhow::Result<f64> {
    let trio = Trio::start().await?;
    let took = write::one_at_a_time(&trio.at_leader().await?).await?;
    trio.close().await;
    Ok(took)
}

/// Measures how many writes of 100 bytes per second the leader of three peers with directories
/// acknowledges while 4,096 are under way.
pub(crate) async fn pipelined_per_s() -> anyhow::Result<f64> {
    const WRITES: u64 = 150_000;
    const ROUNDS: u64 = 3;
    let trio = Trio::start().await?;
    let map = trio.at_leader().await?;
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        let began = Instant::now();
        cluster::write_all(&map, 0..WRITES).await?;
        if round > 0 {
            rates.push(WRITES as f64 / began.elapsed().as_secs_f64());
        }
    }
    trio.close().await;
    Ok(median(rates))
}

/// What a peer with a million entries in its log takes to start, and on its disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    /// From making the peer to its first linearizable read, in milliseconds.
    pub(crate) ms: f64,
    /// Bytes of the log's files for each entry of 100 bytes.
    pub(crate) bytes_per_entry: f64,
}

/// Measures a peer that is a group of its own and starts again with a million entries.
pub(crate) async fn restart() -> anyhow::Result<Restart> {
    let directory = Directory::make()?;
    let place = directory.path("data");
    let peer = Peer::start(&place, &directory.path("meet"), Form::Alone).await?;
    cluster::write_all(&peer.map(), 0..RESTARTED).await?;
    peer.net.close().await;
    drop(peer);
    let bytes: u64 = fs::read_dir(place.join("log"))?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum::<std::io::Result<u64>>()?;
    let mut took = Vec::new();
    for _ in 0..RESTARTS {
        let began = Instant::now();
        let peer = Peer::start(&place, &directory.path("meet"), Form::Alone).await?;
        let items = peer.map().len(Read::Linearizable).await?;
        anyhow::ensure!(items == RESTARTED, "{items} of {RESTARTED} came back");
        took.push(millis(began.elapsed()));
        peer.net.close().await;
    }
    Ok(Restart {
        ms: median(took),
        bytes_per_entry: bytes as f64 / RESTARTED as f64,
    })
}

/// Three peers with data directories, over QUIC on loopback.
struct Trio {
    peers: Vec<Peer>,
    // Removed last.
    _directory: Directory,
}

struct Peer {
    net: Network,
    group: Group,
}

impl Trio {
    async fn start() -> anyhow::Result<Self> {
        let directory = Directory::make()?;
        let mut peers = Vec::new();
        for name in ["a", "b", "c"] {
            let place = directory.path(name);
            peers.push(Peer::start(&place, &directory.path("meet"), Form::Expect(3)).await?);
        }
        Ok(Self {
            peers,
            _directory: directory,
        })
    }

    async fn at_leader(&self) -> anyhow::Result<Entries> {
        let leader = self.peers[0].group.when().leader_elected().await?;
        let leading = self.peers.iter().find(|one| one.net.peer() == leader.peer);
        Ok(leading.context("the leader is one of the three")?.map())
    }

    async fn close(self) {
        for peer in &self.peers {
            peer.net.close().await;
        }
    }
}

impl Peer {
    async fn start(place: &Path, meet: &Path, form: Form) -> anyhow::Result<Self> {
        let net = Network::builder("bench").data_dir(place).rendezvous(meet);
        let net = net.build().await?;
        let group = net.group(GroupKey::named("bench")).form(form);
        let group = group.open().await?;
        Ok(Self { net, group })
    }

    fn map(&self) -> Map<u64, String> {
        self.group.map("entries")
    }
}

/// A directory of this run's own, removed with all that is in it.
struct Directory(PathBuf);

impl Directory {
    fn make() -> anyhow::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quorate-bench-{}-{nth}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let directory = Self(path);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(directory.path("meet"))?;
        Ok(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays is in the directory for temporary files.
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

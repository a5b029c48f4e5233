//! Measures the canonical tree: `cargo run --release -p quorate-state --example tree_figures`.
//!
//! Prints figures for 1,000,000 items (another number may be given) of 8-byte keys and 100-byte
//! values. Times are those that this thread had a processor, where the operating system tells, so
//! that a busy machine disturbs them less. Memory is what the operating system says, so it includes
//! what the allocator adds.

// A measurement reads the clock and prints: it is no part of the library.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use quorate_state::tree::{Assembly, Builder, Graveyard, Salt, Tree, chunk::Want};

const SALT: Salt = Salt([42; 32]);
const VALUE: usize = 100;

fn main() {
    let items: u64 = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    println!("{items} items of 8 + {VALUE} bytes");

    let sequential = loaded("inserts, key order", items, |i| i);
    drop(sequential);
    let tree = loaded("inserts, random order", items, scatter);
    lookups(&tree, items);
    digests(&tree, items);
    snapshots(tree.clone(), items);
    transfer(&tree);
    build(&tree);
    free(tree);
}

/// A fixed permutation of 64 bits: neighbours end up far apart.
fn scatter(i: u64) -> u64 {
    let mixed = (i ^ (i >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn value(i: u64) -> [u8; VALUE] {
    let mut value = [7; VALUE];
    value[..8].copy_from_slice(&i.to_le_bytes());
    value
}

fn loaded(name: &str, items: u64, key: impl Fn(u64) -> u64) -> Tree {
    let before = resident();
    let mut tree = Tree::new(SALT);
    let start = Timer::start();
    for i in 0..items {
        tree.insert(&key(i).to_be_bytes(), &value(i))
            .expect("small");
    }
    rate(name, items, start);
    let per_item = |bytes: u64| bytes as f64 / items as f64;
    let overhead = per_item(tree.overhead());
    println!("  overhead per item: {overhead:.1} bytes");
    // What a later tree occupies is what an earlier one left: only the first tells anything.
    if before < tree.bytes() {
        let resident = per_item(resident().saturating_sub(before));
        println!("  memory per item: {resident:.1} bytes");
    }
    tree
}

fn lookups(tree: &Tree, items: u64) {
    let start = Timer::start();
    for i in 0..items {
        let key = scatter(scatter(i) % items).to_be_bytes();
        black_box(tree.get(&key).expect("was inserted"));
    }
    rate("gets, random order", items, start);
    let start = Timer::start();
    assert_eq!(black_box(tree.iter().count()) as u64, items);
    rate("iteration", items, start);
}

fn digests(tree: &Tree, items: u64) {
    let start = Timer::start();
    let digest = tree.digest();
    println!("first digest {digest:?}: {:?}", start.elapsed());
    let mut copy = tree.clone();
    for changes in [1_u64, 100, 10_000] {
        for i in 0..changes {
            let key = scatter(scatter(i * 31 + changes) % items).to_be_bytes();
            copy.insert(&key, &value(changes)).expect("small");
        }
        let start = Timer::start();
        black_box(copy.digest());
        println!("digest after {changes} changes: {:?}", start.elapsed());
    }
    // The longest slice counts: it is what a step of the driver would wait for.
    for i in 0..items / 10 {
        copy.insert(&scatter(i).to_be_bytes(), &value(1))
            .expect("small");
    }
    let mut digesting = copy.digesting();
    let (mut slices, mut longest) = (0, Duration::ZERO);
    loop {
        let start = Timer::start();
        let done = digesting.advance(512 << 10);
        longest = longest.max(start.elapsed());
        slices += 1;
        if done.is_some() {
            break;
        }
    }
    println!("digest in {slices} slices, the longest {longest:?}");
}

fn snapshots(mut tree: Tree, items: u64) {
    let writes = items / 4;
    // The tree the caller keeps shares everything: the first pass over all leaves unshares them.
    for i in 0..items {
        tree.insert(&scatter(i).to_be_bytes(), &value(2))
            .expect("small");
    }
    let start = Timer::start();
    for i in 0..writes {
        tree.insert(&scatter(scatter(i) % items).to_be_bytes(), &value(3))
            .expect("small");
    }
    rate("overwrites, nothing shared", writes, start);
    let start = Timer::start();
    let snapshot = tree.clone();
    println!("snapshot: {:?}", start.elapsed());
    let start = Timer::start();
    for i in 0..writes {
        tree.insert(&scatter(scatter(i) % items).to_be_bytes(), &value(4))
            .expect("small");
    }
    rate("overwrites after a snapshot", writes, start);
    drop(snapshot);
    let start = Timer::start();
    for i in 0..items {
        tree.remove(&scatter(i).to_be_bytes()).expect("is there");
    }
    rate("removes, random order", items, start);
    assert!(tree.is_empty());
}

fn transfer(tree: &Tree) {
    let (digest, len) = (tree.digest(), tree.len());
    let mut chunks = Vec::new();
    let start = Timer::start();
    let mut next = 0;
    while next < len {
        let want = Want {
            start: next,
            end: len,
            offset: 0,
            max_items: 65_536,
            max_bytes: 1 << 20,
        };
        let chunk = tree.read_range(&want).expect("within the tree");
        next = chunk.ranks.end;
        chunks.push(chunk.encoded);
    }
    let bytes: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    println!(
        "read {} chunks, {bytes} bytes: {:?}",
        chunks.len(),
        start.elapsed()
    );
    let mut assembly = Assembly::new(digest, len, SALT);
    let start = Timer::start();
    for chunk in &chunks {
        assembly.offer(chunk).expect("belongs to the tree");
    }
    println!("verified and kept: {:?}", start.elapsed());
    let start = Timer::start();
    let restored = assembly.finish().expect("whole");
    println!("finished: {:?}", start.elapsed());
    assert_eq!(restored.len(), len);
}

fn build(tree: &Tree) {
    let start = Timer::start();
    let mut builder = Builder::new(SALT);
    for (key, value) in tree {
        builder.push(key, &value.to_bytes()).expect("in order");
    }
    let built = builder.finish();
    rate("bulk build", built.len(), start);
    let overhead = built.overhead() as f64 / built.len() as f64;
    println!("  overhead per item: {overhead:.1} bytes");
}

fn free(tree: Tree) {
    let mut graveyard = Graveyard::default();
    graveyard.bury(tree);
    let (mut slices, mut longest) = (0, Duration::ZERO);
    let start = Timer::start();
    loop {
        let slice = Timer::start();
        let more = graveyard.sweep(1_024);
        longest = longest.max(slice.elapsed());
        slices += 1;
        if !more {
            break;
        }
    }
    println!(
        "freed in {:?}: {slices} slices, the longest {longest:?}",
        start.elapsed()
    );
}

fn rate(name: &str, count: u64, start: Timer) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{name}: {seconds:.3} s, {:.0} per second",
        count as f64 / seconds
    );
}

/// Several of the ticks in which the operating system counts processor time.
const TICKS: Duration = Duration::from_millis(50);

/// Measures the time for which this thread has a processor, or else the time that passes.
struct Timer {
    started: Instant,
    used: Option<Duration>,
}

impl Timer {
    fn start() -> Self {
        Self {
            used: used(),
            started: Instant::now(),
        }
    }

    fn elapsed(&self) -> Duration {
        let passed = self.started.elapsed();
        match (used(), self.used) {
            // The system counts in ticks: what is shorter is measured by the clock.
            (Some(now), Some(then)) if passed > TICKS => now - then,
            _ => passed,
        }
    }
}

fn used() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = stat.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Bytes of memory that the process occupies, where the operating system tells.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

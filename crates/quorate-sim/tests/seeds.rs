//! Drawn scenarios: many seeds without a violation, and one seed always the same.

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    process::Command,
};

use quorate_sim::{Keep, first_difference, run_batch, run_once, run_seed};

/// The sizes of the clusters, in turn.
const NODES: [usize; 10] = [5, 3, 4, 5, 2, 5, 3, 7, 1, 5];

/// Runs the seeds with clusters of every size; fails with the first report that has a violation.
fn clean(seeds: Range<u64>) {
    let mut faults = 0;
    let mut written = 0;
    let mut marks = BTreeMap::new();
    for seed in seeds {
        let nodes = NODES[seed as usize % NODES.len()];
        let batch = run_batch(seed..seed + 1, nodes, 10, |report| {
            assert!(report.violations.is_empty(), "{report}");
            ControlFlow::Continue(())
        });
        faults += batch.faults.values().sum::<u64>();
        written += batch.operations.written;
        for (mark, count) in batch.marks {
            *marks.entry(mark).or_insert(0) += count;
        }
    }
    assert!(faults > 100, "only {faults} faults: the seeds prove little");
    assert!(
        written > 1_000,
        "only {written} writes: the seeds prove little"
    );
    for mark in [
        "client table: applied",
        "client table: repeated",
        "client table: expired",
        "client table: dropped",
        "client table: full",
        "raft.asks_client_table",
    ] {
        let reached = marks.get(mark).copied().unwrap_or_default();
        assert!(
            reached > 3,
            "{mark}: {reached} times, the seeds prove little"
        );
    }
}

// Two halves, so that two threads of the test runner share the work.

#[test]
fn the_first_hundred_and_twenty_seeds_are_clean() {
    clean(0..120);
}

#[test]
fn the_next_hundred_and_twenty_seeds_are_clean() {
    clean(120..240);
}

/// A late append made a follower give its restore up while its leader went on to stage for it.
#[test]
fn a_follower_that_gives_its_restore_up_is_told_again_that_it_is_behind() {
    let report = run_seed(5_270, 5, 20);
    assert!(report.violations.is_empty(), "{report}");
}

const SAMPLE: [(u64, usize); 3] = [(11, 3), (12, 5), (17, 4)];

#[test]
fn a_seed_run_twice_does_the_same_byte_for_byte() {
    for (seed, nodes) in SAMPLE {
        let one = run_once(seed, nodes, 5, Keep::Hashes);
        let other = run_once(seed, nodes, 5, Keep::Hashes);
        assert_eq!(
            first_difference(&one.hashes, &other.hashes),
            None,
            "the first differing event of seed {seed}"
        );
        assert_eq!(one.trace_hash, other.trace_hash);
        assert_eq!(one.events, one.hashes.len() as u64);
    }
}

/// Prints the hashes; the next test runs this one in a process of its own.
#[test]
fn print_trace_hashes() {
    for (seed, nodes) in SAMPLE {
        println!("{}", line(seed, nodes));
    }
}

#[test]
fn a_seed_run_in_a_fresh_process_has_the_same_trace_hash() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "print_trace_hashes", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for (seed, nodes) in SAMPLE {
        let line = line(seed, nodes);
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

fn line(seed: u64, nodes: usize) -> String {
    let report = run_once(seed, nodes, 5, Keep::Nothing);
    format!("seed {seed} of {nodes} peers: {:032x}", report.trace_hash)
}

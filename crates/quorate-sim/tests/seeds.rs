//! Drawn scenarios: many seeds without a violation, and one seed always the same.

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    process::Command,
};

use quorate_sim::{Keep, Report, first_difference, run_batch, run_once, run_seed};

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
            reached > 0,
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
        if let Some(event) = first_difference(&one.hashes, &other.hashes) {
            panic!("{}", divergence(seed, nodes, event));
        }
        assert_eq!(one.trace_hash, other.trace_hash);
        assert_eq!(one.events, one.hashes.len() as u64);
    }
}

/// Tells what the first event in which two runs of a seed differ was in two more of them.
fn divergence(seed: u64, nodes: usize, event: usize) -> String {
    let told = || {
        let report = run_once(seed, nodes, 5, Keep::Event(event as u64));
        report.wanted.unwrap_or_default()
    };
    format!("seed {seed} is two runs:\n  {}\n  {}", told(), told())
}

#[test]
fn an_event_is_told_by_its_number() {
    let (seed, nodes) = SAMPLE[0];
    let told = |event| run_once(seed, nodes, 5, Keep::Event(event)).wanted.unwrap();
    assert!(
        told(0).contains("event 0 at") && told(0).contains("starts"),
        "{}",
        told(0)
    );
    assert_ne!(told(500), told(501));
    assert!(told(500).contains("event 500 at"), "{}", told(500));
}

/// Prints the hash after each event; the next test runs this one in a process of its own.
#[test]
fn print_trace_hashes() {
    for (seed, nodes) in SAMPLE {
        println!("{}", line(&run(seed, nodes)));
    }
}

#[test]
fn a_seed_run_in_a_fresh_process_does_the_same_byte_for_byte() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "print_trace_hashes", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for (seed, nodes) in SAMPLE {
        let report = run(seed, nodes);
        let start = format!("seed {seed}:");
        let fresh = text.lines().find_map(|line| line.split_once(&start));
        let fresh: Vec<u64> = fresh
            .unwrap_or_else(|| panic!("{start} is not in {text}"))
            .1
            .split_whitespace()
            .map(|hash| u64::from_str_radix(hash, 16).unwrap())
            .collect();
        if let Some(event) = first_difference(&report.hashes, &fresh) {
            panic!("{}", divergence(seed, nodes, event));
        }
    }
}

fn run(seed: u64, nodes: usize) -> Report {
    run_once(seed, nodes, 5, Keep::Hashes)
}

fn line(report: &Report) -> String {
    let hashes: Vec<String> = report
        .hashes
        .iter()
        .map(|hash| format!("{hash:x}"))
        .collect();
    format!("seed {}: {}", report.seed, hashes.join(" "))
}

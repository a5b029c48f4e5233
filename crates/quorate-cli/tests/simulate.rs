//! The simulator as a user runs it.
#![allow(clippy::unwrap_used)] // All of it is tests.

use std::process::Command;

use serde_json::Value;

fn simulate(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .arg("simulate")
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn one_seed_in_two_processes_is_one_trace() {
    let run = || simulate(&["--nodes", "3", "--seed", "4", "--seconds", "5"]);
    let (one, two) = (run(), run());
    assert_eq!(one["trace_hash"], two["trace_hash"]);
    assert_eq!(one["events"], two["events"]);
    assert_eq!(one["seeds"], 1);
    assert_eq!(one["violations"], 0);
    assert!(one["simulated_hours"].as_f64().unwrap() >= 5.0 / 3_600.0);
    assert!(one["speed"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_range_is_the_same_whichever_thread_runs_which_seed() {
    let run = || simulate(&["--nodes", "3", "--seeds", "10..16", "--seconds", "3"]);
    let (one, two) = (run(), run());
    assert_eq!(one["trace_hash"], two["trace_hash"]);
    assert_eq!(one["seeds"], 6);
    let other = simulate(&["--nodes", "3", "--seeds", "11..17", "--seconds", "3"]);
    assert_ne!(one["trace_hash"], other["trace_hash"]);
}

#[test]
fn a_planted_bug_is_found_and_the_batch_ends_with_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["simulate", "--json", "--bug", "quorum-off-by-one"])
        .args(["--seeds", "0..200", "--seconds", "20"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["violations"], 1);
    assert!(summary["seeds"].as_u64().unwrap() < 200);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("committed-on-a-quorum"), "{told}");
    assert!(told.contains("--bug quorum-off-by-one"), "{told}");
}

#[test]
fn an_unknown_bug_is_a_usage_error_that_names_all_of_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["simulate", "--seed", "1", "--bug", "no-such-bug"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    let names = quorate_sim::Canary::ALL.map(quorate_sim::Canary::name);
    for name in names {
        assert!(told.lines().any(|line| line == name), "{name} in {told}");
    }
}

#[test]
fn a_scenario_of_somebody_elses_machine_is_refused() {
    let kept = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/bank/kept/money-is-kept.json"
    );
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["simulate", "--scenario", kept])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("\"example.tested-bank\""), "{told}");
    assert!(told.contains("`Simulation::replay`"), "{told}");
}

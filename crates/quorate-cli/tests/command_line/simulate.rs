//! The simulator as a user runs it.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

/// Runs the simulator in a directory, and returns all that it leaves behind.
fn in_directory(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .arg("simulate")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// Runs the simulator, which refuses to run: each of the words is in what it says.
fn refused(directory: &Path, arguments: &[&str], says: &[&str]) {
    let output = in_directory(directory, arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints a result");
    for word in says {
        assert!(told.contains(word), "{word:?} in {arguments:?}: {told}");
    }
}

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
fn a_bug_alone_is_hunted_in_the_short_seeds_of_its_family() {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["simulate", "--json", "--bug", "used-dissolves"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["violations"], 1);
    assert!(summary["seeds"].as_u64().unwrap() < 2_000);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("--bug used-dissolves"), "{told}");
    assert!(told.contains("--seconds 20"), "{told}");
}

#[test]
fn an_unknown_bug_is_a_usage_error_that_names_all_of_them() {
    let alone: &[&str] = &["simulate", "--bug", "no-such-bug"];
    for seeds in [&[], &["--seed", "1"][..]] {
        let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(alone)
            .args(seeds)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        let names = quorate_sim::Canary::ALL.map(quorate_sim::Canary::name);
        for name in names {
            assert!(told.lines().any(|line| line == name), "{name} in {told}");
        }
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

#[test]
fn what_is_left_of_a_failing_seed_is_written_once_and_never_written_over() {
    let home = tempfile::tempdir().unwrap();
    let shrink: &[&str] = &[
        "--json",
        "--shrink",
        "--bug",
        "quorum-off-by-one",
        "--nodes",
        "3",
        "--seed",
        "0",
        "--seconds",
        "3",
    ];
    let output = in_directory(home.path(), shrink);
    assert_eq!(output.status.code(), Some(1));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = summary["shrunk"]["file"].as_str().unwrap();
    assert_eq!(name, "seed-0-committed-on-a-quorum.json");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&format!("--scenario {name}")), "{told}");

    let file = home.path().join(name);
    let written = fs::read(&file).unwrap();
    let again = in_directory(home.path(), &["--json", "--scenario", name]);
    assert_eq!(again.status.code(), Some(1), "it does not fail any more");
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    let invariant = &again["details"][0]["invariant"];
    assert_eq!(invariant, &summary["shrunk"]["invariant"]);

    let keeps = || {
        // What was found is told all the same.
        let output = in_directory(home.path(), shrink);
        assert_eq!(output.status.code(), Some(1));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&summary["violations"], summary.get("shrunk")),
            (&1.into(), None)
        );
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains(name) && told.contains("another directory"),
            "{told}"
        );
    };
    keeps();
    assert_eq!(fs::read(&file).unwrap(), written);
    // Whatever it is that has the name.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    keeps();
}

/// Checks a completed operation of a history against its beginning.
fn check_end(begun: &Value, ended: &Value) {
    for same in ["f", "key"] {
        assert_eq!(begun[same], ended[same], "{ended}");
    }
    assert!(begun["time"].as_u64() <= ended["time"].as_u64(), "{ended}");
    if begun["f"] != "read" {
        assert_eq!(begun["value"], ended["value"], "{ended}");
    }
}

#[test]
fn a_history_is_lines_in_which_each_operation_that_ends_has_begun() {
    let home = tempfile::tempdir().unwrap();
    let run = [
        "--history",
        "h.jsonl",
        "--nodes",
        "3",
        "--seed",
        "4",
        "--seconds",
        "10",
    ];
    let output = in_directory(home.path(), &run);
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(home.path().join("h.jsonl")).unwrap();
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut open: BTreeMap<u64, &Value> = BTreeMap::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut time = 0;
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["index"], place);
        let at = event["time"].as_u64().unwrap();
        assert!(at >= time, "{event}");
        time = at;
        assert!(event["key"].is_string(), "{event}");
        let value = &event["value"];
        let one = |value: &Value| value.is_null() || value.is_string();
        match event["f"].as_str().unwrap() {
            "cas" => {
                let pair = value.as_array().unwrap();
                assert!(pair.len() == 2 && pair.iter().all(one), "{event}");
            }
            "read" | "write" => assert!(one(value), "{event}"),
            other => panic!("{other} is no function"),
        }
        let kind = event["type"].as_str().unwrap();
        let process = event["process"].as_u64().unwrap();
        *seen.entry(kind.to_owned()).or_default() += 1;
        match kind {
            "invoke" => assert!(open.insert(process, event).is_none(), "{event} at once"),
            "ok" | "fail" | "info" => check_end(open.remove(&process).unwrap(), event),
            other => panic!("{other} is no type"),
        }
    }
    assert!(seen["invoke"] > 20 && seen["ok"] > 10, "{seen:?}");
    // Within ten simulated seconds and what it takes to heal, in nanoseconds.
    assert!((5_000_000_000..600_000_000_000).contains(&time), "{time}");
}

#[test]
fn a_history_is_of_one_run() {
    let home = tempfile::tempdir().unwrap();
    let many = ["--history", "h.jsonl", "--seeds", "0..2"];
    refused(home.path(), &many, &["--history", "--seeds"]);
    assert!(!home.path().join("h.jsonl").exists());
}

#[test]
fn a_scenario_that_cannot_be_run_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let kept = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../quorate-sim/regressions/quorum-of-two.json"
    );
    let kept: Value = serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap();
    let file = |name: &str, text: String| fs::write(home.path().join(name), text).unwrap();
    let refused = |name: &str, says: &[&str]| {
        refused(
            home.path(),
            &["--scenario", name],
            &[&[name], says].concat(),
        );
    };
    refused("missing.json", &["cannot be read", "--shrink"]);
    file("torn.json", kept.to_string()[..200].to_owned());
    refused("torn.json", &["column", "--shrink"]);

    let mut newer = kept.clone();
    newer["format"] = json!(99);
    file("newer.json", newer.to_string());
    refused("newer.json", &["format 99", "newer quorate"]);

    let mut misspelled = kept.clone();
    misspelled["scenario"]["faultz"] = json!([]);
    file("misspelled.json", misspelled.to_string());
    refused("misspelled.json", &["faultz"]);

    let mut founders = kept;
    for peer in founders["scenario"]["peers"].as_array_mut().unwrap() {
        peer["form"] = json!("join");
    }
    file("nobody.json", founders.to_string());
    refused("nobody.json", &["no quorum can survive", "nobody founds"]);
}

#[test]
fn only_the_faults_that_are_named_happen() {
    let home = tempfile::tempdir().unwrap();
    refused(
        home.path(),
        &["--seed", "1", "--faults", "crash,crush"],
        &["'crush'", "partition"],
    );
    let kinds = |list: &str| {
        let run = ["--nodes", "3", "--seeds", "0..4", "--seconds", "20"];
        let summary = simulate(&[&["--faults", list], &run[..]].concat());
        let faults = summary["faults"].as_object().unwrap();
        faults.keys().cloned().collect::<Vec<String>>()
    };
    assert_eq!(kinds("none"), [""; 0]);
    assert_eq!(kinds("partition,crash"), ["crash", "partition"]);
    assert!(kinds("all").len() > 3);
}

#[test]
fn an_hour_is_an_hour_of_the_clusters_own_time() {
    let run = [
        "--seed", "3", "--nodes", "1", "--hours", "1", "--faults", "none",
    ];
    let summary = simulate(&run);
    assert!(summary["simulated_hours"].as_f64().unwrap() >= 1.0);
    let home = tempfile::tempdir().unwrap();
    let seed = ["--seed", "3", "--hours"];
    refused(home.path(), &[&seed[..], &["0"]].concat(), &["--hours 1"]);
    refused(home.path(), &[&seed[..], &["-1"]].concat(), &["hours"]);
    let both = [&seed[..], &["1", "--seconds", "5"]].concat();
    refused(home.path(), &both, &["--hours", "--seconds"]);
}

#[test]
fn a_cluster_of_nobody_and_a_range_of_nothing_are_refused_with_the_way_out() {
    let home = tempfile::tempdir().unwrap();
    refused(
        home.path(),
        &["--seed", "1", "--nodes", "0"],
        &["--nodes 1"],
    );
    refused(
        home.path(),
        &["--seed", "1", "--nodes", "-2"],
        &["from 1 to"],
    );
    for range in ["7..3", "3..3"] {
        refused(home.path(), &["--seeds", range], &[range, "0..200"]);
    }
    refused(home.path(), &["--seeds", "3"], &["A..B"]);
    refused(home.path(), &[], &["--seed", "--scenario"]);
}

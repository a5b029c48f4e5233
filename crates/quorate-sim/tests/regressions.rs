//! Scenarios that once failed, cut down and kept: none of them may fail again.
//!
//! Each file tells its story in a line. `quorate simulate --shrink` writes such files; to keep one
//! is to move it to `regressions/` and to say in its story what went wrong.
#![allow(clippy::unwrap_used)] // All of it is tests.

use std::{fs, path::PathBuf};

use quorate_sim::{Canary, Scenario, ScenarioFile, run_told};

fn files() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let entries = fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_kept_scenario_runs_without_a_violation() {
    let files = files();
    assert!(
        !files.is_empty(),
        "the directory of kept scenarios is empty"
    );
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let file = ScenarioFile::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let words = file.story.split_whitespace().count();
        assert!(words >= 8, "{path:?} tells no story: {}", file.story);
        let report = run_told(&file.scenario);
        assert!(
            report.violations.is_empty(),
            "{path:?}: {}\n{report}",
            file.story
        );
    }
}

#[test]
fn a_kept_scenario_finds_its_bug_if_that_comes_back() {
    let text = include_str!("../regressions/quorum-of-two.json");
    let kept = ScenarioFile::parse(text).unwrap();
    let report = run_told(&Scenario {
        bug: Canary::named("quorum-off-by-one"),
        ..kept.scenario
    });
    assert_eq!(report.violations[0].invariant, "committed-on-a-quorum");
    assert!(
        report
            .lanes
            .iter()
            .all(|line| line.len() <= 120 || line.starts_with("  "))
    );
    assert!(report.lanes[0].contains("peer 1 (failed)"), "{report}");
}

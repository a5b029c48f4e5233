//! Runs the program as its README shows it.
#![allow(clippy::unwrap_used)] // All of it is tests.

use std::{fs, process::Command};

use quorate_tests::transcript::transcripts;

const KEPT: &str = include_str!("../kept/money-is-kept.json");

#[test]
fn the_program_finds_what_the_readme_shows() {
    let shown = transcripts(include_str!("../README.md"));
    assert_eq!(shown.len(), 3);
    for transcript in &shown {
        let directory = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_bank"))
            .args(transcript.arguments_of("-p bank"))
            .current_dir(directory.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{told}");
        transcript.assert_shown(&String::from_utf8(output.stdout).unwrap());
        let written = fs::read_to_string(directory.path().join("money-is-kept.json"));
        if let Ok(written) = written {
            assert_eq!(written, KEPT, "the kept scenario is not what is found");
        }
    }
}

#[test]
fn the_tutorial_shows_what_is_kept() {
    let page = include_str!("../../../book/src/tutorial-simulation.md");
    let (_, shown) = page
        .split_once("<!-- of examples/bank/kept/money-is-kept.json -->\n```json\n")
        .unwrap();
    let (line, _) = shown.split_once("\n```").unwrap();
    assert!(KEPT.lines().any(|kept| kept == line), "{line}");
}

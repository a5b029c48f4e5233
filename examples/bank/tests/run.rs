//! Runs the program as its README shows it.
//!
//! How many runs, faults and commands there are changes with whatever the runtime does; what is
//! found by what does not. So numbers are left out of the comparison, and all else must agree. With
//! `QUORATE_WRITE_BOOK` in the environment, the pages and the kept scenario are written anew.
#![allow(clippy::unwrap_used)] // All of it is tests.

use std::{fs, path::Path, process::Command};

use quorate_tests::transcript::transcripts;

/// The kept scenario, and the pages that show what is found.
const KEPT: &str = "examples/bank/kept/money-is-kept.json";
const README: &str = "examples/bank/README.md";
const TUTORIAL: &str = "book/src/tutorial-simulation.md";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// Puts `new` in the place of `old` on a page.
fn rewrite(path: &str, old: &str, new: &str) {
    let page = read(path).replace(old, new);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::write(root.join(path), page).unwrap();
}

/// Returns a line with `N` for every number, and one peer called as several are.
fn without_numbers(line: &str) -> String {
    let mut plain = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if plain.ends_with('N') => {}
            '0'..='9' => plain.push('N'),
            c => plain.push(c),
        }
    }
    plain.replace("N peer,", "N peers,")
}

/// Returns the line of the kept scenario that the tutorial shows.
fn shown_operation() -> String {
    let page = read(TUTORIAL);
    let (_, shown) = page
        .split_once(&format!("<!-- of {KEPT} -->\n```json\n"))
        .unwrap();
    shown.split_once("\n```").unwrap().0.to_owned()
}

#[test]
fn the_program_finds_what_the_pages_show() {
    // So that a page of another test's name stays in step with the rule of the house.
    assert_eq!(include_str!("../README.md"), read(README));
    let shown = transcripts(&read(README));
    assert_eq!(shown.len(), 3);
    let write = std::env::var_os("QUORATE_WRITE_BOOK").is_some();
    for transcript in &shown {
        let directory = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_bank"))
            .args(transcript.arguments_of("-p bank"))
            .current_dir(directory.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{told}");
        let found = String::from_utf8(output.stdout).unwrap();
        let screen = transcript.screen.join("\n");
        if write {
            rewrite(README, &screen, found.trim_end());
            rewrite(TUTORIAL, &screen, found.trim_end());
            if let Ok(kept) = fs::read_to_string(directory.path().join("money-is-kept.json")) {
                let operation = |line: &&str| line.contains("\"command\"");
                let line = kept.lines().find(operation).unwrap();
                rewrite(TUTORIAL, &shown_operation(), line);
                rewrite(KEPT, &read(KEPT), &kept);
            }
            continue;
        }
        assert!(
            without_numbers(&screen) == without_numbers(found.trim_end()),
            "the page shows (line {}):\n{screen}\nand the program, as `just reference` would \
             write it:\n{found}",
            transcript.line
        );
    }
    let shown = shown_operation();
    assert!(read(KEPT).lines().any(|kept| kept == shown), "{shown}");
}

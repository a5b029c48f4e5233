//! Every example says how it looks, and a test runs it and compares.

use std::collections::BTreeSet;

use super::repository::{files, report};

#[test]
fn examples_are_shown_and_tested() {
    let below = files(|path| path.starts_with("examples/"));
    let examples: BTreeSet<&str> = below
        .iter()
        .filter_map(|file| file.path.split('/').nth(1))
        .collect();
    let mut violations = Vec::new();
    for example in examples {
        let has = |path: &str, text: &str| {
            let path = format!("examples/{example}/{path}");
            below
                .iter()
                .any(|file| file.path.starts_with(&path) && file.text.contains(text))
        };
        if !has("README.md", "```console\n$ cargo run -p ") {
            violations.push(format!("{example}: a README.md with a transcript"));
        }
        if !has("tests/", "include_str!(\"../README.md\")") {
            violations.push(format!("{example}: a test of the README's transcripts"));
        }
    }
    report(
        "a newcomer sees what an example does, and a test keeps it true",
        "write the README with a console block, and compare with quorate_tests::transcript",
        &violations,
    );
}

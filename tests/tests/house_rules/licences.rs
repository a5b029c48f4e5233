//! What we are built from may be used as freely as what we make of it.
//!
//! `cargo deny` says more (advisories, duplicates), but has to be installed. The licences are the
//! part that must hold for everybody who builds us, so they are checked here too, against the same
//! list in `deny.toml`.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

use super::repository::{files, report, root};

#[test]
fn licences_are_among_those_allowed() {
    let deny = files(|path| path == "deny.toml").remove(0).text;
    let (_, list) = deny
        .split_once("\nallow = [\n")
        .expect("deny.toml allows licences");
    let (list, _) = list.split_once("\n]").expect("a list has an end");
    let allowed: BTreeSet<&str> = list
        .lines()
        .map(|line| line.trim_matches([' ', '"', ',']))
        .collect();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("the cargo that built this test runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    assert!(
        packages.len() > 50,
        "only {} packages were seen",
        packages.len()
    );
    let violations: Vec<String> = packages
        .iter()
        .filter(|package| {
            let licence = package["license"].as_str().unwrap_or("none");
            !may_be_used(licence, &allowed)
        })
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    report(
        "every licence is one that deny.toml allows",
        "do without the crate, or allow its licence in deny.toml if it is permissive",
        &violations,
    );
}

/// Tells whether an expression of licences can be met with those that are allowed.
fn may_be_used(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ")
        .replace(" WITH ", "+");
    let mut words = spaced.split_whitespace().peekable();
    either(&mut words, allowed) && words.next().is_none()
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

fn either(words: Words<'_, '_>, allowed: &BTreeSet<&str>) -> bool {
    let mut met = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= both(words, allowed);
    }
    met
}

fn both(words: Words<'_, '_>, allowed: &BTreeSet<&str>) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: Words<'_, '_>, allowed: &BTreeSet<&str>) -> bool {
    match words.next() {
        Some("(") => either(words, allowed) & words.next_if_eq(&")").is_some(),
        Some(word) => allowed.contains(word.replace('+', " WITH ").as_str()),
        None => false,
    }
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = BTreeSet::from(["MIT", "A", "B WITH C"]);
    for usable in [
        "MIT",
        "GPL OR MIT",
        "GPL/MIT",
        "(GPL OR A) AND MIT",
        "B WITH C",
        "GPL AND X OR A AND MIT",
    ] {
        assert!(may_be_used(usable, &allowed), "{usable}");
    }
    for unusable in [
        "GPL",
        "GPL AND MIT",
        "B",
        "(GPL OR MIT",
        "MIT AND (X OR GPL)",
        "",
        "none",
    ] {
        assert!(!may_be_used(unusable, &allowed), "{unusable}");
    }
}

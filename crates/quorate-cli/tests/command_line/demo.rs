//! The demonstration as a user runs it.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Output},
};

use serde_json::Value;

fn quorate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the demonstration and returns its JSON object, the last line of stdout.
fn demo(arguments: &[&str]) -> Value {
    let output = quorate(&[&["demo", "--json"], arguments].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

fn number(report: &Value, field: &str) -> u64 {
    report[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {report}"))
}

#[test]
fn the_report_has_exactly_the_promised_fields_and_they_agree() {
    let report = demo(&["--entries", "3000", "--seed", "7"]);
    let fields: BTreeSet<&str> = report
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let promised = [
        "ok",
        "peers",
        "entries",
        "leader",
        "term",
        "anchor",
        "providers",
        "catch_up_ms",
        "writes_during_catch_up",
        "formation_ms",
        "digests",
        "digests_equal",
    ];
    assert_eq!(fields, promised.into());
    assert_eq!(report["ok"], true);
    assert_eq!(number(&report, "peers"), 5);
    assert_eq!(number(&report, "entries"), 3_000);
    assert!(number(&report, "term") >= 2);
    assert!(number(&report["anchor"], "index") > 3_000);
    assert!(number(&report["anchor"], "term") >= 2);
    assert!(number(&report, "formation_ms") > 0);
    assert!(number(&report, "catch_up_ms") > 0);
    let items: u64 = report["providers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|provider| {
            assert!(number(provider, "bytes") > 0);
            assert_eq!(provider["peer"].as_str().unwrap().len(), 64);
            number(provider, "items")
        })
        .sum();
    assert!(items > 3_000);
    let digests = report["digests"].as_object().unwrap();
    assert_eq!(digests.len(), 6);
    let leader = report["leader"].as_str().unwrap();
    assert!(digests.contains_key(leader));
    assert_eq!(
        digests.values().collect::<Vec<_>>(),
        vec![&digests[leader]; 6]
    );
    assert_eq!(report["digests_equal"], true);
}

#[test]
fn keys_and_entries_follow_from_the_seed() {
    let run = || demo(&["--peers", "1", "--entries", "50", "--seed", "9"]);
    let peers = |report: &Value| -> BTreeSet<String> {
        report["digests"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let (one, two) = (run(), run());
    assert_eq!(peers(&one), peers(&two));
    assert_eq!(peers(&one).len(), 2);
}

#[test]
fn with_the_leader_killed_the_others_finish() {
    let report = demo(&["--entries", "30000", "--kill-leader"]);
    assert_eq!(report["ok"], true);
    assert_eq!(report["digests"].as_object().unwrap().len(), 5);
    assert!(number(&report, "term") > 2);
}

#[test]
fn the_lines_of_any_file_are_entries() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"one\n\n\xff\xfe not text\nno line feed")
        .unwrap();
    let path = file.path().to_str().unwrap();
    let report = demo(&["--peers", "3", "--input", path]);
    assert_eq!(number(&report, "entries"), 4);
    assert_eq!(report["ok"], true);
}

#[test]
fn a_single_entry_is_restored_too() {
    let report = demo(&["--peers", "3", "--entries", "1"]);
    assert_eq!(number(&report, "entries"), 1);
    assert!(number(&report["anchor"], "index") > 0);
}

#[test]
fn the_story_is_told_with_figures() {
    let output = quorate(&["demo", "--peers", "3", "--entries", "500"]);
    let story = text(&output.stdout);
    assert!(output.status.success(), "{story}{}", text(&output.stderr));
    for part in [
        "3 peers start on 127.0.0.1",
        "leads in term",
        "the first write is committed at cursor (",
        "500 entries",
        "joins with an empty state",
        "asks for a snapshot",
        "restores the snapshot at cursor (",
        " gave ",
        "follows the live log",
        "4 living peers stand at cursor (",
        "digest ",
        "holds all 500 loaded entries",
    ] {
        assert!(story.contains(part), "{part:?} is missing in\n{story}");
    }
    assert_eq!(
        text(&output.stderr),
        "",
        "no progress bar where nobody looks"
    );
}

#[test]
fn whoever_calls_it_the_wrong_way_is_told_what_to_do() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    let wrong: &[(&[&str], &str)] = &[
        (&["demo", "--peers", "0"], "use --peers 1 or more"),
        (&["demo", "--peers", "99"], "use fewer"),
        (&["demo", "--peers", "some"], "expected a number"),
        (&["demo", "--entries", "0"], "use --entries 1 or more"),
        (&["demo", "--entries", "-4"], "expected a number of entries"),
        (
            &["demo", "--input", "/no/such/file"],
            "name a file that can",
        ),
        (&["demo", "--input", empty], "at least one line"),
        (&["demo", "--input", directory], "name a file that can"),
        (
            &["demo", "--peers", "2", "--kill-leader"],
            "use --peers 3 or more",
        ),
        (&["demo", "--sideways"], "--help"),
        (&["simulate"], "--seed"),
        (&["simulate", "--seeds", "7..3"], "A below B"),
        (&["simulate", "--seeds", "5"], "A..B"),
        (
            &["simulate", "--seed", "1", "--seeds", "1..2"],
            "cannot be used with",
        ),
        (
            &["simulate", "--seed", "1", "--nodes", "0"],
            "use --nodes 1 or more",
        ),
        (
            &["simulate", "--seed", "1", "--seconds", "0"],
            "use --seconds 1 or more",
        ),
        (&["fly"], "--help"),
        (&[], "Usage"),
    ];
    for (arguments, hint) in wrong {
        let output = quorate(arguments);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains(hint), "{arguments:?} is told {err}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

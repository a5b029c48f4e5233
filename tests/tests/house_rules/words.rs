//! Words that must not stand in the code, each with the way out.

use super::{
    repository::{File, LOWER, crate_sources, files, report},
    source::{code_of, line_of, occurrences},
};

/// What would let time, randomness, threads or the outside world into the lower crates.
const OUTSIDE_WORLD: [&str; 19] = [
    "HashMap",
    "HashSet",
    "Instant",
    "SystemTime",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "thread_local!",
    "tokio",
    "iroh",
    "chrono",
    "rand",
    "getrandom",
    "dashmap",
    "futures",
    "f32",
    "f64",
];

/// Where one of these words may stand, and why.
const ADMITTED: [(&str, &str, &str); 1] = [(
    "crates/quorate-sim/src/panics.rs",
    "thread_local!",
    "whose panics are not printed, which no run can see",
)];

#[test]
fn the_lower_crates_know_no_outside_world() {
    let mut violations = search(
        crate_sources()
            .iter()
            .filter(|file| LOWER.contains(&file.crate_name().unwrap_or_default())),
        &OUTSIDE_WORLD,
    );
    for (path, word, why) in ADMITTED {
        let before = violations.len();
        violations.retain(|found| !(found.starts_with(path) && found.ends_with(word)));
        if violations.len() == before {
            violations.push(format!("{path}: {word} is not there any more: {why}"));
        }
    }
    report(
        "core, state, store and sim have no clock, thread, randomness or hash order of their own",
        "take it as an input or give it out as an effect; BTreeMap for maps, integers for floats, \
         quorate_core::Random for chance",
        &violations,
    );
}

#[test]
fn only_net_names_the_transport() {
    let mut violations = Vec::new();
    for file in crate_sources() {
        if file.crate_name() == Some("quorate-net") {
            continue;
        }
        let code = code_of(&file.text);
        for word in ["iroh", "noq"] {
            for at in occurrences(&code, word) {
                if !is_through_net(&code[..at]) {
                    violations.push(format!("{}: {word}", file.line(line_of(&code, at))));
                }
            }
        }
    }
    report(
        "only quorate-net names iroh",
        "give quorate-net a function for it; where the application's own endpoint or router is \
         part of a signature, name it through quorate_net::iroh",
        &violations,
    );
}

/// Tells whether the path that `before` ends with starts at quorate-net, in a group or alone.
fn is_through_net(before: &str) -> bool {
    let mut open = 0;
    let group = before.rfind(|c| {
        match c {
            '}' => open += 1,
            '{' => open -= 1,
            _ => {}
        }
        open < 0
    });
    let through = |path: &str| path.ends_with("quorate_net::");
    through(before) || group.is_some_and(|at| through(&before[..at]))
}

#[test]
fn only_the_command_prints() {
    let printers = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
    let violations = search(
        crate_sources()
            .iter()
            .filter(|file| file.crate_name() != Some("quorate-cli")),
        &printers,
    );
    report(
        "only quorate-cli prints",
        "return it, send an event, or use tracing",
        &violations,
    );
}

#[test]
fn queues_are_bounded() {
    let without_bound = [
        "unbounded_channel",
        "UnboundedSender",
        "UnboundedReceiver",
        "unbounded(",
        "mpsc::channel()",
    ];
    let violations = search(&rust_files(), &without_bound);
    report(
        "every queue is bounded",
        "name its capacity in a limits.rs, with the reason for the number",
        &violations,
    );
}

#[test]
fn nobody_sleeps() {
    let mut violations = search(&rust_files(), &["thread::sleep"]);
    violations.extend(search(&test_files(), &["time::sleep", "sleep_until"]));
    report(
        "nobody sleeps and hopes",
        "wait for the condition itself, with a deadline around it",
        &violations,
    );
}

#[test]
fn nothing_is_left_for_later() {
    let mut violations = search(&rust_files(), &["todo!", "unimplemented!", "#[ignore"]);
    // Put together here, so that this file does not hold what it looks for.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|part| part.concat());
    for file in files(|path| path.ends_with(".rs") || path.ends_with(".md")) {
        for mark in &marks {
            for at in occurrences(&file.text, mark) {
                violations.push(format!("{}: {mark}", file.line(line_of(&file.text, at))));
            }
        }
    }
    report(
        "nothing is left for later in the code",
        "do it now, or leave it out and say in the book what is not there",
        &violations,
    );
}

fn rust_files() -> Vec<File> {
    files(|path| path.ends_with(".rs"))
}

fn test_files() -> Vec<File> {
    files(|path| path.ends_with(".rs") && path.split('/').any(|part| part == "tests"))
}

fn search<'a>(files: impl IntoIterator<Item = &'a File>, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let code = code_of(&file.text);
        for word in words {
            for at in occurrences(&code, word) {
                found.push(format!("{}: {word}", file.line(line_of(&code, at))));
            }
        }
    }
    found
}

#[test]
fn a_planted_word_is_found_and_a_quoted_one_is_not() {
    let file = File {
        path: "planted.rs".to_owned(),
        text: "// HashMap\nlet a = \"HashMap\";\nlet b = HashMap::new();\n".to_owned(),
    };
    assert_eq!(search([&file], &["HashMap"]), ["planted.rs:3: HashMap"]);
}

#[test]
fn the_transport_may_be_named_through_net() {
    assert!(is_through_net("use quorate_net::"));
    assert!(is_through_net("use quorate_net::{a::{b, c}, "));
    assert!(!is_through_net("use quorate_net::{a}; use "));
    assert!(!is_through_net("fn f() { "));
}

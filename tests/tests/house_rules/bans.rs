//! The lints that guard the lower crates must be there to guard.

use super::repository::{LOWER, files, report};

/// What the clippy.toml of every lower crate forbids.
const BANNED: [&str; 11] = [
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::thread::sleep",
    "std::env::var",
    "std::sync::mpsc::channel",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs::File",
];

#[test]
fn the_lower_crates_ban_the_outside_world() {
    let mut violations = Vec::new();
    for name in LOWER {
        let path = format!("crates/{name}/clippy.toml");
        let file = files(|candidate| candidate == path).remove(0);
        for banned in BANNED {
            let entry = format!("path = \"{banned}\", reason = \"");
            if !file.text.contains(&entry) {
                violations.push(format!("{path}: {banned} is not banned with a reason"));
            }
        }
    }
    report(
        "each lower crate's clippy.toml bans clocks, threads, hash order and files",
        "copy the ban from a sister crate's clippy.toml",
        &violations,
    );
}

#[test]
fn the_lints_are_on() {
    let manifest = files(|path| path == "Cargo.toml").remove(0).text;
    let lints = [
        "unsafe_code = \"forbid\"",
        "missing_docs = \"deny\"",
        "disallowed_methods = \"deny\"",
        "disallowed_types = \"deny\"",
        "unwrap_used = \"warn\"",
        "overflow-checks = true",
    ];
    let mut violations: Vec<String> = lints
        .iter()
        .filter(|lint| !manifest.contains(*lint))
        .map(|lint| format!("Cargo.toml: {lint}"))
        .collect();
    let members = files(|path| {
        path.ends_with("/Cargo.toml")
            && (path.starts_with("crates/") || path.starts_with("examples/"))
    });
    for member in members {
        if !member.text.contains("[lints]\nworkspace = true") {
            violations.push(format!("{}: [lints] workspace = true", member.path));
        }
    }
    report(
        "the workspace's lints guard every crate",
        "put the line back",
        &violations,
    );
}

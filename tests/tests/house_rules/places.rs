//! What belongs to one machine stays there.

use std::{env, fs, path::PathBuf};

use super::{
    repository::{files, report, root},
    source::line_of,
};

#[test]
fn nothing_names_a_place_of_one_machine() {
    let mut places = machine_places();
    // People's directories, put together here so that this file does not hold them.
    places.extend(["home", "Users", "root"].map(|parent| format!("/{parent}/")));
    let mut violations = Vec::new();
    for file in files(|_| true) {
        for place in &places {
            for at in mentions(&file.text, place) {
                violations.push(format!("{}: {place}", file.line(line_of(&file.text, at))));
            }
        }
    }
    report(
        "no file names a directory of the machine it was written on",
        "use a path below the root, a temporary directory, or an environment variable",
        &violations,
    );
}

#[test]
fn nothing_names_a_registry() {
    let hosts = registry_hosts();
    let mut violations = Vec::new();
    for file in files(|_| true) {
        for host in &hosts {
            if let Some(at) = file.text.find(host) {
                violations.push(format!("{}: {host}", file.line(line_of(&file.text, at))));
            }
        }
        if file.path.ends_with(".cargo/config.toml") {
            violations.push(format!("{}: belongs to a machine", file.path));
        }
    }
    report(
        "no file names the registry that a machine is set up to use",
        "leave that to the machine's own cargo configuration",
        &violations,
    );
}

/// Returns the directories that mean something on this machine only.
fn machine_places() -> Vec<String> {
    let mut places = vec![root()];
    for variable in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"] {
        places.extend(env::var_os(variable).map(PathBuf::from));
    }
    places
        .into_iter()
        // A name directly below the root of the file system is also an ordinary word.
        .filter(|place| place.is_absolute() && place.components().count() > 2)
        .map(|place| place.display().to_string())
        .collect()
}

/// Returns where `place` stands in `text` as an absolute path.
fn mentions(text: &str, place: &str) -> Vec<usize> {
    text.match_indices(place)
        .map(|(at, _)| at)
        .filter(|at| {
            let before = text[..*at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !['/', '.', '-', '_'].contains(&c))
        })
        .collect()
}

/// Returns the hosts that this machine's cargo fetches from instead of the usual ones.
fn registry_hosts() -> Vec<String> {
    let home = env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let text = ["config.toml", "config"]
        .iter()
        .find_map(|name| fs::read_to_string(home.join(name)).ok())
        .unwrap_or_default();
    hosts_in(&text)
}

fn hosts_in(text: &str) -> Vec<String> {
    text.match_indices("://")
        .map(|(at, separator)| {
            let rest = &text[at + separator.len()..];
            let end = rest.find(['/', '"', '\'', '\n']).unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or_default();
            host.split(':').next().unwrap_or_default().to_owned()
        })
        .filter(|host| host.contains('.') && !host.ends_with("crates.io") && host != "github.com")
        .collect()
}

#[test]
fn a_planted_place_is_found() {
    assert_eq!(mentions("in \"/a/b/c\"", "/a/b").len(), 1);
    assert!(mentions("src/a/b/c and https://x.org/a/b", "/a/b").is_empty());
    let registry = "registry = \"sparse+https://me:key@mirror.example.org:8/index/\"\n";
    assert_eq!(hosts_in(registry), ["mirror.example.org"]);
}

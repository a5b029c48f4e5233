//! Who may depend on whom, and what the lower crates may bring along.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

use super::repository::{LOWER, files, report, root};

/// What each crate depends on within the workspace: all of it, and nothing else.
const LAYERS: [(&str, &[&str]); 7] = [
    ("quorate-core", &[]),
    ("quorate-state", &["quorate-core"]),
    ("quorate-store", &["quorate-core"]),
    ("quorate-net", &["quorate-core"]),
    (
        "quorate",
        &[
            "quorate-core",
            "quorate-net",
            "quorate-state",
            "quorate-store",
        ],
    ),
    (
        "quorate-sim",
        &["quorate-core", "quorate-state", "quorate-store"],
    ),
    ("quorate-cli", &["quorate", "quorate-sim"]),
];

/// Everything that may stand anywhere in the lower crates' dependency trees, and what for.
const ALLOWED_BELOW: [(&str, &str); 25] = [
    ("arrayvec", "blake3 keeps its stack of subtrees in one"),
    ("blake3", "digests, and random numbers as a keyed hash"),
    ("bytes", "frames and commands are shared, not copied"),
    ("cfg-if", "blake3 picks its code by target"),
    ("cobs", "a framing that postcard brings along"),
    (
        "constant_time_eq",
        "blake3 compares hashes in constant time",
    ),
    ("cpufeatures", "blake3 picks its code by processor"),
    ("crc32c", "checksums of log records"),
    (
        "embedded-io",
        "traits, through a feature of postcard that iroh turns on",
    ),
    ("itoa", "serde_json writes integers with it"),
    ("libc", "cpufeatures asks the kernel on some targets"),
    ("memchr", "serde_json finds the end of strings with it"),
    ("postcard", "the encoding of small messages"),
    ("postcard-derive", "derive macros, at build time"),
    ("proc-macro2", "derive macros, at build time"),
    ("quote", "derive macros, at build time"),
    ("serde", "the encoding of small messages"),
    ("serde_core", "serde's core"),
    ("serde_derive", "derive macros, at build time"),
    ("serde_json", "scenarios as files"),
    ("syn", "derive macros, at build time"),
    ("thiserror", "error enums"),
    ("thiserror-impl", "derive macros, at build time"),
    ("unicode-ident", "derive macros, at build time"),
    ("zmij", "serde_json writes floats with it; we write none"),
];

#[test]
fn dependencies_point_one_way() {
    let workspace = Workspace::read();
    let mut violations = Vec::new();
    for name in workspace.members.keys() {
        let normal = workspace.within(name, &[Kind::Normal, Kind::Build]);
        let mut tests = workspace.within(name, &[Kind::Dev]);
        // Helpers of tests, which themselves depend on nothing of ours.
        tests.remove("quorate-tests");
        match LAYERS.iter().find(|(layer, _)| layer == name) {
            Some((_, wanted)) => {
                let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
                if normal != wanted {
                    violations.push(format!("{name} depends on {normal:?}, not on {wanted:?}"));
                }
                if !tests.is_subset(&wanted) {
                    violations.push(format!(
                        "{name}'s tests depend on {tests:?}, beyond {wanted:?}"
                    ));
                }
            }
            // Its own tests may see everything.
            None if name == "quorate-tests" => {
                if !normal.is_empty() {
                    violations.push(format!("{name} itself depends on {normal:?}"));
                }
            }
            None if workspace.is_example(name) => {
                // What tests a machine is no part of the application.
                let tested = BTreeSet::from(["quorate-sim", "quorate-state"]);
                if normal != BTreeSet::from(["quorate"]) && normal != tested {
                    violations.push(format!("example {name} depends on {normal:?}"));
                }
            }
            None => violations.push(format!("{name} has no place in the layers")),
        }
    }
    for (name, _) in LAYERS {
        if !workspace.members.contains_key(name) {
            violations.push(format!("{name} is missing"));
        }
    }
    report(
        "cli -> {quorate, sim}; quorate -> {net, store, state} -> core; \
         sim -> {core, state, store}",
        "move the code to the layer that may know both, or move the word both need down to core",
        &violations,
    );
}

#[test]
fn the_lower_crates_bring_along_only_what_is_listed() {
    let workspace = Workspace::read();
    let mut violations = Vec::new();
    for name in LOWER {
        for (dependency, path) in workspace.tree_of(name) {
            let listed = ALLOWED_BELOW
                .iter()
                .any(|(allowed, _)| *allowed == dependency);
            if !listed && !LOWER.contains(&dependency.as_str()) {
                violations.push(format!("{dependency}, through {path}"));
            }
        }
    }
    report(
        "core, state, store and sim depend on nothing that could know time, threads or chance",
        "do without the crate; if it is pure, list it in ALLOWED_BELOW with what it is for",
        &violations,
    );
}

#[test]
fn only_net_depends_on_the_transport() {
    let workspace = Workspace::read();
    let mut violations = Vec::new();
    for name in workspace.members.keys() {
        for (dependency, _) in workspace.direct(name) {
            // Its metrics are a crate of their own, which knows nothing of endpoints.
            let transport = dependency != "iroh-metrics"
                && ["iroh", "noq"]
                    .iter()
                    .any(|stem| dependency.starts_with(stem));
            if transport && name != "quorate-net" {
                violations.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    report(
        "only quorate-net depends on iroh",
        "give quorate-net a function for it; an application names it through quorate::iroh",
        &violations,
    );
}

#[test]
fn bugs_can_be_planted_by_the_simulator_only() {
    const FEATURE: &str = "canary";
    let workspace = Workspace::read();
    let mut violations = Vec::new();
    for (name, package) in &workspace.members {
        let turned_on = list(&package["dependencies"])
            .filter(|dependency| list(&dependency["features"]).any(|it| text(it) == FEATURE));
        for dependency in turned_on.filter(|_| name != "quorate-sim") {
            violations.push(format!(
                "{name} turns it on in {}",
                text(&dependency["name"])
            ));
        }
        let features = package["features"].as_object().into_iter().flatten();
        for (feature, implied) in features.filter(|(feature, _)| *feature != FEATURE) {
            let plants = list(implied).map(text).any(|it| it.ends_with(FEATURE));
            if plants {
                violations.push(format!("feature {feature} of {name} turns it on"));
            }
        }
    }
    report(
        "only quorate-sim turns the feature `canary` on, so that nothing else can plant a bug",
        "plant it from quorate-sim, by a scenario that names it",
        &violations,
    );
}

#[test]
fn crates_say_who_they_are() {
    let workspace = Workspace::read();
    let mut violations = Vec::new();
    for (name, package) in &workspace.members {
        let mut texts = vec![
            "description",
            "license",
            "repository",
            "documentation",
            "readme",
            "rust_version",
            "edition",
        ];
        let mut lists = vec!["authors", "categories", "keywords"];
        if package["publish"].as_array().is_some_and(Vec::is_empty) {
            texts = vec!["description", "license", "rust_version", "edition"];
            lists.clear();
        }
        for field in texts {
            if package[field].as_str().is_none_or(str::is_empty) {
                violations.push(format!("{name}: {field}"));
            }
        }
        let reference = format!("https://docs.rs/{name}");
        if package["documentation"]
            .as_str()
            .is_some_and(|it| it != reference)
        {
            violations.push(format!("{name}: documentation is not {reference}"));
        }
        for field in lists {
            if package[field].as_array().is_none_or(Vec::is_empty) {
                violations.push(format!("{name}: {field}"));
            }
        }
    }
    report(
        "every crate's manifest is complete",
        "take the field from the workspace: field.workspace = true",
        &violations,
    );
}

#[test]
fn every_dependency_has_a_reason() {
    let workspace = Workspace::read();
    let map = files(|path| path == "ARCHITECTURE.md").remove(0).text;
    let (_, reasons) = map
        .split_once("\n## Dependencies\n")
        .expect("ARCHITECTURE.md has a section on dependencies");
    let mut violations = BTreeSet::new();
    for name in workspace.members.keys() {
        for (dependency, _) in workspace.direct(name) {
            let ours = workspace.members.contains_key(dependency);
            if !ours && !reasons.contains(&format!("`{dependency}`")) {
                violations.insert(format!("{dependency}, of {name}"));
            }
        }
    }
    report(
        "every dependency has a line with its reason",
        "write it in ARCHITECTURE.md under Dependencies, or do without the crate",
        &violations.into_iter().collect::<Vec<_>>(),
    );
}

#[test]
fn every_crate_comes_from_one_registry() {
    let index = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let mut violations = Vec::new();
    for lock in files(|path| path.ends_with("Cargo.lock")) {
        for (number, line) in lock.text.lines().enumerate() {
            if line.starts_with("source = ") && line != index {
                violations.push(format!("{}: {line}", lock.line(number + 1)));
            }
        }
    }
    report(
        "a git or foreign dependency cannot be published and may vanish",
        "use a released version",
        &violations,
    );
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Normal,
    Dev,
    Build,
}

/// The workspace as cargo resolves it for this machine.
struct Workspace {
    /// The packages of the workspace by name, as `cargo metadata` describes them.
    members: BTreeMap<String, Value>,
    /// The name of every package by its id.
    names: BTreeMap<String, String>,
    /// What each package depends on, by id: the id and the kinds.
    edges: BTreeMap<String, Vec<(String, Vec<Kind>)>>,
}

impl Workspace {
    /// Asks cargo, offline: what was needed to build these tests is all that is needed.
    fn read() -> &'static Self {
        static READ: OnceLock<Workspace> = OnceLock::new();
        READ.get_or_init(Self::ask_cargo)
    }

    fn ask_cargo() -> Self {
        let version = run(&["-vV"]);
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .expect("cargo says which host it is for");
        let metadata = run(&[
            "metadata",
            "--offline",
            "--locked",
            "--format-version=1",
            "--filter-platform",
            host,
        ]);
        let metadata: Value = serde_json::from_str(&metadata).expect("cargo writes JSON");
        Self::from_metadata(&metadata)
    }

    fn from_metadata(metadata: &Value) -> Self {
        let mut names = BTreeMap::new();
        let mut members = BTreeMap::new();
        let ids: BTreeSet<&str> = list(&metadata["workspace_members"])
            .map(|id| id.as_str().expect("an id"))
            .collect();
        for package in list(&metadata["packages"]) {
            let (id, name) = (text(&package["id"]), text(&package["name"]));
            if ids.contains(id.as_str()) {
                members.insert(name.clone(), package.clone());
            }
            names.insert(id, name);
        }
        let edges = list(&metadata["resolve"]["nodes"])
            .map(|node| (text(&node["id"]), list(&node["deps"]).map(edge).collect()))
            .collect();
        Self {
            members,
            names,
            edges,
        }
    }

    fn is_example(&self, member: &str) -> bool {
        text(&self.members[member]["manifest_path"]).contains("/examples/")
    }

    /// Returns what `member` depends on directly, by name.
    fn direct(&self, member: &str) -> Vec<(&str, &[Kind])> {
        let id = text(&self.members[member]["id"]);
        self.edges[&id]
            .iter()
            .map(|(id, kinds)| (self.names[id].as_str(), kinds.as_slice()))
            .collect()
    }

    /// Returns the crates of the workspace that `member` depends on in one of the ways `kinds`.
    fn within(&self, member: &str, kinds: &[Kind]) -> BTreeSet<&str> {
        self.direct(member)
            .into_iter()
            .filter(|(name, _)| self.members.contains_key(*name))
            .filter(|(_, found)| found.iter().any(|kind| kinds.contains(kind)))
            .map(|(name, _)| name)
            .collect()
    }

    /// Returns everything that `member` links, with the way that leads there.
    fn tree_of(&self, member: &str) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        let mut open = vec![(text(&self.members[member]["id"]), member.to_owned())];
        while let Some((id, path)) = open.pop() {
            for (next, kinds) in &self.edges[&id] {
                let name = &self.names[next];
                if kinds.contains(&Kind::Normal) && !seen.contains_key(name) {
                    let path = format!("{path} -> {name}");
                    seen.insert(name.clone(), path.clone());
                    open.push((next.clone(), path));
                }
            }
        }
        seen
    }
}

fn edge(dependency: &Value) -> (String, Vec<Kind>) {
    let kinds = list(&dependency["dep_kinds"])
        .map(|kind| match kind["kind"].as_str() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        })
        .collect();
    (text(&dependency["pkg"]), kinds)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("the cargo that built this test runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

#[test]
fn a_forbidden_crate_is_found_however_deep_but_not_among_the_tests() {
    let metadata = serde_json::json!({
        "workspace_members": ["core"],
        "packages": [
            {"id": "core", "name": "quorate-core"},
            {"id": "a", "name": "helper"}, {"id": "b", "name": "tokio"},
            {"id": "c", "name": "proptest"},
        ],
        "resolve": {"nodes": [
            {"id": "core", "deps": [
                {"pkg": "a", "dep_kinds": [{"kind": null}]},
                {"pkg": "c", "dep_kinds": [{"kind": "dev"}]},
            ]},
            {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}]},
            {"id": "b", "deps": []}, {"id": "c", "deps": []},
        ]},
    });
    let tree = Workspace::from_metadata(&metadata).tree_of("quorate-core");
    assert_eq!(tree["tokio"], "quorate-core -> helper -> tokio");
    assert!(!tree.contains_key("proptest"));
}

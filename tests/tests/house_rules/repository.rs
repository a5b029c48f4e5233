//! The files of the repository, and how violations are reported.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The crates below the driver: no clock, no thread, no randomness, no network of their own.
pub(crate) const LOWER: [&str; 4] = [
    "quorate-core",
    "quorate-state",
    "quorate-store",
    "quorate-sim",
];

/// One text file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// Its path below the root, with `/` between its parts.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

impl File {
    /// Names a line of the file, counted from one, for a report.
    pub(crate) fn line(&self, number: usize) -> String {
        format!("{}:{number}", self.path)
    }

    /// Returns the crate whose `src` holds the file, if one does.
    pub(crate) fn crate_name(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once('/')?;
        rest.starts_with("src/").then_some(name)
    }
}

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests' crate lies below the root")
        .to_owned()
}

/// Reads every text file of the repository whose path `wanted` accepts, in order of their paths.
pub(crate) fn files(wanted: impl Fn(&str) -> bool) -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), "", &mut |path| {
        if wanted(path) {
            // What is not UTF-8 is no text, and no rule here is about it.
            if let Ok(text) = fs::read_to_string(root().join(path)) {
                found.push(File {
                    path: path.to_owned(),
                    text,
                });
            }
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no file was found: the walk is broken");
    found
}

/// Reads the Rust files of every crate's `src`.
pub(crate) fn crate_sources() -> Vec<File> {
    let mut files = files(|path| path.starts_with("crates/") && path.ends_with(".rs"));
    files.retain(|file| file.crate_name().is_some());
    files
}

/// Reads the Rust files of the `src` of every crate and every example.
pub(crate) fn sources() -> Vec<File> {
    let mut files = files(|path| {
        path.starts_with("examples/") && path.contains("/src/") && path.ends_with(".rs")
    });
    files.extend(crate_sources());
    files
}

/// Fails with every violation of a rule at once, and with what to do.
#[track_caller]
pub(crate) fn report(rule: &str, way_out: &str, violations: &[String]) {
    assert!(
        violations.is_empty(),
        "\n{rule}: {} violation(s)\n  {}\nway out: {way_out}\n",
        violations.len(),
        violations.join("\n  ")
    );
}

fn walk(directory: &Path, below: &str, visit: &mut dyn FnMut(&str)) {
    let entries = fs::read_dir(directory).expect("the repository's directories are readable");
    for entry in entries {
        let entry = entry.expect("the repository's directories are readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() {
            name.clone()
        } else {
            format!("{below}/{name}")
        };
        let kind = entry.file_type().expect("a file of the repository");
        if kind.is_dir() && !is_built(&name, &path) {
            walk(&entry.path(), &path, visit);
        } else if kind.is_file() {
            visit(&path);
        }
    }
}

/// Tells whether a directory holds what is built, not what is written.
fn is_built(name: &str, path: &str) -> bool {
    name == "target" || path == ".git" || path == "book/build"
}

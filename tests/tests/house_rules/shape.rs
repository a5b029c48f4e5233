//! How large things may be, and what every file and crate root looks like.

use super::{
    repository::{files, report, sources},
    source::{code_of, functions},
};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;

#[test]
fn files_stay_small() {
    let violations: Vec<String> = sources()
        .iter()
        .filter_map(|file| {
            let lines = file.text.lines().count();
            (lines > FILE_LINES).then(|| format!("{}: {lines} lines", file.path))
        })
        .collect();
    report(
        &format!("a file has at most {FILE_LINES} lines"),
        "it holds more than one concept: give each its own file, named with its own word; long \
         tests go to a file beside it",
        &violations,
    );
}

#[test]
fn functions_stay_small() {
    let mut violations = Vec::new();
    let mut seen = 0;
    for file in sources() {
        for function in functions(&code_of(&file.text)) {
            seen += 1;
            if function.lines > FUNCTION_LINES {
                let place = file.line(function.line);
                violations.push(format!(
                    "{place}: fn {} has {} lines",
                    function.name, function.lines
                ));
            }
        }
    }
    assert!(
        seen > 100,
        "only {seen} functions were seen: the scan is broken"
    );
    report(
        &format!("a function has at most {FUNCTION_LINES} lines"),
        "branch in the parent, move each branch's work to a function of its own",
        &violations,
    );
}

#[test]
fn lines_stay_narrow() {
    let mut violations = Vec::new();
    for file in files(|path| path.ends_with(".rs")) {
        for (number, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS {
                violations.push(format!("{}: {columns} columns", file.line(number + 1)));
            }
        }
    }
    report(
        &format!("a line has at most {COLUMNS} columns"),
        "run cargo fmt; break long strings with a backslash at the line's end",
        &violations,
    );
}

#[test]
fn source_is_ascii() {
    let mut violations = Vec::new();
    for file in files(|path| path.ends_with(".rs") || path.ends_with(".toml")) {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(found) = line.chars().find(|c| !c.is_ascii()) {
                violations.push(format!("{}: {found:?}", file.line(number + 1)));
            }
        }
    }
    report(
        "source is ASCII, so that every editor and every diff shows what is there",
        "write \\u{...} in strings, and plain words in comments",
        &violations,
    );
}

#[test]
fn files_end_well() {
    let mut violations = Vec::new();
    for file in files(|path| !path.ends_with(".lock")) {
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            violations.push(format!("{}: no newline at the end", file.path));
        }
        for (number, line) in file.text.lines().enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                violations.push(format!("{}: blank at the end", file.line(number + 1)));
            }
        }
    }
    report(
        "a line ends without blanks and a file with one newline",
        "let the editor trim",
        &violations,
    );
}

#[test]
fn crate_roots_forbid_unsafe_code() {
    let roots = files(is_root);
    assert!(roots.len() >= 8, "the crate roots were not found");
    let violations: Vec<String> = roots
        .into_iter()
        .filter(|file| !code_of(&file.text).contains("#![forbid(unsafe_code)]"))
        .map(|file| file.path)
        .collect();
    report(
        "every crate forbids unsafe code",
        "put #![forbid(unsafe_code)] behind the crate's documentation",
        &violations,
    );
}

/// Tells whether a file is the root of a library or of a program.
fn is_root(path: &str) -> bool {
    let Some((_, below)) = path.rsplit_once("/src/") else {
        return false;
    };
    match below.split('/').collect::<Vec<_>>()[..] {
        ["lib.rs" | "main.rs"] | ["bin", _, "main.rs"] => true,
        ["bin", program] => program.ends_with(".rs"),
        _ => false,
    }
}

#[test]
fn a_root_is_found_wherever_it_may_be() {
    for root in ["a/src/lib.rs", "a/src/bin/b.rs", "a/src/bin/b/main.rs"] {
        assert!(is_root(root), "{root}");
    }
    for other in ["a/src/bin/b/c.rs", "a/tests/main.rs", "a/src/b/lib.rs"] {
        assert!(!is_root(other), "{other}");
    }
}

#[test]
fn files_tell_their_story() {
    // What a module's own tests are about, its header says.
    let wanted = |path: &str| path.ends_with(".rs") && !path.ends_with("/tests.rs");
    let violations: Vec<String> = files(wanted)
        .into_iter()
        .filter(|file| !file.text.trim_start().starts_with("//!"))
        .map(|file| file.path)
        .collect();
    report(
        "a file starts by saying what it is about",
        "write a //! header: the problem, the invariant, the alternative that was rejected",
        &violations,
    );
}

//! The figures that the documentation gives are those that the benchmarks measure.

use std::collections::BTreeSet;

use super::repository::files;

#[test]
fn every_row_of_the_benchmarks_is_explained_and_has_its_figure() {
    let source = files(|path| path == "bench/src/row.rs").remove(0).text;
    let measured: BTreeSet<&str> = source
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| is_row(text))
        .collect();
    assert!(
        measured.len() >= 10,
        "the rows were not found: {measured:?}"
    );
    for page in ["README.md", "book/src/benchmarks.md"] {
        let text = files(|path| path == page).remove(0).text;
        let listed: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .filter(|name| is_row(name))
            .collect();
        assert_eq!(
            listed, measured,
            "{page}: its table and bench/src/row.rs differ"
        );
    }
}

/// Tells whether a text is a row's name: a part, a dot, and a name with a unit.
fn is_row(text: &str) -> bool {
    let parts = text.split_once('.');
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    parts.is_some_and(|(part, name)| {
        !part.is_empty() && part.chars().all(word) && name.contains('_') && name.chars().all(word)
    })
}

//! The figures that the documentation gives are those that the benchmarks measure.

use std::collections::{BTreeMap, BTreeSet};

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
    let pages = ["README.md", "book/src/benchmarks.md"].map(|page| {
        let text = files(|path| path == page).remove(0).text;
        let figures = figures_of(&text);
        let listed: BTreeSet<&str> = figures.keys().map(String::as_str).collect();
        assert_eq!(
            listed, measured,
            "{page}: its table and bench/src/row.rs differ"
        );
        figures
    });
    assert_eq!(pages[0], pages[1], "the README and the book differ");
}

/// Returns the target and the figure of each row that a page lists.
fn figures_of(page: &str) -> BTreeMap<String, (String, String)> {
    let figure = |line: &str| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let (target, measured) = (cells.nth(2)?, cells.next()?);
        is_row(name).then(|| (name.to_owned(), (target.to_owned(), measured.to_owned())))
    };
    page.lines().filter_map(figure).collect()
}

#[test]
fn a_row_is_its_name_its_target_and_its_figure() {
    let page = "| Row | What | Target | Measured |\n| `a.b_us` | a thing | at most 3 us | 4 us |\n";
    let figures = figures_of(page);
    assert_eq!(figures.len(), 1);
    let (target, measured) = &figures["a.b_us"];
    assert_eq!(
        (target.as_str(), measured.as_str()),
        ("at most 3 us", "4 us")
    );
}

/// Tells whether a text is a row's name: a part, a dot, and a name with a unit.
fn is_row(text: &str) -> bool {
    let parts = text.split_once('.');
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    parts.is_some_and(|(part, name)| {
        !part.is_empty() && part.chars().all(word) && name.contains('_') && name.chars().all(word)
    })
}

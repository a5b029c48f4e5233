//! Code in the documentation is code that runs.
//!
//! A Rust block is one of two things. Either the whole page is a documentation test, listed in
//! `tests/src/snippets.rs`; or the block is an excerpt: a comment above it names the file, and its
//! lines stand in that file, one after the other, perhaps further to the right. Excerpts are
//! copied, not included by the book's tool: a page also reads well where that tool does not run.

use super::repository::{File, files, report};

#[test]
fn snippets_are_compiled() {
    let tested = files(|path| path == "tests/src/snippets.rs").remove(0).text;
    let mut violations = Vec::new();
    for page in files(|path| path.ends_with(".md")) {
        if tested.contains(&format!("/../{}\"", page.path)) {
            continue;
        }
        for block in rust_blocks(&page.text) {
            if let Err(wrong) = check(&block) {
                violations.push(format!("{}: {wrong}", page.line(block.line)));
            }
        }
    }
    report(
        "every Rust snippet in the documentation compiles",
        "list the page in tests/src/snippets.rs; or put `<!-- of PATH -->` above the block and \
         copy its lines from that file",
        &violations,
    );
}

#[test]
fn transcripts_of_the_book_are_those_of_the_examples() {
    let readmes = files(|path| path.starts_with("examples/") && path.ends_with("/README.md"));
    let mut violations = Vec::new();
    for page in files(|path| path.ends_with(".md") && !path.starts_with("examples/")) {
        for block in quorate_tests::transcript::transcripts(&page.text) {
            let run = block.command.starts_with("cargo run -p ");
            let shown = |readme: &File| {
                let shown = quorate_tests::transcript::transcripts(&readme.text);
                let same = |other: &quorate_tests::transcript::Transcript| {
                    (&other.command, &other.screen) == (&block.command, &block.screen)
                };
                shown.iter().any(same)
            };
            if run && !block.screen.is_empty() && !readmes.iter().any(shown) {
                violations.push(page.line(block.line));
            }
        }
    }
    report(
        "what an example shows is tested once, where it lives",
        "copy the block from the example's README.md",
        &violations,
    );
}

#[test]
fn tutorials_show_the_whole_program() {
    let mut violations = Vec::new();
    let mut whole = 0;
    for page in files(|path| path.ends_with(".md")) {
        for named in page.text.split("<!-- shows all of ").skip(1) {
            whole += 1;
            let path = named.split(" -->").next().unwrap_or_default();
            let file = files(|candidate| candidate == path).remove(0);
            let blocks = rust_blocks(&page.text);
            let blocks = blocks.iter().filter(|block| block.of == Some(path));
            let shown: Vec<&str> = blocks.flat_map(|block| block.lines.clone()).collect();
            for missing in not_shown(&file.text, &shown) {
                violations.push(format!("{}: {path}: {missing}", page.path));
            }
        }
    }
    assert!(whole >= 4, "the tutorials were not found");
    report(
        "who follows a tutorial has the whole program in the end",
        "show these lines too, or do not say that the page shows all of the file",
        &violations,
    );
}

/// Returns the lines of code of a file, its tests left out, that are not among those `shown`.
fn not_shown<'a>(file: &'a str, shown: &[&str]) -> Vec<&'a str> {
    let program = file.split("#[cfg(test)]").next().unwrap_or_default();
    program
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .filter(|line| !shown.iter().any(|shown| shown.trim() == *line))
        .collect()
}

/// One block of Rust on a page.
#[derive(Debug)]
struct Block<'a> {
    line: usize,
    /// The file that a comment above the block names.
    of: Option<&'a str>,
    lines: Vec<&'a str>,
}

fn rust_blocks(page: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut above = "";
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line.starts_with("```rust") {
            let named = above.strip_prefix("<!-- of ");
            found.push(Block {
                line: at + 1,
                of: named.and_then(|named| named.strip_suffix(" -->")),
                lines: lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| *line != "```")
                    .collect(),
            });
        }
        above = line;
    }
    found
}

/// Checks that an excerpt stands in the file it is said to be of.
fn check(block: &Block<'_>) -> Result<(), String> {
    let path = block.of.ok_or("no test compiles this block")?;
    let file = files(|_| true).into_iter().find(|file| file.path == path);
    let file = file.ok_or_else(|| format!("there is no {path}"))?;
    if stands_in(&block.lines, &file.text) {
        Ok(())
    } else {
        Err(format!("this does not stand in {path}"))
    }
}

/// Tells whether `lines` stand in `text` in a row, all equally far to the right.
fn stands_in(lines: &[&str], text: &str) -> bool {
    let text: Vec<&str> = text.lines().collect();
    let equal = |wanted: &str, found: &str, right: usize| {
        if wanted.is_empty() {
            return found.is_empty();
        }
        let blank = found.len() - found.trim_start().len();
        blank >= right && found[right..] == *wanted
    };
    !lines.is_empty()
        && text.windows(lines.len()).any(|window| {
            let right = window[0].len().saturating_sub(lines[0].len());
            let mut pairs = lines.iter().zip(window);
            pairs.all(|(wanted, found)| equal(wanted, found, right))
        })
}

#[test]
fn an_excerpt_that_drifted_is_found() {
    let file = "fn a() {\n    b();\n\n    c();\n}\n";
    assert!(stands_in(&["b();", "", "c();"], file));
    assert!(stands_in(&["    c();", "}"], file));
    for drifted in [
        &["b();", "c();"][..],
        &["b();", "", "d();"],
        &["c();", "}"],
        &[],
    ] {
        assert!(!stands_in(drifted, file), "{drifted:?}");
    }
    let tested = format!("//! A\n{file}#[cfg(test)]\nmod tests;\n");
    assert_eq!(not_shown(&tested, &["fn a() {", "b();", "}"]), ["c();"]);
    let page = "<!-- of a.rs -->\n```rust\nb();\n```\n\n```rust,no_run\n```\n";
    let blocks = rust_blocks(page);
    assert_eq!(
        (blocks[0].of, &blocks[0].lines[..]),
        (Some("a.rs"), &["b();"][..])
    );
    assert_eq!((blocks[1].line, blocks[1].of), (6, None));
    assert!(check(&blocks[1]).is_err());
}

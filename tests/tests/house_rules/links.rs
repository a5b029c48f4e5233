//! Every link in the documentation leads somewhere, and every page of the book is listed.

use std::collections::{BTreeMap, BTreeSet};

use super::repository::{File, files, report, root};

#[test]
fn links_resolve() {
    let pages = files(|path| path.ends_with(".md"));
    let anchors: BTreeMap<&str, BTreeSet<String>> = pages
        .iter()
        .map(|page| (page.path.as_str(), anchors_of(&page.text)))
        .collect();
    let mut violations = Vec::new();
    for page in &pages {
        for (line, target) in links_of(&page.text) {
            if let Some(wrong) = check(&page.path, &target, &anchors) {
                violations.push(format!("{}: {target}: {wrong}", page.line(line)));
            }
        }
    }
    report(
        "every relative link resolves, its anchor too",
        "correct the path, or the anchor: a heading in lower case with dashes for blanks",
        &violations,
    );
}

#[test]
fn the_book_lists_all_its_pages() {
    let pages = files(|path| path.starts_with("book/src/") && path.ends_with(".md"));
    let (contents, pages): (Vec<File>, Vec<File>) = pages
        .into_iter()
        .partition(|page| page.path.ends_with("/SUMMARY.md"));
    let listed: BTreeSet<String> = links_of(&contents[0].text)
        .into_iter()
        .map(|(_, target)| join("book/src", &target))
        .collect();
    let violations: Vec<String> = pages
        .into_iter()
        .filter(|page| !listed.contains(&page.path))
        .map(|page| page.path)
        .collect();
    report(
        "a page that is in no table of contents is never read",
        "list it in book/src/SUMMARY.md",
        &violations,
    );
}

/// Says what is wrong with a link from `page` to `target`, if anything is.
fn check(
    page: &str,
    target: &str,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
) -> Option<&'static str> {
    if ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| target.starts_with(scheme))
    {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let directory = page.rsplit_once('/').map_or("", |(directory, _)| directory);
    let path = if path.is_empty() {
        page.to_owned()
    } else {
        join(directory, path)
    };
    if !root().join(&path).exists() {
        return Some("there is no such file");
    }
    let known = |anchors: &BTreeSet<String>| anchors.contains(anchor);
    if !anchor.is_empty() && !anchors.get(path.as_str()).is_some_and(known) {
        return Some("the page has no such heading");
    }
    None
}

/// Returns the targets of the inline links and link definitions outside of code, with their lines.
fn links_of(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose_of(text) {
        let line = without_code(line);
        if let Some((label, target)) = line.split_once("]: ")
            && label.starts_with('[')
        {
            found.push((number, first_word(target)));
        }
        for (at, _) in line.match_indices("](") {
            let target = &line[at + 2..];
            let end = target.find(')').unwrap_or(target.len());
            found.push((number, first_word(&target[..end])));
        }
    }
    found
}

/// Returns the anchors of a page's headings, as GitHub and mdBook make them.
fn anchors_of(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose_of(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let mut anchor = slug.clone();
        let mut copies = 0;
        while !anchors.insert(anchor.clone()) {
            copies += 1;
            anchor = format!("{slug}-{copies}");
        }
    }
    anchors
}

/// Returns the lines outside of fenced code, with their numbers.
fn prose_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((number + 1, line))
    })
}

/// Returns the line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

fn first_word(target: &str) -> String {
    target
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Joins a relative path to a directory, both below the root.
fn join(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn a_broken_link_and_a_broken_anchor_are_found() {
    let text = "# One `two`, three\n[a](b.md#c) `[no](x.md)`\n```\n[no](y.md)\n```\n[d]: e.md\n";
    let targets: Vec<String> = links_of(text)
        .into_iter()
        .map(|(_, target)| target)
        .collect();
    assert_eq!(targets, ["b.md#c", "e.md"]);
    let anchors = BTreeMap::from([("README.md", anchors_of(text))]);
    assert!(anchors["README.md"].contains("one-two-three"));
    let page = "book/src/page.md";
    assert_eq!(check(page, "../../README.md#one-two-three", &anchors), None);
    assert!(check(page, "../../README.md#four", &anchors).is_some());
    assert!(check(page, "absent.md", &anchors).is_some());
    assert_eq!(join("a/b", "../c/./d.md"), "a/c/d.md");
}

//! What the book says of the command and of its HTTP interface, compared with the program.
//!
//! The page on the command line is made from the program's own help: with `QUORATE_WRITE_BOOK` in
//! the environment it is written, without it is compared. The exchanges on the page on HTTP are
//! played against a peer, and the quick start is followed to the letter.
#![allow(clippy::unwrap_used)] // All of it is tests.

#[path = "book/exchange.rs"]
mod exchange;
#[path = "book/program.rs"]
mod program;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use program::{Home, quorate};
use quorate_tests::transcript::{commands, transcripts};

/// Behind this line, the page on the command line is the program's own words.
const WRITTEN: &str = "<!-- written by the program from here on -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("book/src").join(name)).unwrap()
}

#[test]
fn the_page_on_the_command_line_is_what_the_program_says() {
    let page = page("command-line.md");
    let (head, _) = page.split_once(WRITTEN).unwrap();
    let mut written = format!("{head}{WRITTEN}\n");
    let mut names = vec![String::new()];
    names.extend(subcommands());
    for name in names {
        let arguments: Vec<&str> = name.split_whitespace().chain(["--help"]).collect();
        let help = quorate(&arguments).out();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let title = format!("quorate {name}");
        let (title, help) = (title.trim_end(), help.join("\n"));
        write!(
            written,
            "\n## {title}\n\n```text\n{}\n```\n",
            help.trim_end()
        )
        .unwrap();
    }
    if std::env::var_os("QUORATE_WRITE_BOOK").is_some() {
        fs::write(root().join("book/src/command-line.md"), &written).unwrap();
    }
    assert!(
        self::page("command-line.md") == written,
        "book/src/command-line.md is not what `quorate --help` says: run `just reference`"
    );
}

/// Returns the names of the subcommands, as the program's help lists them.
fn subcommands() -> Vec<String> {
    let names = subcommands_of("");
    assert!(names.len() >= 8, "{names:?}");
    names
}

/// Returns the commands that `command` has, and those that they have.
fn subcommands_of(command: &str) -> Vec<String> {
    let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
    let help = quorate(&arguments).out();
    let Some((_, listed)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    listed
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .flat_map(|name| {
            let name = format!("{command} {name}").trim_start().to_owned();
            let nested = subcommands_of(&name);
            std::iter::once(name).chain(nested)
        })
        .collect()
}

#[test]
fn the_commands_that_pages_tell_to_type_are_understood() {
    let known: BTreeSet<String> = subcommands().into_iter().collect();
    let mut seen = 0;
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        for (line, command) in commands(&text) {
            let words = match command.split_once("--bin quorate -- ") {
                Some((_, words)) => words,
                None => match command.strip_prefix("quorate ") {
                    Some(words) => words,
                    None => continue,
                },
            };
            seen += 1;
            let place = format!("{}:{line}: {command}", path.display());
            let words: Vec<&str> = words.split_whitespace().collect();
            assert!(known.contains(words[0]), "{place}: no such command");
            let help = quorate(&[words[0], "--help"]).out();
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap();
                let listed = help.split([' ', ',', '\n', '=']).any(|word| word == option);
                assert!(listed, "{place}: there is no {option}");
            }
        }
    }
    assert!(seen >= 10, "only {seen} commands were found");
}

/// Returns the pages that people read.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for entry in fs::read_dir(root().join("book/src")).unwrap() {
        let path = entry.unwrap().path();
        found.extend(
            path.extension()
                .is_some_and(|it| it == "md")
                .then_some(path),
        );
    }
    found
}

#[test]
fn the_page_on_http_lists_the_addresses_and_codes_that_there_are() {
    let page = page("http.md");
    let source = include_str!("../src/http/mod.rs");
    let mut routes = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        let methods = route.split("method(\"").nth(1).unwrap_or_default();
        let methods = methods.split('"').next().unwrap().replace(" or ", ", ");
        // The address without a key is there to say that the key is missing.
        if path != "/v1/kv/" {
            routes.insert(format!("| `{path}` | {methods} |"));
        }
    }
    let (_, table) = page.split_once("<!-- routes -->\n").unwrap();
    let listed: BTreeSet<String> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, routes);

    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        for name in source.split("StatusCode::").skip(1) {
            let name: String = name
                .chars()
                .take_while(|c| c.is_ascii_uppercase() || *c == '_')
                .collect();
            let code = exchange::code(&name);
            assert!(page.contains(&format!("| {code} |")), "{code} {name}");
        }
    }
}

#[test]
fn the_exchanges_of_the_page_on_http_happen() {
    let home = Home::new();
    let peer = home.up(&["--form", "alone"]);
    peer.ready();
    let page = page("http.md");
    let exchanges = exchange::of(&page);
    assert!(exchanges.len() >= 8);
    let mut seen = exchange::Seen::default();
    for exchange in exchanges {
        exchange.play(&peer.http, &mut seen);
    }
    // Every field of the status is explained, and no other.
    let status = exchange::ask(&peer.http, "GET", "/v1/status").body;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let fields: BTreeSet<String> = status.as_object().unwrap().keys().cloned().collect();
    let (_, table) = page.split_once("<!-- fields of the status -->\n").unwrap();
    let explained: BTreeSet<String> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("| `"))
        .flat_map(|line| {
            line.split('|')
                .nth(1)
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(explained, fields);
}

#[test]
fn the_quick_start_can_be_followed() {
    let home = Home::new();
    let peers = [home.up(&[]), home.up(&[]), home.up(&[])];
    let page = page("quick-start.md");
    for peer in &peers {
        peer.ready();
    }
    // What a peer says of itself has the lines that the page shows.
    let shown = block(&page, "peer  ");
    let first_words = |text: &str| -> Vec<String> {
        let words = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        words.map(str::to_owned).collect()
    };
    assert_eq!(first_words(&peers[0].head), first_words(&shown));

    let status = home.quorate(&["status"]).out();
    let shown = block(&page, "peer        500df8d660, follower");
    let until_peers = |text: &str| first_words(text.split("\n\n").next().unwrap());
    let mut found = until_peers(&status);
    // There are learners as long as the group grows.
    found.retain(|word| word != "learners");
    assert_eq!(found, until_peers(&shown));

    let (_, run) = page.split_once("<!-- run in order -->\n").unwrap();
    let all = &transcripts(run)[0];
    let mut lines = vec![format!("$ {}", all.command)];
    lines.extend(all.screen.iter().cloned());
    let steps = lines.join("\n");
    for step in steps.split("$ quorate ").skip(1) {
        let (command, answer) = step.split_once('\n').unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        let mut said = home.quorate(&words).out();
        if !said.ends_with('\n') {
            said.push('\n');
        }
        let answer = format!("{}\n", answer.trim_end());
        assert_eq!(
            exchange::normal(&said),
            exchange::normal(&answer),
            "{command}"
        );
    }
}

/// Returns the text block of a page that begins with `first`.
fn block(page: &str, first: &str) -> String {
    let begin = page.find(&format!("```text\n{first}")).unwrap() + "```text\n".len();
    let end = page[begin..].find("```").unwrap();
    page[begin..begin + end].to_owned()
}

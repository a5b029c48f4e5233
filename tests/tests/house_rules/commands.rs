//! Commands that the documentation and the justfile tell people to type exist.
//!
//! What `quorate` itself is asked to do is compared with the program by the tests of
//! `quorate-cli`; here it is cargo, just and the scripts: packages, programs, files and recipes.

use std::collections::BTreeSet;

use quorate_tests::transcript::commands;

use super::repository::{files, report, root};

/// What is there without us.
const COMMON: [&str; 7] = ["git", "cd", "curl", "mdbook", "date", "kill", "export"];

/// Cargo's own commands that we name.
const CARGO: [&str; 10] = [
    "add", "build", "clippy", "deny", "doc", "fmt", "install", "new", "run", "test",
];

#[test]
fn commands_of_the_documentation_exist() {
    let names = Names::read();
    let mut violations = Vec::new();
    for page in files(|path| path.ends_with(".md")) {
        for (line, command) in commands(&page.text) {
            if let Err(wrong) = names.check(&command) {
                violations.push(format!("{}: {command}: {wrong}", page.line(line)));
            }
        }
    }
    report(
        "who types what a page says gets what the page says",
        "correct the command",
        &violations,
    );
}

#[test]
fn recipes_of_the_justfile_exist_and_say_what_they_do() {
    let names = Names::read();
    let justfile = files(|path| path == "justfile").remove(0);
    let mut violations = Vec::new();
    for recipe in recipes(&justfile.text) {
        let place = justfile.line(recipe.line);
        if !recipe.described {
            violations.push(format!("{place}: {} has no comment", recipe.name));
        }
        for command in recipe.commands {
            if let Err(wrong) = names.check(&command) {
                violations.push(format!("{place}: {command}: {wrong}"));
            }
        }
    }
    for wanted in [
        "build",
        "test",
        "quick",
        "ci",
        "lint",
        "fmt",
        "doc",
        "book",
        "demo",
        "simulate",
        "bench",
        "up",
        "chat",
        "reference",
    ] {
        if !names.recipes.contains(wanted) {
            violations.push(format!("justfile: no recipe {wanted}"));
        }
    }
    report(
        "`just` alone lists what there is to do, and each of it can be done",
        "correct the recipe, or the comment above it",
        &violations,
    );
}

/// What commands may name.
struct Names {
    packages: BTreeSet<String>,
    programs: BTreeSet<String>,
    recipes: BTreeSet<String>,
}

impl Names {
    fn read() -> Self {
        let manifests = files(|path| path.ends_with("Cargo.toml"));
        let named = |text: &str| {
            let name = text.lines().find_map(|line| line.strip_prefix("name = \""));
            name.map(|name| name.trim_end_matches('"').to_owned())
        };
        let mut programs = BTreeSet::new();
        for manifest in &manifests {
            if let Some((_, bin)) = manifest.text.split_once("[[bin]]") {
                programs.extend(named(bin));
            }
        }
        let sources = files(|path| path.contains("/src/bin/") || path.contains("/examples/"));
        for source in sources {
            let path = source.path.replace("/main.rs", ".rs");
            let stem = path
                .strip_suffix(".rs")
                .and_then(|path| path.rsplit('/').next());
            programs.extend(stem.map(str::to_owned));
        }
        let justfile = files(|path| path == "justfile").remove(0).text;
        Self {
            packages: manifests
                .iter()
                .filter_map(|file| named(&file.text))
                .collect(),
            programs,
            recipes: recipes(&justfile).into_iter().map(|one| one.name).collect(),
        }
    }

    /// Checks one command; nothing is run.
    fn check(&self, command: &str) -> Result<(), String> {
        let words: Vec<&str> = command
            .split_whitespace()
            .skip_while(|word| word.contains('=') && !word.starts_with('-'))
            .collect();
        match words[..] {
            [".ci/run"] | [".ci/run", "quick"] | ["just"] | ["quorate", ..] => Ok(()),
            ["just", "--list"] | ["@just", "--list"] => Ok(()),
            ["just", recipe, ..] if self.recipes.contains(recipe) => Ok(()),
            ["cargo", command, ref rest @ ..] if CARGO.contains(&command) => self.cargo(rest),
            [program, ..] if COMMON.contains(&program) => Ok(()),
            _ => Err("nobody knows this command".to_owned()),
        }
    }

    fn cargo(&self, words: &[&str]) -> Result<(), String> {
        let ours = words.iter().take_while(|word| **word != "--");
        for (option, value) in ours.clone().zip(ours.clone().skip(1)) {
            let known = match *option {
                "-p" => self.packages.contains(*value),
                "--bin" | "--example" => self.programs.contains(*value),
                "--manifest-path" | "--path" => {
                    // A package of one's own stands beside the clone.
                    let within = value.strip_prefix("../quorate/").unwrap_or(value);
                    root().join(within).exists()
                }
                _ => true,
            };
            if !known {
                return Err(format!("there is no {value}"));
            }
        }
        Ok(())
    }
}

/// One recipe of the justfile.
struct Recipe {
    line: usize,
    name: String,
    described: bool,
    commands: Vec<String>,
}

fn recipes(justfile: &str) -> Vec<Recipe> {
    let mut found: Vec<Recipe> = Vec::new();
    let mut above = "";
    for (at, line) in justfile.lines().enumerate() {
        if line.starts_with(char::is_whitespace) {
            if let Some(recipe) = found.last_mut() {
                let command = line.split("{{").next().unwrap_or_default().trim();
                recipe.commands.push(command.to_owned());
            }
        } else if let Some((head, _)) = line.split_once(':')
            && !line.starts_with(['#', '['])
            && !line.contains(":=")
        {
            found.push(Recipe {
                line: at + 1,
                name: head
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                described: above.starts_with('#') || above == "[private]",
                commands: Vec::new(),
            });
        }
        above = line;
    }
    found
}

#[test]
fn commands_that_cannot_work_are_found() {
    let names = Names {
        packages: BTreeSet::from(["chat".to_owned()]),
        programs: BTreeSet::from(["quorate".to_owned()]),
        recipes: BTreeSet::from(["demo".to_owned()]),
    };
    for right in [
        "cargo run --release --bin quorate -- demo -p x",
        "cargo run -p chat -- --name ada",
        "cargo add --path ../quorate/crates/quorate-sim",
        "just demo",
        "A=b cargo test --workspace",
        ".ci/run quick",
    ] {
        assert_eq!(names.check(right), Ok(()), "{right}");
    }
    for wrong in [
        "cargo run -p cat",
        "cargo run --bin quorat",
        "cargo rum",
        "just dem",
        ".ci/run quickly",
        "cargo run --manifest-path nowhere/Cargo.toml",
        "cargo add --path ../quorate/nowhere",
        "",
    ] {
        assert!(names.check(wrong).is_err(), "{wrong}");
    }
    let text = "# Says it\ndemo *ARGS:\n    cargo run {{ARGS}}\n\nalias d := demo\nbare:\n    a\n";
    let found = recipes(text);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].name.as_str(), found[0].described), ("demo", true));
    assert_eq!(found[0].commands, ["cargo run"]);
    assert_eq!(
        (found[1].name.as_str(), found[1].described),
        ("bare", false)
    );
}

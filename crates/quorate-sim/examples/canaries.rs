//! Hunts planted bugs and prints a table of what it cost, in Markdown; fails if one stays hidden.
//!
//! ```text
//! canaries [OPTION=VALUE...] [NAME...]
//!   budget=2000   seeds that a hunt may take
//!   starts=1      hunts per canary, each from seeds of its own; the median is told
//!   blind=0       seeds of the general draw to try as well, where a family leads to a canary
//!   shrink=0      trials to cut down what shows a bug; what is left of it is told
//!   table=FILE    begins each hunt with the seed that this table, printed before, says finds it
//!   part=0/1      which share of the canaries, so that several processes may share the work
//!   clean=0       instead, runs so many seeds of each family with nothing planted
//! ```
//!
//! A hunt runs short seeds (5 peers, 20 simulated seconds, all faults) until one shows the bug.
#![allow(clippy::print_stdout, reason = "an example is for people")]
use std::{collections::BTreeMap, process::ExitCode};

use quorate_sim::{
    BUDGET, Canary, Family, Hunt, Keep, SHORT, Scenario, family_of, hunt, planted, run_scenario,
    shrink,
};

/// How far apart the seeds of different hunts begin.
const APART: u64 = 1_000_000;

/// A run allocates and frees all the time, in one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let value = words.iter().find_map(|word| word.strip_prefix(name));
        value.and_then(|value| value.strip_prefix('='))
    };
    let number = |name, default| option(name).map_or(Some(default), |value| value.parse().ok());
    let part = option("part").unwrap_or("0/1").split_once('/');
    let part = part.and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    let (Some(budget), Some(starts), Some(blind), Some(trials), Some(clean), Some((part, of))) = (
        number("budget", BUDGET),
        number("starts", 1_u64),
        number("blind", 0_u64),
        number("shrink", 0_u64),
        number("clean", 0_u64),
        part.filter(|(_, of): &(usize, usize)| *of > 0),
    ) else {
        println!("canaries: an option has a value that is no number; see the file's header");
        return ExitCode::from(2);
    };
    let names: Vec<&String> = words.iter().filter(|word| !word.contains('=')).collect();
    if clean > 0 {
        return run_clean(clean, &names);
    }
    if let Some(unknown) = names.iter().find(|name| Canary::named(name).is_none()) {
        println!("canaries: no bug is called {unknown}");
        return ExitCode::from(2);
    }
    let known = match option("table").map(std::fs::read_to_string) {
        None => BTreeMap::new(),
        Some(Ok(table)) => seeds_of(&table),
        Some(Err(error)) => {
            println!("canaries: the table cannot be read: {error}");
            return ExitCode::from(2);
        }
    };
    println!("| canary | what goes wrong | family | seeds | blind | found by | shrunk to |");
    println!("|---|---|---|---|---|---|---|");
    let mut hidden = 0;
    for canary in Canary::ALL.into_iter().skip(part).step_by(of) {
        if names.is_empty() || names.iter().any(|name| *name == canary.name()) {
            let from = known.get(canary.name()).copied().unwrap_or(0);
            hidden += u32::from(!tell(
                canary,
                budget,
                (from, starts.max(1)),
                (blind, trials),
            ));
        }
    }
    if hidden == 0 {
        ExitCode::SUCCESS
    } else {
        println!("\n{hidden} of the planted bugs stayed hidden for {budget} seeds");
        ExitCode::FAILURE
    }
}

/// Hunts one canary and prints its row; tells whether it was found each time.
fn tell(
    canary: Canary,
    budget: u64,
    (first, starts): (u64, u64),
    (blind, trials): (u64, u64),
) -> bool {
    let family = family_of(canary);
    let mut hunts: Vec<(u64, Hunt)> = (0..starts)
        .map(|start| first + start * APART)
        .map(|from| (from, hunt(canary, family, from, budget, SHORT)))
        .collect();
    hunts.sort_by_key(|(_, hunt)| (hunt.caught.is_none(), hunt.seeds));
    let (from, middle) = &hunts[hunts.len() / 2];
    let blind = match family {
        Family::General => "the same".to_owned(),
        _ if blind == 0 => "not tried".to_owned(),
        _ => {
            let hunt = hunt(canary, Family::General, 0, blind, SHORT);
            seeds(&hunt)
        }
    };
    let by = middle
        .caught
        .as_ref()
        .and_then(|report| report.violations.first());
    let by = by.map_or("nothing", |violation| violation.invariant);
    let name = match canary.link() {
        Some(link) => format!("[`{}`]({link})", canary.name()),
        None => format!("`{}`", canary.name()),
    };
    let (story, family, seeds) = (canary.story(), family.name(), seeds(middle));
    let left = left(middle, *from, trials);
    println!("| {name} | {story} | {family} | {seeds} | {blind} | {by} | {left} |");
    hunts.iter().all(|(_, hunt)| hunt.caught.is_some())
}

/// Reads from a table that was printed before which seed showed each bug.
fn seeds_of(table: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.split('`').nth(1)?;
        let seeds: u64 = cells.get(4)?.parse().ok()?;
        Some((name.to_owned(), seeds.saturating_sub(1)))
    };
    table.lines().filter_map(row).collect()
}

/// Cuts down the scenario that showed a bug; says how much is left of it.
fn left(hunt: &Hunt, from: u64, trials: u64) -> String {
    let violation = hunt.caught.as_ref().and_then(|it| it.violations.first());
    let Some(violation) = violation.filter(|_| trials > 0) else {
        return "not tried".to_owned();
    };
    let seed = from + hunt.seeds - 1;
    let scenario = planted(hunt.canary, hunt.family, seed, SHORT);
    let run = |scenario: &Scenario| {
        let report = run_scenario(scenario.clone(), 0, Keep::Nothing);
        report.violations.into_iter().next()
    };
    let shrunk = shrink(scenario, violation.clone(), run, |done| done < trials).scenario;
    format!(
        "faults {}, operations {}, peers {}",
        shrunk.faults.len(),
        shrunk.operations.len(),
        shrunk.peers.len()
    )
}

fn seeds(hunt: &Hunt) -> String {
    match hunt.caught {
        Some(_) => hunt.seeds.to_string(),
        None => format!("over {}", hunt.seeds),
    }
}

/// Runs seeds of the families named, or of all, with nothing planted: nothing may be found.
fn run_clean(seeds: u64, names: &[&String]) -> ExitCode {
    let mut found = 0;
    for family in Family::ALL {
        if !names.is_empty() && names.iter().all(|name| *name != family.name()) {
            continue;
        }
        for seed in 0..seeds {
            let report = run_scenario(family.draw(seed, SHORT.0, SHORT.1), SHORT.1, Keep::Nothing);
            for violation in report.violations {
                let (name, invariant) = (family.name(), violation.invariant);
                println!("{name}, seed {seed}: {invariant}: {}", violation.detail);
                found += 1;
            }
        }
        println!("{}: {seeds} seeds", family.name());
    }
    if found == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! Explores and prints what was seen: `explore [--small] [NAME...] [wakes=2,1,1] [crashes=1] ...`;
//! everything without a name, and within three sets of bounds: with a crash, with something held
//! back, with a link that ends. Bounds that are named replace those of the exploration. `--bugs`
//! plants each bug that is to be found where it is to be found, and fails if one stays hidden.
#![allow(clippy::print_stdout, reason = "an example is for people")]
use std::process::ExitCode;

use quorate_core::canary::Canary;
use quorate_sim::Bounds;

/// A run allocates and frees all the time, in one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--bugs") {
        return hunt();
    }
    let small = arguments.iter().any(|argument| argument == "--small");
    let changes: Vec<(&str, &str)> = arguments
        .iter()
        .filter_map(|one| one.split_once('='))
        .filter(|(name, _)| *name != "bug")
        .collect();
    let mut names: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with("--") && !argument.contains('='))
        .collect();
    if names.is_empty() {
        names = quorate_sim::explorations().collect();
    }
    let bug = arguments.iter().find_map(|one| one.strip_prefix("bug="));
    let bug = bug.and_then(Canary::named);
    let mut good = true;
    for name in names {
        let Some((full, quick)) = quorate_sim::bounds(name) else {
            let known: Vec<&str> = quorate_sim::explorations().collect();
            println!(
                "no exploration is called {name}; there are: {}",
                known.join(", ")
            );
            return ExitCode::from(2);
        };
        let mut bounds = if small { quick } else { full };
        if !changes.iter().all(|change| set(&mut bounds, *change)) {
            println!("bounds are wakes=A,B,C and elapses, writes, crashes, wipes, cuts, holds=N");
            return ExitCode::from(2);
        }
        let mut sets = vec![bounds];
        if changes.is_empty() && !small {
            sets.extend(quorate_sim::other_bounds(name).into_iter().flatten());
        }
        for bounds in sets {
            if let Some(explored) = quorate_sim::explore(name, bounds, bug) {
                print!("{explored}");
                // One that was cut off has not seen what it is to have seen.
                good &= explored.violation.is_none() && explored.complete;
            }
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Explores with each bug and without it: the one must find something, the other nothing.
fn hunt() -> ExitCode {
    let mut good = true;
    for planting in quorate_sim::plantings() {
        let (name, bounds) = (planting.exploration, planting.bounds);
        let (hidden, clean) = (Some(planting.bug), None);
        let states = [hidden, clean].map(|bug| {
            let explored = quorate_sim::explore(name, bounds, bug)?;
            let found = explored.violation.as_ref().map(|lapse| lapse.invariant);
            let as_told = found == bug.map(|_| planting.invariant);
            (as_told && (explored.complete || bug.is_some())).then_some(explored.states)
        });
        good &= states.iter().all(Option::is_some);
        let tell = |states: Option<usize>| states.map_or("NOT SO".to_owned(), |n| n.to_string());
        println!(
            "{} in {name}, {bounds}: {} after {} states; without it nothing in {}",
            planting.bug.name(),
            planting.invariant,
            tell(states[0]),
            tell(states[1]),
        );
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn set(bounds: &mut Bounds, (name, value): (&str, &str)) -> bool {
    let numbers: Vec<u8> = value
        .split(',')
        .filter_map(|one| one.parse().ok())
        .collect();
    match (name, numbers.as_slice()) {
        ("wakes", [first, second, third]) => bounds.wakes = [*first, *second, *third],
        ("elapses", [count]) => bounds.elapses = *count,
        ("writes", [count]) => bounds.writes = *count,
        ("crashes", [count]) => bounds.crashes = *count,
        ("wipes", [count]) => bounds.wipes = *count,
        ("cuts", [count]) => bounds.cuts = *count,
        ("holds", [count]) => bounds.holds = Some(*count),
        ("holds", []) if value == "any" => bounds.holds = None,
        _ => return false,
    }
    true
}

//! `quorate simulate`: the simulator from the command line.
//!
//! Seeds are independent, so they run on two threads; results are put together in the order of the
//! seeds, so that the hash of a batch is the same however the threads took turns.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use quorate_sim::{Batch, Canary, Keep, Report, family_of, planted, run_scenario, run_seed};
use serde::Serialize;

use crate::outcome::Outcome;

/// Threads that run seeds: one for each core of the smallest machine this is made for.
const THREADS: usize = 2;

/// Failing seeds that are told in full.
const TOLD: usize = 3;

/// Options of `quorate simulate`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["seed", "seeds"])))]
pub(crate) struct SimulateArgs {
    /// How many peers each cluster has.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 5,
        value_parser = nodes
    )]
    nodes: usize,
    /// The seed to run.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// The seeds to run, from A to B, B not included.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// How many simulated seconds of faults each seed has, before everything must heal.
    #[arg(
        long,
        value_name = "T",
        allow_negative_numbers = true,
        default_value_t = 60,
        value_parser = seconds
    )]
    seconds: u64,
    /// A bug to plant in every peer; ends with the first seed that shows it.
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// Print one JSON object as the last line of stdout.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Summary {
    seeds: u64,
    simulated_hours: f64,
    events: u64,
    violations: u64,
    /// Simulated seconds per second.
    speed: f64,
    trace_hash: String,
}

/// Runs the seeds and says what became of them.
pub(crate) fn run(args: &SimulateArgs) -> Outcome {
    let range = match (args.seed, &args.seeds) {
        (_, Some(seeds)) => seeds.clone(),
        (Some(u64::MAX), None) => {
            return Outcome::Usage(format!("--seed must be below {}", u64::MAX));
        }
        (Some(seed), None) => seed..seed + 1,
        (None, None) => return Outcome::Usage("name --seed S or --seeds A..B".to_owned()),
    };
    let bug = match args.bug.as_deref().map(bug).transpose() {
        Ok(bug) => bug,
        Err(unknown) => return Outcome::Usage(unknown),
    };
    let began = Instant::now();
    let batch = run_all(&range, args, bug);
    let summary = Summary::of(&batch, began.elapsed());
    for report in batch.failures.iter().take(TOLD) {
        eprintln!("{report}");
    }
    if batch.failures.len() > TOLD {
        eprintln!("and {} more seeds that failed", batch.failures.len() - TOLD);
    }
    if let Err(error) = summary.print(args.json) {
        return Outcome::Failed(error.into());
    }
    if summary.violations == 0 {
        Outcome::Well
    } else {
        Outcome::Bad
    }
}

/// Finds a bug that can be planted, or says which there are.
fn bug(name: &str) -> Result<Canary, String> {
    Canary::named(name).ok_or_else(|| {
        let names: Vec<&str> = Canary::ALL.into_iter().map(Canary::name).collect();
        format!("no bug is called {name:?}; there are\n{}", names.join("\n"))
    })
}

/// Runs one seed, with a bug planted or without.
fn run_one(seed: u64, args: &SimulateArgs, bug: Option<Canary>) -> Report {
    let Some(bug) = bug else {
        return run_seed(seed, args.nodes, args.seconds);
    };
    let scenario = planted(bug, family_of(bug), seed, (args.nodes, args.seconds));
    run_scenario(scenario, args.seconds, Keep::Nothing)
}

fn run_all(range: &Range<u64>, args: &SimulateArgs, bug: Option<Canary>) -> Batch {
    let next = AtomicU64::new(range.start);
    let done = Mutex::new(Done {
        batch: Batch::default(),
        next: range.start,
        waiting: BTreeMap::new(),
        until_bad: bug.is_some(),
    });
    let tell = std::io::stderr().is_terminal() && !args.json;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= range.end || seed < range.start {
                        return;
                    }
                    let report = run_one(seed, args, bug);
                    let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    if !done.add(report) {
                        return;
                    }
                    if tell {
                        eprint!(
                            "\r{} of {} seeds ",
                            done.batch.seeds,
                            range.end - range.start
                        );
                    }
                }
            });
        }
    });
    if tell {
        eprintln!();
    }
    done.into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .batch
}

/// Reports in the order of their seeds.
struct Done {
    batch: Batch,
    next: u64,
    /// Reports of seeds that came before their turn.
    waiting: BTreeMap<u64, Report>,
    /// Whether the batch ends with the first seed that fails.
    until_bad: bool,
}

impl Done {
    /// Adds a report; tells whether there is more to do.
    fn add(&mut self, report: Report) -> bool {
        self.waiting.insert(report.seed, report);
        while !self.is_over()
            && let Some(report) = self.waiting.remove(&self.next)
        {
            self.batch.add(report);
            self.next += 1;
        }
        !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.until_bad && !self.batch.failures.is_empty()
    }
}

impl Summary {
    fn of(batch: &Batch, took: Duration) -> Self {
        let simulated = batch.simulated.as_secs_f64();
        let violations = batch.failures.iter().map(|report| report.violations.len());
        Self {
            seeds: batch.seeds,
            simulated_hours: simulated / 3_600.0,
            events: batch.events,
            violations: violations.sum::<usize>() as u64,
            speed: simulated / took.as_secs_f64().max(1e-9),
            trace_hash: format!("{:032x}", batch.trace_hash),
        }
    }

    fn print(&self, json: bool) -> Result<(), serde_json::Error> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!("seeds            {}", self.seeds);
        println!("simulated_hours  {:.3}", self.simulated_hours);
        println!("events           {}", self.events);
        println!("violations       {}", self.violations);
        println!(
            "speed            {:.0} simulated seconds per second",
            self.speed
        );
        println!("trace_hash       {}", self.trace_hash);
        Ok(())
    }
}

fn nodes(text: &str) -> Result<usize, String> {
    let most = quorate::limits::FOUNDERS;
    match text.parse() {
        Ok(0) => Err("a cluster has at least one peer: use --nodes 1 or more".to_owned()),
        Ok(n) if n > most => Err(format!("a group has at most {most} voters: use fewer")),
        Ok(n) => Ok(n),
        Err(_) => Err(format!("expected a number of peers from 1 to {most}")),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("nothing happens in no time: use --seconds 1 or more".to_owned()),
        Ok(n) if n > MOST_SECONDS => Err(format!("at most {MOST_SECONDS} seconds: run more seeds")),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a number of seconds, such as 60".to_owned()),
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let hint = "expected A..B with A below B, such as 0..200";
    let (from, to) = text.split_once("..").ok_or(hint)?;
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from < to => Ok(from..to),
        (Ok(from), Ok(to)) => Err(format!("{from}..{to} holds no seed: {hint}")),
        _ => Err(hint.to_owned()),
    }
}

/// Simulated seconds of one seed: a year.
const MOST_SECONDS: u64 = 31_536_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_their_end_out_and_reversed_ones_are_refused() {
        assert_eq!(seeds("3..7"), Ok(3..7));
        for text in ["7..3", "3..3", "3", "..", "a..b", "3..", "-1..2"] {
            assert!(seeds(text).is_err(), "{text}");
        }
    }
}

//! `quorate simulate`: the simulator from the command line.
//!
//! Seeds are independent, so they run on two threads; results are put together in the order of the
//! seeds, so that the hash of a batch is the same however the threads took turns. What is drawn
//! from a seed and what is read from a file run alike.

mod keep;
mod options;
mod summary;

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    ops::Range,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use quorate_sim::{Batch, Drawing, Keep, Report, Scenario, run_drawn, run_scenario, run_told};

use self::summary::Summary;
use crate::outcome::Outcome;

pub(crate) use self::options::SimulateArgs;

/// Threads that run seeds: one for each core of the smallest machine this is made for.
const THREADS: usize = 2;

/// Failing seeds that are told in full.
const TOLD: usize = 3;

/// What is run.
enum Work {
    /// Seeds, each drawn.
    Seeds(Range<u64>, Drawing),
    /// One scenario, and the command that runs it.
    One(Box<Scenario>, String),
}

/// Runs the seeds and says what became of them.
pub(crate) fn run(args: &SimulateArgs) -> Outcome {
    match work(args) {
        Ok(work) => carry_out(args, &work).unwrap_or_else(Outcome::Failed),
        Err(outcome) => outcome,
    }
}

fn work(args: &SimulateArgs) -> Result<Work, Outcome> {
    if let Some(path) = &args.scenario {
        let file = keep::read(path).map_err(|error| Outcome::Usage(format!("{error:#}")))?;
        let replay = format!("quorate simulate --scenario {}", path.display());
        return Ok(Work::One(Box::new(file.scenario), replay));
    }
    let drawing = args.drawing()?;
    Ok(Work::Seeds(args.range()?, drawing))
}

fn carry_out(args: &SimulateArgs, work: &Work) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let batch = match work {
        Work::Seeds(seeds, drawing) if args.history.is_none() => run_all(seeds, drawing, args.json),
        Work::Seeds(seeds, drawing) => {
            let scenario = Scenario::draw_for(seeds.start, drawing);
            run_one(
                &scenario,
                drawing.replay(seeds.start),
                args.history.as_deref(),
            )?
        }
        Work::One(scenario, replay) => run_one(scenario, replay.clone(), args.history.as_deref())?,
    };
    let threads = THREADS.min(usize::try_from(batch.seeds).unwrap_or(THREADS));
    let mut summary = Summary::of(&batch, began.elapsed(), threads);
    for report in batch.failures.iter().take(TOLD) {
        eprintln!("{report}");
    }
    if batch.failures.len() > TOLD {
        eprintln!("and {} more seeds that failed", batch.failures.len() - TOLD);
    }
    // What was found is told whatever becomes of the file.
    let shrunk = if args.shrink {
        shrink(args, work, &batch)
    } else {
        Ok(None)
    };
    let shrunk = shrunk.map(|shrunk| summary.shrunk = shrunk);
    summary.print(args.json)?;
    shrunk?;
    Ok(if summary.violations == 0 {
        Outcome::Well
    } else {
        Outcome::Bad
    })
}

/// Cuts the first seed that failed down, if one has, and writes what is left.
fn shrink(
    args: &SimulateArgs,
    work: &Work,
    batch: &Batch,
) -> anyhow::Result<Option<summary::ShrunkDetail>> {
    let failed = batch.failures.first();
    let broken = failed.and_then(|report| Some((report, report.violations.first()?)));
    let Some((report, violation)) = broken else {
        return Ok(None);
    };
    let scenario = match work {
        Work::Seeds(_, drawing) => Scenario::draw_for(report.seed, drawing),
        Work::One(scenario, _) => Scenario::clone(scenario),
    };
    let file = keep::place(report, violation)?;
    let failure = (report, violation.clone());
    keep::shrink_and_write(scenario, failure, &file, args.json).map(Some)
}

/// Runs one scenario, and writes its history where that is wanted.
fn run_one(scenario: &Scenario, replay: String, history: Option<&Path>) -> anyhow::Result<Batch> {
    let mut report = match history {
        Some(path) => {
            let seconds = scenario.safety.as_secs();
            let report = run_scenario(scenario.clone(), seconds, Keep::History);
            keep::write_history(path, &report.history)?;
            if report.violations.is_empty() {
                report
            } else {
                run_told(scenario)
            }
        }
        None => run_told(scenario),
    };
    report.replay = replay;
    let mut batch = Batch::default();
    batch.add(report);
    Ok(batch)
}

fn run_all(range: &Range<u64>, drawing: &Drawing, json: bool) -> Batch {
    let next = AtomicU64::new(range.start);
    let done = Mutex::new(Done {
        batch: Batch::default(),
        next: range.start,
        waiting: BTreeMap::new(),
        until_bad: drawing.bug.is_some(),
    });
    let tell = std::io::stderr().is_terminal() && !json;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= range.end || seed < range.start {
                        return;
                    }
                    let report = run_drawn(seed, drawing);
                    let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    if !done.add(report) {
                        return;
                    }
                    if tell {
                        let of = range.end - range.start;
                        eprint!("\r{} of {of} seeds ", done.batch.seeds);
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

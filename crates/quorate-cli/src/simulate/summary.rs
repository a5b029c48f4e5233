//! What `quorate simulate` says at the end.

use std::{collections::BTreeMap, time::Duration};

use quorate_sim::{Batch, Report};
use serde::Serialize;

/// Failing seeds that are listed in JSON: the first ones say enough of thousands.
const LISTED: usize = 100;

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    seeds: u64,
    simulated_hours: f64,
    events: u64,
    /// How many faults there were of each kind.
    faults: BTreeMap<&'static str, u64>,
    /// How often each named situation was reached.
    marks: BTreeMap<&'static str, u64>,
    pub(crate) violations: u64,
    /// What did not hold, of the first seeds that failed.
    details: Vec<Detail>,
    /// Simulated seconds per second of a core: of each thread that ran seeds.
    speed: f64,
    trace_hash: String,
    /// What `--shrink` made of the first seed that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shrunk: Option<ShrunkDetail>,
}

/// What did not hold in one seed.
#[derive(Debug, Serialize)]
struct Detail {
    seed: u64,
    invariant: &'static str,
    peer: Option<usize>,
    /// In seconds since the start of the run.
    at: f64,
    detail: String,
    replay: String,
}

/// What is left of a scenario.
#[derive(Debug, Serialize)]
pub(crate) struct ShrunkDetail {
    pub(crate) file: String,
    pub(crate) invariant: &'static str,
    pub(crate) faults: usize,
    pub(crate) operations: usize,
    pub(crate) peers: usize,
    pub(crate) trials: u64,
}

impl Summary {
    /// Sums a batch up that took so long on so many threads.
    pub(crate) fn of(batch: &Batch, took: Duration, threads: usize) -> Self {
        let simulated = batch.simulated.as_secs_f64();
        let violations = batch.failures.iter().map(|report| report.violations.len());
        Self {
            seeds: batch.seeds,
            simulated_hours: simulated / 3_600.0,
            events: batch.events,
            faults: batch.faults.clone(),
            marks: batch.marks.clone(),
            violations: violations.sum::<usize>() as u64,
            details: batch
                .failures
                .iter()
                .flat_map(details)
                .take(LISTED)
                .collect(),
            speed: simulated / (took.as_secs_f64() * threads.max(1) as f64).max(1e-9),
            trace_hash: format!("{:032x}", batch.trace_hash),
            shrunk: None,
        }
    }

    /// Prints it as one line of JSON, or for people.
    pub(crate) fn print(&self, json: bool) -> Result<(), serde_json::Error> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let faults: u64 = self.faults.values().sum();
        println!("seeds            {}", self.seeds);
        println!("simulated_hours  {:.3}", self.simulated_hours);
        println!("events           {}", self.events);
        println!("faults           {faults} of {} kinds", self.faults.len());
        println!("marks            {} situations reached", self.marks.len());
        println!("violations       {}", self.violations);
        println!(
            "speed            {:.0} simulated seconds per core-second",
            self.speed
        );
        println!("trace_hash       {}", self.trace_hash);
        Ok(())
    }
}

fn details(report: &Report) -> impl Iterator<Item = Detail> {
    report.violations.iter().map(|violation| Detail {
        seed: report.seed,
        invariant: violation.invariant,
        peer: violation.peer,
        at: violation.at.as_secs_f64(),
        detail: violation.detail.clone(),
        replay: report.replay.clone(),
    })
}

//! What simulations of a user's state machine found, and how that is told.

use std::fmt;

use crate::{
    checkers::Violation,
    operation::{Action, Operation},
    run::{Batch, Report},
    scenario_file::ScenarioFile,
};

/// What became of several seeds of a user's state machine.
///
/// As text, in a few lines for people; with `{:#}`, also each scenario as the file to keep.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The runs, added up.
    pub batch: Batch,
    /// What did not hold: the first seed of each invariant, cut down.
    pub found: Vec<Finding>,
}

/// An invariant that did not hold, and the least that was found to break it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The seed in which it was found.
    pub seed: u64,
    /// What does not hold in the scenario that is left.
    pub violation: Violation,
    /// How many peers, faults and operations the seed had.
    pub before: (usize, usize, usize),
    /// How many of them are left.
    pub after: (usize, usize, usize),
    /// What is left, as a file; [`crate::Simulation::replay`] runs it.
    pub file: ScenarioFile,
    /// How many runs it took to cut it down.
    pub trials: u64,
    /// The run of what is left, with the last events of each peer.
    pub report: Report,
}

impl Findings {
    /// Tells whether everything held.
    pub fn is_clean(&self) -> bool {
        self.batch.failures.is_empty()
    }

    /// Tells whether an invariant is among those that did not hold.
    pub(crate) fn has(&self, invariant: &str) -> bool {
        let mut found = self.found.iter();
        found.any(|finding| finding.violation.invariant == invariant)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = &self.batch;
        let faults: u64 = batch.faults.values().sum();
        write!(
            f,
            "{} of {} seeds failed, after {} faults and {} commands",
            batch.failures.len(),
            batch.seeds,
            faults,
            batch.operations.begun,
        )?;
        for finding in &self.found {
            write!(f, "\n\n{finding}")?;
            if f.alternate() {
                write!(f, "\n\n{}", finding.file.to_json().trim_end())?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            invariant, detail, ..
        } = &self.violation;
        let of = |(peers, faults, operations): (usize, usize, usize)| {
            let peers = counted(peers, "peer");
            let faults = counted(faults, "fault");
            let operations = counted(operations, "operation");
            format!("{peers}, {faults}, {operations}")
        };
        writeln!(f, "{invariant} does not hold, first in seed {}:", self.seed)?;
        writeln!(f, "  {detail}")?;
        let (before, after) = (of(self.before), of(self.after));
        write!(
            f,
            "cut down in {} runs from {before} to {after}:",
            self.trials
        )?;
        let scenario = &self.file.scenario;
        for fault in &scenario.faults {
            write!(f, "\n  at {:?}: {:?}", fault.at, fault.kind)?;
        }
        for operation in &scenario.operations {
            write!(f, "\n  {}", told(operation))?;
        }
        Ok(())
    }
}

fn told(operation: &Operation) -> String {
    let Operation {
        at, peer, action, ..
    } = operation;
    match action {
        Action::Command { text, .. } => format!("at {at:?}, through peer {peer}: {text}"),
        action => format!("at {at:?}, through peer {peer}: {action:?}"),
    }
}

fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

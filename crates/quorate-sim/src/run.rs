//! Runs of seeds and what they report.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{ControlFlow, Range},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use quorate_core::Canary;

use crate::{
    checkers::{Told, Violation},
    hash::Rolling,
    history::Event,
    narrate::Narration,
    panics,
    scenario::Scenario,
    swarm::{Drawing, Kinds},
    trace::Keep,
    world::World,
};

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many peers there were.
    pub nodes: usize,
    /// How many simulated seconds the safety phase was to last.
    pub seconds: u64,
    /// The bug that was planted, if one was.
    pub bug: Option<Canary>,
    /// How many inputs and effects there were.
    pub events: u64,
    /// How much time passed in the simulated world.
    pub simulated: Duration,
    /// What did not hold; a run ends with the first.
    pub violations: Vec<Violation>,
    /// The hash of all inputs and effects.
    pub trace_hash: u128,
    /// The hash after each event, if it was asked for.
    pub hashes: Vec<u64>,
    /// How often each named situation was reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// How many faults of each kind there were.
    pub faults: BTreeMap<&'static str, u64>,
    /// What the clients were told.
    pub operations: Operations,
    /// How many states were compared with the fold of the log, and how many could not be.
    pub compared: (u64, u64),
    /// The last events of each peer beside each other, if the run was told to keep them.
    pub lanes: Vec<String>,
    /// The last faults and ends of faults, if the run was told to keep events.
    pub last_faults: Vec<String>,
    /// What happened in the event that the run was told to keep.
    pub wanted: Option<String>,
    /// What the clients did and were told, if the run was told to keep it.
    pub history: Vec<Event>,
    /// How the run is repeated.
    pub replay: String,
}

/// What clients were told, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Operations {
    /// Operations begun.
    pub begun: u64,
    /// Writes acknowledged.
    pub written: u64,
    /// Reads answered.
    pub read: u64,
    /// Operations refused: surely not carried out.
    pub refused: u64,
    /// Operations of which nothing is known.
    pub unknown: u64,
}

/// What became of several seeds.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many inputs and effects there were.
    pub events: u64,
    /// How much time passed in the simulated worlds.
    pub simulated: Duration,
    /// The hash over the trace hashes of the seeds, in order.
    pub trace_hash: u128,
    /// How often each named situation was reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// How many faults of each kind there were.
    pub faults: BTreeMap<&'static str, u64>,
    /// The reports of the seeds in which something did not hold.
    pub failures: Vec<Report>,
    /// What the clients were told.
    pub operations: Operations,
}

/// How many events of each peer a report shows.
const LAST_EVENTS: usize = 40;

/// Runs one seed: the scenario drawn from it, then the liveness phase.
///
/// If something does not hold, the seed is run again with the last events of each peer kept.
pub fn run_seed(seed: u64, nodes: usize, seconds: u64) -> Report {
    run_drawn(seed, &Drawing::new(nodes, seconds))
}

/// Runs the scenario that a drawing makes of a seed, as [`run_seed`] does.
pub fn run_drawn(seed: u64, drawing: &Drawing) -> Report {
    let mut report = run_told(&Scenario::draw_for(seed, drawing));
    report.replay = drawing.replay(seed);
    report
}

/// Runs a scenario; if something does not hold, again with the last events of each peer kept.
pub fn run_told(scenario: &Scenario) -> Report {
    let seconds = scenario.safety.as_secs();
    let report = run_scenario(scenario.clone(), seconds, Keep::Nothing);
    if report.violations.is_empty() {
        return report;
    }
    run_scenario(scenario.clone(), seconds, Keep::LastEvents(LAST_EVENTS))
}

/// Runs one seed once, keeping what `keep` says.
pub fn run_once(seed: u64, nodes: usize, seconds: u64, keep: Keep) -> Report {
    run_scenario(Scenario::draw(seed, nodes, seconds), seconds, keep)
}

/// Runs a scenario once, which was to last `seconds` if it was drawn, keeping what `keep` says.
pub fn run_scenario(scenario: Scenario, seconds: u64, keep: Keep) -> Report {
    let mut world = World::new(scenario, keep);
    run_world(&mut world);
    world.report(seconds)
}

/// Runs a world through both of its phases; a panic of anything in it is a violation.
pub fn run_world(world: &mut World) {
    let result = catch_unwind(AssertUnwindSafe(|| {
        world.run_for(world.scenario.safety);
        if world.violation().is_none() {
            world.come_back();
        }
        if world.violation().is_none() && world.scenario.profile.snapshot_ttl.as_millis() < 1_000 {
            world.stand_idle();
        }
    }));
    if let Err(panic) = result {
        world.found("no-panic", panics::text_of(panic.as_ref()).to_owned());
    }
    world.checkers.clients.finish_history();
}

/// Runs the seeds of `range`, the end excluded, and hands each report to `each` as it comes.
///
/// Ends early when `each` breaks. Runs on the thread that calls it; whoever wants more calls it for
/// several ranges.
pub fn run_batch(
    range: Range<u64>,
    nodes: usize,
    seconds: u64,
    mut each: impl FnMut(&Report) -> ControlFlow<()>,
) -> Batch {
    let mut batch = Batch::default();
    for seed in range {
        let report = run_seed(seed, nodes, seconds);
        let flow = each(&report);
        batch.add(report);
        if flow.is_break() {
            break;
        }
    }
    batch
}

impl Batch {
    /// Adds the report of the next seed, in order.
    pub fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.simulated += report.simulated;
        let mut hash = Rolling::resume(self.trace_hash);
        hash.word((report.trace_hash >> 64) as u64);
        hash.word(report.trace_hash as u64);
        self.trace_hash = hash.value();
        for (name, count) in &report.marks {
            *self.marks.entry(name).or_insert(0) += count;
        }
        for (name, count) in &report.faults {
            *self.faults.entry(name).or_insert(0) += count;
        }
        self.operations.begun += report.operations.begun;
        self.operations.written += report.operations.written;
        self.operations.read += report.operations.read;
        self.operations.refused += report.operations.refused;
        self.operations.unknown += report.operations.unknown;
        if !report.violations.is_empty() {
            self.failures.push(report);
        }
    }
}

impl World {
    /// Returns the violation with peers called by their numbers.
    fn named_violation(&self) -> Option<Violation> {
        let mut violation = self.violation()?.clone();
        for (peer, number) in &self.numbers {
            let key = format!("{peer:?}");
            violation.detail = violation.detail.replace(&key, &format!("p{number}"));
        }
        Some(violation)
    }

    /// Says what became of the run so far.
    pub fn report(&self, seconds: u64) -> Report {
        let clients = &self.checkers.clients;
        let narration = self.trace.narration.as_ref();
        Report {
            seed: self.scenario.seed,
            nodes: self.peers(),
            seconds,
            bug: self.scenario.bug,
            events: self.events(),
            simulated: self.now(),
            violations: self.named_violation().into_iter().collect(),
            trace_hash: self.trace.hash(),
            hashes: self.trace.hashes().unwrap_or_default().to_vec(),
            marks: self
                .marks
                .iter()
                .map(|(name, count)| (*name, *count))
                .chain(clients.counts())
                .collect(),
            faults: self.faults.clone(),
            operations: Operations {
                begun: clients.len() as u64,
                written: clients.count(|told| matches!(told, Told::Written(_))),
                read: clients.count(|told| matches!(told, Told::Read(_))),
                refused: clients.count(|told| matches!(told, Told::Refused | Told::Superseded)),
                unknown: clients
                    .count(|told| matches!(told, Told::Unknown | Told::Forgotten | Told::Lost)),
            },
            compared: self.checkers.compared(),
            lanes: narration
                .map(|narration| narration.diagram(self.violation().and_then(|one| one.peer)))
                .unwrap_or_default(),
            last_faults: narration.map(Narration::faults).unwrap_or_default(),
            wanted: self.trace.wanted().map(str::to_owned),
            history: self.checkers.clients.history().to_vec(),
            replay: Drawing {
                bug: self.scenario.bug,
                ..Drawing::new(self.peers(), seconds)
            }
            .replay(self.scenario.seed),
        }
    }
}

impl Drawing {
    /// Returns the command that runs a seed again.
    pub fn replay(&self, seed: u64) -> String {
        let Self { nodes, seconds, .. } = self;
        let mut command = format!("quorate simulate --nodes {nodes} --seed {seed}");
        command.push_str(&format!(" --seconds {seconds}"));
        if let Kinds::Only(names) = &self.faults {
            let names: Vec<&str> = names.iter().copied().collect();
            let list = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(",")
            };
            command.push_str(&format!(" --faults {list}"));
        }
        if let Some(bug) = self.bug {
            command.push_str(&format!(" --bug {}", bug.name()));
        }
        command
    }
}

/// Tells what did not hold, how to see it again, and what each peer did last.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.replay)?;
        for violation in &self.violations {
            let place = match violation.peer {
                Some(peer) => format!(" at peer {peer}"),
                None => String::new(),
            };
            writeln!(
                f,
                "violation of {} at {:?} (event {}){place}:",
                violation.invariant, violation.at, violation.event,
            )?;
            writeln!(f, "  {}", violation.detail)?;
        }
        if !self.last_faults.is_empty() {
            writeln!(f, "faults up to then, the last {}:", self.last_faults.len())?;
            for fault in &self.last_faults {
                writeln!(f, "  {fault}")?;
            }
        }
        if !self.lanes.is_empty() {
            writeln!(f, "what each peer did last:")?;
            writeln!(
                f,
                "  (p2> came from peer 2, >p2 goes to it, > is told to it or done, 3x so many in a \
                 row, * a situation reached, ---- across all: what goes wrong)"
            )?;
            for line in &self.lanes {
                writeln!(f, "{line}")?;
            }
        }
        if !self.lanes.is_empty() && !self.marks.is_empty() {
            let marks: Vec<String> = self
                .marks
                .iter()
                .map(|(name, count)| format!("{name} ({count})"))
                .collect();
            writeln!(f, "situations reached: {}", marks.join(", "))?;
        }
        Ok(())
    }
}

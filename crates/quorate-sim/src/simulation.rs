//! Simulations of a user's state machine: what is to be run, and the runs.
//!
//! The scenarios are those of the simulator's own seeds, with the user's commands in the place of
//! the writes to a map: the same faults, the same swarm, the same liveness phase. Commands are
//! drawn with the scenario, before the run, and are plain data in it, so that what fails is cut
//! down and kept as a file like every other scenario. Commands drawn while the cluster runs could
//! depend on what it answered, and then a scenario with one fault less would be another one.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use quorate_core::limits::COMMAND;

use crate::{
    checkers::Violation,
    dice::{Dice, Span},
    fault::FaultKind,
    findings::{Finding, Findings},
    limits,
    network::NetworkPlan,
    operation::{Action, Operation},
    panics,
    run::{Report, run_world},
    scenario::Scenario,
    scenario_file::{ScenarioError, ScenarioFile},
    shrink::{Shrunk, shrink},
    subject::{Subject, Tested},
    swarm::{Drawing, Kinds},
    trace::Keep,
    world::World,
};

/// How many events of each peer the report of a finding shows.
const LAST_EVENTS: usize = 10;

/// How many named clients there are; commands of no other have no name.
const CLIENTS: u64 = 4;

/// Clusters that run a user's state machine, with faults, from seeds.
///
/// Each seed is a cluster in which peers crash, disks fail and links break while clients ask for
/// commands; the state machine is applied by every peer, and by a new instance a second time, and
/// the invariants of the [`Subject`] are checked after each command. A seed in which one of them,
/// or one of the simulator's own, does not hold is run again and again with less, until what is
/// left is what it takes.
///
/// ```
/// use quorate_sim::{Kinds, Simulation, Subject};
/// use quorate_state::{ApplyContext, StateMachine, Table, View};
///
/// /// Five jars of ten sweets each; a command moves one from a jar to another.
/// struct Jars;
///
/// const SWEETS: Table<u64, u64> = Table::new(1);
///
/// fn sweets(state: View<'_>, jar: u64) -> u64 {
///     SWEETS.get(state, &jar).unwrap_or(10)
/// }
///
/// impl StateMachine for Jars {
///     type Command = (u64, u64);
///     type Outcome = bool;
///     type Query = u64;
///     type Answer = u64;
///
///     fn name(&self) -> &str {
///         "example.jars"
///     }
///
///     fn apply(&self, cx: &mut ApplyContext<'_>, (from, to): (u64, u64)) -> bool {
///         let (one, other) = (sweets(cx.view(), from), sweets(cx.view(), to));
///         // Wrong where both are one jar: what is taken out is overwritten.
///         one > 0
///             && SWEETS.insert(cx, &from, &(one - 1)).is_ok()
///             && SWEETS.insert(cx, &to, &(other + 1)).is_ok()
///     }
///
///     fn query(&self, state: View<'_>, jar: u64) -> u64 {
///         sweets(state, jar)
///     }
/// }
///
/// let jars = Subject::new(|| Jars)
///     .commands(|dice| (dice.below(5), dice.below(5)))
///     .invariant("sweets-are-kept", |state| {
///         match (0..5).map(|jar| sweets(state, jar)).sum() {
///             50 => Ok(()),
///             other => Err(format!("there are {other} sweets, not 50")),
///         }
///     });
/// let simulation = Simulation::of(&jars).peers(3).seconds(5).operations(20);
///
/// let findings = simulation.run(0..2)?;
/// let finding = &findings.found[0];
/// assert_eq!(finding.violation.invariant, "sweets-are-kept");
/// // Of all that happened, one command in a cluster without faults is left.
/// assert_eq!(finding.file.scenario.operations.len(), 1);
/// assert_eq!(finding.file.scenario.faults.len(), 0);
///
/// // Kept as a file, it becomes a test that fails until the machine is mended.
/// let kept = finding.file.to_json();
/// assert_eq!(simulation.replay(&kept)?.violations[0].invariant, "sweets-are-kept");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    tested: Tested,
    drawing: Drawing,
    per_second: u64,
    network: Option<NetworkPlan>,
    trials: u64,
}

/// Why nothing was run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// There are no peers, or more than a group has voters.
    #[error("a cluster has from 1 to {most} peers, not {0}", most = limits::PEERS)]
    Peers(usize),
    /// Nothing happens in no time, and in very long there is more than fits.
    #[error(
        "a run lasts at least 1 s, and has at most {} operations",
        limits::OPERATIONS
    )]
    Length,
    /// The range of seeds holds none.
    #[error("the range {0:?} holds no seed")]
    Seeds(Range<u64>),
    /// There is no such kind of fault.
    #[error("no fault is called '{0}'; there are {all}", all = FaultKind::NAMES.join(", "))]
    Fault(&'static str),
    /// An invariant's name is not one that a file can have, or two are the same.
    #[error("'{0}' must be a name of its own, of small letters and digits with dashes between")]
    Name(&'static str),
    /// Nobody said how commands are drawn.
    #[error("say how commands are drawn, with `Subject::commands`, or ask for no operations")]
    NoCommands,
    /// A command was drawn that no client can send.
    #[error("a command was drawn that cannot be sent: {0}")]
    Command(String),
}

impl Simulation {
    /// Begins with 5 peers for 60 s, 20 operations a second, and all kinds of faults.
    pub fn of<M>(subject: &Subject<M>) -> Self {
        Self {
            tested: subject.tested(),
            drawing: Drawing::new(5, 60),
            per_second: 20,
            network: None,
            trials: limits::SUBJECT_TRIALS,
        }
    }

    /// Sets how many peers there are, from 1 to [`limits::PEERS`].
    #[must_use]
    pub fn peers(mut self, peers: usize) -> Self {
        self.drawing.nodes = peers;
        self
    }

    /// Sets for how many simulated seconds there are faults and operations, before everything is
    /// mended and the cluster must come back.
    #[must_use]
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.drawing.seconds = seconds;
        self
    }

    /// Sets which kinds of faults there are.
    #[must_use]
    pub fn faults(mut self, kinds: Kinds) -> Self {
        self.drawing.faults = kinds;
        self
    }

    /// Sets how many commands clients ask for in a simulated second, on average.
    #[must_use]
    pub fn operations(mut self, per_second: u64) -> Self {
        self.per_second = per_second;
        self
    }

    /// Sets the network; without it, each seed draws one.
    #[must_use]
    pub fn network(mut self, plan: NetworkPlan) -> Self {
        self.network = Some(plan);
        self
    }

    /// Sets how many runs it may take to cut a scenario down; [`limits::SUBJECT_TRIALS`] unless
    /// set.
    #[must_use]
    pub fn trials(mut self, trials: u64) -> Self {
        self.trials = trials;
        self
    }

    /// Draws the scenario of a seed; to be changed, and run with [`World::of`].
    ///
    /// # Errors
    /// See [`SimulationError`].
    pub fn scenario(&self, seed: u64) -> Result<Scenario, SimulationError> {
        self.check()?;
        let mut scenario = Scenario::draw_for(seed, &self.drawing);
        scenario.subject = Some(self.tested.name().to_owned());
        if let Some(network) = &self.network {
            scenario.network = network.clone();
        }
        // Small client tables are for the simulator's own tests.
        scenario.client_limits = Default::default();
        scenario.operations = self.draw_operations(seed)?;
        Ok(scenario)
    }

    /// Runs the seeds, the end excluded; the first scenario that breaks an invariant is cut down.
    ///
    /// Costs about a second of a core for 200 simulated seconds of five peers with 20 commands in
    /// each, and for each command what the machine costs eleven times, and its invariants five
    /// times. Runs on the calling thread; ranges of seeds may be run on several.
    ///
    /// # Errors
    /// Then nothing was run; see [`SimulationError`].
    pub fn run(&self, seeds: Range<u64>) -> Result<Findings, SimulationError> {
        self.check()?;
        if seeds.is_empty() {
            return Err(SimulationError::Seeds(seeds));
        }
        let mut findings = Findings::default();
        for seed in seeds {
            let scenario = self.scenario(seed)?;
            let mut report = self.run_one(&scenario, Keep::Nothing);
            report.replay = format!("seed {seed}");
            let violation = report.violations.first().cloned();
            findings.batch.add(report);
            if let Some(violation) = violation
                && !findings.has(violation.invariant)
            {
                findings
                    .found
                    .push(self.cut_down(seed, scenario, violation));
            }
        }
        Ok(findings)
    }

    /// Runs a scenario that was kept as a file; the report says what did not hold.
    ///
    /// # Errors
    /// The text is no scenario, or one of another state machine.
    pub fn replay(&self, file: &str) -> Result<Report, ScenarioError> {
        let scenario = ScenarioFile::parse(file)?.scenario;
        match scenario.subject.as_deref() {
            Some(name) if name == self.tested.name() => {}
            Some(other) => return Err(ScenarioError::Subject(other.to_owned())),
            None => {
                let what = "it names no \"subject\": run it with `quorate simulate --scenario`";
                return Err(ScenarioError::Unfit(what.to_owned()));
            }
        }
        Ok(self.run_told(&scenario))
    }

    /// Runs a scenario; if something does not hold, again with the last events of each peer kept.
    fn run_told(&self, scenario: &Scenario) -> Report {
        let mut report = self.run_one(scenario, Keep::Nothing);
        if !report.violations.is_empty() {
            report = self.run_one(scenario, Keep::LastEvents(LAST_EVENTS));
        }
        report.replay = format!("a scenario of {}", self.tested.name());
        report
    }

    fn run_one(&self, scenario: &Scenario, keep: Keep) -> Report {
        panics::silently(|| {
            let mut world = World::of_tested(self.tested.clone(), scenario.clone(), keep);
            run_world(&mut world);
            world.report(scenario.safety.as_secs())
        })
    }

    fn cut_down(&self, seed: u64, drawn: Scenario, violation: Violation) -> Finding {
        let size = |scenario: &Scenario| {
            let (faults, operations) = (scenario.faults.len(), scenario.operations.len());
            (scenario.peers.len(), faults, operations)
        };
        let before = size(&drawn);
        let run = |scenario: &Scenario| {
            let report = self.run_one(scenario, Keep::Nothing);
            report.violations.into_iter().next()
        };
        let Shrunk {
            mut scenario,
            violation,
            trials,
        } = shrink(drawn, violation, run, |trials| trials < self.trials);
        for operation in &mut scenario.operations {
            if let Action::Command { hex, text } = &mut operation.action {
                *text = self.tested.describe(hex);
            }
        }
        let report = self.run_told(&scenario);
        let story = format!(
            "violates {}; cut down from seed {seed}",
            violation.invariant
        );
        Finding {
            seed,
            violation,
            before,
            after: size(&scenario),
            file: ScenarioFile { story, scenario },
            trials,
            report,
        }
    }

    fn check(&self) -> Result<(), SimulationError> {
        let Drawing { nodes, seconds, .. } = self.drawing;
        if !(1..=limits::PEERS).contains(&nodes) {
            return Err(SimulationError::Peers(nodes));
        }
        let operations = seconds.saturating_mul(self.per_second);
        if seconds == 0
            || Duration::from_secs(seconds) > limits::LASTS
            || operations > limits::OPERATIONS as u64
        {
            return Err(SimulationError::Length);
        }
        if let Kinds::Only(names) = &self.drawing.faults {
            let unknown = names.iter().find(|name| !FaultKind::NAMES.contains(*name));
            if let Some(name) = unknown {
                return Err(SimulationError::Fault(name));
            }
        }
        let mut names = BTreeSet::new();
        for name in self.tested.names() {
            if !is_kebab(name) || !names.insert(name) {
                return Err(SimulationError::Name(name));
            }
        }
        Ok(())
    }

    /// Draws what clients ask for: about so many operations a second, some of them at one instant.
    fn draw_operations(&self, seed: u64) -> Result<Vec<Operation>, SimulationError> {
        if self.per_second == 0 {
            return Ok(Vec::new());
        }
        let mut dice = Dice::new(seed, "operations of a subject", 0);
        let whole = self.drawing.seconds.saturating_mul(1_000_000);
        // One in eight comes with the one before, so the pauses are a little longer.
        let longest = (2_000_000 * 8 / 7 / self.per_second).max(1);
        let mut operations = Vec::new();
        let mut at = dice.below(longest);
        while at < whole && operations.len() < limits::OPERATIONS {
            let number = operations.len() as u64;
            operations.push(Operation {
                at: Duration::from_micros(at),
                peer: dice.index(self.drawing.nodes),
                action: self.draw_command(&mut Dice::new(seed, "command", number))?,
                patience: dice.span(Span::micros(100_000, 5_000_000)),
                client: {
                    let (named, who) = (dice.coin(), dice.below(CLIENTS) as u32);
                    named.then_some(who)
                },
            });
            let (burst, pause) = (dice.below(8) == 0, dice.between(1, longest));
            if !burst {
                at += pause;
            }
        }
        Ok(operations)
    }

    fn draw_command(&self, dice: &mut Dice) -> Result<Action, SimulationError> {
        let command = self.tested.draw(dice).ok_or(SimulationError::NoCommands)?;
        let command = command.map_err(|error| SimulationError::Command(error.to_string()))?;
        if command.len() > COMMAND {
            let what = format!("it has {} bytes, of {COMMAND} at most", command.len());
            return Err(SimulationError::Command(what));
        }
        Ok(Action::Command {
            hex: command,
            text: String::new(),
        })
    }
}

/// Tells whether a name is words of small letters and digits with single dashes between.
fn is_kebab(name: &str) -> bool {
    let word = |word: &str| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !word.is_empty() && word.bytes().all(known)
    };
    name.split('-').all(word)
}

//! Cuts a failing scenario down to what it fails by.
//!
//! A drawn scenario has hundreds of faults and thousands of operations, of which a bug needs a
//! few. Parts are left out as long as *the same invariant* is violated (delta debugging: Zeller and
//! Hildebrandt 2002, with halving pieces instead of their complements): faults first, because they
//! are what a reader asks for, then operations, peers, and at last time and magnitudes. It works
//! because the simulator's draws are counter-based and each has a purpose of its own: what is left
//! out does not re-roll what stays, so a smaller scenario is a part of the run that failed and not
//! another run. What comes after the violation cannot have caused it and goes first, for nothing.
//!
//! Another violation than the wanted one is not followed: a scenario cut down so far that it fails
//! for another reason explains nothing. Each trial is one run, and their number is bounded; the
//! caller may stop earlier, and has the best so far.

use std::time::Duration;

use quorate_core::{Form, GroupProfile};
use quorate_state::ClientLimits;
use serde_json::Value;

use crate::{
    broken,
    checkers::Violation,
    fault::Fault,
    network::{NetworkPlan, Weather},
    operation::{Action, Operation},
    scenario::{PeerPlan, Scenario},
    scenario_file,
};

/// Trials at most: minutes for short scenarios, and far more than most need.
pub const TRIALS: u64 = 3_000;

/// Rounds over all parts: what one round leaves out may make another part needless.
const ROUNDS: usize = 4;

/// A scenario that was cut down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// What is left.
    pub scenario: Scenario,
    /// What does not hold in it.
    pub violation: Violation,
    /// How many trials it took.
    pub trials: u64,
}

/// Cuts `scenario` down, in which `violation` was found.
///
/// `run` runs a scenario and returns what did not hold. `more` is asked before each trial, with the
/// number of trials so far; shrinking ends when it says no.
pub fn shrink(
    scenario: Scenario,
    violation: Violation,
    run: impl FnMut(&Scenario) -> Option<Violation>,
    more: impl FnMut(u64) -> bool,
) -> Shrunk {
    let mut shrinker = Shrinker {
        best: scenario,
        violation,
        trials: 0,
        run,
        more,
        over: false,
    };
    shrinker.cut_tail();
    for _ in 0..ROUNDS {
        let before = shrinker.best.clone();
        shrinker.leave_out(|scenario| &mut scenario.faults);
        shrinker.leave_out(|scenario| &mut scenario.operations);
        shrinker.leave_out(|scenario| &mut scenario.broken);
        shrinker.leave_peers_out();
        shrinker.shorten();
        shrinker.calm_down();
        shrinker.soften_faults();
        if shrinker.over || shrinker.best == before {
            break;
        }
    }
    Shrunk {
        scenario: shrinker.best,
        violation: shrinker.violation,
        trials: shrinker.trials,
    }
}

struct Shrinker<R, M> {
    best: Scenario,
    violation: Violation,
    trials: u64,
    run: R,
    more: M,
    over: bool,
}

impl<R, M> Shrinker<R, M>
where
    R: FnMut(&Scenario) -> Option<Violation>,
    M: FnMut(u64) -> bool,
{
    /// Takes `candidate` if it can be run and fails as the best one does; tells whether it did.
    fn attempt(&mut self, candidate: Scenario) -> bool {
        if self.over || candidate == self.best || scenario_file::check(&candidate).is_err() {
            return false;
        }
        if self.trials >= TRIALS || !(self.more)(self.trials) {
            self.over = true;
            return false;
        }
        self.trials += 1;
        let Some(violation) = (self.run)(&candidate) else {
            return false;
        };
        if violation.invariant != self.violation.invariant {
            return false;
        }
        self.best = candidate;
        self.violation = violation;
        self.cut_tail();
        true
    }

    /// Takes a changed copy of the best one, if it fails as that does.
    fn attempt_with(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        self.attempt(candidate)
    }

    /// Leaves out what comes after the violation; up to there nothing is different.
    fn cut_tail(&mut self) {
        let end = self.violation.at;
        let best = &mut self.best;
        best.faults.retain(|fault| fault.at <= end);
        best.operations.retain(|operation| operation.at <= end);
        best.safety = best.safety.min(end);
    }

    /// Leaves out items of a list: all, then halves, quarters, down to single ones.
    fn leave_out<T>(&mut self, list: fn(&mut Scenario) -> &mut Vec<T>) {
        self.attempt_with(|scenario| list(scenario).clear());
        let mut size = list(&mut self.best).len().div_ceil(2);
        while size > 0 && !self.over {
            let mut start = 0;
            while start < list(&mut self.best).len() {
                let end = (start + size).min(list(&mut self.best).len());
                let gone = self.attempt_with(|scenario| {
                    list(scenario).drain(start..end);
                });
                if !gone {
                    start = end;
                }
            }
            size /= 2;
        }
    }

    fn leave_peers_out(&mut self) {
        for peer in (0..self.best.peers.len()).rev() {
            let smaller = without_peer(&self.best, peer, false);
            if !smaller.is_some_and(|smaller| self.attempt(smaller)) {
                // What its clients did may matter, and not where they did it.
                let smaller = without_peer(&self.best, peer, true);
                smaller.map(|smaller| self.attempt(smaller));
            }
        }
    }

    /// Lets everything happen sooner.
    fn shorten(&mut self) {
        for peer in 0..self.best.peers.len() {
            self.attempt_with(|scenario| scenario.peers[peer].start = Duration::ZERO);
        }
        while self.attempt_with(|scenario| {
            let ends = |scenario: &Scenario| {
                let fault = scenario.faults.last().map(|fault| fault.at);
                fault.max(scenario.operations.last().map(|one| one.at))
            };
            let end = ends(scenario).unwrap_or_default();
            scenario.safety = end.max(scenario.safety / 2);
        }) {}
        while self.attempt_with(|scenario| {
            scenario.faults.iter_mut().for_each(|fault| fault.at /= 2);
            scenario.operations.iter_mut().for_each(|one| one.at /= 2);
            scenario.safety /= 2;
        }) {}
    }

    /// Takes what is special away: weather, slow machines, small limits, large values.
    fn calm_down(&mut self) {
        let keep_log = self.best.profile.keep_log;
        self.attempt_with(|scenario| {
            scenario.network = NetworkPlan::calm();
            scenario.peers.iter_mut().for_each(calm_peer);
        });
        self.attempt_with(|scenario| scenario.network.weather = Weather::FAIR);
        self.attempt_with(|scenario| scenario.network = NetworkPlan::calm());
        for peer in 0..self.best.peers.len() {
            self.attempt_with(|scenario| calm_peer(&mut scenario.peers[peer]));
        }
        self.attempt_with(|scenario| scenario.client_limits = ClientLimits::default());
        self.attempt_with(|scenario| {
            scenario.profile = GroupProfile {
                keep_log,
                ..GroupProfile::lan()
            };
        });
        self.attempt_with(|scenario| scenario.operations.iter_mut().for_each(plain));
        for number in 0..self.best.operations.len() {
            if number < self.best.operations.len() {
                self.attempt_with(|scenario| plain(&mut scenario.operations[number]));
            }
        }
    }

    /// Lets faults last half as long, again and again.
    fn soften_faults(&mut self) {
        let mut number = 0;
        while number < self.best.faults.len() {
            let fault = &self.best.faults[number];
            let half = halved(fault);
            let gone = half.as_ref().is_none_or(|half| half == fault);
            let softer = half.filter(|_| !gone);
            let taken = softer.is_some_and(|softer| {
                self.attempt_with(|scenario| scenario.faults[number] = softer)
            });
            if !taken {
                number += 1;
            }
        }
    }
}

/// Gives a peer good clocks and a fast machine; when and how it starts stays.
fn calm_peer(plan: &mut PeerPlan) {
    *plan = PeerPlan {
        machine: plan.machine,
        start: plan.start,
        again: plan.again,
        reads: std::mem::take(&mut plan.reads),
        ..PeerPlan::calm(plan.form)
    };
}

/// Makes an operation one of a client without a name, with the smallest value.
fn plain(operation: &mut Operation) {
    operation.client = None;
    match &mut operation.action {
        Action::Insert { size, .. } | Action::Exchange { size, .. } => *size = 8,
        Action::Remove { .. } | Action::Read { .. } | Action::Command { .. } => {}
    }
}

/// Returns the scenario without one peer; the others keep their machines, and with them their
/// draws. Its clients go too, or to the next peer. Nothing if it is the only one.
fn without_peer(scenario: &Scenario, peer: usize, clients_move: bool) -> Option<Scenario> {
    if scenario.peers.len() < 2 {
        return None;
    }
    let mut smaller = scenario.clone();
    for (number, plan) in smaller.peers.iter_mut().enumerate() {
        plan.machine = Some(scenario.machine(number));
    }
    let gone = smaller.peers.remove(peer);
    let pair = Form::Expect(2);
    let expecting = smaller.peers.iter().filter(|plan| plan.form == pair);
    if gone.form == pair && expecting.count() > 1 {
        return None;
    }
    for plan in &mut smaller.peers {
        if gone.form == pair && plan.form == pair {
            // Who expects nobody else founds alone, which in memory may happen once only.
            (plan.form, plan.again) = (Form::Alone, Form::Join);
            continue;
        }
        for form in [&mut plan.form, &mut plan.again] {
            if let (Form::Expect(count), Form::Expect(_)) = (form, gone.form) {
                *count = (*count).saturating_sub(1).max(1);
            }
        }
    }
    let moved = |number: usize| (number != peer).then(|| number - usize::from(number > peer));
    let faults = smaller.faults.iter();
    smaller.faults = faults
        .filter_map(|fault| scenario_file::renumber(fault, &moved))
        .collect();
    smaller.broken = broken::renumber(&smaller.broken, &moved);
    let next = if clients_move {
        Some(peer % smaller.peers.len())
    } else {
        None
    };
    smaller.operations.retain_mut(|operation| {
        let to = moved(operation.peer).or(next);
        operation.peer = to.unwrap_or_default();
        to.is_some()
    });
    Some(smaller)
}

/// Returns the fault with everything that lasts half as long, in whole milliseconds.
fn halved(fault: &Fault) -> Option<Fault> {
    let mut value = serde_json::to_value(&fault.kind).ok()?;
    let fields = value.as_object_mut()?.values_mut();
    for fields in fields.filter_map(Value::as_object_mut) {
        for field in fields.values_mut() {
            if let Ok(lasts) = serde_json::from_value::<Duration>(field.clone()) {
                let millis = u64::try_from(lasts.as_millis() / 2).ok()?;
                *field = serde_json::to_value(Duration::from_millis(millis)).ok()?;
            }
        }
    }
    Some(Fault {
        at: fault.at,
        kind: serde_json::from_value(value).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    fn violation(invariant: &'static str, at: Duration) -> Violation {
        Violation {
            invariant,
            detail: String::new(),
            peer: None,
            at,
            event: 0,
        }
    }

    /// Stands for a run: fails at the first crash of peer 2's machine that comes after a storm, if
    /// somebody has read before it; without a storm it fails for another reason.
    fn run(scenario: &Scenario) -> Option<Violation> {
        let storm = |fault: &&Fault| matches!(fault.kind, FaultKind::Storm { .. });
        let crash = scenario.faults.iter().find(|fault| match fault.kind {
            FaultKind::Crash { peer, .. } => scenario.machine(peer) == 2,
            _ => false,
        })?;
        let read = scenario
            .operations
            .iter()
            .any(|one| matches!(one.action, Action::Read { .. }) && one.at < crash.at);
        let stormy = scenario
            .faults
            .iter()
            .filter(storm)
            .any(|one| one.at < crash.at);
        match (stormy, read) {
            (true, true) => Some(violation("wanted", crash.at)),
            (false, _) => Some(violation("other", crash.at)),
            (true, false) => None,
        }
    }

    /// A seed whose scenario fails as wanted.
    fn failing() -> (Scenario, Violation) {
        let drawn = (0..200).map(|seed| Scenario::draw(seed, 5, 60));
        drawn
            .filter_map(|scenario| run(&scenario).map(|found| (scenario, found)))
            .find(|(_, found)| found.invariant == "wanted")
            .unwrap()
    }

    #[test]
    fn what_is_left_is_what_the_failure_needs() {
        let (scenario, found) = failing();
        assert!(scenario.faults.len() > 5 && scenario.operations.len() > 100);
        let shrunk = shrink(scenario, found, run, |_| true);
        let names: Vec<&str> = shrunk
            .scenario
            .faults
            .iter()
            .map(|one| one.kind.name())
            .collect();
        assert_eq!(names, ["storm", "crash"]);
        assert_eq!(shrunk.scenario.operations.len(), 1);
        assert_eq!(shrunk.scenario.machine(shrunk.scenario.peers.len() - 1), 2);
        assert_eq!(shrunk.violation.invariant, "wanted");
        assert_eq!(run(&shrunk.scenario), Some(shrunk.violation));
        assert!(shrunk.trials < 400, "{} trials", shrunk.trials);
    }

    #[test]
    fn shrinking_ends_when_it_is_told_to() {
        let (scenario, found) = failing();
        let shrunk = shrink(scenario, found, run, |trials| trials < 3);
        assert_eq!(shrunk.trials, 3);
        assert_eq!(run(&shrunk.scenario), Some(shrunk.violation));
    }

    #[test]
    fn a_peer_that_is_left_out_takes_its_operations_and_faults_along() {
        let scenario = Scenario::draw(1, 5, 60);
        let smaller = without_peer(&scenario, 1, false).unwrap();
        let machines: Vec<u64> = (0..4).map(|peer| smaller.machine(peer)).collect();
        assert_eq!(machines, [0, 2, 3, 4]);
        let of = |scenario: &Scenario, machine| {
            let at = |one: &&Operation| scenario.machine(one.peer) == machine;
            scenario.operations.iter().filter(at).count()
        };
        for machine in [0, 2, 3, 4] {
            assert_eq!(of(&scenario, machine), of(&smaller, machine));
        }
        assert!(smaller.operations.len() < scenario.operations.len());
        let smaller = without_peer(&scenario, 4, true).unwrap();
        assert_eq!(smaller.operations.len(), scenario.operations.len());
        assert!(smaller.operations.iter().all(|one| one.peer < 4));
    }
}

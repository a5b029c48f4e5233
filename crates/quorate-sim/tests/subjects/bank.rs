//! A machine that breaks its own rule, and the scenario that is left of it.

use std::time::Duration;

use quorate_core::Form;
use quorate_sim::{
    Action, Keep, Kinds, Scenario, ScenarioFile, Simulation, Storage, Subject, Told, Transition,
    World,
};
use quorate_state::{ApplyContext, StateMachine, Table, View};
use serde::{Deserialize, Serialize};

const ACCOUNTS: u64 = 6;
const BALANCES: Table<u64, u64> = Table::new(1);

/// Accounts with 100 each; one kind of bank forgets that both accounts may be one.
pub(crate) struct Bank {
    pub(crate) mended: bool,
}

#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(crate) struct Transfer {
    from: u64,
    to: u64,
    amount: u64,
}

pub(crate) fn balance(state: View<'_>, of: u64) -> u64 {
    BALANCES.get(state, &of).unwrap_or(100)
}

impl StateMachine for Bank {
    type Command = Transfer;
    type Outcome = bool;
    type Query = u64;
    type Answer = u64;

    fn name(&self) -> &str {
        "test.bank"
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: Transfer) -> bool {
        let Transfer { from, to, amount } = command;
        let (had, has) = (balance(cx.view(), from), balance(cx.view(), to));
        if had < amount || (self.mended && from == to) {
            return false;
        }
        BALANCES.insert(cx, &from, &(had - amount)).is_ok()
            && BALANCES.insert(cx, &to, &(has + amount)).is_ok()
    }

    fn query(&self, state: View<'_>, of: u64) -> u64 {
        balance(state, of)
    }
}

pub(crate) fn kept(state: View<'_>) -> Result<(), String> {
    let sum: u64 = (0..ACCOUNTS).map(|of| balance(state, of)).sum();
    match sum == ACCOUNTS * 100 {
        true => Ok(()),
        false => Err(format!("there are {sum}")),
    }
}

pub(crate) fn subject(mended: bool) -> Subject<Bank> {
    Subject::new(move || Bank { mended })
        .commands(|dice| Transfer {
            from: dice.below(ACCOUNTS),
            to: dice.below(ACCOUNTS),
            amount: dice.between(1, 50),
        })
        .invariant("money-is-kept", kept)
}

#[test]
fn a_planted_bug_is_cut_down_to_one_command_without_faults() {
    let simulation = Simulation::of(&subject(false)).seconds(20);
    for seed in 0..6 {
        let findings = simulation.run(seed..seed + 1).unwrap();
        assert_eq!(findings.found.len(), 1, "{findings}");
        let finding = &findings.found[0];
        assert_eq!(finding.violation.invariant, "money-is-kept");
        assert_eq!(finding.after, (1, 0, 1), "{findings}");
        let Action::Command { text, .. } = &finding.file.scenario.operations[0].action else {
            panic!("{findings}");
        };
        assert!(text.starts_with("Transfer { from: "), "{text}");

        // As a file it says the same, and finds the same until the bank is mended.
        let file = finding.file.to_json();
        assert_eq!(ScenarioFile::parse(&file).unwrap(), finding.file);
        let again = simulation.replay(&file).unwrap();
        assert_eq!(again.violations.first(), Some(&finding.violation));
        let mended = Simulation::of(&subject(true)).replay(&file).unwrap();
        assert_eq!(mended.violations, []);
    }
}

#[test]
fn a_right_machine_runs_with_all_faults_and_is_asked_as_often_as_was_said() {
    let simulation = Simulation::of(&subject(true)).seconds(30).operations(40);
    let mut operations = 0;
    for seed in 0..20 {
        let scenario = simulation.scenario(seed).unwrap();
        assert!(scenario.operations.is_sorted_by_key(|one| one.at));
        operations += scenario.operations.len();
    }
    let wanted = 20 * 30 * 40;
    let near = wanted * 9 / 10..wanted * 11 / 10;
    assert!(near.contains(&operations), "{operations} of {wanted}");

    let findings = simulation.run(0..8).unwrap();
    assert!(findings.is_clean(), "{findings:#}");
    let batch = &findings.batch;
    assert!(batch.operations.written > 8 * 30 * 40 / 4, "{batch:?}");
    assert!(batch.faults.values().sum::<u64>() > 100);
    assert!(batch.marks["client table: applied"] > 100);
    let again = simulation.run(0..8).unwrap();
    assert_eq!(batch.trace_hash, again.batch.trace_hash);
}

#[test]
fn what_a_command_answers_and_changes_is_judged_too() {
    let told = |one: &Transition<'_, Transfer, bool>| {
        let Transfer { from, to, amount } = *one.command;
        let less = balance(one.before, from) - balance(one.after, from);
        let expected = if *one.outcome { amount } else { 0 };
        (from == to || less == expected)
            .then_some(())
            .ok_or_else(|| format!("{less} left the account"))
    };
    let right = subject(true).transition("what-is-told-is-done", told);
    let findings = Simulation::of(&right).faults(Kinds::none()).seconds(10);
    let findings = findings.run(0..2).unwrap();
    assert!(findings.is_clean(), "{findings:#}");

    let never = |one: &Transition<'_, Transfer, bool>| match one.outcome {
        false => Err("refused".to_owned()),
        true => Ok(()),
    };
    let simulation = Simulation::of(&subject(true).transition("nothing-is-refused", never));
    let findings = simulation.run(0..1).unwrap();
    assert_eq!(findings.found[0].violation.invariant, "nothing-is-refused");
    assert_eq!(findings.found[0].after, (1, 0, 1));
}

#[test]
fn without_commands_nothing_is_asked_of_the_machine() {
    // Not even when the faults have stopped and the cluster must show that it serves.
    let never = |_: &Transition<'_, Transfer, bool>| Err("a command".to_owned());
    let subject = subject(true).transition("no-command-comes", never);
    let simulation = Simulation::of(&subject).seconds(10).operations(0);
    let findings = simulation.run(0..4).unwrap();
    assert!(findings.is_clean(), "{findings:#}");
    assert!(findings.batch.operations.read >= 4 * 5);
    assert!(findings.batch.marks["client table: registered"] >= 4 * 5);
}

#[test]
fn a_world_can_be_directed_by_hand() {
    let scenario = Scenario::calm(3, Storage::Disk, &[Form::Expect(3); 3]);
    let mut world = World::of(&subject(true), scenario, Keep::Nothing);
    let second = Duration::from_secs(1);
    assert!(world.run_until(10 * second, |world| world.leader().is_some()));
    let transfer = Transfer {
        from: 0,
        to: 1,
        amount: 30,
    };
    let command = Action::command(&transfer).unwrap();
    let asked = world.ask(2, command, second).unwrap();
    let everywhere = |world: &World| {
        let at = |peer| {
            world
                .items(peer)
                .is_some_and(|items| balance(items, 1) == 130)
        };
        (0..3).all(at)
    };
    assert!(world.run_until(10 * second, everywhere));
    assert!(matches!(world.told(asked), Some(Told::Written(_))));
    assert_eq!(world.violation(), None);
}

//! Machines that are no functions of state and command.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quorate_sim::{Findings, Kinds, Simulation, Subject};
use quorate_state::{ApplyContext, StateMachine, Table, View};

const LAST: Table<u64, u64> = Table::new(1);

/// What a machine does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mistake {
    /// It numbers what it answers, in itself.
    AnswersFromItself,
    /// It numbers what it stores, in itself.
    StoresFromItself,
    /// It cannot do with a certain number.
    Panics,
}

struct Counter {
    mistake: Mistake,
    count: Arc<AtomicU64>,
}

impl StateMachine for Counter {
    type Command = u64;
    type Outcome = u64;
    type Query = ();
    type Answer = ();

    fn name(&self) -> &str {
        "test.counter"
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: u64) -> u64 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let stored = match self.mistake {
            Mistake::StoresFromItself => count,
            _ => command,
        };
        LAST.insert(cx, &0, &stored).unwrap();
        match self.mistake {
            Mistake::AnswersFromItself => count,
            Mistake::Panics => {
                assert_ne!(command, 7, "seven is too much");
                0
            }
            Mistake::StoresFromItself => 0,
        }
    }

    fn query(&self, _: View<'_>, (): ()) {}
}

fn findings_of(mistake: Mistake, count: fn() -> Arc<AtomicU64>) -> Findings {
    let make = move || Counter {
        mistake,
        count: count(),
    };
    let subject = Subject::new(make).commands(|dice| dice.below(10));
    let simulation = Simulation::of(&subject).peers(3).seconds(10);
    simulation.run(0..2).unwrap()
}

#[test]
fn what_is_kept_outside_of_the_state_is_found_by_applying_twice() {
    for mistake in [Mistake::AnswersFromItself, Mistake::StoresFromItself] {
        let findings = findings_of(mistake, Arc::default);
        let finding = &findings.found[0];
        assert_eq!(finding.violation.invariant, "apply-is-repeatable");
        assert_eq!(finding.after, (1, 0, 2), "{findings}");
        let text = findings.to_string();
        assert!(text.contains("in a new instance"), "{text}");
    }
}

#[test]
fn what_all_instances_share_is_found_too() {
    static SHARED: std::sync::LazyLock<Arc<AtomicU64>> = std::sync::LazyLock::new(Arc::default);
    let findings = findings_of(Mistake::AnswersFromItself, || SHARED.clone());
    assert_eq!(findings.found[0].violation.invariant, "apply-is-repeatable");
    assert_eq!(findings.found[0].after, (1, 0, 1), "{findings}");
}

#[test]
fn a_panic_is_told_with_its_command_and_place() {
    let findings = findings_of(Mistake::Panics, Arc::default);
    let finding = &findings.found[0];
    assert_eq!(finding.violation.invariant, "apply-does-not-panic");
    assert_eq!(finding.after, (1, 0, 1), "{findings}");
    let detail = &finding.violation.detail;
    assert!(detail.starts_with("7 at ("), "{detail}");
    assert!(detail.contains("careless.rs:"), "{detail}");
    assert!(detail.contains("seven is too much"), "{detail}");
}

#[test]
fn an_invariant_may_panic_and_is_broken_then() {
    let make = || Counter {
        mistake: Mistake::Panics,
        count: Arc::default(),
    };
    let subject =
        Subject::new(make)
            .commands(|dice| dice.below(5))
            .invariant("below-four", |state| {
                let last = LAST.get(state, &0).unwrap_or_default();
                assert!(last < 4, "{last} was stored");
                Ok(())
            });
    let simulation = Simulation::of(&subject).faults(Kinds::none()).seconds(5);
    let findings = simulation.run(0..1).unwrap();
    let violation = &findings.found[0].violation;
    assert_eq!(violation.invariant, "below-four");
    assert!(violation.detail.contains("4 was stored"), "{violation:?}");
    assert_eq!(findings.found[0].after, (1, 0, 1), "{findings}");
}

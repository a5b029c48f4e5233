//! Histories of clients, judged by somebody else's checker of linearizability.
//!
//! The oracle that runs along knows the log. The checker here (of `todc-utils`, the algorithm of
//! Wing and Gong with Lowe's memory) knows only what clients saw, so the two are wrong together
//! only if what clients are told is right. Linearizability is a matter of each key by itself
//! (Herlihy and Wing 1990), so each key's history is judged alone.
//!
//! An operation with an unknown outcome may happen at any later time or never. It is given its
//! response at the end of the history: one that never happens then counts as happening after
//! everything that anybody saw, which nobody can tell from never.
#![allow(clippy::unwrap_used)] // All of it is tests.

use std::collections::BTreeMap;

use quorate_sim::{
    Keep, Scenario,
    history::{Event, Function, Kind, Value},
    run_scenario,
};
use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{Action, History},
    },
    specifications::Specification,
};

/// One key, as it should be.
struct Register;

/// What an operation did to a key.
#[derive(Clone, PartialEq, Debug)]
enum Op {
    Read(Option<String>),
    Write(Option<String>),
    Cas(Option<String>, Option<String>),
    /// An exchange of which nobody knows whether it found what it expected.
    PerhapsCas(Option<String>, Option<String>),
}

impl Specification for Register {
    type State = Option<String>;
    type Operation = Op;

    fn init() -> Self::State {
        None
    }

    fn apply(operation: &Op, state: &Self::State) -> (bool, Self::State) {
        match operation {
            Op::Read(found) => (found == state, state.clone()),
            Op::Write(value) => (true, value.clone()),
            Op::Cas(old, new) => (old == state, new.clone()),
            Op::PerhapsCas(old, new) if old == state => (true, new.clone()),
            Op::PerhapsCas(..) => (true, state.clone()),
        }
    }
}

fn op(event: &Event) -> Op {
    match (event.f, &event.value) {
        (Function::Read, Value::One(value)) => Op::Read(value.clone()),
        (Function::Write, Value::One(value)) => Op::Write(value.clone()),
        (_, Value::Pair([old, new])) if event.kind == Kind::Info => {
            Op::PerhapsCas(old.clone(), new.clone())
        }
        (_, Value::Pair([old, new])) => Op::Cas(old.clone(), new.clone()),
        (Function::Cas, value) => panic!("an exchange of {value:?}"),
    }
}

/// Unknown operations of a key that are judged: the search may have to try each of them at every
/// later place, so what follows them is left out. A history that is cut short stays linearizable.
const UNKNOWN: usize = 6;

/// Operations of a key that are judged, for the same reason.
const JUDGED: usize = 120;

/// Returns the actions of each key, as the checker takes them.
fn by_key(events: &[Event]) -> BTreeMap<String, Vec<(usize, Action<Op>)>> {
    let mut ends: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind != Kind::Invoke) {
        ends.entry(event.process).or_default().push(event);
    }
    let mut keys: BTreeMap<String, Judged> = BTreeMap::new();
    for event in events {
        // What became of it: the next end of its process.
        let of_process = ends[&event.process].iter();
        let end = *of_process
            .clone()
            .find(|end| end.index >= event.index)
            .unwrap();
        let judged = keys.entry(event.key.clone()).or_default();
        match (event.kind, end.kind) {
            // What surely did not happen, and a read of which nobody heard, say nothing.
            (_, Kind::Fail) => {}
            (_, Kind::Info) if event.f == Function::Read => {}
            (Kind::Invoke, _) => judged.call(end),
            _ => judged.respond(end),
        }
    }
    let whole = keys.into_iter().map(|(key, judged)| (key, judged.end()));
    whole.collect()
}

/// The operations of one key that are judged.
#[derive(Default)]
struct Judged {
    actions: Vec<(usize, Action<Op>)>,
    open: BTreeMap<u64, Op>,
    begun: usize,
    unknown: usize,
}

impl Judged {
    fn call(&mut self, end: &Event) {
        if self.begun < JUDGED && self.unknown < UNKNOWN {
            self.begun += 1;
            self.unknown += usize::from(end.kind == Kind::Info);
            self.open.insert(end.process, op(end));
            self.actions
                .push((end.process as usize, Action::Call(op(end))));
        }
    }

    fn respond(&mut self, end: &Event) {
        if end.kind == Kind::Ok
            && let Some(op) = self.open.remove(&end.process)
        {
            self.actions
                .push((end.process as usize, Action::Response(op)));
        }
    }

    /// Gives what has no answer its response at the end.
    fn end(mut self) -> Vec<(usize, Action<Op>)> {
        for (process, op) in self.open {
            self.actions.push((process as usize, Action::Response(op)));
        }
        self.actions
    }
}

/// Returns the keys whose histories are not linearizable.
fn broken(events: &[Event]) -> Vec<String> {
    let judged = by_key(events)
        .into_iter()
        .filter(|(_, actions)| !actions.is_empty());
    judged
        .filter(|(_, actions)| {
            !WGLChecker::<Register>::is_linearizable(History::from_actions(actions.clone()))
        })
        .map(|(key, _)| key)
        .collect()
}

fn history(seed: u64) -> Vec<Event> {
    let mut scenario = Scenario::draw(seed, 3, 5);
    if scenario.apart {
        // Groups founded apart may stay two that refuse to mix: each is linearizable, not both.
        scenario = Scenario::draw(seed + 1_000, 3, 5);
        scenario
            .operations
            .truncate(if scenario.apart { 0 } else { usize::MAX });
    }
    let report = run_scenario(scenario, 5, Keep::History);
    assert!(report.violations.is_empty(), "{report}");
    report.history
}

#[test]
fn samples_of_drawn_scenarios_are_linearizable() {
    let mut seen: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for seed in 0..24 {
        let events = history(seed);
        assert_eq!(broken(&events), Vec::<String>::new(), "seed {seed}");
        for event in &events {
            let f = match event.f {
                Function::Read => "read",
                Function::Write => "write",
                Function::Cas => "cas",
            };
            let kind = match event.kind {
                Kind::Invoke => "invoke",
                Kind::Ok => "ok",
                Kind::Fail => "fail",
                Kind::Info => "info",
            };
            *seen.entry((f, kind)).or_default() += 1;
        }
    }
    for what in [
        ("read", "ok"),
        ("write", "ok"),
        ("write", "info"),
        ("cas", "ok"),
        ("cas", "fail"),
    ] {
        let count = seen.get(&what).copied().unwrap_or_default();
        assert!(
            count > 20,
            "{what:?} {count} times: the samples show little, {seen:?}"
        );
    }
}

#[test]
fn a_read_that_is_changed_to_an_older_value_is_not_linearizable() {
    let mut changed = 0;
    for seed in 0..24 {
        let mut events = history(seed);
        // A read that begins when two writes of its key have ended one after the other, and nothing
        // else of that key is under way, cannot see the first of them.
        if let Some((read, stale)) = stale_read(&events) {
            events[read].value = Value::One(stale);
            assert!(!broken(&events).is_empty(), "seed {seed}, event {read}");
            changed += 1;
        }
    }
    assert!(
        changed > 3,
        "{changed} histories were changed: that shows little"
    );
}

/// Finds a read's end and a value that it cannot have seen.
fn stale_read(events: &[Event]) -> Option<(usize, Option<String>)> {
    let begin = |end: &Event| {
        let of = |one: &&Event| one.process == end.process && one.index < end.index;
        events.iter().rev().find(of).map(|one| one.index)
    };
    let reads = events
        .iter()
        .filter(|one| one.f == Function::Read && one.kind == Kind::Ok);
    reads.into_iter().find_map(|read| {
        let began = begin(read)?;
        let writes: Vec<&Event> = events
            .iter()
            .filter(|one| one.key == read.key && one.f == Function::Write)
            .filter(|one| one.kind == Kind::Ok && one.index < began)
            .collect();
        let first = writes.first()?;
        let later = writes
            .iter()
            .any(|one| begin(one).is_some_and(|at| at > first.index));
        let fresh = read.value != first.value;
        let Value::One(stale) = first.value.clone() else {
            return None;
        };
        (later && fresh && stale.is_some()).then_some((read.index as usize, stale))
    })
}

fn event(index: u64, process: u64, kind: Kind, f: Function, value: Value) -> Event {
    Event {
        index,
        time: index,
        process,
        kind,
        f,
        key: "1".to_owned(),
        value,
    }
}

/// Numbers events and gives them one key.
fn told(events: &[(u64, Kind, Function, Value)]) -> Vec<Event> {
    let numbered = (0..).zip(events.iter().cloned());
    numbered
        .map(|(index, (process, kind, f, value))| event(index, process, kind, f, value))
        .collect()
}

fn one(value: &str) -> Value {
    Value::One(Some(value.to_owned()))
}

#[test]
fn an_unknown_write_may_happen_later_or_never_but_not_before_it_began() {
    let unknown = [
        (0, Kind::Invoke, Function::Write, one("a")),
        (0, Kind::Info, Function::Write, one("a")),
    ];
    let read = |value: Value| {
        [
            (1, Kind::Invoke, Function::Read, Value::One(None)),
            (1, Kind::Ok, Function::Read, value),
        ]
    };
    let none = || read(Value::One(None));
    let later = [&unknown[..], &none(), &read(one("a"))].concat();
    assert!(broken(&told(&later)).is_empty());
    let never = [&unknown[..], &none(), &none()].concat();
    assert!(broken(&told(&never)).is_empty());
    let before = [&read(one("a"))[..], &unknown].concat();
    assert_eq!(broken(&told(&before)), ["1"]);
    let undone = [&unknown[..], &read(one("a")), &none()].concat();
    assert_eq!(broken(&told(&undone)), ["1"]);
}

#[test]
fn an_exchange_that_was_acknowledged_found_what_it_expected() {
    let pair =
        |old: Option<&str>, new: &str| Value::Pair([old.map(str::to_owned), Some(new.to_owned())]);
    let write = [
        (0, Kind::Invoke, Function::Write, one("a")),
        (0, Kind::Ok, Function::Write, one("a")),
    ];
    let exchange = |old, kind| {
        [
            (1, Kind::Invoke, Function::Cas, pair(old, "b")),
            (1, kind, Function::Cas, pair(old, "b")),
        ]
    };
    let good = [&write[..], &exchange(Some("a"), Kind::Ok)].concat();
    assert!(broken(&told(&good)).is_empty());
    let bad = [&write[..], &exchange(None, Kind::Ok)].concat();
    assert_eq!(broken(&told(&bad)), ["1"]);
    let unknown = [&write[..], &exchange(None, Kind::Info)].concat();
    assert!(broken(&told(&unknown)).is_empty());
}

#[test]
fn a_history_is_written_as_other_checkers_read_it() {
    let line = event(3, 1, Kind::Invoke, Function::Read, Value::One(None)).to_json();
    assert_eq!(
        line,
        r#"{"index":3,"time":3,"process":1,"type":"invoke","f":"read","key":"1","value":null}"#
    );
    let pair = Value::Pair([None, Some("7".to_owned())]);
    let line = event(4, 2, Kind::Ok, Function::Cas, pair).to_json();
    assert!(
        line.contains(r#""type":"ok","f":"cas","key":"1","value":[null,"7"]"#),
        "{line}"
    );
}

#[test]
fn a_process_does_one_thing_at_a_time_and_nothing_after_an_unknown_end() {
    for seed in 0..6 {
        let mut open: BTreeMap<u64, bool> = BTreeMap::new();
        let events = history(seed);
        assert!(events.is_sorted_by_key(|event| event.time));
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event.index, number as u64);
            let before = open.get(&event.process).copied();
            match event.kind {
                Kind::Invoke => assert!(!before.unwrap_or(false), "{event:?}"),
                _ => assert_eq!(before, Some(true), "{event:?}"),
            }
            // After an unknown end the process stays taken.
            open.insert(
                event.process,
                matches!(event.kind, Kind::Invoke | Kind::Info),
            );
        }
    }
}

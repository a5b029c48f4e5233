//! The client table against a plain model of its rules.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_core::Term;

use super::*;
use crate::tree::Salt;

/// Small enough that everything is reached all the time.
const LIMITS: ClientLimits = ClientLimits {
    clients: 5,
    window: 6,
    numbers: 12,
    bytes: 40,
    client_bytes: 24,
    idle_entries: 8,
    idle_time: 100,
    step: 30,
    sweep: 3,
};

/// One client of the model.
#[derive(Clone, Debug)]
struct Known {
    used: u64,
    clock: u64,
    open: u64,
    numbers: BTreeMap<u64, u64>,
}

/// The rules, said again with lists and searches.
#[derive(Debug, Default)]
struct Model {
    term: u64,
    stamp: u64,
    clock: u64,
    clients: BTreeMap<u64, Known>,
    /// Index, client and what was answered, oldest first.
    answers: Vec<(u64, u64, Remembered)>,
}

impl Model {
    fn stamped(&mut self, cursor: Cursor, at: u64) {
        if cursor.term.0 == self.term && at > self.stamp {
            self.clock += (at - self.stamp).min(LIMITS.step);
        }
        (self.term, self.stamp) = (cursor.term.0, at);
        for _ in 0..LIMITS.sweep {
            let longest = self.clients.iter().min_by_key(|(_, known)| known.used);
            let Some((&client, known)) = longest else {
                return;
            };
            if !self.idle(known, cursor.index.0) {
                return;
            }
            let known = self.clients.get_mut(&client).expect("it was found");
            if let Some((_, index)) = known.numbers.pop_first() {
                self.answers.retain(|(at, ..)| *at != index);
            } else {
                self.clients.remove(&client);
            }
        }
    }

    fn idle(&self, known: &Known, index: u64) -> bool {
        index - known.used >= LIMITS.idle_entries && self.clock - known.clock >= LIMITS.idle_time
    }

    fn register(&mut self, cursor: Cursor, at: u64) -> Applied {
        self.stamped(cursor, at);
        if self.clients.len() as u64 == LIMITS.clients {
            return Applied::Full;
        }
        let known = Known {
            used: cursor.index.0,
            clock: self.clock,
            open: 0,
            numbers: BTreeMap::new(),
        };
        self.clients.insert(cursor.index.0, known);
        Applied::Registered
    }

    fn command(&mut self, cursor: Cursor, name: ClientSequence, at: u64, says: &Bytes) -> Applied {
        self.stamped(cursor, at);
        let numbers: u64 = self.clients.values().map(|c| c.numbers.len() as u64).sum();
        let live = self
            .clients
            .get(&name.client.0)
            .is_some_and(|known| !self.idle(known, cursor.index.0));
        if !live {
            return Applied::Expired;
        }
        let clock = self.clock;
        let known = self.clients.get_mut(&name.client.0).expect("it is live");
        (known.used, known.clock) = (cursor.index.0, clock);
        let before = known.numbers.len() as u64;
        known.open = known.open.max(name.open);
        let open = known.open;
        let gone: BTreeSet<u64> = known
            .numbers
            .range(..open)
            .map(|(_, index)| *index)
            .collect();
        known.numbers.retain(|number, _| *number >= open);
        let numbers = numbers - before + known.numbers.len() as u64;
        self.answers.retain(|(index, ..)| !gone.contains(index));
        if name.sequence < open {
            return Applied::Dropped;
        }
        if let Some(index) = known.numbers.get(&name.sequence) {
            let answer = self.answers.iter().find(|(at, ..)| at == index);
            return match answer {
                Some((_, _, remembered)) => Applied::Repeated(Box::new(remembered.clone())),
                None => Applied::Dropped,
            };
        }
        if name.sequence - open >= LIMITS.window || numbers >= LIMITS.numbers {
            return Applied::Full;
        }
        known.numbers.insert(name.sequence, cursor.index.0);
        let (outcome, owner) = (says.clone(), name.client.0);
        if outcome.len() as u64 <= LIMITS.client_bytes {
            let remembered = Remembered { cursor, outcome };
            self.answers.push((cursor.index.0, owner, remembered));
            self.evict(LIMITS.client_bytes, |answer| answer.1 == owner);
            self.evict(LIMITS.bytes, |_| true);
        }
        Applied::Outcome(says.clone())
    }

    /// Drops the oldest of those wanted until they take no more than `limit`.
    fn evict(&mut self, limit: u64, wanted: impl Fn(&(u64, u64, Remembered)) -> bool) {
        let size = |answer: &(u64, u64, Remembered)| answer.2.outcome.len() as u64;
        while self
            .answers
            .iter()
            .filter(|a| wanted(a))
            .map(size)
            .sum::<u64>()
            > limit
        {
            let oldest = self.answers.iter().position(&wanted).expect("there is one");
            self.answers.remove(oldest);
        }
    }

    fn recall(&self, applied: u64, name: ClientSequence) -> Recalled {
        let known = self.clients.get(&name.client.0);
        let live = known.filter(|known| !self.idle(known, applied));
        match live {
            _ if name.client.0 > applied => Recalled::NotSeen,
            None => Recalled::Expired,
            Some(known) if name.sequence < known.open => Recalled::Dropped,
            Some(known) => match known.numbers.get(&name.sequence) {
                None => Recalled::NotSeen,
                Some(index) => match self.answers.iter().find(|(at, ..)| at == index) {
                    Some((_, _, remembered)) => Recalled::Applied(remembered.clone()),
                    None => Recalled::Dropped,
                },
            },
        }
    }
}

/// One entry.
#[derive(Clone, Debug)]
enum Act {
    Register,
    Other,
    Command {
        /// Which of the clients registered so far.
        client: prop::sample::Index,
        sequence: u64,
        open: u64,
        size: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let command = (
        any::<prop::sample::Index>(),
        prop_oneof![8 => 0_u64..14, 1 => Just(u64::MAX)],
        prop_oneof![6 => 0_u64..5, 2 => 0_u64..14, 1 => Just(u64::MAX)],
        0_usize..28,
    );
    prop_oneof![
        2 => Just(Act::Register),
        2 => Just(Act::Other),
        16 => command.prop_map(|(client, sequence, open, size)| Act::Command {
            client,
            sequence,
            open,
            size,
        }),
    ]
}

/// Checks that what the table says of itself is what is there.
fn audit(tree: &Tree, model: &Model) {
    let totals = Totals::load(tree);
    let count = |kind: u8| tree.prefix(&[0, kind]).len() as u64;
    let clients = model.clients.len() as u64;
    assert_eq!(
        (totals.clients, count(4), count(8)),
        (clients, clients, clients)
    );
    let numbers = model.clients.values().map(|c| c.numbers.len() as u64).sum();
    assert_eq!((totals.numbers, count(5)), (numbers, numbers));
    let answers = model.answers.len() as u64;
    assert_eq!((count(6), count(7)), (answers, answers));
    let bytes = |owner: Option<u64>| -> u64 {
        let of = |answer: &&(u64, u64, Remembered)| owner.is_none_or(|owner| owner == answer.1);
        let answers = model.answers.iter().filter(of);
        answers.map(|answer| answer.2.outcome.len() as u64).sum()
    };
    assert_eq!(totals.bytes, bytes(None));
    for client in model.clients.keys() {
        let record = Record::load(tree, Index(*client)).expect("the model has it");
        assert_eq!(record.bytes, bytes(Some(*client)));
    }
}

/// Applies one entry to the table as a replica does.
fn apply(tree: &mut Tree, cursor: Cursor, name: ClientSequence, at: u64, says: &Bytes) -> Applied {
    match LIMITS.admit(tree, cursor, name, Wall(at)) {
        Admission::Refused(applied) => applied,
        Admission::Apply(admitted) => {
            LIMITS.remember(tree, admitted, cursor, name, says);
            Applied::Outcome(says.clone())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_the_rules_say(
        acts in prop::collection::vec((act(), 0_u64..8, 0_u64..40), 1..160),
    ) {
        let mut tree = Tree::new(Salt([7; 32]));
        let mut model = Model::default();
        let (mut term, mut at) = (1, 1_000_000_u64);
        let mut registered = vec![77];
        let mut applied_once = BTreeSet::new();
        for (index, (act, turn, passed)) in (1_u64..).zip(acts) {
            // Now and then another leader, whose clock is far ahead or behind; or one that jumps.
            match turn {
                0 => (term, at) = (term + 1, at ^ (1 << 40)),
                1 => at = at.saturating_sub(5_000),
                2 => at += 5_000,
                _ => at += passed,
            }
            let cursor = Cursor::new(Term(term), Index(index));
            match act {
                Act::Other => {}
                Act::Register => {
                    let done = LIMITS.register(&mut tree, cursor, Wall(at));
                    prop_assert_eq!(&done, &model.register(cursor, at));
                    // One that was refused is tried all the same.
                    registered.push(index);
                }
                Act::Command { client, sequence, open, size } => {
                    let client = Index(*client.get(&registered));
                    let name = ClientSequence { client, sequence, open };
                    let says = Bytes::from(vec![index as u8; size]);
                    let done = apply(&mut tree, cursor, name, at, &says);
                    prop_assert_eq!(&done, &model.command(cursor, name, at, &says));
                    if let Applied::Outcome(_) = done {
                        prop_assert!(applied_once.insert((client, sequence)), "applied twice");
                    }
                }
            }
            audit(&tree, &model);
            for client in &registered {
                for sequence in [0, 3, 7, u64::MAX] {
                    let name = ClientSequence { client: Index(*client), sequence, open: 0 };
                    let recalled = LIMITS.recall(&tree, cursor.index, name);
                    prop_assert_eq!(recalled, model.recall(index, name));
                }
            }
        }
    }
}

fn named(client: u64, sequence: u64, open: u64) -> ClientSequence {
    ClientSequence {
        client: Index(client),
        sequence,
        open,
    }
}

#[test]
fn a_clock_a_year_ahead_expires_nobody_and_holds_nobody_back() {
    const YEAR: u64 = 365 * 24 * 3_600 * 1_000;
    let limits = ClientLimits::default();
    let mut tree = Tree::new(Salt([1; 32]));
    let at = |term, index| Cursor::new(Term(term), Index(index));
    let now = 1_700_000_000_000;
    for client in 1..=3 {
        assert_eq!(
            limits.register(&mut tree, at(1, client), Wall(now)),
            Applied::Registered
        );
    }
    // A leader whose clock is ahead, and after many entries one whose clock is right.
    let index = 1_000_000;
    limits.register(&mut tree, at(2, index), Wall(now + YEAR));
    limits.register(&mut tree, at(2, index + 1), Wall(now + YEAR + 1_000));
    limits.register(&mut tree, at(3, index + 2), Wall(now + 5_000));
    // A clock that is set right while its leader leads.
    limits.register(&mut tree, at(3, index + 3), Wall(now + YEAR));
    for client in 1..=3 {
        let recalled = limits.recall(&tree, Index(index + 3), named(client, 0, 0));
        assert_eq!(recalled, Recalled::NotSeen, "client {client} is known");
    }
    // Time goes on at once under a leader whose clock is a year behind that one.
    let mut wall = now;
    for minute in 0..16 {
        wall += 60_000;
        limits.register(&mut tree, at(4, index + 10 + minute), Wall(wall));
    }
    let recalled = limits.recall(&tree, Index(index + 30), named(1, 0, 0));
    assert_eq!(
        recalled,
        Recalled::Expired,
        "a quarter of an hour has passed"
    );
}

#[test]
fn a_client_in_use_never_expires_and_one_of_a_standing_group_neither() {
    let mut tree = Tree::new(Salt([1; 32]));
    let mut at = 0;
    let mut index = 1;
    LIMITS.register(&mut tree, Cursor::new(Term(1), Index(1)), Wall(at));
    for sequence in 0..50 {
        // Much time but few entries, then many entries but little time.
        (index, at) = if sequence % 2 == 0 {
            (index + LIMITS.idle_entries - 1, at + 10 * LIMITS.idle_time)
        } else {
            (index + 100 * LIMITS.idle_entries, at + LIMITS.step - 1)
        };
        let cursor = Cursor::new(Term(1), Index(index));
        let done = apply(
            &mut tree,
            cursor,
            named(1, sequence, sequence),
            at,
            &Bytes::new(),
        );
        assert_eq!(done, Applied::Outcome(Bytes::new()), "number {sequence}");
    }
}

#[test]
fn damaged_items_read_as_absent() {
    let mut tree = Tree::new(Salt([1; 32]));
    let cursor = |index| Cursor::new(Term(1), Index(index));
    LIMITS.register(&mut tree, cursor(1), Wall(1));
    let says = Bytes::from(vec![1; LIMITS.client_bytes as usize - 1]);
    apply(&mut tree, cursor(2), named(1, 0, 0), 1, &says);
    let keys: Vec<Vec<u8>> = tree.iter().map(|(key, _)| key.to_vec()).collect();
    for key in keys {
        let sizes = [0, 7, 8, 16, 24, 32, 40, 48, 100];
        let damages = sizes.map(|size| Some(vec![0xff; size]));
        for damage in damages.into_iter().chain([None]) {
            let mut tree = tree.clone();
            match damage {
                Some(item) => drop(tree.insert(&key, &item).unwrap()),
                None => drop(tree.remove(&key)),
            }
            LIMITS.recall(&tree, Index(2), named(1, 0, 0));
            apply(&mut tree, cursor(3), named(1, 0, 0), 2, &says);
            apply(&mut tree, cursor(4), named(1, 1, 0), 3, &says);
            apply(&mut tree, cursor(5), named(1, 2, 2), 4, &says);
            LIMITS.register(&mut tree, cursor(50), Wall(5));
        }
    }
}

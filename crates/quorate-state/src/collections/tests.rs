//! Collections against a plain model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_core::{Cursor, Index, Term};

use super::*;
use crate::{
    machine::{Change, View},
    tree::{Salt, Tree},
};

type Model = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// An operation that owns its parts.
#[derive(Clone, Debug)]
struct Owned {
    name: String,
    key: Vec<u8>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Insert(Vec<u8>),
    Remove,
    Exchange(Option<Vec<u8>>, Option<Vec<u8>>),
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..2, 0..2)
}

fn owned() -> impl Strategy<Value = Owned> {
    let what = prop_oneof![
        3 => value().prop_map(What::Insert),
        1 => Just(What::Remove),
        3 => (prop::option::of(value()), prop::option::of(value()))
            .prop_map(|(expect, value)| What::Exchange(expect, value)),
    ];
    ("(a|b|ab)", prop::collection::vec(0_u8..4, 0..2), what).prop_map(|(name, key, what)| Owned {
        name,
        key,
        what,
    })
}

impl Owned {
    fn op(&self) -> Op<'_> {
        let key = Raw(&self.key);
        let op = match &self.what {
            What::Insert(value) => MapOp::Insert {
                key,
                value: Raw(value),
            },
            What::Remove => MapOp::Remove { key },
            What::Exchange(expect, value) => MapOp::CompareExchange {
                key,
                expect: expect.as_deref().map(Raw),
                value: value.as_deref().map(Raw),
            },
        };
        Op::Map {
            name: &self.name,
            op,
        }
    }

    /// Does the operation on the model; returns whether it holds, and encodes what it says.
    fn model(&self, model: &mut Model) -> (bool, Vec<u8>) {
        let at = (self.name.clone(), self.key.clone());
        let mut holds = true;
        let (previous, current);
        let outcome = match &self.what {
            What::Insert(value) => {
                previous = model.insert(at, value.clone());
                MapOutcome::Previous(previous.as_deref().map(Raw))
            }
            What::Remove => {
                previous = model.remove(&at);
                MapOutcome::Previous(previous.as_deref().map(Raw))
            }
            What::Exchange(expect, value) => {
                holds = model.get(&at) == expect.as_ref();
                match value {
                    Some(value) if holds => drop(model.insert(at.clone(), value.clone())),
                    None if holds => drop(model.remove(&at)),
                    _ => {}
                }
                current = model.get(&at).cloned();
                MapOutcome::Exchanged {
                    swapped: holds,
                    current: current.as_deref().map(Raw),
                }
            }
        };
        let outcome = OpOutcome::Map(outcome);
        (holds, postcard::to_allocvec(&outcome).unwrap())
    }
}

fn cursor(index: u64) -> Cursor {
    Cursor::new(Term(1), Index(index))
}

fn apply(tree: &mut Tree, feed: &mut Vec<Change>, index: u64, command: &[u8]) -> Bytes {
    let mut cx = ApplyContext::new(tree, cursor(index), 1, Some(feed));
    Collections.apply(&mut cx, command)
}

fn content(tree: &Tree) -> Model {
    ["a", "b", "ab"]
        .into_iter()
        .flat_map(|name| {
            let map = MapView::new(View::new(tree), name).unwrap();
            assert_eq!(map.len(), map.iter().count() as u64);
            map.iter().map(move |(key, value)| {
                let key = (name.to_owned(), key.to_vec());
                (key, value.to_bytes().to_vec())
            })
        })
        .collect()
}

fn encoded(outcome: &OpOutcome<'_>) -> Vec<u8> {
    postcard::to_allocvec(outcome).unwrap()
}

proptest! {
    #[test]
    fn commands_do_what_the_model_does_and_report_it(
        commands in prop::collection::vec(prop::collection::vec(owned(), 1..5), 0..40)
    ) {
        let mut tree = Tree::new(Salt([3; 32]));
        let (mut unheard, mut told) = (tree.clone(), Vec::new());
        let (mut model, mut feed) = (Model::new(), Vec::new());
        for (index, ops) in commands.iter().enumerate() {
            let command = match &ops[..] {
                [op] => Command::One(op.op()),
                ops => Command::All(ops.iter().map(Owned::op).collect()),
            };
            let before = tree.digest();
            let outcome = apply(&mut tree, &mut feed, index as u64, &command.encode());
            // Where nobody hears what came of it, the same is done.
            let at = cursor(index as u64);
            let mut cx = ApplyContext::new(&mut unheard, at, 1, Some(&mut told)).unheard();
            Collections.apply(&mut cx, &command.encode());
            prop_assert_eq!(unheard.digest(), tree.digest());
            prop_assert_eq!(&told, &feed);
            let outcome = Outcome::decode(&outcome).unwrap();
            let mut after = model.clone();
            let expected: Vec<_> = ops.iter().map(|op| op.model(&mut after)).collect();
            let failed = expected.iter().position(|(holds, _)| !holds);
            match (failed, ops.len()) {
                (Some(at), 2..) => {
                    let mismatch = Refusal::Mismatch { at: at as u32 };
                    prop_assert_eq!(outcome, Outcome::Refused(mismatch));
                    prop_assert_eq!(tree.digest(), before);
                }
                (_, 1) => {
                    let Outcome::One(outcome) = outcome else { panic!("{outcome:?}") };
                    prop_assert_eq!(&encoded(&outcome), &expected[0].1);
                    model = after;
                }
                _ => {
                    let Outcome::All(outcomes) = outcome else { panic!("{outcome:?}") };
                    let outcomes: Vec<_> = outcomes.iter().map(encoded).collect();
                    let expected: Vec<_> = expected.into_iter().map(|(_, e)| e).collect();
                    prop_assert_eq!(outcomes, expected);
                    model = after;
                }
            }
            prop_assert_eq!(&content(&tree), &model);
        }
        // Whoever follows the feed has the same.
        let mut followed = Model::new();
        let mut last = cursor(0);
        for change in feed {
            prop_assert!(last <= change.cursor);
            last = change.cursor;
            let (kind, name, key) = split_key(&change.key).unwrap();
            prop_assert_eq!(kind, Kind::Map);
            let at = (name.to_owned(), key.to_vec());
            match change.value {
                Some(value) => followed.insert(at, value.to_vec()),
                None => followed.remove(&at),
            };
        }
        prop_assert_eq!(followed, model);
    }

    #[test]
    fn any_bytes_are_an_outcome_and_never_half_done(
        mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..40),
        versioned in any::<bool>(),
    ) {
        if versioned {
            bytes.insert(0, 1);
        }
        let (mut one, mut two) = (Tree::new(Salt([3; 32])), Tree::new(Salt([3; 32])));
        let mut feed = Vec::new();
        let outcome = apply(&mut one, &mut feed, 1, &bytes);
        prop_assert_eq!(&outcome, &apply(&mut two, &mut feed, 1, &bytes));
        let refused = matches!(Outcome::decode(&outcome).unwrap(), Outcome::Refused(_));
        prop_assert!(!refused || one.is_empty());
        prop_assert_eq!(one.digest(), two.digest());
    }
}

fn refusal(tree: &mut Tree, command: &[u8]) -> Refusal {
    let outcome = apply(tree, &mut Vec::new(), 1, command);
    match Outcome::decode(&outcome).unwrap() {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn insert<'a>(name: &'a str, key: &'a [u8], value: &'a [u8]) -> Op<'a> {
    Op::Map {
        name,
        op: MapOp::Insert {
            key: Raw(key),
            value: Raw(value),
        },
    }
}

#[test]
fn what_is_beyond_the_limits_is_refused_whole() {
    let mut tree = Tree::new(Salt([3; 32]));
    let name = "n".repeat(limits::NAME + 1);
    let key = vec![1; limits::KEY];
    let good = insert("map", b"key", b"value");
    for (op, expected) in [
        (insert(&name, b"key", b""), Refusal::Name),
        (insert(&name[1..], &key, b""), Refusal::Key),
    ] {
        let one = Command::One(op.clone()).encode();
        assert_eq!(refusal(&mut tree, &one), expected);
        let all = Command::All(vec![good.clone(), op]).encode();
        assert_eq!(refusal(&mut tree, &all), expected);
    }
    let most = Command::All(vec![good.clone(); limits::TRANSACTION]).encode();
    let outcome = apply(&mut tree, &mut Vec::new(), 1, &most);
    assert!(matches!(Outcome::decode(&outcome), Ok(Outcome::All(_))));
    let more = Command::All(vec![good.clone(); limits::TRANSACTION + 1]).encode();
    assert_eq!(refusal(&mut tree, &more), Refusal::TooMany);
    let command = Command::One(good).encode();
    assert_eq!(refusal(&mut tree, &command[..3]), Refusal::Malformed);
    assert_eq!(refusal(&mut tree, &[]), Refusal::Malformed);
    let longer = [&command[..], &[0]].concat();
    assert_eq!(refusal(&mut tree, &longer), Refusal::Malformed);
    let mut newer = command.to_vec();
    newer[0] = 2;
    assert_eq!(refusal(&mut tree, &newer), Refusal::Version);
}

#[test]
fn iteration_by_prefix_and_from_a_key_stays_in_the_map() {
    let mut tree = Tree::new(Salt([3; 32]));
    for name in ["a", "b", "ab"] {
        for key in ["", "x", "xa", "xb", "y", "\u{ff}"] {
            let command = Command::One(insert(name, key.as_bytes(), name.as_bytes())).encode();
            apply(&mut tree, &mut Vec::new(), 1, &command);
        }
    }
    let map = MapView::new(View::new(&tree), "a").unwrap();
    let keys = |items: crate::machine::Items<'_>| -> Vec<String> {
        items
            .map(|(key, value)| {
                assert_eq!(value, b"a"[..]);
                String::from_utf8(key.to_vec()).unwrap()
            })
            .collect()
    };
    assert_eq!(keys(map.iter()), ["", "x", "xa", "xb", "y", "\u{ff}"]);
    assert_eq!(keys(map.prefix(b"x")), ["x", "xa", "xb"]);
    assert_eq!(keys(map.from_key(b"xb")), ["xb", "y", "\u{ff}"]);
    assert_eq!(keys(map.from_key(b"\xff")), [""; 0]);
}

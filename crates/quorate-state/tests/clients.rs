//! Named commands through a replica: applied once, also where a snapshot was installed.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::{
    Applied, Body, ClientSequence, Configuration, Cursor, Entry, FetchId, GenesisId, Incarnation,
    Index, Member, Named, Part, PeerId, Recalled, Remembered, SessionId, StateDone, StateOp, Term,
    Verdict, Wall,
};
use quorate_state::{
    Collections, Replica,
    collections::{Command, MapOp, MapOutcome, MapView, Op, OpOutcome, Outcome, Raw},
};

const GENESIS: GenesisId = GenesisId([4; 16]);
const SESSION: SessionId = SessionId(3);

fn replica() -> Replica {
    let mut replica = Replica::new(Arc::new(Collections));
    replica.execute(StateOp::Begin { genesis: GENESIS });
    replica
}

fn apply(replica: &mut Replica, body: Body) -> Applied {
    let first = Cursor::new(Term(2), replica.applied().index.next());
    let entry = Entry {
        term: first.term,
        body,
    };
    let op = StateOp::Apply {
        first,
        entries: vec![entry].into(),
        outcomes: true,
    };
    match replica.execute(op) {
        Some(StateDone::Applied { outcomes, .. }) => outcomes[0].clone(),
        done => panic!("{done:?}"),
    }
}

fn name(sequence: u64, open: u64) -> ClientSequence {
    ClientSequence {
        client: Index(2),
        sequence,
        open,
    }
}

fn write(sequence: u64, open: u64, value: &'static str) -> Body {
    let op = MapOp::Insert {
        key: Raw(b"key"),
        value: Raw(value.as_bytes()),
    };
    Body::Named(Box::new(Named {
        client: name(sequence, open),
        at: Wall(1_000),
        bytes: Command::One(Op::Map { name: "map", op }).encode(),
    }))
}

/// What the insert answered that found `value`.
fn found(value: Option<&'static str>) -> Bytes {
    let previous = value.map(|value| Raw(value.as_bytes()));
    Outcome::One(OpOutcome::Map(MapOutcome::Previous(previous))).encode()
}

fn value(replica: &Replica) -> Option<Bytes> {
    let map = MapView::new(replica.view(), "map").expect("the name is short");
    map.get(b"key").map(|value| value.to_bytes())
}

/// A history in which a client was registered at index 2 and has written twice.
fn history() -> Replica {
    let mut replica = replica();
    let member = Member {
        peer: PeerId([1; 32]),
        incarnation: Incarnation(1),
    };
    let configuration = Box::new(Configuration::of_voters(vec![member]));
    apply(&mut replica, Body::Configuration(configuration));
    let registered = apply(&mut replica, Body::Register { at: Wall(1_000) });
    assert_eq!(registered, Applied::Registered);
    let first = apply(&mut replica, write(0, 0, "one"));
    assert_eq!(first, Applied::Outcome(found(None)));
    let second = apply(&mut replica, write(1, 0, "two"));
    assert_eq!(second, Applied::Outcome(found(Some("one"))));
    replica
}

fn recall(replica: &mut Replica, names: Vec<ClientSequence>) -> Vec<Recalled> {
    match replica.execute(StateOp::Recall { names }) {
        Some(StateDone::Recalled { recalled }) => {
            recalled.into_iter().map(|(_, recalled)| recalled).collect()
        }
        done => panic!("{done:?}"),
    }
}

/// Makes another replica from a snapshot of `from`.
fn install(from: &mut Replica) -> Replica {
    let anchor = from.applied();
    let Some(StateDone::Cut { items, .. }) = from.execute(StateOp::Cut { anchor }) else {
        panic!("a snapshot was cut");
    };
    let Some(StateDone::Hashed {
        digest: Some(digest),
        ..
    }) = from.execute(StateOp::Hash { anchor })
    else {
        panic!("it is small");
    };
    let mut late = replica();
    late.execute(StateOp::Restore {
        session: SESSION,
        anchor,
        items,
        digest,
        genesis: GENESIS,
    });
    let mut start = 0;
    while start < items {
        let (fetch, end) = (FetchId(1), items);
        let part = Part::Items {
            start,
            end,
            offset: 0,
        };
        let read = from.execute(StateOp::Read {
            fetch,
            anchor,
            part,
            max_items: 1_000,
            max_bytes: 1 << 20,
        });
        let Some(StateDone::Read {
            chunk: Some(chunk), ..
        }) = read
        else {
            panic!("{read:?}");
        };
        let verified = late.execute(StateOp::Verify {
            session: SESSION,
            fetch,
            part,
            chunk,
        });
        match verified {
            Some(StateDone::Verified {
                verdict: Verdict::Kept { items, .. },
                ..
            }) => start = items.1,
            done => panic!("{done:?}"),
        }
    }
    let installed = late.execute(StateOp::Install { session: SESSION });
    assert!(
        matches!(
            installed,
            Some(StateDone::Installed {
                restored: Some(_),
                ..
            })
        ),
        "{installed:?}"
    );
    late
}

#[test]
fn a_repeat_changes_nothing_and_is_told_the_first_answer() {
    let mut replica = history();
    let before = replica.tree().len();
    let remembered = Remembered {
        cursor: Cursor::new(Term(2), Index(3)),
        outcome: found(None),
    };
    // The bytes do not matter: the number was used.
    let again = apply(&mut replica, write(0, 0, "never"));
    assert_eq!(again, Applied::Repeated(Box::new(remembered)));
    assert_eq!(value(&replica).unwrap(), "two");
    assert_eq!(replica.tree().len(), before);

    // What the client will not repeat is forgotten, and refused.
    let third = apply(&mut replica, write(2, 1, "three"));
    assert_eq!(third, Applied::Outcome(found(Some("two"))));
    assert_eq!(apply(&mut replica, write(0, 0, "never")), Applied::Dropped);
    let stranger = Body::Named(Box::new(Named {
        client: ClientSequence {
            client: Index(3),
            ..name(9, 0)
        },
        at: Wall(1_000),
        bytes: Bytes::new(),
    }));
    assert_eq!(apply(&mut replica, stranger), Applied::Expired);
    assert_eq!(value(&replica).unwrap(), "three");
}

#[test]
fn an_installed_snapshot_knows_what_was_applied() {
    let mut one = history();
    let mut late = install(&mut one);
    let registered_later = ClientSequence {
        client: Index(99),
        ..name(0, 0)
    };
    let names = vec![name(1, 0), name(5, 0), registered_later];
    let recalled = recall(&mut late, names);
    let remembered = Remembered {
        cursor: Cursor::new(Term(2), Index(4)),
        outcome: found(Some("one")),
    };
    assert_eq!(
        recalled,
        [
            Recalled::Applied(remembered),
            Recalled::NotSeen,
            Recalled::NotSeen
        ]
    );
    for body in [
        write(1, 0, "never"),
        write(3, 0, "three"),
        write(3, 1, "never"),
        write(0, 0, "never"),
        Body::Register { at: Wall(7) },
    ] {
        assert_eq!(apply(&mut one, body.clone()), apply(&mut late, body));
        assert_eq!(one.tree().digest(), late.tree().digest());
    }
    assert_eq!(value(&late).unwrap(), "three");
}

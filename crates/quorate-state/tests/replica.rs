//! Replicas of one group, driven as the core drives them.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::{
    Applied, Body, Configuration, Cursor, Digest, Entry, FetchId, GenesisId, Incarnation, Index,
    Marker, Member, Part, PeerId, SessionId, StateDone, StateOp, Term, Verdict, Wall,
};
use quorate_state::{
    Collections, Replica, View,
    collections::{self, MapOp, MapOutcome, MapView, Op, OpOutcome, Outcome, Raw},
};

const GENESIS: GenesisId = GenesisId([5; 16]);
const SESSION: SessionId = SessionId(1);

fn replica() -> Replica {
    let mut replica = Replica::new(Arc::new(Collections));
    let begun = replica.execute(StateOp::Begin { genesis: GENESIS });
    assert!(matches!(begun, Some(StateDone::Begun { genesis }) if genesis == GENESIS));
    replica
}

fn insert(key: &[u8], value: &[u8]) -> Entry {
    let op = MapOp::Insert {
        key: Raw(key),
        value: Raw(value),
    };
    let command = collections::Command::One(Op::Map { name: "map", op });
    entry(Body::Command(command.encode()))
}

fn entry(body: Body) -> Entry {
    Entry {
        term: Term(2),
        body,
    }
}

fn configuration(peers: u8) -> Configuration {
    Configuration::of_voters(
        (0..peers)
            .map(|id| Member {
                peer: PeerId([id; 32]),
                incarnation: Incarnation(u64::from(id)),
            })
            .collect(),
    )
}

fn cursor(index: u64) -> Cursor {
    Cursor::new(Term(2), Index(index))
}

/// Applies `entries` after what is applied, in batches of `batch`; returns the outcomes.
fn apply(replica: &mut Replica, entries: &[Entry], batch: usize) -> Vec<Bytes> {
    let mut all = Vec::new();
    for entries in entries.chunks(batch) {
        let op = StateOp::Apply {
            first: cursor(replica.applied().index.0 + 1),
            entries: entries.to_vec().into(),
            outcomes: true,
        };
        let Some(StateDone::Applied {
            last,
            outcomes,
            items,
            bytes,
            ..
        }) = replica.execute(op)
        else {
            panic!("a batch was applied");
        };
        assert_eq!(last, replica.applied());
        assert_eq!(outcomes.len(), entries.len());
        assert_eq!(
            (items, bytes),
            (replica.tree().len(), replica.tree().bytes())
        );
        all.extend(outcomes.into_iter().map(|applied| match applied {
            Applied::Outcome(outcome) => outcome,
            applied => {
                assert_eq!(applied, Applied::Silent);
                Bytes::new()
            }
        }));
    }
    all
}

fn cut(replica: &mut Replica) -> (Cursor, u64, Digest) {
    let anchor = replica.applied();
    let Some(StateDone::Cut { items, .. }) = replica.execute(StateOp::Cut { anchor }) else {
        panic!("a snapshot was cut");
    };
    for _ in 0..10_000 {
        match replica.execute(StateOp::Hash { anchor }) {
            Some(StateDone::Hashed {
                digest: Some(digest),
                ..
            }) => return (anchor, items, digest),
            Some(StateDone::Hashed { digest: None, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("hashing ends");
}

fn read(replica: &mut Replica, anchor: Cursor, part: Part) -> Option<(Bytes, u64)> {
    let fetch = FetchId(7);
    let op = StateOp::Read {
        fetch,
        anchor,
        part,
        max_items: 50,
        max_bytes: 300_000,
    };
    match replica.execute(op) {
        Some(StateDone::Read {
            fetch: FetchId(7),
            chunk,
            items,
        }) => chunk.map(|chunk| (chunk, items)),
        other => panic!("{other:?}"),
    }
}

fn verify(replica: &mut Replica, part: Part, chunk: &Bytes) -> Verdict {
    let op = StateOp::Verify {
        session: SESSION,
        fetch: FetchId(9),
        part,
        chunk: chunk.clone(),
    };
    match replica.execute(op) {
        Some(StateDone::Verified {
            session: SESSION,
            fetch: FetchId(9),
            verdict,
        }) => verdict,
        other => panic!("{other:?}"),
    }
}

fn restore(replica: &mut Replica, (anchor, items, digest): (Cursor, u64, Digest)) {
    let op = StateOp::Restore {
        session: SESSION,
        anchor,
        items,
        digest,
        genesis: GENESIS,
    };
    assert!(replica.execute(op).is_none());
}

/// Fetches everything in order, following what the verdicts say.
fn fetch(to: &mut Replica, from: &mut Replica, anchor: Cursor, items: u64) {
    let (mut next, mut offset) = (0, 0);
    while next < items {
        let part = Part::Items {
            start: next,
            end: items,
            offset,
        };
        let (chunk, brings) = read(from, anchor, part).expect("within the snapshot");
        let Verdict::Kept {
            items: (start, end),
            unfinished,
            pieces,
            bytes,
        } = verify(to, part, &chunk)
        else {
            panic!("new and true");
        };
        assert!(bytes > 0);
        match unfinished {
            Some((rank, at)) => {
                assert_eq!((rank, brings), (next, 0));
                offset = at;
            }
            None => {
                assert_eq!((start, end - start), (next, brings));
                (next, offset) = (end, 0);
            }
        }
        assert!(matches!(verify(to, part, &chunk), Verdict::Known) || unfinished.is_some());
        for (rank, count) in pieces {
            for piece in 0..count {
                let (chunk, _) = read(from, anchor, Part::Piece { rank, piece }).expect("there");
                assert!(matches!(
                    verify(to, Part::Piece { rank, piece }, &chunk),
                    Verdict::Kept { .. }
                ));
                assert_eq!(
                    verify(to, Part::Piece { rank, piece }, &chunk),
                    Verdict::Known
                );
            }
        }
    }
}

fn installed(replica: &mut Replica) -> Option<quorate_core::Restored> {
    match replica.execute(StateOp::Install { session: SESSION }) {
        Some(StateDone::Installed {
            session: SESSION,
            restored,
        }) => restored.map(|restored| *restored),
        other => panic!("{other:?}"),
    }
}

fn history(keys: u32) -> Vec<Entry> {
    let mut entries = vec![entry(Body::Configuration(Box::new(configuration(3))))];
    entries.push(entry(Body::Noop));
    for i in 0..keys {
        let value = vec![i as u8; if i % 97 == 5 { 400_000 } else { 20 }];
        entries.push(insert(&i.to_be_bytes(), &value));
    }
    entries.push(entry(Body::Configuration(Box::new(configuration(5)))));
    entries.push(entry(Body::Marker(Box::new(Marker {
        requesters: Vec::new(),
        requested_at: Wall(1),
    }))));
    entries
}

#[test]
fn a_late_peer_becomes_equal_and_goes_on() {
    let entries = history(1_000);
    let mut one = replica();
    let mut two = replica();
    apply(&mut one, &entries, 7);
    apply(&mut two, &entries, 1_000);
    let (anchor, items, digest) = cut(&mut one);
    assert_eq!(cut(&mut two), (anchor, items, digest));
    assert_eq!(anchor, cursor(entries.len() as u64));

    // Writes go on while the third fetches.
    let after: Vec<Entry> = (500..1_500_u32)
        .map(|i| insert(&i.to_be_bytes(), b"later"))
        .collect();
    apply(&mut one, &after, 100);
    let mut late = replica();
    restore(&mut late, (anchor, items, digest));
    fetch(&mut late, &mut one, anchor, items);
    let before = late.tree().clone();
    let restored = installed(&mut late).expect("whole and true");
    // Whoever watched learns the machine's items, and nothing else.
    let new: Vec<_> = View::new(&before).differences(late.view()).collect();
    assert_eq!(new.len(), 1_000);
    assert!(new.iter().all(|d| d.old.is_none() && d.new.is_some()));
    assert!(collections::split_key(new[0].key).is_some());
    assert_eq!(restored.anchor, anchor);
    assert_eq!(restored.configuration, configuration(5));
    assert_eq!(restored.items, items);
    assert_eq!(late.applied(), anchor);
    apply(&mut late, &after, 33);
    assert_eq!(cut(&mut late), cut(&mut one));
    let map = MapView::new(late.view(), "map").unwrap();
    assert_eq!(map.len(), 1_500);
}

#[test]
fn batches_do_not_matter_and_outcomes_say_what_was_there() {
    let entries = vec![
        entry(Body::Noop),
        insert(b"key", b"one"),
        insert(b"key", b"two"),
        entry(Body::Command(Bytes::from_static(b"not a command"))),
    ];
    let mut one = replica();
    let outcomes = apply(&mut one, &entries, 3);
    assert_eq!(outcomes, apply(&mut replica(), &entries, 1));
    assert!(outcomes[0].is_empty());
    let previous = |outcome: &Bytes| match Outcome::decode(outcome) {
        Ok(Outcome::One(OpOutcome::Map(MapOutcome::Previous(value)))) => {
            value.map(|value| value.0.to_vec())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(previous(&outcomes[1]), None);
    assert_eq!(previous(&outcomes[2]), Some(b"one".to_vec()));
    assert!(matches!(
        Outcome::decode(&outcomes[3]),
        Ok(Outcome::Refused(_))
    ));
    let unwanted = StateOp::Apply {
        first: cursor(5),
        entries: entries[1..2].to_vec().into(),
        outcomes: false,
    };
    match one.execute(unwanted) {
        Some(StateDone::Applied { outcomes, last, .. }) => {
            assert!(outcomes.is_empty());
            assert_eq!(last, cursor(5));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_are_collected_only_for_those_who_watch() {
    let mut one = replica();
    apply(&mut one, &[insert(b"a", b"1")], 1);
    one.watch(true);
    apply(
        &mut one,
        &[insert(b"b", b"2"), entry(Body::Noop), insert(b"b", b"3")],
        2,
    );
    one.watch(true);
    let changes = one.take_changes();
    let seen: Vec<_> = changes
        .iter()
        .map(|change| {
            let (_, name, key) = collections::split_key(&change.key).unwrap();
            assert_eq!(name, "map");
            (change.cursor, key, change.value.as_deref().unwrap())
        })
        .collect();
    assert_eq!(
        seen,
        [(cursor(2), &b"b"[..], &b"2"[..]), (cursor(4), b"b", b"3")]
    );
    assert!(one.take_changes().is_empty());
    one.watch(false);
    apply(&mut one, &[insert(b"c", b"4")], 1);
    assert!(one.take_changes().is_empty());
}

#[test]
fn snapshots_stay_as_they_were_until_forgotten() {
    let mut one = replica();
    apply(&mut one, &history(300), 50);
    let (anchor, items, digest) = cut(&mut one);
    apply(&mut one, &history(600), 50);
    let (later, ..) = cut(&mut one);
    let part = Part::Items {
        start: items - 1,
        end: u64::MAX,
        offset: 0,
    };
    let (chunk, _) = read(&mut one, anchor, part).unwrap();
    let mut late = replica();
    restore(&mut late, (anchor, items, digest));
    assert!(matches!(
        verify(&mut late, part, &chunk),
        Verdict::Kept { .. }
    ));
    // Parts that are not there.
    for (start, end) in [(items, items + 1), (u64::MAX, u64::MAX), (5, 5), (9, 3)] {
        let part = Part::Items {
            start,
            end,
            offset: 0,
        };
        assert_eq!(read(&mut one, anchor, part), None);
    }
    for (rank, piece) in [(0, 0), (items, 0), (u64::MAX, u64::MAX)] {
        assert_eq!(read(&mut one, anchor, Part::Piece { rank, piece }), None);
    }
    assert!(one.execute(StateOp::Forget { anchor }).is_none());
    assert_eq!(read(&mut one, anchor, part), None);
    assert!(read(&mut one, later, part).is_some());
    let mut sweeps = 0;
    while let Some(StateDone::Swept { more: true }) = one.execute(StateOp::Sweep) {
        sweeps += 1;
        assert!(sweeps < 1_000);
    }
    match one.execute(StateOp::Hash { anchor }) {
        Some(StateDone::Hashed { digest: None, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_whole_or_not_true_is_not_installed() {
    let mut one = replica();
    apply(&mut one, &history(300), 50);
    let (anchor, items, digest) = cut(&mut one);
    let mut late = replica();
    apply(&mut late, &[insert(b"mine", b"stays")], 1);
    let before = late.tree().digest();
    let part = Part::Items {
        start: 0,
        end: items,
        offset: 0,
    };
    let (chunk, _) = read(&mut one, anchor, part).unwrap();

    // No restore, another session, a wrong digest.
    assert_eq!(verify(&mut late, part, &chunk), Verdict::Known);
    assert_eq!(installed(&mut late), None);
    restore(&mut late, (anchor, items, Digest([1; 32])));
    assert!(matches!(
        verify(&mut late, part, &chunk),
        Verdict::Wrong { .. }
    ));
    restore(&mut late, (anchor, items, digest));
    assert!(matches!(
        verify(&mut late, part, &chunk),
        Verdict::Kept { .. }
    ));
    assert_eq!(installed(&mut late), None, "parts are missing");

    // Abandoned, then begun again from nothing.
    restore(&mut late, (anchor, items, digest));
    assert!(matches!(
        verify(&mut late, part, &chunk),
        Verdict::Kept { .. }
    ));
    late.execute(StateOp::Abandon { session: SESSION });
    assert_eq!(verify(&mut late, part, &chunk), Verdict::Known);
    restore(&mut late, (anchor, items, digest));
    late.execute(StateOp::Abandon {
        session: SessionId(99),
    });
    assert!(matches!(
        verify(&mut late, part, &chunk),
        Verdict::Kept { .. }
    ));
    assert_eq!(late.tree().digest(), before);
    for op in [
        StateOp::Verify {
            session: SessionId(99),
            fetch: FetchId(1),
            part,
            chunk: chunk.clone(),
        },
        StateOp::Install {
            session: SessionId(99),
        },
    ] {
        assert!(matches!(
            late.execute(op),
            Some(
                StateDone::Verified {
                    verdict: Verdict::Known,
                    ..
                } | StateDone::Installed { restored: None, .. }
            )
        ));
    }

    // A state without a configuration is no state of a group.
    let mut bare = replica();
    apply(&mut bare, &[insert(b"key", b"value")], 1);
    let bare_cut = cut(&mut bare);
    restore(&mut late, bare_cut);
    fetch(&mut late, &mut bare, bare_cut.0, bare_cut.1);
    assert_eq!(installed(&mut late), None);
    assert_eq!(late.tree().digest(), before);
}

#[test]
fn memory_comes_back_even_if_nobody_sweeps() {
    let sweep = |replica: &mut Replica| match replica.execute(StateOp::Sweep) {
        Some(StateDone::Swept { more }) => more,
        other => panic!("{other:?}"),
    };
    // Some 800 leaves: more than one slice frees.
    let entries: Vec<Entry> = (0..20_000_u32)
        .map(|i| insert(&i.to_be_bytes(), b"value"))
        .collect();
    let mut one = replica();
    apply(&mut one, &entries, 4_096);
    one.execute(StateOp::Begin { genesis: GENESIS });
    assert!(sweep(&mut one), "there is more than one slice to free");
    apply(&mut one, &[entry(Body::Noop), entry(Body::Noop)], 1);
    apply(&mut one, &[entry(Body::Noop), entry(Body::Noop)], 1);
    assert!(!sweep(&mut one));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replicas_agree_whatever_the_batches(
        commands in prop::collection::vec(
            (prop::collection::vec(0_u8..8, 0..3), prop::collection::vec(any::<u8>(), 0..9)), 1..200
        ),
        batch in 1_usize..50,
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
    ) {
        let mut entries: Vec<Entry> = commands
            .iter()
            .map(|(key, value)| insert(key, value))
            .collect();
        for (at, bytes) in noise.into_iter().enumerate() {
            let body = Body::Command(bytes.into());
            entries.insert(at * 7 % entries.len(), entry(body));
        }
        let (mut one, mut two) = (replica(), replica());
        prop_assert_eq!(apply(&mut one, &entries, batch), apply(&mut two, &entries, 1));
        prop_assert_eq!(cut(&mut one), cut(&mut two));
    }
}

#[test]
fn a_chunk_that_is_not_the_part_that_was_asked_for_is_wrong() {
    let (mut one, mut late) = (replica(), replica());
    apply(&mut one, &history(600), 50);
    let (anchor, items, digest) = cut(&mut one);
    restore(&mut late, (anchor, items, digest));
    let part = |start| Part::Items {
        start,
        end: items,
        offset: 0,
    };
    let (first, _) = read(&mut one, anchor, part(0)).unwrap();
    let (later, _) = read(&mut one, anchor, part(items / 2)).unwrap();
    // What is new is true, and kept; sent again it brings nothing, and is no answer.
    assert!(matches!(
        verify(&mut late, part(0), &later),
        Verdict::Kept { items: (start, _), .. } if start > 0
    ));
    assert!(matches!(
        verify(&mut late, part(0), &later),
        Verdict::Wrong { .. }
    ));
    let piece = Part::Piece { rank: 0, piece: 0 };
    assert!(matches!(
        verify(&mut late, piece, &first),
        Verdict::Wrong { .. }
    ));
    assert!(matches!(
        verify(&mut late, part(0), &first),
        Verdict::Kept { .. }
    ));
}

/// Answers with the version by which it was run.
struct Stamp;

impl quorate_state::Machine for Stamp {
    fn name(&self) -> &str {
        "stamp"
    }

    fn apply(&self, cx: &mut quorate_state::ApplyContext<'_>, _: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&cx.version().to_be_bytes())
    }
}

#[test]
fn an_upgrade_is_in_effect_for_every_command_after_it_and_never_goes_back() {
    let command = || entry(Body::Command(Bytes::new()));
    let upgrade = |version| entry(Body::Upgrade { version });
    let entries = [command(), upgrade(3), command(), upgrade(2), command()];
    let mut digests = Vec::new();
    for batch in 1..=entries.len() {
        let mut replica = Replica::new(Arc::new(Stamp));
        replica.execute(StateOp::Begin { genesis: GENESIS });
        let outcomes = apply(&mut replica, &entries, batch);
        let versions: Vec<&[u8]> = outcomes.iter().map(|one| &one[..]).collect();
        let expected = [1_u32, 3, 3].map(u32::to_be_bytes);
        let stamps: Vec<&[u8]> = versions.into_iter().filter(|one| !one.is_empty()).collect();
        assert_eq!(
            stamps,
            expected.each_ref().map(|one| &one[..]),
            "in {batch}s"
        );
        digests.push(replica.tree().digest());
    }
    assert!(digests.windows(2).all(|two| two[0] == two[1]));
}

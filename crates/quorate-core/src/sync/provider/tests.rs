use proptest::prelude::*;

use super::*;
use crate::{
    entry::{Body, Entry},
    sync::{
        one_batch,
        testing::{
            at, digest, events, leading, marked, marker_of, member, ms, ops, requester, sent,
        },
    },
};

/// A provider, with a state that answers at once.
struct Peer {
    provider: Provider,
    out: Vec<SyncOut>,
}

impl Peer {
    fn new() -> Self {
        Self {
            provider: Provider::new(&GroupProfile::lan()),
            out: Vec::new(),
        }
    }

    /// Keeps a snapshot of `items` items at `index`, offered to member 9.
    fn with(items: u64, index: u64) -> Self {
        let mut peer = Self::new();
        assert!(peer.keep(ms(0), index, items));
        peer
    }

    fn keep(&mut self, now: Time, index: u64, items: u64) -> bool {
        let asks = [requester(9, 1)];
        let kept = self
            .provider
            .offer_own(now, at(index), &asks, None, &mut self.out);
        if kept {
            self.provider
                .on_cut(at(index), items, items * 10, &mut self.out);
            self.provider
                .on_hashed(now, at(index), Some(digest(1)), None, &mut self.out);
        }
        kept
    }

    fn fetch(&mut self, now: Time, request: FetchRequest) -> Result<StateOp, Refusal> {
        self.out.clear();
        self.provider.on_fetch(now, request, &mut self.out);
        match sent(&self.out).first() {
            Some((
                to,
                Message::FetchRefused {
                    reason,
                    fetch,
                    session,
                },
            )) => {
                assert_eq!((*to, *fetch), (request.from, request.fetch));
                assert_eq!(*session, request.session);
                Err(*reason)
            }
            None => Ok(ops(&self.out)[0].clone()),
            other => panic!("{other:?}"),
        }
    }

    /// Answers the read that was asked for last.
    fn answer(&mut self, now: Time, chunk: Option<&'static [u8]>) {
        let fetch = FetchId(self.provider.next_read);
        let chunk = chunk.map(Bytes::from_static);
        self.provider.on_read(now, fetch, chunk, &mut self.out);
    }
}

fn fetch(index: u64, start: u64, end: u64) -> FetchRequest {
    FetchRequest {
        from: member(9),
        session: SessionId(1),
        fetch: 77,
        anchor: at(index),
        part: Part::Items {
            start,
            end,
            offset: 0,
        },
        max_items: 2_000,
        max_bytes: 1 << 20,
    }
}

fn applied(marker: &Marker, index: u64) -> MarkerApplied<'_> {
    MarkerApplied {
        anchor: at(index),
        marker,
        me: member(1),
        started_commit: Index(10),
        appended_at: ms(0),
    }
}

#[test]
fn a_marker_is_cut_for_and_offered_to_everybody_it_names_once_its_digest_is_there() {
    let mut peer = Peer::new();
    let marker = marker_of(&[requester(9, 4), requester(1, 5), requester(8, 6)]);
    let (provider, out) = (&mut peer.provider, &mut peer.out);
    provider.on_marker_applied(ms(5), &applied(&marker, 20), out);
    assert!(matches!(ops(out)[..], [StateOp::Cut { anchor }] if *anchor == at(20)));
    out.clear();
    provider.on_cut(at(20), 3, 30, out);
    assert!(matches!(ops(out)[..], [StateOp::Hash { .. }]));
    provider.on_hashed(ms(6), at(20), None, None, out);
    assert_eq!(ops(out).len(), 2, "the next slice");
    assert!(sent(out).is_empty());
    out.clear();
    provider.on_hashed(ms(7), at(20), Some(digest(1)), None, out);
    let offer = |session| Message::Offer {
        session: SessionId(session),
        anchor: at(20),
        items: 3,
        bytes: 30,
        digest: digest(1),
    };
    let expected = [(member(9), &offer(4)), (member(8), &offer(6))];
    assert_eq!(sent(out), expected, "not to itself");
    assert!(ops(out).is_empty());
}

#[test]
fn a_marker_is_skipped_when_nobody_here_can_use_it() {
    let own = marker_of(&[requester(1, 1)]);
    let other = marker_of(&[requester(9, 1)]);
    for (applied, time, why) in [
        (applied(&own, 20), 0, "provider.marker_of_its_own"),
        (applied(&other, 10), 0, "provider.marker_from_before"),
        (applied(&other, 20), 10_001, "provider.marker_too_late"),
    ] {
        let mut peer = Peer::new();
        peer.provider
            .on_marker_applied(ms(time), &applied, &mut peer.out);
        assert!(marked(&peer.out, why) && ops(&peer.out).is_empty(), "{why}");
    }
    let mut peer = Peer::new();
    peer.provider
        .on_marker_applied(ms(10_000), &applied(&other, 11), &mut peer.out);
    assert_eq!(ops(&peer.out).len(), 1);
}

#[test]
fn one_slice_of_hashing_and_one_of_freeing_are_under_way_at_a_time() {
    let mut peer = Peer::new();
    let out = &mut peer.out;
    for index in [20, 21] {
        assert!(
            peer.provider
                .offer_own(ms(0), at(index), &[requester(9, 1)], None, out)
        );
        peer.provider.on_cut(at(index), 3, 30, out);
    }
    let hashes = |out: &[SyncOut]| {
        ops(out)
            .iter()
            .filter(|op| matches!(op, StateOp::Hash { .. }))
            .count()
    };
    assert_eq!(hashes(out), 1);
    // The one being hashed is forgotten: its last slice still has to come back.
    peer.provider.forget(at(20), out);
    peer.provider.forget(at(21), out);
    assert_eq!(hashes(out), 1);
    peer.provider.on_hashed(ms(1), at(20), None, None, out);
    assert_eq!(hashes(out), 1, "nothing is left to hash");
    let sweeps = |out: &[SyncOut]| {
        ops(out)
            .iter()
            .filter(|op| matches!(op, StateOp::Sweep))
            .count()
    };
    assert_eq!(sweeps(out), 1);
    peer.provider.on_swept(false, out);
    assert_eq!(sweeps(out), 2, "something was forgotten since");
    peer.provider.on_swept(true, out);
    assert_eq!(sweeps(out), 3);
    peer.provider.on_swept(false, out);
    assert_eq!(sweeps(out), 3);
}

#[test]
fn unknown_reversed_and_out_of_range_fetches_are_refused_and_prolong_nothing() {
    let mut peer = Peer::with(100, 20);
    let max = u64::MAX;
    let piece = |rank| FetchRequest {
        part: Part::Piece { rank, piece: max },
        ..fetch(20, 0, 1)
    };
    let bogus = FetchRequest {
        anchor: Cursor::new(crate::cursor::Term(max), Index(max)),
        ..fetch(20, 0, 10)
    };
    for time in (0..10_000).step_by(100) {
        for (request, reason) in [
            (fetch(21, 0, 10), Refusal::UnknownAnchor),
            (bogus, Refusal::UnknownAnchor),
            (fetch(20, 10, 10), Refusal::EmptyRange),
            (fetch(20, 11, 10), Refusal::EmptyRange),
            (fetch(20, max, max), Refusal::EmptyRange),
            (fetch(20, max, 0), Refusal::EmptyRange),
            (fetch(20, 100, 101), Refusal::OutOfRange),
            (fetch(20, max - 1, max), Refusal::OutOfRange),
            (piece(100), Refusal::OutOfRange),
            (piece(max), Refusal::OutOfRange),
        ] {
            assert_eq!(peer.fetch(ms(time), request).unwrap_err(), reason);
            let told = GroupEvent::FetchRefused {
                peer: member(9).peer,
                reason,
            };
            assert_eq!(events(&peer.out), vec![&told]);
        }
        // A piece that does not exist is found out only when it is read.
        peer.fetch(ms(time), piece(5)).unwrap();
        peer.answer(ms(time), None);
        peer.provider.tick(ms(time), &mut peer.out);
    }
    assert_eq!(peer.provider.deadline(), Some(ms(10_000)));
    assert_eq!(
        peer.fetch(ms(10_000), fetch(20, 0, 10)).unwrap_err(),
        Refusal::UnknownAnchor,
        "expired, though nobody has swept yet"
    );
}

#[test]
fn a_snapshot_dies_after_its_ttl_and_lives_on_by_fetches_that_were_served() {
    let mut peer = Peer::with(100, 20);
    for time in [9_000, 18_000, 27_000] {
        peer.fetch(ms(time), fetch(20, 0, 10)).unwrap();
        // While it is read it does not die, however long that takes.
        assert_eq!(peer.provider.deadline(), None);
        peer.answer(ms(time), Some(b"chunk"));
        assert!(matches!(
            peer.out.last(),
            Some(SyncOut::Chunk { fetch: 77, .. })
        ));
        assert_eq!(peer.provider.deadline(), Some(ms(time + 10_000)));
    }
    peer.provider.tick(ms(36_999), &mut peer.out);
    assert_eq!(peer.provider.oldest_anchor(), Some(at(20)));
    peer.out.clear();
    peer.provider.tick(ms(37_000), &mut peer.out);
    let gone = GroupEvent::SnapshotForgotten { anchor: at(20) };
    assert_eq!(events(&peer.out), vec![&gone]);
    assert!(matches!(
        ops(&peer.out)[..],
        [StateOp::Forget { .. }, StateOp::Sweep]
    ));
    assert_eq!(
        (peer.provider.deadline(), peer.provider.oldest_anchor()),
        (None, None)
    );
}

#[test]
fn requesters_at_one_cursor_share_a_snapshot() {
    let mut peer = Peer::with(100, 20);
    peer.out.clear();
    assert!(
        peer.provider
            .offer_own(ms(50), at(20), &[requester(8, 3)], None, &mut peer.out)
    );
    assert!(ops(&peer.out).is_empty(), "nothing is cut again");
    assert!(matches!(
        sent(&peer.out)[..],
        [(to, Message::Offer { session: SessionId(3), .. })] if to == member(8)
    ));
    for from in [8, 9] {
        let request = FetchRequest {
            from: member(from),
            ..fetch(20, 0, 10)
        };
        peer.fetch(ms(9_000), request).unwrap();
        peer.answer(ms(9_000), Some(b"chunk"));
    }
    peer.provider.tick(ms(18_999), &mut peer.out);
    assert_eq!(peer.provider.anchors().count(), 1);
}

#[test]
fn the_number_of_snapshots_is_bounded_and_the_oldest_idle_one_goes() {
    let mut peer = Peer::new();
    for index in 0..limits::SNAPSHOTS as u64 {
        assert!(peer.keep(ms(index * 10), index + 1, 100));
    }
    // All of them are fresh: a new one would only spoil what others fetch.
    assert!(!peer.keep(ms(100), 50, 100));
    assert!(marked(&peer.out, "provider.no_room"));
    // The first is in use, the second is not.
    peer.fetch(ms(3_000), fetch(1, 0, 10)).unwrap();
    assert!(peer.keep(ms(3_000), 51, 100));
    let anchors: Vec<Cursor> = peer.provider.anchors().collect();
    assert_eq!(anchors, [at(1), at(3), at(4), at(51)]);
}

#[test]
fn the_log_behind_the_oldest_live_snapshot_stays_pinned_until_it_is_forgotten() {
    let mut peer = Peer::with(100, 20);
    assert!(peer.keep(ms(5_000), 90, 100));
    for time in (0..12_000).step_by(500) {
        peer.provider.tick(ms(time), &mut peer.out);
        let pinned = peer.provider.oldest_anchor();
        assert_eq!(pinned, Some(if time < 10_000 { at(20) } else { at(90) }));
    }
    // The lead may judge that it costs too much log.
    peer.provider.forget(at(90), &mut peer.out);
    assert_eq!(peer.provider.oldest_anchor(), None);
}

#[test]
fn one_peers_fetches_are_bounded_and_do_not_crowd_out_others_or_the_state() {
    let mut peer = Peer::with(100, 20);
    let mut reads = 0;
    for n in 0..limits::FETCHES_PER_PEER {
        peer.out.clear();
        peer.provider
            .on_fetch(ms(1), fetch(20, 0, 10), &mut peer.out);
        assert!(sent(&peer.out).is_empty(), "fetch {n}");
        reads += ops(&peer.out).len();
    }
    assert_eq!(reads, limits::READS);
    assert_eq!(
        peer.fetch(ms(1), fetch(20, 0, 10)).unwrap_err(),
        Refusal::Busy
    );
    let mut other = fetch(20, 0, 10);
    other.from = member(8);
    peer.out.clear();
    peer.provider.on_fetch(ms(1), other, &mut peer.out);
    assert!(sent(&peer.out).is_empty());
    // The link to the greedy one ends: what it waits for is dropped.
    peer.provider.on_peer_down(member(9).peer);
    peer.answer(ms(2), Some(b"chunk"));
    assert_eq!(ops(&peer.out).len(), 1);
    let served = |fetch: &FetchRequest| fetch.from;
    let reading: Vec<Member> = peer.provider.reading.values().map(served).collect();
    assert_eq!(reading, [member(9), member(8)]);
}

#[test]
fn forgetting_a_snapshot_refuses_the_fetches_that_wait_for_it() {
    let mut peer = Peer::with(100, 20);
    for _ in 0..3 {
        peer.provider
            .on_fetch(ms(1), fetch(20, 0, 10), &mut peer.out);
    }
    peer.out.clear();
    peer.provider.forget(at(20), &mut peer.out);
    assert_eq!(
        sent(&peer.out).len(),
        1,
        "the one that was not handed to the state"
    );
    // The others were asked of the state before: whatever it says is passed on.
    peer.answer(ms(2), Some(b"chunk"));
    peer.provider
        .on_read(ms(2), FetchId(1), None, &mut peer.out);
    assert_eq!(sent(&peer.out).len(), 2);
    assert!(peer.provider.reading.is_empty());
}

#[test]
fn an_offer_is_repeated_over_a_new_link_and_prolongs_nothing() {
    let mut peer = Peer::new();
    let asks = [requester(9, 1)];
    let (provider, out) = (&mut peer.provider, &mut peer.out);
    assert!(provider.offer_own(ms(0), at(20), &asks, None, out));
    provider.on_cut(at(20), 100, 1_000, out);
    // The link is gone while the snapshot is hashed: the offer is made all the same.
    provider.on_peer_down(member(9).peer);
    provider.on_peer_up(member(9), None, out);
    assert!(sent(out).is_empty(), "there is nothing to offer yet");
    provider.on_hashed(ms(5), at(20), Some(digest(1)), None, out);
    assert_eq!(sent(out).len(), 1);
    out.clear();
    provider.on_peer_up(member(8), None, out);
    assert!(sent(out).is_empty(), "it never asked");
    let voters = [member(1)];
    provider.on_peer_up(member(9), Some(leading(&voters)), out);
    assert!(matches!(
        sent(out)[..],
        [(_, Message::Authorized { .. }), (to, Message::Offer { .. })] if to == member(9)
    ));
    assert_eq!(provider.deadline(), Some(ms(10_005)));
}

/// Applies `entries` as one peer learns of commits: `steps` at a time, cut at markers.
///
/// Returns the anchor and a stand-in for the digest of each snapshot.
fn replay(entries: &[Entry], steps: &[usize]) -> Vec<(Cursor, Vec<u8>)> {
    let mut peer = Peer::new();
    let (mut state, mut snapshots) = (Vec::new(), Vec::new());
    let (mut next, mut committed) = (0, 0);
    for step in steps.iter().cycle() {
        committed = entries.len().min(committed + step);
        while next < committed {
            let batch = &entries[next..next + one_batch(&entries[next..committed])];
            for entry in batch {
                if let Body::Command(command) = &entry.body {
                    state.extend_from_slice(command);
                }
            }
            next += batch.len();
            if let Some(Body::Marker(marker)) = batch.last().map(|entry| &entry.body) {
                let mut applied = applied(marker, next as u64);
                applied.started_commit = Index(0);
                peer.out.clear();
                peer.provider
                    .on_marker_applied(ms(0), &applied, &mut peer.out);
                for op in ops(&peer.out) {
                    if let StateOp::Cut { anchor } = op {
                        snapshots.push((*anchor, state.clone()));
                    }
                }
                peer.provider.forget(at(next as u64), &mut Vec::new());
            }
        }
        if committed == entries.len() {
            break;
        }
    }
    snapshots
}

proptest! {
    /// However differently peers learn of commits, their snapshots have one cursor and content.
    #[test]
    fn peers_that_commit_in_different_steps_cut_the_same_snapshots(
        kinds in prop::collection::vec(0_u8..5, 1..80),
        steps in prop::collection::vec(prop::collection::vec(1_usize..9, 1..6), 2..5),
    ) {
        let entries: Vec<Entry> = kinds
            .iter()
            .enumerate()
            .map(|(n, kind)| Entry {
                term: at(0).term,
                body: match kind {
                    0 => Body::Marker(Box::new(marker_of(&[requester(9, n as u64)]))),
                    1 => Body::Noop,
                    _ => Body::Command(Bytes::copy_from_slice(&(n as u64).to_le_bytes())),
                },
            })
            .collect();
        let markers = kinds.iter().filter(|kind| **kind == 0).count();
        let first = replay(&entries, &steps[0]);
        prop_assert_eq!(first.len(), markers);
        for steps in &steps[1..] {
            prop_assert_eq!(&replay(&entries, steps), &first);
        }
    }

    /// The provider answers every fetch as the plain rules say, and only what it serves counts.
    #[test]
    fn fetches_are_clamped_by_items_and_bytes_as_a_plain_model_says(
        len in prop_oneof![Just(0), 1_u64..5_000, Just(u64::MAX)],
        fetches in prop::collection::vec(
            (edge(), edge(), edge(), edge(), any::<bool>(), 0_u64..4_000), 1..40,
        ),
    ) {
        let mut peer = Peer::with(0, 20);
        peer.provider.kept.get_mut(&at(20)).unwrap().size = Some((len, len));
        let (mut time, mut expires) = (0, 10_000);
        for (start, end, max_items, max_bytes, served, wait) in fetches {
            time += wait;
            let request = FetchRequest { max_items, max_bytes, ..fetch(20, start, end) };
            let expected = if time >= expires {
                Err(Refusal::UnknownAnchor)
            } else if start >= end {
                Err(Refusal::EmptyRange)
            } else if start >= len {
                Err(Refusal::OutOfRange)
            } else {
                let items = u128::from(max_items.clamp(1, limits::FETCH_ITEMS));
                let end = u128::from(end).min(u128::from(start) + items).min(u128::from(len));
                Ok((end as u64, max_items.clamp(1, limits::FETCH_ITEMS)))
            };
            match (peer.fetch(ms(time), request), expected) {
                (Ok(StateOp::Read { part, max_items, max_bytes: bytes, .. }), Ok(expected)) => {
                    let (end, items) = expected;
                    prop_assert_eq!(part, Part::Items { start, end, offset: 0 });
                    prop_assert_eq!(max_items, items);
                    prop_assert_eq!(bytes, max_bytes.clamp(1, limits::FETCH_BYTES));
                    peer.answer(ms(time), served.then_some(b"chunk"));
                    expires = if served { time + 10_000 } else { expires };
                }
                (Err(reason), Err(expected)) => prop_assert_eq!(reason, expected),
                (other, expected) => prop_assert!(false, "{other:?} but {expected:?}"),
            }
            prop_assert_eq!(peer.provider.deadline(), Some(ms(expires)));
        }
    }
}

/// Numbers where clamping goes wrong.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..6_000,
        1 => Just(0),
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - 1),
        1 => (limits::FETCH_ITEMS - 1)..(limits::FETCH_ITEMS + 2),
        1 => (limits::FETCH_BYTES - 1)..(limits::FETCH_BYTES + 2),
        1 => any::<u64>(),
    ]
}

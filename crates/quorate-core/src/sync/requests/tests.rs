use proptest::prelude::*;

use super::*;
use crate::{
    id::SessionId,
    state_op::StateOp,
    sync::{
        authorize,
        testing::{
            at, digest, leading, marked, marker_of, member, members, ms, now, ops, proposed,
            requester, sent,
        },
    },
    wire::Message,
};

/// A leader with its requests and its own snapshots.
struct Leader {
    requests: Requests,
    provider: Provider,
    voters: Vec<Member>,
    out: Vec<SyncOut>,
}

impl Leader {
    fn new() -> Self {
        let profile = GroupProfile::lan();
        Self {
            requests: Requests::new(&profile),
            provider: Provider::new(&profile),
            voters: members(3),
            out: Vec::new(),
        }
    }

    fn ask(&mut self, time: Time, requester: Requester) {
        self.requests.on_request(time, requester, &mut self.out);
    }

    fn tick(&mut self, time: Time, applied: u64) {
        let (leading, provider) = (leading(&self.voters), &mut self.provider);
        self.requests
            .tick(now(time), at(applied), leading, provider, &mut self.out);
        let deadline = self.requests.deadline();
        assert!(deadline.is_none_or(|due| due > time), "due again at once");
    }

    /// Ticks whenever it is due, until `end`; returns the markers proposed.
    fn run(&mut self, end: Time, applied: u64) -> Vec<Marker> {
        self.out.clear();
        while let Some(due) = self.requests.deadline().filter(|due| *due <= end) {
            self.tick(due, applied);
        }
        proposed(&self.out).into_iter().cloned().collect()
    }
}

fn cuts(out: &[SyncOut]) -> Vec<Cursor> {
    ops(out)
        .into_iter()
        .filter_map(|op| match op {
            StateOp::Cut { anchor } => Some(*anchor),
            _ => None,
        })
        .collect()
}

fn refusals(out: &[SyncOut]) -> Vec<(Member, Refusal, u32)> {
    sent(out)
        .into_iter()
        .filter_map(|(to, message)| match message {
            Message::SnapshotRefused {
                reason,
                retry_after_ms,
                ..
            } => Some((to, *reason, *retry_after_ms)),
            _ => None,
        })
        .collect()
}

#[test]
fn requests_that_wait_share_one_marker_stamped_by_the_driver() {
    let mut leader = Leader::new();
    leader.ask(ms(0), requester(7, 1));
    leader.ask(ms(60), requester(8, 1));
    leader.tick(ms(99), 5);
    assert!(proposed(&leader.out).is_empty());
    let markers = leader.run(ms(100), 5);
    assert_eq!(
        markers,
        vec![marker_of(&[requester(7, 1), requester(8, 1)])]
    );
    leader.ask(ms(101), requester(9, 1));
    assert_eq!(leader.run(ms(250), 5), vec![marker_of(&[requester(9, 1)])]);
}

#[test]
fn a_flood_of_requests_is_gathered_into_few_markers() {
    let mut leader = Leader::new();
    let (mut markers, mut named) = (0, 0);
    for time in 0..1_200 {
        if time < 1_000 {
            // Forty peers, each starting session after session.
            leader.ask(ms(time), requester(100 + (time % 40) as u8, time));
        }
        leader.out.clear();
        leader.tick(ms(time), 5);
        for marker in proposed(&leader.out)
            .into_iter()
            .cloned()
            .collect::<Vec<_>>()
        {
            assert!(marker.requesters.len() <= limits::REQUESTERS);
            (markers, named) = (markers + 1, named + marker.requesters.len());
            leader.requests.on_applied(&marker);
        }
    }
    assert_eq!((markers, named), (10, 400));
}

#[test]
fn the_number_of_waiting_requests_is_bounded_and_the_rest_is_told_when_to_retry() {
    let mut leader = Leader::new();
    for n in 0..1_100_u64 {
        let mut asks = requester(1, 1);
        asks.member.incarnation.0 = n;
        leader.ask(ms(0), asks);
    }
    assert_eq!(
        refusals(&leader.out).len(),
        1_100 - limits::SNAPSHOT_REQUESTS
    );
    let (_, reason, retry) = refusals(&leader.out)[0];
    assert_eq!((reason, retry), (Refusal::Busy, 100));
    let markers = leader.run(ms(450), 5);
    assert!(
        markers
            .iter()
            .all(|m| m.requesters.len() == limits::REQUESTERS)
    );
    assert_eq!(markers.len(), 4);
}

#[test]
fn a_repeated_request_makes_no_second_marker() {
    let mut leader = Leader::new();
    leader.ask(ms(0), requester(7, 1));
    leader.ask(ms(1), requester(7, 1));
    assert_eq!(leader.run(ms(100), 5).len(), 1);
    leader.ask(ms(110), requester(7, 1));
    assert!(leader.run(ms(400), 5).is_empty());
    // Once it is applied, the same session may want another one: its sources may be gone.
    leader.requests.on_applied(&marker_of(&[requester(7, 1)]));
    leader.ask(ms(410), requester(7, 1));
    assert_eq!(leader.run(ms(510), 5).len(), 1);
}

#[test]
fn a_marker_that_does_not_commit_is_replaced_by_the_leaders_own_offer() {
    let mut leader = Leader::new();
    leader.ask(ms(0), requester(2, 1));
    assert_eq!(leader.run(ms(599), 42).len(), 1);
    assert!(cuts(&leader.out).is_empty());
    leader.run(ms(600), 42);
    assert_eq!(cuts(&leader.out), vec![at(42)]);
    leader.out.clear();
    let out = &mut leader.out;
    leader.provider.on_cut(at(42), 10, 100, out);
    let voters = leader.voters.clone();
    leader.provider.on_hashed(
        ms(601),
        at(42),
        Some(digest(1)),
        Some(leading(&voters)),
        out,
    );
    let kinds: Vec<bool> = sent(out)
        .iter()
        .map(|(to, message)| {
            assert_eq!(*to, member(2));
            matches!(message, Message::Authorized { good: true, anchor, .. } if *anchor == at(42))
        })
        .collect();
    assert_eq!(
        kinds,
        vec![true, false],
        "the permission comes before the offer"
    );
}

#[test]
fn behind_a_marker_that_does_not_commit_no_other_is_proposed() {
    let mut leader = Leader::new();
    leader.ask(ms(0), requester(2, 1));
    leader.run(ms(600), 42);
    leader.ask(ms(700), requester(3, 1));
    assert!(leader.run(ms(900), 43).is_empty());
    assert_eq!(cuts(&leader.out), vec![at(43)]);
    // It committed after all: markers work again.
    leader.requests.on_applied(&marker_of(&[requester(2, 1)]));
    leader.ask(ms(1_000), requester(4, 1));
    assert_eq!(leader.run(ms(1_100), 44).len(), 1);
}

#[test]
fn who_asks_again_behind_an_overdue_marker_is_offered_again() {
    let mut leader = Leader::new();
    leader.ask(ms(0), requester(2, 1));
    leader.run(ms(600), 42);
    // The offer was lost on its way, or the snapshot expired: the same session asks again.
    leader.ask(ms(15_000), requester(2, 1));
    leader.run(ms(15_100), 43);
    assert_eq!(cuts(&leader.out), vec![at(43)]);
    assert_eq!(leader.provider.waiting_at(at(43)).len(), 1);
}

#[test]
fn a_marker_that_cannot_be_proposed_is_replaced_at_once() {
    let mut leader = Leader::new();
    leader.ask(ms(0), requester(7, 1));
    let markers = leader.run(ms(100), 42);
    leader
        .requests
        .on_unproposable(&markers[0], &mut leader.out);
    leader.tick(ms(100), 42);
    assert_eq!(cuts(&leader.out), vec![at(42)]);
}

#[test]
fn without_room_for_a_snapshot_the_request_is_refused_with_a_time_to_retry() {
    let mut leader = Leader::new();
    for index in 1..=limits::SNAPSHOTS as u64 {
        let asks = [requester(9, index)];
        assert!(
            leader
                .provider
                .offer_own(ms(0), at(index), &asks, None, &mut leader.out)
        );
    }
    leader.ask(ms(0), requester(7, 1));
    leader.run(ms(600), 42);
    assert!(cuts(&leader.out).is_empty());
    assert_eq!(refusals(&leader.out), vec![(member(7), Refusal::Busy, 500)]);
}

#[test]
fn who_has_what_the_leader_has_is_offered_nothing() {
    let mut leader = Leader::new();
    leader.ask(
        ms(0),
        Requester {
            have: at(42),
            ..requester(7, 1)
        },
    );
    leader.run(ms(600), 42);
    assert!(cuts(&leader.out).is_empty());
    assert_eq!(refusals(&leader.out).len(), 1);
}

#[test]
fn lost_leadership_drops_what_waits() {
    let mut leader = Leader::new();
    leader.ask(ms(0), requester(7, 1));
    leader.run(ms(100), 5);
    leader.ask(ms(110), requester(8, 1));
    leader.requests.on_leadership_lost();
    assert_eq!(leader.requests.deadline(), None);
    leader.run(ms(10_000), 5);
    assert!(leader.out.is_empty());
}

#[test]
fn a_request_sent_to_a_peer_that_does_not_lead_is_passed_on_once() {
    let profile = GroupProfile::lan();
    let asks = requester(7, 1);
    let mut out = Vec::new();
    pass_on(member(7), asks, Some(member(1)), &profile, &mut out);
    let request = Message::SnapshotRequest {
        member: member(7),
        session: SessionId(1),
        have: Cursor::ZERO,
    };
    assert_eq!(sent(&out), vec![(member(1), &request)]);

    // Second hand, or without a known leader, it is refused to the one that asked.
    for (from, leader) in [(2, Some(member(1))), (7, None), (7, Some(member(7)))] {
        out.clear();
        pass_on(member(from), asks, leader, &profile, &mut out);
        assert_eq!(refusals(&out), vec![(member(7), Refusal::NotLeader, 50)]);
    }
}

#[test]
fn a_leader_authorizes_what_its_log_holds_as_committed_and_nothing_else() {
    let voters = members(3);
    let answer = |anchor: Cursor, held: Option<u64>, commit: u64| {
        let mut out = Vec::new();
        let asked = (SessionId(1), anchor);
        let term = held.map(crate::cursor::Term);
        let commit = crate::cursor::Index(commit);
        authorize(member(7), asked, term, commit, leading(&voters), &mut out);
        assert_eq!(
            marked(&out, "leader.anchor_not_yet_committed"),
            sent(&out).is_empty()
        );
        sent(&out).first().map(|(_, message)| match message {
            Message::Authorized { good, .. } => *good,
            other => panic!("{other:?}"),
        })
    };
    let last = Cursor::new(
        crate::cursor::Term(u64::MAX),
        crate::cursor::Index(u64::MAX),
    );
    assert_eq!(answer(at(5), Some(2), 5), Some(true));
    assert_eq!(
        answer(at(5), Some(2), 4),
        None,
        "a new leader does not know yet"
    );
    assert_eq!(
        answer(at(5), Some(1), 9),
        Some(false),
        "another entry stands there"
    );
    assert_eq!(answer(at(5), None, 9), Some(false), "the tail is gone");
    assert_eq!(answer(last, None, 9), Some(false));
    assert_eq!(answer(Cursor::ZERO, Some(0), 9), Some(false));
}

proptest! {
    /// Whatever comes in which order, every request ends in a marker, an own offer or a refusal.
    #[test]
    fn no_request_is_met_with_silence(
        asks in prop::collection::vec((0_u64..3_000, 0_u8..12, any::<bool>()), 1..60),
        applies in any::<bool>(),
    ) {
        let mut leader = Leader::new();
        let mut asks = asks;
        asks.sort_unstable();
        let mut answered = Vec::new();
        let mut newest = std::collections::BTreeMap::new();
        for step in 0..500_u64 {
            let time = ms(step * 10);
            for (_, n, anew) in asks.iter().filter(|(at, ..)| at / 10 == step) {
                let session = newest.entry(*n).or_insert(0_u64);
                *session += u64::from(*anew);
                leader.ask(time, requester(*n, *session));
            }
            leader.out.clear();
            leader.tick(time, 5 + step);
            for marker in proposed(&leader.out).into_iter().cloned().collect::<Vec<_>>() {
                prop_assert!(!marker.requesters.is_empty());
                if applies {
                    answered.extend(marker.requesters.iter().map(|r| (r.member, r.session)));
                    leader.requests.on_applied(&marker);
                }
            }
            if marked(&leader.out, "requests.own_offer") {
                // Everybody who waits is in the snapshot that was cut or re-used now.
                let cut = leader.provider.anchors().last().unwrap();
                prop_assert_eq!(cut, at(5 + step));
                let mut waiting = leader.provider.waiting_at(cut);
                answered.extend_from_slice(&waiting);
                waiting.sort_unstable();
                let doubled = waiting.windows(2).any(|pair| pair[0].0 == pair[1].0);
                prop_assert!(!doubled, "two offers to one member: {waiting:?}");
                leader.provider.forget(cut, &mut Vec::new());
            }
        }
        for (n, session) in newest {
            prop_assert!(answered.contains(&(member(n), SessionId(session))), "{n} waits");
        }
        prop_assert_eq!(leader.requests.deadline(), None);
    }
}

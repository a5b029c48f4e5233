//! From a chosen anchor to the install.

use std::time::Duration;

use super::rig::{Asked, ITEMS, Rig};
use crate::{
    cursor::Term,
    event::Refusal,
    limits,
    state_op::{StateOp, Verdict},
    sync::{
        Phase, SyncOut,
        testing::{at, marked, member, ops},
    },
};

#[test]
fn ranges_are_asked_of_everybody_within_the_credit_and_never_twice() {
    let mut rig = Rig::fetching(5);
    let asked = rig.asked();
    let count = |n: u8| asked.iter().filter(|a| a.to == member(n)).count();
    assert_eq!(
        [count(1), count(2), count(3), count(4)],
        [limits::FETCHES_IN_FLIGHT; 4]
    );
    assert_eq!(count(0), 1, "the leader comes last");
    let mut ranges: Vec<(u64, u64)> = asked.iter().map(|a| (a.start, a.end)).collect();
    ranges.sort_unstable();
    assert!(
        ranges.windows(2).all(|pair| pair[0].1 == pair[1].0),
        "{ranges:?}"
    );
    rig.finish(asked);
    assert!(matches!(
        ops(&rig.out).last(),
        Some(StateOp::Install { .. })
    ));
    let progress = rig.session.progress();
    assert_eq!((progress.verified, progress.total), (ITEMS, ITEMS));
    let brought: u64 = progress.sources.iter().map(|s| s.items).sum();
    assert_eq!(brought, ITEMS);
}

#[test]
fn the_leader_alone_is_asked_like_anybody() {
    let mut rig = Rig::fetching(1);
    assert_eq!(rig.asked().len(), limits::FETCHES_IN_FLIGHT);
}

#[test]
fn offers_for_the_chosen_anchor_add_providers_at_any_time() {
    let mut rig = Rig::fetching(2);
    rig.asked();
    rig.offer(4, 20, 1);
    assert!(marked(&rig.out, "session.provider_joined"));
    let asked = rig.asked();
    assert_eq!(asked.len(), limits::FETCHES_IN_FLIGHT);
    assert!(asked.iter().all(|a| a.to == member(4)));
}

#[test]
fn a_short_answer_has_its_rest_asked_for_again() {
    let mut rig = Rig::fetching(5);
    let asked = rig.asked();
    rig.answer(asked[0], asked[0].start + 1);
    let again = rig.asked();
    assert_eq!(again[0].start, asked[0].start + 1);
    assert_eq!(rig.session.progress().verified, 1);
}

#[test]
fn answers_that_belong_to_nothing_are_counted_and_dropped() {
    let mut rig = Rig::fetching(3);
    let asked = rig.asked();
    let first = asked[0];
    rig.chunk(
        Asked {
            fetch: 999,
            ..first
        },
        20,
    );
    rig.chunk(
        Asked {
            to: member(7),
            ..first
        },
        20,
    );
    rig.chunk(first, 21);
    rig.refuse(
        Asked {
            to: member(7),
            ..first
        },
        Refusal::UnknownAnchor,
    );
    assert_eq!(rig.session.progress().strays, 4);
    assert!(ops(&rig.out).is_empty());
    rig.answer(first, first.end);
    rig.chunk(first, 20);
    assert_eq!(rig.session.progress().strays, 5, "a doubled one");
    assert_eq!(rig.session.progress().verified, first.end - first.start);
}

#[test]
fn a_late_answer_is_verified_all_the_same() {
    let mut rig = Rig::fetching(1);
    let asked = rig.asked();
    rig.pass(5_000);
    assert_eq!(rig.set_aside(), vec![(member(0), Refusal::TimedOut)]);
    rig.out.clear();
    rig.answer(asked[0], asked[0].end);
    assert!(marked(&rig.out, "session.late_answer"));
    assert_eq!(
        rig.session.progress().verified,
        asked[0].end - asked[0].start
    );
    assert!(rig.asked().len() >= 3, "it lives: it is asked again");
}

#[test]
fn a_silent_provider_is_set_aside_its_ranges_move_and_it_comes_back() {
    let mut rig = Rig::fetching(3);
    let mut asked = rig.asked();
    let silent: Vec<Asked> = asked
        .iter()
        .filter(|a| a.to == member(1))
        .copied()
        .collect();
    asked.retain(|a| a.to == member(2));
    for _ in 0..6 {
        rig.pass(900);
        let next = asked.remove(0);
        rig.answer(next, next.start + 1);
        let aside = rig.set_aside();
        let new = rig.asked();
        asked.extend(new.into_iter().filter(|a| a.to == member(2)));
        if !aside.is_empty() {
            assert!(aside.contains(&(member(1), Refusal::TimedOut)));
        }
    }
    let waits = |rig: &Rig| {
        let sources = rig.session.progress().sources;
        sources
            .iter()
            .find(|s| s.member == member(1))
            .unwrap()
            .aside_until
    };
    let until = waits(&rig).expect("set aside");
    assert!(until.since(rig.now) <= Duration::from_secs(1));
    rig.out.clear();
    rig.pass(1_000);
    let again = rig.asked();
    assert!(
        again.iter().any(|a| a.to == member(1)),
        "{silent:?} {again:?}"
    );
}

#[test]
fn a_provider_whose_chunk_is_wrong_is_named_and_set_aside_but_not_for_ever() {
    let mut rig = Rig::fetching(4);
    let asked = rig.asked();
    let liar = *asked.iter().find(|a| a.to == member(3)).unwrap();
    rig.chunk(liar, 20);
    rig.verdict(
        liar,
        Verdict::Wrong {
            reason: "no leaf of it",
        },
    );
    assert_eq!(rig.set_aside(), vec![(member(3), Refusal::WrongChunk)]);
    // A new offer does not wash it clean.
    rig.offer(3, 20, 1);
    let others: Vec<Asked> = asked.into_iter().filter(|a| a.to != member(3)).collect();
    rig.answer(others[0], others[0].end);
    let next = rig.asked();
    assert!(next.iter().all(|a| a.to != member(3)));
    assert!(
        next.iter().any(|a| a.start == liar.start),
        "others bring it"
    );
    for n in [0, 1, 2] {
        rig.session.on_peer_down(rig.now, member(n), &mut rig.out);
    }
    rig.pass(30_000);
    assert!(rig.asked().iter().any(|a| a.to == member(3)));
}

#[test]
fn a_busy_provider_is_left_alone_for_a_moment_only() {
    let mut rig = Rig::fetching(1);
    let asked = rig.asked();
    rig.refuse(asked[0], Refusal::Busy);
    assert!(rig.asked().is_empty());
    rig.pass(50);
    assert_eq!(rig.asked().len(), 1);
    assert!(rig.requests().is_empty(), "it is still a source");
}

#[test]
fn when_no_source_remains_it_asks_again_under_the_same_name() {
    let mut rig = Rig::fetching(3);
    let asked = rig.asked();
    rig.answer(asked[0], asked[0].end);
    let mut open = asked[1..].to_vec();
    open.extend(rig.asked());
    for a in open {
        rig.refuse(a, Refusal::UnknownAnchor);
    }
    assert_eq!(rig.requests(), vec![member(0)]);
    assert!(marked(&rig.out, "session.no_source_remains"));
    rig.pass(15_000);
    assert_eq!(rig.requests().len(), 2, "and again");
    // The same anchor is offered once more: what was verified is kept.
    rig.out.clear();
    rig.offer(2, 20, 1);
    assert!(ops(&rig.out).is_empty() && !rig.asked().is_empty());
    assert_eq!(
        rig.session.progress().verified,
        asked[0].end - asked[0].start
    );
}

#[test]
fn what_a_slow_provider_owes_is_asked_of_an_idle_one() {
    let mut rig = Rig::fetching(3);
    let mut asked = rig.asked();
    let owed: Vec<Asked> = asked
        .iter()
        .filter(|a| a.to == member(1))
        .copied()
        .collect();
    asked.retain(|a| a.to == member(2));
    while let Some(next) = asked.pop() {
        rig.pass(10);
        rig.answer(next, next.end);
        asked.extend(rig.asked().into_iter().filter(|a| a.to == member(2)));
    }
    let stolen = |a: &Asked| owed.iter().any(|o| (o.start, o.end) == (a.start, a.end));
    rig.pass(200);
    let taken = rig.asked();
    assert!(
        taken.iter().any(|a| a.to == member(2) && stolen(a)),
        "{taken:?}"
    );
    // The slow one answers after all: the double brings nothing and harms nothing.
    rig.answer(owed[0], owed[0].end);
    let double = taken.iter().find(|a| a.start == owed[0].start).copied();
    if let Some(double) = double {
        rig.chunk(double, 20);
        rig.verdict(double, Verdict::Known);
    }
    assert!(rig.session.progress().verified < ITEMS);
}

#[test]
fn a_new_leader_is_asked_about_the_anchor_while_fetching_goes_on() {
    let mut rig = Rig::fetching(4);
    let mut open = rig.asked();
    rig.lead(1, 3);
    assert_eq!(rig.questions(), vec![(member(1), at(20))]);
    assert!(
        rig.out
            .iter()
            .any(|o| matches!(o, SyncOut::StageFrom(a) if *a == at(20)))
    );
    assert!(rig.requests().is_empty() && rig.started().is_empty());
    open.extend(rig.asked());
    let next = open.remove(0);
    rig.answer(next, next.end);
    open.extend(rig.asked());
    rig.authorized(1, 20, 3, true);
    open.extend(rig.asked());
    rig.pass(2_000);
    assert!(rig.questions().is_empty());
    // No answer of the next leader is waited for: an anchor once permitted is committed.
    rig.lead(2, 4);
    rig.session.on_leader(rig.now, None, Term(5), &mut rig.out);
    open.extend(rig.asked());
    rig.finish(open);
}

#[test]
fn parts_that_do_not_make_the_digest_begin_all_again_without_those_who_stated_it() {
    let mut rig = Rig::fetching(3);
    let asked = rig.asked();
    rig.finish(asked);
    rig.out.clear();
    rig.session.on_installed(rig.now, None, &mut rig.out);
    assert_eq!(rig.requests(), vec![member(0)]);
    let suspects = [0, 1, 2].map(|n| (member(n), Refusal::WrongChunk));
    assert_eq!(rig.set_aside(), suspects);
    rig.authorize(30);
    for n in [0, 1, 2] {
        rig.offer(n, 30, 3);
    }
    assert_eq!(rig.session.phase(), Phase::Choosing);
    rig.pass(30_000);
    assert_eq!(rig.started(), vec![(at(30), true)], "suspicion ends");
}

/// Two slow providers that were asked in turn for a range of which the first half was there
/// already kept each other's second half "under way" for ever.
#[test]
fn a_double_is_asked_only_for_what_is_still_missing() {
    let mut rig = Rig::new();
    rig.authorize(20);
    for n in [1, 2, 3] {
        rig.offer_items(n, 20, 1, 60);
    }
    let [first] = rig.asked()[..] else {
        panic!("one range is all there is");
    };
    assert_eq!((first.start, first.end), (0, 60));
    rig.pass(1_250);
    let [second] = rig.asked()[..] else {
        panic!("somebody idle is asked too");
    };
    assert_eq!((second.start, second.end), (0, 60));
    rig.answer(first, 40);
    assert!(rig.asked().is_empty(), "the rest is still owed");
    rig.pass(2_500);
    let [third] = rig.asked()[..] else {
        panic!("and asked of somebody idle after a while");
    };
    assert_eq!((third.start, third.end), (40, 60));
    rig.answer(third, 60);
    assert_eq!(rig.session.phase(), Phase::Installing);
}

#[test]
fn who_sends_true_chunks_that_nobody_asked_for_is_set_aside_too() {
    let known = Verdict::Known;
    let elsewhere = Verdict::Kept {
        items: (9_990, 9_999),
        unfinished: None,
        pieces: Vec::new(),
        bytes: 900,
    };
    let standing_still = Verdict::Kept {
        items: (0, 0),
        unfinished: Some((0, 0)),
        pieces: Vec::new(),
        bytes: 0,
    };
    for (verdict, verified) in [(known, 0), (elsewhere, 9), (standing_still, 0)] {
        let mut rig = Rig::fetching(3);
        let first = rig.asked()[0];
        rig.chunk(first, 20);
        rig.verdict(first, verdict);
        assert_eq!(rig.set_aside(), vec![(first.to, Refusal::WrongChunk)]);
        assert_eq!(
            rig.session.progress().verified,
            verified,
            "what is true is kept"
        );
    }
}

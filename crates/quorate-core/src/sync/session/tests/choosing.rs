//! From the request to a chosen anchor.

use std::time::Duration;

use super::rig::Rig;
use crate::{
    event::{GroupEvent, Refusal},
    id::SessionId,
    limits,
    profile::GroupProfile,
    state_op::{Restored, StateOp},
    sync::{
        Phase,
        testing::{at, digest, events, marked, member, ms, ops},
    },
};

#[test]
fn it_asks_the_leader_and_again_whenever_nothing_comes_of_it() {
    let mut rig = Rig::new();
    assert_eq!(rig.requests(), vec![member(0)]);
    rig.pass(14_999);
    assert_eq!(rig.requests().len(), 1);
    rig.pass(1);
    assert_eq!(rig.requests().len(), 2);
    rig.out.clear();
    rig.lead(3, 4);
    assert_eq!(
        rig.requests(),
        vec![member(3)],
        "a new leader is asked at once"
    );
    rig.lead(3, 4);
    assert_eq!(rig.requests().len(), 1);
    let (now, out) = (rig.now, &mut rig.out);
    let wait = Duration::from_millis(100);
    rig.session
        .on_refused(now, member(3), SessionId(7), wait, out);
    rig.pass(99);
    assert_eq!(rig.requests().len(), 1);
    rig.pass(1);
    assert_eq!(rig.requests().len(), 2);
}

#[test]
fn a_retry_time_is_kept_within_reason_and_only_the_leaders_counts() {
    let mut rig = Rig::new();
    for (from, wait) in [(1, 1), (0, u64::from(u32::MAX)), (0, 0)] {
        let (now, wait) = (rig.now, Duration::from_millis(wait));
        rig.session
            .on_refused(now, member(from), SessionId(7), wait, &mut rig.out);
    }
    assert_eq!(rig.session.deadline(), Some(ms(20)));
    assert_eq!(rig.session.progress().strays, 1);
}

#[test]
fn no_anchor_is_used_without_the_leaders_permission() {
    let mut rig = Rig::new();
    for n in 0..5 {
        rig.offer(n, 20, 1);
    }
    assert_eq!(rig.questions(), vec![(member(0), at(20))], "asked once");
    rig.authorized(1, 20, 2, true);
    rig.authorized(0, 20, 1, true);
    assert_eq!(rig.session.phase(), Phase::Choosing);
    rig.pass(500);
    assert_eq!(rig.questions().len(), 2, "asked again");
    rig.authorized(0, 20, 2, false);
    rig.pass(5_000);
    assert_eq!((rig.started(), rig.questions().len()), (vec![], 2));
    // Another leader may see it otherwise.
    rig.lead(1, 3);
    assert_eq!(rig.questions().last(), Some(&(member(1), at(20))));
    rig.authorized(1, 20, 3, true);
    assert_eq!(rig.started(), vec![(at(20), true)]);
}

#[test]
fn an_anchor_at_or_below_what_is_applied_is_of_no_use() {
    let mut rig = Rig::new();
    rig.authorize(10);
    rig.offer(0, 10, 1);
    rig.offer(1, 9, 1);
    assert!(rig.questions().is_empty() && marked(&rig.out, "session.offer_too_old"));
    assert_eq!(rig.session.phase(), Phase::Asking);
}

#[test]
fn a_digest_counts_when_a_majority_of_voters_states_it() {
    let mut rig = Rig::new();
    rig.authorize(20);
    for learner in 6..9 {
        rig.offer(learner, 20, 1);
    }
    rig.offer(1, 20, 1);
    rig.offer(2, 20, 1);
    assert!(rig.started().is_empty(), "learners do not weigh");
    rig.offer(3, 20, 2);
    assert!(rig.started().is_empty(), "neither does another digest");
    rig.offer(4, 20, 1);
    assert_eq!(rig.started(), vec![(at(20), true)]);
    let diverged = GroupEvent::Diverged {
        anchor: at(20),
        peer: member(3).peer,
    };
    assert!(events(&rig.out).contains(&&diverged));
    let asked = rig.asked();
    assert!(asked.iter().any(|a| a.to == member(6)), "learners serve");
    assert!(asked.iter().all(|a| a.to != member(3)));
}

#[test]
fn a_digest_counts_when_the_leader_and_one_other_voter_state_it() {
    let mut rig = Rig::new();
    rig.authorize(20);
    rig.offer(0, 20, 1);
    rig.offer(6, 20, 1);
    assert!(rig.started().is_empty());
    rig.offer(1, 20, 1);
    assert_eq!(rig.started(), vec![(at(20), true)]);
}

#[test]
fn the_leaders_word_alone_counts_after_a_while_is_reported_and_compared_later() {
    let mut rig = Rig::new();
    rig.authorize(20);
    rig.offer(0, 20, 1);
    rig.pass(999);
    rig.offer(0, 20, 1);
    assert!(rig.started().is_empty());
    rig.pass(1);
    assert_eq!(rig.started(), vec![(at(20), false)]);
    assert!(!rig.session.progress().confirmed);
    rig.offer(1, 20, 1);
    assert!(rig.session.progress().confirmed);
}

#[test]
fn the_leaders_word_alone_counts_while_its_snapshot_is_still_kept() {
    let mut rig = Rig::with(&GroupProfile {
        snapshot_ttl: Duration::from_millis(300),
        ..GroupProfile::lan()
    });
    rig.authorize(20);
    rig.offer(0, 20, 1);
    rig.pass(149);
    assert!(rig.started().is_empty());
    rig.pass(1);
    assert_eq!(rig.started(), vec![(at(20), false)]);
}

#[test]
fn a_majority_against_the_leaders_word_is_believed_and_reported() {
    let mut rig = Rig::fetching(1);
    let asked = rig.asked();
    rig.answer(asked[0], asked[0].end);
    rig.out.clear();
    for n in [1, 2, 3] {
        rig.offer(n, 20, 2);
    }
    let diverged = |n: u8| GroupEvent::Diverged {
        anchor: at(20),
        peer: member(n).peer,
    };
    for n in 0..4 {
        assert!(events(&rig.out).contains(&&diverged(n)), "{n}");
    }
    assert_eq!(rig.started(), vec![(at(20), true)]);
    assert!(matches!(
        ops(&rig.out)[..],
        [StateOp::Restore { digest: d, .. }] if *d == digest(2)
    ));
    assert!(rig.asked().iter().all(|a| a.to != member(0)));
}

#[test]
fn an_empty_snapshot_is_installed_without_a_fetch() {
    let mut rig = Rig::new();
    rig.authorize(20);
    rig.offer_items(0, 20, 1, 0);
    rig.offer_items(1, 20, 1, 0);
    let restore = [ops(&rig.out)[0], ops(&rig.out)[1]];
    assert!(matches!(
        restore,
        [StateOp::Restore { items: 0, .. }, StateOp::Install { .. }]
    ));
    assert!(rig.asked().is_empty());
    assert_eq!(rig.session.deadline(), None);
    let restored = Restored {
        anchor: at(20),
        configuration: Default::default(),
        fate: crate::Fate::Empty,
        version: 1,
        items: 0,
        bytes: 0,
    };
    rig.session
        .on_installed(rig.now, Some(&restored), &mut rig.out);
    assert_eq!(rig.session.phase(), Phase::Following);
    let done = GroupEvent::Restored {
        session: SessionId(7),
        anchor: at(20),
    };
    assert_eq!(events(&rig.out), vec![&done]);
    rig.out.clear();
    rig.session.abandon(&mut rig.out);
    assert!(rig.out.is_empty());
}

#[test]
fn progress_is_not_thrown_away_for_a_newer_offer() {
    let mut rig = Rig::fetching(3);
    let asked = rig.asked();
    rig.answer(asked[0], asked[0].end);
    rig.authorize(90);
    for n in 0..5 {
        rig.offer(n, 90, 2);
    }
    assert!(rig.started().is_empty());
    assert_eq!(rig.session.anchor(), Some(at(20)));
    // Only when nobody serves it any more is it left.
    for a in asked.iter().skip(1).chain(&rig.asked()) {
        rig.refuse(*a, Refusal::UnknownAnchor);
    }
    assert_eq!(rig.started(), vec![(at(90), true)]);
}

#[test]
fn before_anything_is_verified_a_confirmed_anchor_beats_the_leaders_word() {
    let mut rig = Rig::fetching(1);
    rig.authorize(21);
    rig.offer(1, 21, 2);
    rig.offer(2, 21, 2);
    assert_eq!(
        rig.session.anchor(),
        Some(at(20)),
        "two of five do not confirm"
    );
    rig.offer(3, 21, 2);
    assert_eq!(rig.session.anchor(), Some(at(21)));
}

#[test]
fn a_hostile_offerer_displaces_only_itself_and_causes_few_questions() {
    let mut rig = Rig::new();
    rig.offer(3, 20, 1);
    for n in 0..2_000 {
        let index = if n % 2 == 0 { u64::MAX - n } else { 30 + n };
        rig.offer(8, index, 1);
    }
    assert_eq!(rig.questions().len(), 8);
    rig.pass(500);
    assert_eq!(rig.questions().len(), 8 + 1 + limits::SNAPSHOTS);
    rig.authorize(20);
    rig.offer(4, 20, 1);
    rig.offer(0, 20, 1);
    assert_eq!(rig.session.anchor(), Some(at(20)));
}

#[test]
fn when_the_tail_behind_the_anchor_is_gone_it_moves_to_a_newer_anchor() {
    let mut rig = Rig::fetching(3);
    let asked = rig.asked();
    rig.session.on_staging_lost(rig.now, &mut rig.out);
    assert_eq!(rig.requests(), vec![member(0)]);
    rig.chunk(asked[0], 20);
    assert!(
        ops(&rig.out).is_empty(),
        "the old anchor is of no use any more"
    );
    rig.offer(0, 20, 1);
    assert_eq!(rig.session.phase(), Phase::Asking, "nor is an offer of it");
    rig.authorize(30);
    rig.offer(0, 30, 2);
    rig.offer(1, 30, 2);
    assert_eq!(rig.started(), vec![(at(30), true)]);
    // The leader's word has the same effect, and another offered anchor is taken at once.
    rig.authorize(40);
    rig.offer(0, 40, 3);
    rig.offer(1, 40, 3);
    rig.out.clear();
    rig.authorized(0, 30, 2, false);
    assert_eq!(
        (rig.started(), rig.requests()),
        (vec![(at(40), true)], vec![])
    );
}

#[test]
fn while_it_installs_it_is_too_late_for_another_anchor() {
    let mut rig = Rig::fetching(3);
    let asked = rig.asked();
    rig.finish(asked);
    rig.out.clear();
    rig.session.on_staging_lost(rig.now, &mut rig.out);
    rig.authorized(0, 20, 2, false);
    rig.lead(1, 3);
    assert_eq!(rig.session.phase(), Phase::Installing);
    assert!(rig.requests().is_empty() && ops(&rig.out).is_empty());
}

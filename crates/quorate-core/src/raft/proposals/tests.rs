//! What may be said of a proposal, depending on whether another copy of it may stand in a log.

use bytes::Bytes;

use super::*;
use crate::{
    cursor::Term,
    id::{Incarnation, PeerId},
    state_op::Remembered,
};

const SOON: Time = Time(1_000);
const LATE: Time = Time(2_000);

fn leader() -> Member {
    Member {
        peer: PeerId([1; 32]),
        incarnation: Incarnation(1),
    }
}

fn name(sequence: u64) -> ClientSequence {
    ClientSequence {
        client: Index(2),
        sequence,
        open: 0,
    }
}

fn named(sequence: u64) -> Proposal {
    Proposal::Command(Command {
        client: name(sequence),
        bytes: Bytes::from_static(b"named"),
    })
}

fn anonymous() -> Proposal {
    Proposal::Command(Command::anonymous(Bytes::from_static(b"anonymous")))
}

/// Proposals of local clients, numbered from 0, passed on to a leader under the same numbers.
fn passed_on(proposals: impl IntoIterator<Item = Proposal>) -> Proposals {
    let mut waiting = Proposals::starting_at(0, Planted::default());
    for (request, proposal) in (0..).zip(proposals) {
        waiting.enqueue(Queued {
            origin: Origin::Local(RequestId(request)),
            proposal,
            deadline: SOON,
            sent: false,
        });
    }
    waiting.forward(leader(), Term(3), &mut Out::default());
    assert!(waiting.queue.is_empty());
    waiting
}

fn replies(act: impl FnOnce(&mut Out)) -> Vec<(u64, Reply)> {
    let mut out = Out::default();
    act(&mut out);
    let replies = out.replies.into_iter();
    replies.map(|(request, reply)| (request.0, reply)).collect()
}

/// Takes the answer to one proposal, as it comes in a frame of its own.
fn answer(waiting: &mut Proposals, number: u64, outcome: ForwardOutcome, out: &mut Out) {
    let again = waiting.answered(number, outcome, out);
    waiting.put_back(again.into_iter().collect());
}

fn committed(index: u64) -> ForwardOutcome {
    ForwardOutcome::Committed {
        cursor: Cursor::new(Term(3), Index(index)),
        outcome: Bytes::new(),
    }
}

#[test]
fn what_may_be_repeated_goes_back_and_the_rest_waits_for_its_one_answer() {
    let mut waiting = passed_on([anonymous(), named(0), Proposal::Register]);
    waiting.resend();
    assert_eq!((waiting.queue.len(), waiting.forwarded.len()), (2, 1));
    // An answer to the copy that was given up is nobody's any more.
    let told = replies(|out| answer(&mut waiting, 1, committed(7), out));
    assert_eq!(told, []);
    waiting.forward(leader(), Term(4), &mut Out::default());
    let told = replies(|out| {
        answer(&mut waiting, 0, committed(7), out);
        answer(&mut waiting, 3, committed(8), out);
        let cursor = Cursor::new(Term(4), Index(9));
        answer(&mut waiting, 4, ForwardOutcome::Registered { cursor }, out);
    });
    let cursor = Cursor::new(Term(4), Index(9));
    assert_eq!(told.len(), 3);
    assert_eq!(told[2], (2, Reply::Registered { cursor }));
    assert!(waiting.is_empty());
    assert_eq!((waiting.queue_bytes, waiting.forwarded_bytes), (0, 0));
}

#[test]
fn what_goes_back_goes_before_what_came_later() {
    let mut waiting = passed_on((0..5).map(named));
    waiting.enqueue(Queued {
        origin: Origin::Local(RequestId(5)),
        proposal: named(5),
        deadline: SOON,
        sent: false,
    });
    let again = [2, 3].map(|number| {
        waiting
            .answered(number, ForwardOutcome::NotLeader, &mut Out::default())
            .expect("it waits for another leader")
    });
    waiting.put_back(again.into());
    let queued = |waiting: &Proposals| -> Vec<u64> {
        let names = waiting.queue.iter().map(|queued| name_of(&queued.proposal));
        names
            .map(|name| name.map_or(0, |name| name.sequence))
            .collect()
    };
    assert_eq!(queued(&waiting), [2, 3, 5]);
    waiting.resend();
    assert_eq!(queued(&waiting), [0, 1, 4, 2, 3, 5]);
}

#[test]
fn busy_is_unknown_once_another_copy_may_stand() {
    let mut waiting = passed_on([named(0), named(1)]);
    let told = replies(|out| answer(&mut waiting, 0, ForwardOutcome::Busy, out));
    assert_eq!(told, [(0, Reply::Busy)]);
    waiting.resend();
    waiting.forward(leader(), Term(4), &mut Out::default());
    let told = replies(|out| answer(&mut waiting, 2, ForwardOutcome::Busy, out));
    assert_eq!(told, [(1, Reply::Unknown)]);
}

#[test]
fn what_no_leader_took_was_surely_not_applied() {
    let mut waiting = passed_on([named(0), named(1)]);
    let told = replies(|out| answer(&mut waiting, 0, ForwardOutcome::NotLeader, out));
    assert_eq!(told, [], "it waits for another leader");
    waiting.resend();
    let told = replies(|out| waiting.expire(LATE, out));
    assert_eq!(told, [(1, Reply::Unknown), (0, Reply::Unavailable)]);
    assert_eq!((waiting.queue_bytes, waiting.forwarded_bytes), (0, 0));
}

#[test]
fn what_was_overwritten_is_sent_again_if_it_has_a_name() {
    for outcome in [ForwardOutcome::Superseded, ForwardOutcome::Unknown] {
        let mut waiting = passed_on([anonymous(), named(0)]);
        let told = replies(|out| {
            answer(&mut waiting, 0, outcome.clone(), out);
            answer(&mut waiting, 1, outcome.clone(), out);
        });
        assert_eq!(told, [(0, outcome::reply(outcome))]);
        assert_eq!(waiting.queue.len(), 1);
        assert!(waiting.queue[0].sent);
    }
}

#[test]
fn the_client_table_of_a_snapshot_answers_what_was_in_doubt() {
    let mut waiting = passed_on([named(0), named(1), anonymous(), named(3), named(4)]);
    let told = replies(|out| answer(&mut waiting, 3, ForwardOutcome::Unknown, out));
    assert_eq!(told, []);
    waiting.enqueue(Queued {
        origin: Origin::Local(RequestId(5)),
        proposal: named(5),
        deadline: SOON,
        sent: false,
    });
    // What was never sent is not in doubt.
    assert_eq!(waiting.in_doubt(), [name(3), name(0), name(1), name(4)]);
    let remembered = Remembered {
        cursor: Cursor::new(Term(2), Index(4)),
        outcome: Bytes::from_static(b"then"),
    };
    let recalled = [
        (name(3), Recalled::Applied(remembered.clone())),
        (name(0), Recalled::Dropped),
        (name(1), Recalled::NotSeen),
        (name(4), Recalled::Expired),
    ];
    let mut told = replies(|out| waiting.recalled(&recalled, out));
    told.sort_by_key(|(request, _)| *request);
    let Remembered { cursor, outcome } = remembered;
    assert_eq!(
        told,
        [
            (0, Reply::Dropped),
            (3, Reply::Committed { cursor, outcome }),
            (4, Reply::Expired),
        ]
    );
    let told = replies(|out| waiting.close(&Reply::Closed, &Reply::Unknown, out));
    assert_eq!(
        told,
        [(5, Reply::Closed), (1, Reply::Unknown), (2, Reply::Unknown)]
    );
    assert_eq!((waiting.queue_bytes, waiting.forwarded_bytes), (0, 0));
}

#[test]
fn who_waits_beyond_what_a_later_term_has_applied_is_told_that_it_never_will_be() {
    let mut waiting = Proposals::starting_at(0, Planted::default());
    for (index, term) in [(9, 3), (10, 4), (11, 5)] {
        waiting.waiters.push_back(Waiter {
            index: Index(index),
            term: Term(term),
            origin: Origin::Local(RequestId(index)),
            deadline: LATE,
            sent: false,
        });
    }
    assert!(replies(|out| waiting.supersede(Term(3), out)).is_empty());
    let gone = [(9, Reply::Superseded), (10, Reply::Superseded)];
    assert_eq!(replies(|out| waiting.supersede(Term(5), out)), gone);
    assert!(replies(|out| waiting.supersede(Term(5), out)).is_empty());
    assert_eq!(waiting.len(), 1);
}

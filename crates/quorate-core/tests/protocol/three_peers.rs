//! Peers wired to each other in one thread, with an instant disk and a state that only counts:
//! formation, elections, writes and reads through the public contract alone.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::wire::{Address, Control, Envelope, Message, encode_control};
use quorate_core::{
    ClientOp, Cursor, Form, Freshness, Index, Input, Lane, Reply, SessionId, Term, Versions,
};

use crate::common::{Wire, assert_committed};

#[test]
fn one_peer_alone_forms_and_commits() {
    let mut wire = Wire::new(1, Form::Alone);
    assert!(wire.run(Duration::from_secs(1), |wire| wire.leader().is_some()));
    assert_committed(&wire.write(0, "one"), "one");
}

#[test]
fn three_expected_peers_form_and_write_and_read_through_each() {
    let mut wire = Wire::new(3, Form::Expect(3));
    assert!(
        wire.run(Duration::from_secs(2), |wire| wire.leader().is_some()),
        "no leader"
    );
    for (number, text) in ["first", "second", "third"].into_iter().enumerate() {
        assert_committed(&wire.write(number, text), text);
    }
    for number in 0..3 {
        let deadline = wire.now.time.after(Duration::from_secs(5));
        let op = ClientOp::Read {
            freshness: Freshness::Linearizable,
            deadline,
        };
        let request = wire.ask(number, op);
        let reply = wire.answer(number, request);
        let Reply::Fresh { applied } = reply else {
            panic!("{reply:?}")
        };
        assert!(applied.index.0 >= 5, "{applied:?}");
    }
}

#[test]
fn joiners_become_learners_and_then_voters_two_at_a_time() {
    let mut wire = Wire::new(1, Form::Alone);
    assert_committed(&wire.write(0, "alone"), "alone");
    for _ in 0..4 {
        wire.add(Form::Join);
    }
    let voters = |wire: &Wire| {
        let view = wire.nodes[0].peer.view(wire.group).unwrap();
        (
            view.configuration.voters.len(),
            view.configuration.is_joint(),
        )
    };
    let mut seen = Vec::new();
    assert!(wire.run(Duration::from_secs(20), |wire| {
        if seen.last() != Some(&voters(wire)) {
            seen.push(voters(wire));
        }
        voters(wire) == (5, false)
    }));
    assert_eq!(
        seen,
        [(1, false), (3, true), (3, false), (5, true), (5, false)]
    );
    assert_committed(
        &wire.write(4, "through a former joiner"),
        "through a former joiner",
    );
}

#[test]
fn writes_go_on_after_the_leader_dies() {
    let mut wire = Wire::new(3, Form::Expect(3));
    assert!(wire.run(Duration::from_secs(2), |wire| wire.leader().is_some()));
    let old = wire.leader().unwrap();
    assert_committed(&wire.write((old + 1) % 3, "before"), "before");
    wire.kill(old);
    assert!(wire.run(Duration::from_secs(5), |wire| {
        wire.leader().is_some_and(|leader| leader != old)
    }));
    assert_committed(&wire.write((old + 1) % 3, "after"), "after");
    assert_committed(&wire.write((old + 2) % 3, "and again"), "and again");
}

#[test]
fn a_lone_survivor_commits_nothing_and_says_so() {
    let mut wire = Wire::new(3, Form::Expect(3));
    assert!(wire.run(Duration::from_secs(2), |wire| wire.leader().is_some()));
    let leader = wire.leader().unwrap();
    wire.kill((leader + 1) % 3);
    wire.kill((leader + 2) % 3);
    let reply = wire.write(leader, "nobody hears");
    assert!(
        matches!(reply, Reply::Unknown | Reply::Unavailable),
        "{reply:?}"
    );
    assert!(
        wire.leader().is_none(),
        "a leader without a quorum steps down"
    );
}

#[test]
fn a_link_that_brings_garbage_is_closed_and_nothing_else() {
    let mut wire = Wire::new(3, Form::Expect(3));
    assert!(wire.run(Duration::from_secs(2), |wire| wire.leader().is_some()));
    let (link, (a, _)) = wire
        .links
        .iter()
        .next()
        .map(|(id, ends)| (*id, *ends))
        .unwrap();
    let bytes = Bytes::from_static(&[0xff; 40]);
    wire.nodes[a].inbox.push_back(Input::Frame {
        link,
        lane: Lane::Control,
        bytes,
    });
    wire.quiet();
    assert!(!wire.links.contains_key(&link), "the link is closed");
    let before = wire.links.len();
    assert!(before >= 1, "other links stand");
    assert_committed(&wire.write(0, "still here"), "still here");
}

/// Puts a message of `from` into the inbox of `to`, as if it had come over their link.
fn inject(wire: &mut Wire, from: usize, to: usize, message: Message) {
    let link = wire
        .links
        .iter()
        .find(|(_, ends)| **ends == (from, to) || **ends == (to, from))
        .map(|(id, _)| *id)
        .expect("they are linked");
    let group = wire.group;
    let genesis = wire.nodes[to]
        .peer
        .view(group)
        .and_then(|view| view.genesis);
    let genesis = genesis.expect("the group has formed");
    let address = Address {
        group,
        genesis,
        to: wire.nodes[to].peer.me().incarnation,
    };
    let messages = [Control::Group(Envelope { address, message })];
    encode_control(&messages, |bytes| {
        let lane = Lane::Control;
        wire.nodes[to]
            .inbox
            .push_back(Input::Frame { link, lane, bytes });
    });
}

#[test]
fn a_term_out_of_reach_costs_its_sender_the_link_and_the_group_nothing() {
    let mut wire = Wire::new(3, Form::Expect(3));
    assert!(wire.run(Duration::from_secs(2), |wire| wire.leader().is_some()));
    let leader = wire.leader().unwrap();
    let (liar, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let last = Cursor::new(Term(u64::MAX), Index(u64::MAX));
    for to in [leader, other] {
        let links = wire.links.len();
        inject(
            &mut wire,
            liar,
            to,
            Message::Vote {
                term: Term(u64::MAX),
                last,
            },
        );
        wire.quiet();
        assert_eq!(wire.links.len(), links - 1, "the link is closed");
        let term = wire.nodes[to].peer.view(wire.group).unwrap().ballot.term;
        assert!(term < Term(10), "{term:?}");
    }
    assert_committed(&wire.write(other, "still here"), "still here");
    assert_committed(&wire.write(liar, "forgiven"), "forgiven");
}

#[test]
fn indexes_out_of_reach_in_answers_to_the_leader_change_nothing() {
    let mut wire = Wire::new(3, Form::Expect(3));
    assert!(wire.run(Duration::from_secs(2), |wire| wire.leader().is_some()));
    let leader = wire.leader().unwrap();
    let liar = (leader + 1) % 3;
    let view = wire.nodes[leader].peer.view(wire.group).unwrap();
    let (term, commit) = (view.ballot.term, view.commit);
    let huge = Cursor::new(Term(u64::MAX), Index(u64::MAX));
    for run in [0, 1, u64::MAX] {
        for message in [
            Message::Ack {
                term,
                run,
                matched: huge.index,
                read: u64::MAX,
                reader: false,
                stateless: false,
                versions: Versions::ONLY_THE_FIRST,
            },
            Message::Reject {
                term,
                run,
                previous: huge,
                hint: huge,
            },
            Message::StageFrom {
                term,
                run,
                anchor: huge,
            },
            Message::Staged {
                term,
                run,
                upto: huge.index,
            },
            Message::Authorize {
                session: SessionId(1),
                anchor: huge,
            },
            Message::ReadIndex { id: u64::MAX },
        ] {
            inject(&mut wire, liar, leader, message);
        }
        wire.quiet();
    }
    assert_eq!(
        wire.nodes[leader].peer.view(wire.group).unwrap().commit,
        commit
    );
    assert_committed(&wire.write(liar, "still here"), "still here");
}

//! What a leader does beside ordering writes: it goes, it hands over, it truncates nothing that is
//! committed, and its heartbeats share frames with those of other groups.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::wire::{Address, Append, Message, Replication, encode_replication};
use quorate_core::{
    Body, ClientOp, ClientSequence, Cursor, Entry, Event, Form, Freshness, GroupEvent, Index,
    Input, Lane, Reply, RequestId, Role, StateDone, Term,
};

use crate::common::{Wire, assert_committed};

/// Makes three peers with a leader; returns them and who leads.
fn three() -> (Wire, usize) {
    let mut wire = Wire::new(3, Form::Expect(3));
    assert!(wire.run(Duration::from_secs(2), |wire| wire.leader().is_some()));
    let leader = wire.leader().expect("it was waited for");
    assert_committed(&wire.write(leader, "first"), "first");
    (wire, leader)
}

fn voters(wire: &Wire, number: usize) -> usize {
    let view = wire.nodes[number].peer.view(wire.group).expect("open");
    view.configuration.voters.len()
}

fn leave(wire: &mut Wire, number: usize) -> RequestId {
    let deadline = wire.now.time.after(Duration::from_secs(10));
    let dissolve = false;
    wire.ask(number, ClientOp::Leave { dissolve, deadline })
}

fn read(wire: &mut Wire, number: usize) -> RequestId {
    let deadline = wire.now.time.after(Duration::from_secs(10));
    let freshness = Freshness::Linearizable;
    wire.ask(
        number,
        ClientOp::Read {
            freshness,
            deadline,
        },
    )
}

#[test]
fn a_leader_that_cannot_hand_over_leads_until_its_removal_is_committed() {
    let (mut wire, leader) = three();
    wire.lost_control = |message| matches!(message, Message::TimeoutNow { .. });
    let request = leave(&mut wire, leader);
    assert_eq!(wire.answer(leader, request), Reply::Done);
    let marks = &wire.nodes[leader].marks;
    for mark in [
        "transfer.called_off",
        "leave.leader_lets_itself_go",
        "raft.leader_completes_its_removal",
        "raft.removed_leader_steps_down",
    ] {
        assert!(marks.contains(mark), "{mark} is not among {marks:?}");
    }
    let view = wire.nodes[leader].peer.view(wire.group).expect("open");
    assert_eq!(
        (view.role, view.leader, view.has_left()),
        (Role::Follower, None, true)
    );
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    assert!(wire.run(Duration::from_secs(2), |wire| wire.leader().is_some()));
    for other in others {
        assert_committed(&wire.write(other, "without it"), "without it");
        assert_eq!(voters(&wire, other), 2);
    }
    wire.kill(leader);
    assert_committed(&wire.write(others[0], "and alone"), "and alone");
}

#[test]
fn who_is_called_by_a_leader_that_goes_leads_without_an_election_timeout() {
    let (mut wire, leader) = three();
    wire.lost_control = |message| matches!(message, Message::TimeoutNow { .. });
    leave(&mut wire, leader);
    assert!(wire.run(Duration::from_secs(5), |wire| {
        wire.nodes[leader]
            .marks
            .contains("leave.leader_lets_itself_go")
    }));
    wire.lost_control = |_| false;
    assert!(wire.run(Duration::from_secs(1), |wire| {
        wire.nodes[leader]
            .peer
            .view(wire.group)
            .is_some_and(|view| view.has_left())
    }));
    let gone = wire.now.time;
    assert!(wire.run(Duration::from_secs(1), |wire| wire.leader().is_some()));
    let took = wire.now.time.since(gone);
    assert!(took < Duration::from_millis(100), "it took {took:?}");
}

#[test]
fn a_leader_that_removes_itself_may_die_at_every_turn() {
    let mut removed = 0;
    for turn in 1..40 {
        let (mut wire, leader) = three();
        wire.lost_control = |message| matches!(message, Message::TimeoutNow { .. });
        leave(&mut wire, leader);
        // Just before it gives up handing over.
        let end = wire.now.time.after(Duration::from_millis(1_480));
        wire.run(Duration::from_millis(1_480), |wire| wire.now.time >= end);
        wire.fuse = Some((turn, leader));
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        assert!(
            wire.run(Duration::from_secs(5), |wire| {
                !wire.nodes[leader].up && wire.leader().is_some_and(|now| now != leader)
            }),
            "turn {turn}: no other leader"
        );
        wire.lost_control = |_| false;
        for other in others {
            assert_committed(&wire.write(other, "after it"), "after it");
        }
        let settled = |wire: &Wire| {
            let view = wire.nodes[others[0]].peer.view(wire.group).expect("open");
            !view.configuration.is_joint() && view.configuration_index <= view.commit
        };
        assert!(wire.run(Duration::from_secs(5), settled), "turn {turn}");
        assert_eq!(voters(&wire, others[0]), voters(&wire, others[1]));
        removed += usize::from(voters(&wire, others[0]) == 2);
    }
    assert!(
        (1..39).contains(&removed),
        "{removed} of 39 removals got through"
    );
}

#[test]
fn what_is_not_committed_yet_is_sent_however_small_the_state_is() {
    let (mut wire, leader) = three();
    wire.kill((leader + 1) % 3);
    wire.lost_control = |message| matches!(message, Message::Ack { .. });
    // Far more than is ever replayed where a restore is cheaper.
    let text: &'static str = "x".repeat(500_000).leak();
    let name = ClientSequence::ANONYMOUS;
    let asked: Vec<_> = (0..16)
        .map(|_| wire.ask_write(leader, name, text))
        .collect();
    // The leader asks once more how far the other has got, and hears of all that it has at once.
    wire.run(Duration::from_millis(400), |_| false);
    assert!(
        wire.nodes[leader]
            .marks
            .contains("raft.entries_without_an_answer")
    );
    wire.lost_control = |_| false;
    // It needs the other for its next commit, and so for any snapshot, too.
    for request in asked {
        assert_committed(&wire.answer(leader, request), text);
    }
}

/// Has a leader write `count` times half a mebibyte, and returns the requests.
fn write_much(wire: &mut Wire, leader: usize, count: usize) -> Vec<RequestId> {
    let text: &'static str = MUCH.repeat(500_000).leak();
    let name = ClientSequence::ANONYMOUS;
    (0..count)
        .map(|_| wire.ask_write(leader, name, text))
        .collect()
}

const MUCH: &str = "x";

/// Waits until all of these are written.
fn written(wire: &mut Wire, leader: usize, asked: Vec<RequestId>) {
    for request in asked {
        let reply = wire.answer(leader, request);
        assert!(matches!(reply, Reply::Committed { .. }), "{reply:?}");
    }
}

#[test]
fn who_has_all_and_was_to_restore_is_sent_entries_again() {
    let (mut wire, leader) = three();
    let (dies, stays) = ((leader + 1) % 3, (leader + 2) % 3);
    let asked = write_much(&mut wire, leader, 16);
    written(&mut wire, leader, asked);
    // It gets and applies everything, and the leader does not hear so.
    wire.mute = Some(stays);
    let asked = write_much(&mut wire, leader, 8);
    written(&mut wire, leader, asked);
    let applied = |wire: &Wire, number: usize| {
        let view = wire.nodes[number].peer.view(wire.group).expect("open");
        view.applied
    };
    assert!(wire.run(Duration::from_millis(200), |wire| {
        applied(wire, stays) == applied(wire, leader)
    }));
    wire.kill(dies);
    wire.cut(stays);
    wire.mute = None;
    assert_committed(&wire.write(leader, "after it"), "after it");
    let marks = &wire.nodes[leader].marks;
    for mark in [
        "raft.restore_is_cheaper",
        "raft.level_follower_is_sent_entries",
    ] {
        assert!(marks.contains(mark), "{mark} is not among {marks:?}");
    }
}

#[test]
fn a_leader_without_a_state_sends_entries_and_hands_over() {
    let (mut wire, leader) = three();
    let (dies, stays) = ((leader + 1) % 3, (leader + 2) % 3);
    let asked = write_much(&mut wire, leader, 24);
    written(&mut wire, leader, asked);
    wire.isolate(stays);
    let asked = write_much(&mut wire, leader, 6);
    written(&mut wire, leader, asked);
    let group = wire.group;
    let view = wire.nodes[leader].peer.view(group).expect("open");
    assert!(view.base > Cursor::ZERO, "its log alone makes no state");
    let (at, text) = (view.applied, "it failed".to_owned());
    let done = StateDone::Failed { at, text };
    wire.nodes[leader]
        .inbox
        .push_back(Input::State { group, done });
    wire.kill(dies);
    // It leads no more; only by its log can anybody be elected, and what it commits first needs the
    // other.
    let deposed = |wire: &Wire| wire.leader().is_none();
    assert!(wire.run(Duration::from_secs(2), deposed));
    wire.isolated.remove(&stays);
    let led = |wire: &Wire| wire.leader() == Some(stays);
    assert!(wire.run(Duration::from_secs(10), led));
    assert_committed(&wire.write(stays, "after it"), "after it");
    // Nobody was to restore what nobody has.
    let marks = &wire.nodes[leader].marks;
    assert!(!marks.contains("raft.restore_is_cheaper"), "{marks:?}");
}

#[test]
fn reads_and_changes_wait_while_the_lead_is_handed_over() {
    let (mut wire, leader) = three();
    wire.lost_control = |message| matches!(message, Message::TimeoutNow { .. });
    let target = (leader + 1) % 3;
    let to = Some(wire.nodes[target].peer.me().peer);
    let deadline = wire.now.time.after(Duration::from_secs(10));
    wire.ask(leader, ClientOp::Transfer { to, deadline });
    wire.quiet();
    let handover = |wire: &Wire| {
        let view = wire.nodes[leader].peer.view(wire.group).expect("open");
        view.handover().is_some()
    };
    assert!(handover(&wire));
    let before = {
        let view = wire.nodes[leader].peer.view(wire.group).expect("open");
        view.last
    };
    let joiner = wire.add(Form::Join);
    let reads: Vec<(usize, RequestId)> = (0..3)
        .map(|number| (number, read(&mut wire, number)))
        .collect();
    let end = wire.now.time.after(Duration::from_millis(400));
    wire.run(Duration::from_millis(400), |wire| wire.now.time >= end);
    assert!(
        handover(&wire),
        "it is called off after an election timeout"
    );
    for (number, request) in &reads {
        let reply = wire.nodes[*number].replies.get(request);
        assert_eq!(reply, None, "a read at {number}");
    }
    let view = wire.nodes[leader].peer.view(wire.group).expect("open");
    assert_eq!(view.last, before, "nothing is appended meanwhile");
    // Called off: what waited goes on.
    for (number, request) in reads {
        let reply = wire.answer(number, request);
        assert!(matches!(reply, Reply::Fresh { .. }), "{reply:?}");
    }
    let member = wire.nodes[joiner].peer.me();
    assert!(wire.run(Duration::from_secs(3), |wire| {
        let view = wire.nodes[leader].peer.view(wire.group).expect("open");
        view.configuration.contains(member)
    }));
}

#[test]
fn heartbeats_of_all_groups_to_one_peer_share_frames() {
    let (mut wire, _) = three();
    let mut groups = vec![wire.group];
    groups
        .extend((1..40).map(|number| wire.open_everywhere(&format!("g{number}"), Form::Expect(3))));
    let led = |wire: &Wire| {
        groups.iter().all(|group| {
            wire.nodes.iter().any(|node| {
                node.peer
                    .view(*group)
                    .is_some_and(|view| view.role == Role::Leader && view.commit >= Index(2))
            })
        })
    };
    assert!(
        wire.run(Duration::from_secs(5), led),
        "not all groups are led"
    );
    let end = wire.now.time.after(Duration::from_secs(1));
    wire.run(Duration::from_secs(1), |wire| wire.now.time >= end);
    wire.control = (0, 0);
    let end = wire.now.time.after(Duration::from_secs(1));
    wire.run(Duration::from_secs(1), |wire| wire.now.time >= end);
    // Twenty beats and their answers, in forty groups, over at most three links, both ways.
    let (frames, messages) = wire.control;
    assert!(messages >= 40 * 2 * 2 * 19, "{messages} messages");
    assert!(
        frames <= 21 * 3 * 2 * 2,
        "{frames} frames for {messages} messages"
    );
}

#[test]
fn a_request_to_truncate_what_is_committed_costs_a_link_and_changes_nothing() {
    let (mut wire, leader) = three();
    let (liar, victim) = ((leader + 1) % 3, (leader + 2) % 3);
    let link = wire
        .links
        .iter()
        .find(|(_, (a, b))| [*a, *b].contains(&liar) && [*a, *b].contains(&victim))
        .map(|(link, _)| *link)
        .expect("they are linked");
    let view = wire.nodes[victim].peer.view(wire.group).expect("open");
    let (group, before, commit) = (wire.group, view.last, view.commit);
    let address = Address {
        group,
        genesis: view.genesis.expect("there is one"),
        to: wire.nodes[victim].peer.me().incarnation,
    };
    let term = Term(view.ballot.term.0 + 5);
    let first = Cursor::new(view.term_at(Index(1)).expect("it is there"), Index(1));
    let entries = vec![Entry {
        term,
        body: Body::Command(Bytes::from_static(b"another history")),
    }];
    let append = Append {
        term,
        run: 9,
        previous: first,
        commit: Index(2),
        read: 0,
        entries: entries.into(),
    };
    let frame = encode_replication(&address, &Replication::Append(append));
    wire.nodes[victim].inbox.push_back(Input::Frame {
        link,
        lane: Lane::Entries(group),
        bytes: frame,
    });
    wire.quiet();
    assert!(!wire.links.contains_key(&link), "the link is closed");
    let view = wire.nodes[victim].peer.view(wire.group).expect("open");
    assert!(view.term_at(before.index) == Some(before.term) && view.commit >= commit);
    let alarmed = wire.nodes[victim].events.iter().any(|event| {
        matches!(
            event,
            Event::Group {
                event: GroupEvent::CommittedTruncationRefused { .. },
                ..
            }
        )
    });
    assert!(alarmed, "it raises an alarm");
    let term = view.ballot.term;
    assert!(wire.run(Duration::from_secs(3), |wire| {
        wire.leader().is_some_and(|leader| {
            let view = wire.nodes[leader].peer.view(wire.group);
            view.is_some_and(|view| view.ballot.term > term)
        })
    }));
    assert_committed(&wire.write(victim, "still here"), "still here");
}

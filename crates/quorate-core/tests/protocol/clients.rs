//! Named commands: sent again when nobody knows what became of them, and applied once.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::wire::Replication;
use quorate_core::{Body, ClientSequence, Cursor, Form, Index, Reply};

use crate::common::{Wire, assert_committed};

const LONG: Duration = Duration::from_secs(10);

/// Three peers with a leader; returns the leader and the others.
fn three() -> (Wire, usize, [usize; 2]) {
    let mut wire = Wire::new(3, Form::Expect(3));
    assert!(wire.run(LONG, |wire| wire.leader().is_some()));
    let leader = wire.leader().expect("it stands");
    (wire, leader, [(leader + 1) % 3, (leader + 2) % 3])
}

fn name(client: Index, sequence: u64) -> ClientSequence {
    ClientSequence {
        client,
        sequence,
        open: 0,
    }
}

/// Returns where copies of a named command stand in a peer's log.
fn copies(wire: &Wire, number: usize, name: ClientSequence) -> Vec<Cursor> {
    let view = wire.nodes[number]
        .peer
        .view(wire.group)
        .expect("it is open");
    (view.base.index.0 + 1..)
        .zip(view.entries.iter())
        .filter(|(_, entry)| matches!(&entry.body, Body::Named(named) if named.client == name))
        .map(|(index, entry)| Cursor::new(entry.term, Index(index)))
        .collect()
}

fn times(wire: &Wire, number: usize, text: &str) -> usize {
    let effects = &wire.nodes[number].effects;
    effects.iter().filter(|effect| *effect == text).count()
}

#[test]
fn an_answer_that_died_with_the_leader_is_asked_of_the_next_one() {
    let (mut wire, leader, [one, other]) = three();
    let client = wire.register(one);
    wire.lost = |message| matches!(message, Replication::Outcomes(_));
    let anonymous = wire.ask_write(one, ClientSequence::ANONYMOUS, "anonymous");
    let named = wire.ask_write(one, name(client, 5), "named");
    assert!(wire.run(LONG, |wire| times(wire, other, "named") == 1));
    wire.lost = |_| false;
    let first = copies(&wire, other, name(client, 5))[0];
    assert!(!wire.nodes[one].replies.contains_key(&named));
    wire.kill(leader);
    let told = wire.answer(one, named);
    let outcome = Bytes::from_static(b"named");
    let cursor = first;
    assert_eq!(
        told,
        Reply::Committed { cursor, outcome },
        "the first copy's cursor"
    );
    assert_eq!(wire.answer(one, anonymous), Reply::Unknown);
    assert_eq!(copies(&wire, one, name(client, 5)).len(), 2);
    let last = copies(&wire, one, name(client, 5))[1].index.0;
    for number in [one, other] {
        assert!(wire.run(LONG, |wire| wire.nodes[number].applied >= last));
        assert_eq!(times(&wire, number, "named"), 1);
    }
}

#[test]
fn a_command_that_got_lost_on_a_link_is_sent_again_on_the_next_one() {
    let (mut wire, leader, [one, _]) = three();
    let client = wire.register(one);
    wire.lost = |message| matches!(message, Replication::Forward(_));
    let named = wire.ask_write(one, name(client, 0), "lost");
    assert!(
        !wire.run(Duration::from_secs(1), |wire| times(wire, leader, "lost")
            > 0)
    );
    wire.lost = |_| false;
    let term = wire.nodes[one].peer.view(wire.group).unwrap().ballot.term;
    wire.cut(one);
    assert_committed(&wire.answer(one, named), "lost");
    assert_eq!(times(&wire, leader, "lost"), 1);
    let now = wire.nodes[one].peer.view(wire.group).unwrap().ballot.term;
    assert_eq!(now, term, "the leader stayed the same");
}

#[test]
fn a_leader_that_lost_the_lead_sends_its_own_clients_commands_to_the_next_one() {
    let (mut wire, leader, [one, other]) = three();
    let client = wire.register(leader);
    wire.isolate(leader);
    let named = wire.ask_write(leader, name(client, 0), "named");
    let anonymous = wire.ask_write(leader, ClientSequence::ANONYMOUS, "anonymous");
    assert!(wire.run(LONG, |wire| {
        wire.leader().is_some_and(|now| now != leader)
    }));
    assert_eq!(
        copies(&wire, leader, name(client, 0)).len(),
        1,
        "it was appended"
    );
    assert_eq!(copies(&wire, one, name(client, 0)), []);
    wire.isolated.clear();
    assert_committed(&wire.answer(leader, named), "named");
    let told = wire.answer(leader, anonymous);
    assert!(
        matches!(told, Reply::Superseded | Reply::Unknown),
        "{told:?}"
    );
    for number in [leader, one, other] {
        assert!(wire.run(LONG, |wire| times(wire, number, "named") == 1));
        assert_eq!(times(&wire, number, "anonymous"), 0);
    }
}

#[test]
fn nobody_says_of_a_command_that_was_sent_that_it_surely_was_not_applied() {
    let (mut wire, leader, [one, other]) = three();
    let client = wire.register(one);
    wire.lost = |message| matches!(message, Replication::Outcomes(_));
    let named = wire.ask_write(one, name(client, 0), "sent");
    assert!(wire.run(LONG, |wire| times(wire, other, "sent") == 1));
    wire.kill(leader);
    wire.kill(other);
    let never_sent = wire.ask_write(one, name(client, 1), "never sent");
    assert_eq!(wire.answer(one, named), Reply::Unknown);
    let told = wire.answer(one, never_sent);
    assert!(
        matches!(told, Reply::Unavailable | Reply::Unknown),
        "{told:?}"
    );
}

#[test]
fn repeats_through_any_peer_are_told_the_same_and_strangers_are_refused() {
    let (mut wire, leader, [one, other]) = three();
    let client = wire.register(other);
    let first = wire.ask_write(one, name(client, 9), "once");
    let told = wire.answer(one, first);
    assert_committed(&told, "once");
    for number in [leader, one, other] {
        let again = wire.ask_write(number, name(client, 9), "once");
        assert_eq!(wire.answer(number, again), told);
        let stranger = wire.ask_write(number, name(Index(1), 0), "stranger");
        assert_eq!(wire.answer(number, stranger), Reply::Expired);
    }
    assert_eq!(times(&wire, leader, "once"), 1);
    assert_ne!(
        wire.register(one),
        client,
        "each registration is another client"
    );
}

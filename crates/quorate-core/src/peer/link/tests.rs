//! What a handshake comes to, message by message.

use super::*;
use crate::{
    id::GroupKey,
    input::{Form, OpenGroup},
    profile::GroupProfile,
    versions::Versions,
};

const LINK: LinkId = LinkId(1);

/// One side of a link.
struct Side {
    links: Links,
    keys: Keys,
}

impl Side {
    /// A peer that has opened these groups: names of keys, their secrets, and machines.
    fn new(number: u8, groups: &[(&str, u8, &str)]) -> Self {
        let mut lineage = Lineage::unborn();
        lineage.boot(u64::from(number));
        let identity = Identity {
            me: Member {
                peer: PeerId([number; 32]),
                incarnation: Incarnation(number.into()),
            },
            network: NetworkId::from_name("test"),
            lineage,
            planted: Planted::default(),
        };
        let mut side = Self {
            links: Links::new(identity),
            keys: Keys::default(),
        };
        for (name, secret, machine) in groups {
            side.open(name, *secret, machine);
        }
        side
    }

    /// Opens a group; returns what became of the link.
    fn open(&mut self, name: &str, secret: u8, machine: &str) -> Vec<Greeting> {
        let key = GroupKey::secret(name, [secret; 32]);
        let group = key.group_id(machine);
        let open = OpenGroup {
            key,
            machine: machine.to_owned(),
            versions: Versions::ONLY_THE_FIRST,
            form: Form::Join,
            profile: GroupProfile::lan(),
        };
        self.keys.add(group, &open);
        let greetings = self.links.open(group, &self.keys).into_iter();
        greetings.map(|(_, greeting)| greeting).collect()
    }

    fn up(&mut self, other: u8, dialed: bool) {
        self.up_as(LINK, other, dialed);
    }

    fn up_as(&mut self, id: LinkId, other: u8, dialed: bool) {
        let peer = PeerId([other; 32]);
        let session = ([7; 32], Time(1));
        self.links.up(id, peer, dialed, session, &self.keys);
    }

    /// Has a link to `other` prove the group that both have, and routes by it.
    fn meet(&mut self, id: LinkId, other: &mut Self, dialed: bool, now: Time) -> Rerouted {
        let (me, them) = (self.number(), other.number());
        self.up_as(id, them, dialed);
        other.up_as(id, me, !dialed);
        for message in other.said() {
            if let Control::Hello(hello) = message {
                self.links.on_hello(id, hello, &self.keys).unwrap();
            }
        }
        self.said();
        self.links.route(id, now).unwrap()
    }

    fn number(&self) -> u8 {
        self.links.identity.me.peer.0[0]
    }

    /// Returns what it has said since the last call.
    fn said(&mut self) -> Vec<Control> {
        let mut said = Vec::new();
        self.links
            .empty_outboxes(|_, messages| said.extend_from_slice(messages));
        said
    }

    /// Hears messages of a handshake; returns how many groups they prove.
    fn hear(&mut self, messages: Vec<Control>) -> Result<usize, CloseCode> {
        let mut proven = 0;
        for message in messages {
            let greeting = match message {
                Control::Hello(hello) => self.links.on_hello(LINK, hello, &self.keys),
                Control::Prove(proof) => self.links.on_prove(LINK, proof, &self.keys),
                other => panic!("no handshake: {other:?}"),
            }?;
            proven += greeting.proven.len();
        }
        Ok(proven)
    }
}

/// Links two peers; returns what `one` makes of what `other` says.
fn heard(one: &mut Side, other: &mut Side) -> Result<usize, CloseCode> {
    one.up(2, true);
    other.up(1, false);
    one.hear(other.said())
}

#[test]
fn a_group_that_is_opened_later_is_proven_then() {
    let mut one = Side::new(1, &[("red", 1, "map")]);
    let mut other = Side::new(2, &[]);
    assert_eq!(heard(&mut one, &mut other), Ok(0));
    assert_eq!(other.hear(one.said()), Ok(0));
    let greetings = other.open("red", 1, "map");
    assert!(greetings.iter().any(|greeting| greeting.first));
    assert_eq!(one.hear(other.said()), Ok(1));
}

#[test]
fn another_key_of_one_name_is_told_and_one_key_of_two_machines_is_not_another() {
    let mut one = Side::new(1, &[("red", 1, "map")]);
    let mut other = Side::new(2, &[("red", 2, "map")]);
    assert_eq!(heard(&mut one, &mut other), Err(CloseCode::WrongKey));
    let mut one = Side::new(1, &[("red", 1, "map")]);
    let mut other = Side::new(2, &[("red", 1, "sums")]);
    assert_eq!(heard(&mut one, &mut other), Ok(0));
}

#[test]
fn a_wrong_key_among_more_groups_than_a_hello_holds_is_not_the_last_word() {
    // The order of proofs is that of the groups' ids: in some of these the wrong one comes first.
    for secret in 100..120 {
        let (red, blue) = (secret, secret + 20);
        let mut one = Side::new(1, &[("red", 1, "map"), ("blue", blue, "map")]);
        let mut other = Side::new(2, &[("red", red, "map"), ("blue", blue, "map")]);
        for number in 10..10 + 2 * limits::HELLO_PROOFS as u8 {
            other.open(&format!("group {number}"), number, "map");
        }
        assert_eq!(heard(&mut one, &mut other), Ok(1), "{secret}");
    }
}

fn pair() -> (Side, Side) {
    let groups = [("red", 1, "map")];
    (Side::new(1, &groups), Side::new(2, &groups))
}

#[test]
fn a_link_that_loses_is_read_until_what_was_sent_on_it_has_come() {
    let second = |n: u64| Time(n * 1_000_000_000);
    // The one dialed by the lower key survives, whichever comes first.
    for (first, survivor) in [(false, LinkId(2)), (true, LinkId(1))] {
        let (mut one, mut other) = pair();
        let member = Member {
            peer: PeerId([2; 32]),
            incarnation: Incarnation(2),
        };
        one.meet(LinkId(1), &mut other, first, second(1));
        let rerouted = one.meet(LinkId(2), &mut other, !first, second(2));
        assert_eq!((rerouted.close, rerouted.new), (None, false));
        assert_eq!(one.links.route_of(member.peer), Some(survivor));
        let loser = LinkId(3 - survivor.0);
        assert!(
            one.links
                .get(loser)
                .is_some_and(|link| !link.proven.is_empty())
        );
        assert_eq!(one.links.overdue_at(), second(3));
        assert_eq!(one.links.overdue(Time(second(3).0 - 1)), []);
        assert_eq!(
            one.links.overdue(second(3)),
            [(loser, CloseCode::Duplicate)]
        );
        // Once more, before that: only the latest one is waited for.
        let third = one.meet(LinkId(3), &mut other, true, second(2));
        assert_eq!(third.close, Some(loser));
    }
}

#[test]
fn a_superseded_link_is_no_link_for_whoever_dials() {
    let (mut one, mut other) = pair();
    let peer = PeerId([2; 32]);
    let mut random = Random::new(1, peer);
    one.links.found(peer, Time(1));
    one.meet(LinkId(1), &mut other, false, Time(2));
    one.meet(LinkId(2), &mut other, true, Time(3));
    assert!(one.links.due(Time(1 << 40)).is_empty());
    assert!(one.links.down(LinkId(2), Time(4), &mut random).is_some());
    assert_eq!(one.links.due(Time(1 << 40)), [peer]);
    // And its end is nobody's.
    assert!(one.links.down(LinkId(1), Time(5), &mut random).is_none());
}

#[test]
fn a_link_to_a_life_that_is_gone_is_closed_at_once() {
    let (mut one, mut other) = pair();
    one.meet(LinkId(1), &mut other, true, Time(1));
    let mut again = Side::new(2, &[("red", 1, "map")]);
    again.links.identity.me.incarnation = Incarnation(9);
    let rerouted = one.meet(LinkId(2), &mut again, true, Time(2));
    assert_eq!(rerouted.close, Some(LinkId(1)));
    assert_eq!(one.links.route_of(PeerId([2; 32])), Some(LinkId(2)));
}

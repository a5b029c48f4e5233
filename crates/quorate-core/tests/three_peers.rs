//! Peers wired to each other in one thread, with an instant disk and a state that only counts:
//! formation, elections, writes and reads through the public contract alone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::wire::{Address, Control, Envelope, Message, encode_control};
use quorate_core::{
    Applied, Body, ClientOp, Command, Cursor, Effect, Form, Freshness, GroupId, GroupKey,
    GroupProfile, Incarnation, Index, Input, Lane, LinkId, NetworkId, Now, OpenGroup, Peer,
    PeerConfig, PeerId, Recovered, Reply, RequestId, Role, SessionId, StateDone, StateOp, Term,
    Time, Wall,
};

struct Node {
    peer: Peer,
    inbox: VecDeque<Input>,
    replies: BTreeMap<RequestId, Reply>,
    applied: u64,
    up: bool,
}

/// The peers, the frames on their way, and one clock.
struct Wire {
    now: Now,
    nodes: Vec<Node>,
    links: BTreeMap<LinkId, (usize, usize)>,
    next_link: u64,
    next_request: u64,
    group: GroupId,
}

fn key() -> GroupKey {
    GroupKey::named("counting")
}

impl Wire {
    fn new(count: usize, form: Form) -> Self {
        let mut wire = Self {
            now: Now {
                time: Time(1),
                wall: Wall(1),
            },
            nodes: Vec::new(),
            links: BTreeMap::new(),
            next_link: 0,
            next_request: 0,
            group: key().group_id("count"),
        };
        for _ in 0..count {
            wire.add(form);
        }
        wire
    }

    fn add(&mut self, form: Form) -> usize {
        let number = self.nodes.len();
        let mut id = [0; 32];
        id[0] = number as u8 + 1;
        let config = PeerConfig {
            peer: PeerId(id),
            network: NetworkId::from_name("test"),
            seed: 7,
            nonce: 0,
        };
        let recovered = Recovered {
            incarnation: Incarnation(number as u64 + 100),
            boot: 1,
            groups: Vec::new(),
        };
        let peer = Peer::new(config, recovered);
        let open = OpenGroup {
            key: key(),
            machine: "count".to_owned(),
            form,
            profile: GroupProfile::lan(),
        };
        let mut inbox = VecDeque::from([Input::Open(open)]);
        for other in 0..number {
            let mut id = [0; 32];
            id[0] = other as u8 + 1;
            inbox.push_back(Input::Found(PeerId(id)));
        }
        self.nodes.push(Node {
            peer,
            inbox,
            replies: BTreeMap::new(),
            applied: 0,
            up: true,
        });
        number
    }

    fn kill(&mut self, number: usize) {
        self.nodes[number].up = false;
        let dead: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, (a, b))| *a == number || *b == number)
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            if let Some((a, b)) = self.links.remove(&id) {
                for end in [a, b] {
                    self.nodes[end].inbox.push_back(Input::LinkDown {
                        link: id,
                        code: None,
                    });
                }
            }
        }
    }

    /// Runs until nothing is left to do at this time.
    fn quiet(&mut self) {
        loop {
            let mut worked = false;
            for number in 0..self.nodes.len() {
                let inbox = std::mem::take(&mut self.nodes[number].inbox);
                if inbox.is_empty() || !self.nodes[number].up {
                    continue;
                }
                worked = true;
                let mut effects = Vec::new();
                let node = &mut self.nodes[number];
                for input in inbox {
                    node.peer.step(self.now, input, &mut effects);
                }
                node.peer.settle(self.now, &mut effects);
                for effect in effects {
                    self.execute(number, effect);
                }
            }
            if !worked {
                return;
            }
        }
    }

    fn execute(&mut self, number: usize, effect: Effect) {
        match effect {
            Effect::Dial(peer) => self.dial(number, peer),
            Effect::Close { link, .. } => {
                if let Some((a, b)) = self.links.remove(&link) {
                    let other = if a == number { b } else { a };
                    let down = Input::LinkDown { link, code: None };
                    self.nodes[other].inbox.push_back(down);
                }
            }
            Effect::Send { link, lane, frame } => {
                if let Some((a, b)) = self.links.get(&link) {
                    let other = if *a == number { *b } else { *a };
                    let input = Input::Frame {
                        link,
                        lane,
                        bytes: frame,
                    };
                    self.nodes[other].inbox.push_back(input);
                }
            }
            Effect::Disk(op) => {
                self.nodes[number].inbox.push_back(Input::Disk {
                    id: op.id,
                    result: Ok(()),
                });
            }
            Effect::State { group, op } => {
                if let StateOp::Apply { first, entries, .. } = op {
                    let node = &mut self.nodes[number];
                    assert_eq!(first.index.0, node.applied + 1, "applied in order");
                    node.applied += entries.len() as u64;
                    let last = Cursor::new(entries[entries.len() - 1].term, Index(node.applied));
                    let outcomes = entries
                        .iter()
                        .map(|entry| match &entry.body {
                            Body::Command(command) => Applied::Outcome(command.clone()),
                            _ => Applied::Silent,
                        })
                        .collect();
                    let done = StateDone::Applied {
                        last,
                        outcomes,
                        items: 0,
                        bytes: 0,
                    };
                    node.inbox.push_back(Input::State { group, done });
                }
            }
            Effect::Reply { request, reply } => {
                self.nodes[number].replies.insert(request, reply);
            }
            Effect::Authenticated(_) | Effect::Event(_) | Effect::Mark(_) => {}
        }
    }

    fn dial(&mut self, number: usize, peer: PeerId) {
        let other = usize::from(peer.0[0]) - 1;
        if !self.nodes[other].up {
            self.nodes[number].inbox.push_back(Input::DialFailed(peer));
            return;
        }
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link, (number, other));
        let exporter = [self.next_link as u8; 32];
        for (end, far, dialed) in [(number, other, true), (other, number, false)] {
            let peer = self.nodes[far].peer.me().peer;
            let up = Input::LinkUp {
                link,
                peer,
                dialed,
                exporter,
            };
            self.nodes[end].inbox.push_back(up);
        }
    }

    /// Lets time pass, waking peers when they are due, until `done` or `limit`.
    fn run(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now.time.after(limit);
        self.quiet();
        while !done(self) {
            let due = self
                .nodes
                .iter()
                .filter(|node| node.up)
                .filter_map(|node| node.peer.deadline())
                .min()
                .unwrap_or(Time::NEVER);
            if due > end {
                return false;
            }
            self.now.time = due.max(self.now.time.after(Duration::from_micros(10)));
            for node in self.nodes.iter_mut().filter(|node| node.up) {
                node.inbox.push_back(Input::Wake);
            }
            self.quiet();
        }
        true
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| {
            node.up
                && node.peer.view(self.group).is_some_and(|view| {
                    view.role == Role::Leader && view.term_at(view.commit) == Some(view.ballot.term)
                })
        })
    }

    fn ask(&mut self, number: usize, op: ClientOp) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let group = self.group;
        self.nodes[number]
            .inbox
            .push_back(Input::Client { group, request, op });
        request
    }

    fn write(&mut self, number: usize, text: &'static str) -> Reply {
        let command = Command::anonymous(Bytes::from_static(text.as_bytes()));
        let deadline = self.now.time.after(Duration::from_secs(5));
        let request = self.ask(number, ClientOp::Write { command, deadline });
        self.answer(number, request)
    }

    fn answer(&mut self, number: usize, request: RequestId) -> Reply {
        let answered = self.run(Duration::from_secs(10), |wire| {
            wire.nodes[number].replies.contains_key(&request)
        });
        assert!(
            answered,
            "request {request:?} at {number} was never answered"
        );
        self.nodes[number].replies[&request].clone()
    }
}

fn assert_committed(reply: &Reply, text: &str) {
    assert!(
        matches!(reply, Reply::Committed { outcome, .. } if outcome == text.as_bytes()),
        "{reply:?}"
    );
}

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

//! Peers wired to each other in one thread, with an instant disk and a state that only counts.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test has its own copy and uses a part of it"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::wire::{
    Control, Message, Replication, decode_control, decode_replication, encode_control,
};
use quorate_core::{
    Applied, Body, ClientOp, ClientSequence, Command, Cursor, Effect, Entry, Event, Fate, Form,
    GroupId, GroupKey, GroupProfile, Incarnation, Index, Input, Lane, Lineage, LinkId, NetworkId,
    Now, OpenGroup, Peer, PeerConfig, PeerId, Planted, Recovered, Remembered, Reply, RequestId,
    Role, StateDone, StateOp, Time, Versions, Wall,
};

/// One peer and its state.
pub struct Node {
    pub peer: Peer,
    pub inbox: VecDeque<Input>,
    pub replies: BTreeMap<RequestId, Reply>,
    pub applied: u64,
    pub up: bool,
    /// What took effect, in order.
    pub effects: Vec<Bytes>,
    /// Situations it has reached.
    pub marks: BTreeSet<&'static str>,
    /// What it told its user.
    pub events: Vec<Event>,
    /// A client table without limits.
    clients: BTreeSet<Index>,
    named: BTreeMap<(Index, u64), Remembered>,
}

impl Node {
    fn apply(&mut self, first: Cursor, entries: &[Entry]) -> StateDone {
        assert_eq!(first.index.0, self.applied + 1, "applied in order");
        let mut outcomes = Vec::new();
        let mut last = first;
        for entry in entries {
            self.applied += 1;
            last = Cursor::new(entry.term, Index(self.applied));
            outcomes.push(self.apply_one(last, &entry.body));
        }
        StateDone::Applied {
            last,
            outcomes,
            fate: Fate::Used,
            items: 0,
            bytes: 0,
        }
    }

    fn apply_one(&mut self, cursor: Cursor, body: &Body) -> Applied {
        match body {
            Body::Command(command) => {
                self.effects.push(command.clone());
                Applied::Outcome(command.clone())
            }
            Body::Register { .. } => {
                self.clients.insert(cursor.index);
                Applied::Registered
            }
            Body::Named(named) if !self.clients.contains(&named.client.client) => Applied::Expired,
            Body::Named(named) => {
                let name = (named.client.client, named.client.sequence);
                if let Some(remembered) = self.named.get(&name) {
                    return Applied::Repeated(Box::new(remembered.clone()));
                }
                let outcome = named.bytes.clone();
                self.effects.push(outcome.clone());
                let remembered = Remembered {
                    cursor,
                    outcome: outcome.clone(),
                };
                self.named.insert(name, remembered);
                Applied::Outcome(outcome)
            }
            _ => Applied::Silent,
        }
    }
}

/// The peers, the frames on their way, and one clock.
pub struct Wire {
    pub now: Now,
    pub nodes: Vec<Node>,
    pub links: BTreeMap<LinkId, (usize, usize)>,
    pub next_link: u64,
    pub next_request: u64,
    pub group: GroupId,
    /// Peers without links.
    pub isolated: BTreeSet<usize>,
    /// Which frames of the entries lanes get lost.
    pub lost: fn(&Replication) -> bool,
    /// Which messages of the control lanes get lost.
    pub lost_control: fn(&Message) -> bool,
    /// Whose acks get lost.
    pub mute: Option<usize>,
    /// After how many turns of peers which one dies.
    pub fuse: Option<(u64, usize)>,
    /// What was sent on control lanes: frames, and messages of groups in them.
    pub control: (u64, u64),
}

pub fn key() -> GroupKey {
    GroupKey::named("counting")
}

impl Wire {
    pub fn new(count: usize, form: Form) -> Self {
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
            isolated: BTreeSet::new(),
            lost: |_| false,
            lost_control: |_| false,
            mute: None,
            fuse: None,
            control: (0, 0),
        };
        for _ in 0..count {
            wire.add(form);
        }
        wire
    }

    pub fn add(&mut self, form: Form) -> usize {
        let number = self.nodes.len();
        let mut id = [0; 32];
        id[0] = number as u8 + 1;
        let config = PeerConfig {
            peer: PeerId(id),
            network: NetworkId::from_name("test"),
            seed: 7,
            planted: Planted::default(),
        };
        let recovered = Recovered {
            incarnation: Incarnation(number as u64 + 100),
            lineage: Lineage::from_parts(1, vec![1], false).expect("one boot"),
            restarted: false,
            remembered: Vec::new(),
            succeeds: false,
            groups: Vec::new(),
        };
        let peer = Peer::new(config, recovered);
        let open = OpenGroup {
            key: key(),
            machine: "count".to_owned(),
            versions: Versions::ONLY_THE_FIRST,
            form,
            profile: GroupProfile::lan(),
        };
        let mut inbox = VecDeque::from([Input::Open(Box::new(open))]);
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
            effects: Vec::new(),
            marks: BTreeSet::new(),
            events: Vec::new(),
            clients: BTreeSet::new(),
            named: BTreeMap::new(),
        });
        number
    }

    pub fn kill(&mut self, number: usize) {
        self.nodes[number].up = false;
        self.cut(number);
    }

    /// Takes a peer's links down, and lets it have no others.
    pub fn isolate(&mut self, number: usize) {
        self.isolated.insert(number);
        self.cut(number);
    }

    /// Takes a peer's links down.
    pub fn cut(&mut self, number: usize) {
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
    pub fn quiet(&mut self) {
        loop {
            let mut worked = false;
            for number in 0..self.nodes.len() {
                let idle = self.nodes[number].inbox.is_empty() || !self.nodes[number].up;
                if let Some((turns, doomed)) = self.fuse.filter(|_| !idle) {
                    self.fuse = Some((turns - 1, doomed)).filter(|_| turns > 1);
                    if self.fuse.is_none() {
                        self.kill(doomed);
                    }
                }
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

    pub fn execute(&mut self, number: usize, effect: Effect) {
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
                let lost = matches!(lane, Lane::Entries(_))
                    && decode_replication(frame.clone()).is_ok_and(|(_, m)| (self.lost)(&m));
                if lane == Lane::Control {
                    self.send_control(number, link, &frame);
                    return;
                }
                if let Some((a, b)) = self.links.get(&link).filter(|_| !lost) {
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
                let ours = group == self.group;
                let node = &mut self.nodes[number];
                let done = match op {
                    StateOp::Begin { genesis } => {
                        node.applied = if ours { 0 } else { node.applied };
                        StateDone::Begun { genesis }
                    }
                    StateOp::Apply { first, entries, .. } if ours => node.apply(first, &entries),
                    StateOp::Apply { first, entries, .. } => applied_elsewhere(first, &entries),
                    _ => return,
                };
                node.inbox.push_back(Input::State { group, done });
            }
            Effect::Reply { request, reply } => {
                self.nodes[number].replies.insert(request, reply);
            }
            Effect::Mark(mark) => {
                self.nodes[number].marks.insert(mark);
            }
            Effect::Event(event) => self.nodes[number].events.push(event),
            Effect::Remember(_) | Effect::EndIncarnation | Effect::Authenticated(_) => {}
        }
    }

    /// Passes a control frame on, without what gets lost, and counts.
    fn send_control(&mut self, number: usize, link: LinkId, frame: &Bytes) {
        let mut messages = decode_control(frame).expect("peers send what can be read");
        let grouped = |message: &Control| matches!(message, Control::Group(_));
        self.control.0 += 1;
        self.control.1 += messages.iter().filter(|one| grouped(one)).count() as u64;
        messages.retain(|message| match message {
            Control::Group(envelope) => {
                let ack = matches!(envelope.message, Message::Ack { .. });
                let muted = ack && self.mute == Some(number);
                !muted && !(self.lost_control)(&envelope.message)
            }
            _ => true,
        });
        if let Some((a, b)) = self.links.get(&link) {
            let other = if *a == number { *b } else { *a };
            let inbox = &mut self.nodes[other].inbox;
            encode_control(&messages, |bytes| {
                let lane = Lane::Control;
                inbox.push_back(Input::Frame { link, lane, bytes });
            });
        }
    }

    /// Has every peer open another group.
    pub fn open_everywhere(&mut self, name: &str, form: Form) -> GroupId {
        let key = GroupKey::named(name);
        for node in &mut self.nodes {
            node.inbox.push_back(Input::Open(Box::new(OpenGroup {
                key: key.clone(),
                machine: "count".to_owned(),
                versions: Versions::ONLY_THE_FIRST,
                form,
                profile: GroupProfile::lan(),
            })));
        }
        key.group_id("count")
    }

    pub fn dial(&mut self, number: usize, peer: PeerId) {
        let other = usize::from(peer.0[0]) - 1;
        let apart = [number, other]
            .iter()
            .any(|end| self.isolated.contains(end));
        if apart || !self.nodes[other].up {
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
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
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

    pub fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| {
            node.up
                && node.peer.view(self.group).is_some_and(|view| {
                    view.role == Role::Leader && view.term_at(view.commit) == Some(view.ballot.term)
                })
        })
    }

    pub fn ask(&mut self, number: usize, op: ClientOp) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let group = self.group;
        self.nodes[number]
            .inbox
            .push_back(Input::Client { group, request, op });
        request
    }

    pub fn write(&mut self, number: usize, text: &'static str) -> Reply {
        let request = self.ask_write(number, ClientSequence::ANONYMOUS, text);
        self.answer(number, request)
    }

    /// Asks for a write that has five seconds.
    pub fn ask_write(
        &mut self,
        number: usize,
        client: ClientSequence,
        text: &'static str,
    ) -> RequestId {
        let bytes = Bytes::from_static(text.as_bytes());
        let command = Command { client, bytes };
        let deadline = self.now.time.after(Duration::from_secs(5));
        self.ask(number, ClientOp::Write { command, deadline })
    }

    /// Registers a client through a peer.
    pub fn register(&mut self, number: usize) -> Index {
        let deadline = self.now.time.after(Duration::from_secs(5));
        let request = self.ask(number, ClientOp::Register { deadline });
        match self.answer(number, request) {
            Reply::Registered { cursor } => cursor.index,
            reply => panic!("{reply:?}"),
        }
    }

    pub fn answer(&mut self, number: usize, request: RequestId) -> Reply {
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

/// Applies entries of a group whose state is of no interest.
fn applied_elsewhere(first: Cursor, entries: &[Entry]) -> StateDone {
    let last = entries.last().expect("something is applied");
    StateDone::Applied {
        last: Cursor::new(last.term, Index(first.index.0 + entries.len() as u64 - 1)),
        outcomes: vec![Applied::Silent; entries.len()],
        fate: Fate::Used,
        items: 0,
        bytes: 0,
    }
}

pub fn assert_committed(reply: &Reply, text: &str) {
    assert!(
        matches!(reply, Reply::Committed { outcome, .. } if outcome == text.as_bytes()),
        "{reply:?}"
    );
}

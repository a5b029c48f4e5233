//! Three peers of the core on one thread: what ordering a command costs, without a network.
//!
//! Everything between the peers is what it would be on a wire: frames are encoded by one core and
//! decoded by another, and every peer applies every command to its own machine. The log is the
//! core's own, in memory; a disk operation is finished as soon as it is asked for, which is what
//! the other library's log in memory does too. The loop is a driver's: inputs are stepped until
//! none is left, then the peer settles. The clock is read once for a turn of all three, as it is
//! for the other library.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quorate_core::{
    Applied, Body, ClientOp, Command, Cursor, Effect, Effects, Entry, Fate, Form, GroupId,
    GroupKey, GroupProfile, Incarnation, Index, Input, Lineage, LinkId, NetworkId, Now, OpenGroup,
    Peer, PeerConfig, PeerId, Recovered, Reply, RequestId, Role, StateDone, StateOp, Time, Wall,
};

use crate::sums::{self, Sums};

const PEERS: usize = 3;
const MACHINE: &str = "sums";
/// How long the peers may take to elect, and at the end to agree.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a write may take; it never does.
const DEADLINE: Duration = Duration::from_secs(60);

/// The peers, and the links between them.
pub(crate) struct Trio {
    nodes: Vec<Node>,
    /// Which two peers each link joins, by its number.
    links: Vec<(usize, usize)>,
    began: Instant,
    group: GroupId,
    leader: usize,
    next: u64,
    // Kept to keep its memory.
    effects: Effects,
}

struct Node {
    peer: Peer,
    inbox: VecDeque<Input>,
    sums: Sums,
    applied: Cursor,
    fate: Fate,
    /// Writes that were answered since the last look.
    answered: usize,
}

impl Trio {
    /// Starts the peers and waits for a leader.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut trio = Self {
            nodes: (0..PEERS).map(Node::new).collect(),
            links: Vec::new(),
            began: Instant::now(),
            group: key().group_id(MACHINE),
            leader: 0,
            next: 0,
            effects: Effects::new(),
        };
        trio.leader = trio.wait_for(Self::find_leader)?;
        Ok(trio)
    }

    /// Has the leader order `commands` commands, `depth` of them under way; returns how many were
    /// answered per second.
    pub(crate) fn run(&mut self, depth: usize, commands: u64) -> anyhow::Result<f64> {
        let began = Instant::now();
        let end = self.next + commands;
        let mut progress = self.now();
        for _ in 0..depth {
            self.write(progress);
        }
        let mut answered = 0;
        while answered < commands {
            let now = self.turn_all();
            let more = std::mem::take(&mut self.nodes[self.leader].answered) as u64;
            if more > 0 {
                progress = now;
            }
            anyhow::ensure!(
                now.time.since(progress.time) < PATIENCE,
                "the writes come to a standstill"
            );
            answered += more;
            for _ in 0..more.min(end - self.next) {
                self.write(now);
            }
        }
        Ok(commands as f64 / began.elapsed().as_secs_f64())
    }

    /// Waits until all have applied everything, and checks that they made the same sums.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.wait_for(|trio| {
            let applied = trio.nodes[trio.leader].applied;
            trio.nodes
                .iter()
                .all(|node| node.applied == applied)
                .then_some(())
        })?;
        sums::check(self.next, self.nodes.iter().map(|node| &node.sums))
    }

    fn write(&mut self, now: Now) {
        let deadline = now.time.after(DEADLINE);
        let command = Command::anonymous(Bytes::copy_from_slice(&sums::command(self.next)));
        let input = Input::Client {
            group: self.group,
            request: RequestId(self.next),
            op: ClientOp::Write { command, deadline },
        };
        self.next += 1;
        self.nodes[self.leader].inbox.push_back(input);
    }

    fn now(&self) -> Now {
        let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now {
            time: Time(nanos + 1),
            wall: Wall(nanos / 1_000_000),
        }
    }

    fn wait_for<T>(&mut self, wanted: impl Fn(&Self) -> Option<T>) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            self.turn_all();
            if let Some(found) = wanted(self) {
                return Ok(found);
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "the peers do not come to terms");
        }
    }

    fn find_leader(&self) -> Option<usize> {
        let view = |node: &Node| {
            let view = node.peer.view(self.group)?;
            Some((view.role, view.leader?, view.configuration.voters.len()))
        };
        let views: Vec<_> = self.nodes.iter().filter_map(view).collect();
        let agreed = views.len() == PEERS
            && views
                .iter()
                .all(|(_, leader, voters)| *leader == views[0].1 && *voters == PEERS);
        agreed.then_some(())?;
        views.iter().position(|(role, ..)| *role == Role::Leader)
    }

    /// Lets each peer take what has gathered in its inbox; returns when that was.
    fn turn_all(&mut self) -> Now {
        let now = self.now();
        let mut effects = std::mem::take(&mut self.effects);
        for number in 0..PEERS {
            self.turn(now, number, &mut effects);
        }
        self.effects = effects;
        now
    }

    fn turn(&mut self, now: Now, number: usize, effects: &mut Effects) {
        let node = &mut self.nodes[number];
        if node.peer.deadline().is_some_and(|due| due <= now.time) {
            node.inbox.push_back(Input::Wake);
        }
        while !self.nodes[number].inbox.is_empty() {
            loop {
                let node = &mut self.nodes[number];
                let Some(input) = node.inbox.pop_front() else {
                    break;
                };
                node.peer.step(now, input, effects);
                if !effects.is_empty() {
                    self.carry_out(number, effects);
                }
            }
            self.nodes[number].peer.settle(now, effects);
            self.carry_out(number, effects);
        }
    }

    fn carry_out(&mut self, number: usize, effects: &mut Effects) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { link, lane, frame } => {
                    let (one, other) = self.links[link.0 as usize];
                    let to = if one == number { other } else { one };
                    let bytes = frame;
                    let input = Input::Frame { link, lane, bytes };
                    self.nodes[to].inbox.push_back(input);
                }
                Effect::Disk(op) => {
                    let (id, result) = (op.id, Ok(()));
                    let input = Input::Disk { id, result };
                    self.nodes[number].inbox.push_back(input);
                }
                Effect::State { group, op } => {
                    let node = &mut self.nodes[number];
                    let done = match op {
                        StateOp::Begin { genesis } => StateDone::Begun { genesis },
                        StateOp::Apply {
                            first,
                            entries,
                            outcomes,
                        } => node.apply(first, &entries, outcomes),
                        // Nobody asks for a snapshot here.
                        _ => continue,
                    };
                    node.inbox.push_back(Input::State { group, done });
                }
                Effect::Reply { reply, .. } => {
                    assert!(
                        matches!(reply, Reply::Committed { .. }),
                        "a write is answered {reply:?}"
                    );
                    self.nodes[number].answered += 1;
                }
                Effect::Dial(peer) => self.dial(number, peer),
                _ => {}
            }
        }
    }

    fn dial(&mut self, from: usize, peer: PeerId) {
        let to = usize::from(peer.0[0]);
        let link = LinkId(self.links.len() as u64);
        self.links.push((from, to));
        let exporter = [self.links.len() as u8; 32];
        for (end, far, dialed) in [(from, to, true), (to, from, false)] {
            self.nodes[end].inbox.push_back(Input::LinkUp {
                link,
                peer: peer_id(far),
                dialed,
                exporter,
            });
        }
    }
}

impl Node {
    fn new(number: usize) -> Self {
        let config = PeerConfig {
            peer: peer_id(number),
            network: NetworkId::from_name("bench"),
            seed: 7,
            planted: quorate_core::Planted::default(),
        };
        let recovered = Recovered {
            incarnation: Incarnation(number as u64 + 1),
            lineage: Lineage::from_parts(1, vec![1], false).expect("one boot"),
            restarted: false,
            remembered: Vec::new(),
            succeeds: false,
            groups: Vec::new(),
        };
        let open = OpenGroup {
            key: key(),
            machine: MACHINE.to_owned(),
            versions: quorate_core::Versions::ONLY_THE_FIRST,
            form: Form::Expect(PEERS),
            profile: GroupProfile::lan(),
        };
        let mut inbox = VecDeque::from([Input::Open(Box::new(open))]);
        inbox.extend((0..number).map(|other| Input::Found(peer_id(other))));
        Self {
            peer: Peer::new(config, recovered),
            inbox,
            sums: Sums::new(),
            applied: Cursor::ZERO,
            fate: Fate::default(),
            answered: 0,
        }
    }

    fn apply(&mut self, first: Cursor, entries: &[Entry], wanted: bool) -> StateDone {
        let mut outcomes = Vec::with_capacity(if wanted { entries.len() } else { 0 });
        for entry in entries {
            self.fate = self.fate.after(&entry.body);
            let sum = match &entry.body {
                Body::Command(command) => {
                    let command = command[..].try_into().expect("as it was written");
                    Some(self.sums.apply(command))
                }
                _ => None,
            };
            if wanted {
                outcomes.push(sum.map_or(Applied::Silent, |sum| {
                    Applied::Outcome(Bytes::copy_from_slice(&sum.to_le_bytes()))
                }));
            }
        }
        let last = entries.last().map_or(first.term, |entry| entry.term);
        let count = entries.len() as u64;
        self.applied = Cursor::new(last, Index(first.index.0 + count - 1));
        StateDone::Applied {
            last: self.applied,
            outcomes,
            fate: self.fate,
            items: 0,
            bytes: 0,
        }
    }
}

fn key() -> GroupKey {
    GroupKey::named("bench")
}

fn peer_id(number: usize) -> PeerId {
    let mut id = [0; 32];
    id[0] = number as u8;
    PeerId(id)
}

//! Three nodes of the crate `raft` on one thread, driven as the core's peers are.
//!
//! Messages are encoded and decoded with the library's own codec, entries go into its log in
//! memory, and every node applies every command to its own machine. Elections and heartbeats run
//! by the same clock, and the log is cut back to the same reserve.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use protobuf::Message as _;
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{ConfState, Entry, EntryType, Message},
    storage::MemStorage,
};
use slog::{Logger, o};

use crate::sums::{self, COMMAND, Sums};

const NODES: usize = 3;
/// How often the clock of the library ticks: a heartbeat of the profile `lan`.
const TICK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);
/// Entries that stay in the log behind what was applied, and how many more make it worth cutting.
const RESERVE: u64 = 8_192;
const SLACK: u64 = RESERVE / 4;

/// The nodes.
pub(crate) struct Trio {
    nodes: Vec<Node>,
    leader: usize,
    next: u64,
    ticked: Instant,
}

struct Node {
    raft: RawNode<MemStorage>,
    /// Messages as they come over a wire.
    inbox: VecDeque<Vec<u8>>,
    sums: Sums,
    applied: u64,
    cut: u64,
    /// Commands that were applied since the last look.
    answered: usize,
}

impl Trio {
    /// Starts the nodes and waits for a leader.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let nodes: anyhow::Result<Vec<Node>> = (0..NODES).map(Node::new).collect();
        let mut trio = Self {
            nodes: nodes?,
            leader: 0,
            next: 0,
            ticked: Instant::now(),
        };
        trio.leader = trio.wait_for(|trio| {
            let first = trio.nodes.first()?.raft.raft.leader_id;
            let agreed = first != 0
                && trio
                    .nodes
                    .iter()
                    .all(|node| node.raft.raft.leader_id == first);
            let leads = |node: &Node| node.raft.raft.state == StateRole::Leader;
            agreed.then(|| trio.nodes.iter().position(leads))?
        })?;
        Ok(trio)
    }

    /// Has the leader order `commands` commands, `depth` of them under way; returns how many were
    /// applied there per second.
    pub(crate) fn run(&mut self, depth: usize, commands: u64) -> anyhow::Result<f64> {
        let began = Instant::now();
        let mut progress = began;
        let end = self.next + commands;
        for _ in 0..depth {
            self.write()?;
        }
        let mut answered = 0;
        while answered < commands {
            self.turn_all()?;
            let more = std::mem::take(&mut self.nodes[self.leader].answered);
            anyhow::ensure!(
                more > 0 || progress.elapsed() < PATIENCE,
                "the writes come to a standstill"
            );
            if more > 0 {
                progress = Instant::now();
            }
            answered += more as u64;
            for _ in 0..more {
                if self.next < end {
                    self.write()?;
                }
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

    fn write(&mut self) -> anyhow::Result<()> {
        let command = sums::command(self.next).to_vec();
        self.next += 1;
        self.nodes[self.leader].raft.propose(Vec::new(), command)?;
        Ok(())
    }

    fn wait_for<T>(&mut self, wanted: impl Fn(&Self) -> Option<T>) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            self.turn_all()?;
            if let Some(found) = wanted(self) {
                return Ok(found);
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "the nodes do not come to terms");
        }
    }

    fn turn_all(&mut self) -> anyhow::Result<()> {
        let tick = self.ticked.elapsed() >= TICK;
        if tick {
            self.ticked = Instant::now();
        }
        for number in 0..NODES {
            if tick {
                self.nodes[number].raft.tick();
            }
            self.turn(number)?;
        }
        Ok(())
    }

    /// Lets one node take what has gathered in its inbox, and does what follows.
    fn turn(&mut self, number: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[number];
        while let Some(bytes) = node.inbox.pop_front() {
            node.raft.step(Message::parse_from_bytes(&bytes)?)?;
        }
        while self.nodes[number].raft.has_ready() {
            self.work(number)?;
        }
        Ok(())
    }

    /// Does what the library is ready for, in the order that its documentation asks for.
    fn work(&mut self, number: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[number];
        let mut ready = node.raft.ready();
        let at_once = ready.take_messages();
        let committed = ready.take_committed_entries();
        self.send(at_once)?;
        let node = &mut self.nodes[number];
        node.apply(committed)?;
        if !ready.entries().is_empty() {
            node.raft.mut_store().wl().append(ready.entries())?;
        }
        if let Some(state) = ready.hs() {
            node.raft.mut_store().wl().set_hardstate(state.clone());
        }
        let persisted = ready.take_persisted_messages();
        self.send(persisted)?;
        let node = &mut self.nodes[number];
        let mut light = node.raft.advance(ready);
        if let Some(commit) = light.commit_index() {
            node.raft
                .mut_store()
                .wl()
                .mut_hard_state()
                .set_commit(commit);
        }
        let messages = light.take_messages();
        let committed = light.take_committed_entries();
        self.send(messages)?;
        let node = &mut self.nodes[number];
        node.apply(committed)?;
        node.raft.advance_apply();
        node.cut_back()
    }

    fn send(&mut self, messages: Vec<Message>) -> anyhow::Result<()> {
        for message in messages {
            let to = usize::try_from(message.to)? - 1;
            let node = self.nodes.get_mut(to).context("a message for nobody")?;
            node.inbox.push_back(message.write_to_bytes()?);
        }
        Ok(())
    }
}

impl Node {
    fn new(number: usize) -> anyhow::Result<Self> {
        let config = Config {
            id: number as u64 + 1,
            election_tick: 6,
            heartbeat_tick: 1,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            // Proposals that are made together travel together, as they do in the core.
            batch_append: true,
            pre_vote: true,
            check_quorum: true,
            ..Config::default()
        };
        let voters = (1..=NODES as u64).collect::<Vec<_>>();
        let storage = MemStorage::new_with_conf_state(ConfState::from((voters, Vec::new())));
        let logger = Logger::root(slog::Discard, o!());
        Ok(Self {
            raft: RawNode::new(&config, storage, &logger)?,
            inbox: VecDeque::new(),
            sums: Sums::new(),
            applied: 0,
            cut: 0,
            answered: 0,
        })
    }

    fn apply(&mut self, entries: Vec<Entry>) -> anyhow::Result<()> {
        for entry in entries {
            self.applied = entry.index;
            if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
                let command: [u8; COMMAND] = entry.data[..].try_into()?;
                self.sums.apply(command);
                self.answered += 1;
            }
        }
        Ok(())
    }

    /// Drops what the log need not hold any more.
    fn cut_back(&mut self) -> anyhow::Result<()> {
        if self.applied > self.cut + RESERVE + SLACK {
            self.cut = self.applied - RESERVE;
            self.raft.mut_store().wl().compact(self.cut)?;
        }
        Ok(())
    }
}

//! One simulated machine: what is there of a peer whether it runs or not, and its present life.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use quorate_core::{Form, Input, LinkId, Member, Peer, PeerId, StateOp, Versions};
use quorate_state::Replica;

use crate::{
    atlas::Kept,
    clock::Clock,
    dice::{Dice, Span},
    disk::{Disk, Loses},
    hostile::Hostile,
    machine::Failures,
    scenario::{PeerPlan, Scenario},
};

/// A machine on which one peer may run.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) peer: PeerId,
    pub(crate) plan: PeerPlan,
    pub(crate) disk: Disk,
    pub(crate) kept: Kept,
    /// How often the peer was started.
    pub(crate) lives: u64,
    /// The life it is in, while it runs.
    pub(crate) life: Option<Life>,
    /// How many faults keep it from running on.
    pub(crate) paused: u32,
    /// After how many more effects it dies, and for how long.
    pub(crate) doomed: Option<(u64, Duration)>,
    /// Until when it may be let go.
    pub(crate) leaving_until: u64,
    /// The life in which it was told that it has left.
    pub(crate) left: Option<Member>,
    pub(crate) slow_disk: Option<Span>,
    /// How long it is away if its machine fails too often.
    pub(crate) fails_for: Option<Duration>,
    /// When its disk has failed: whether the power fails too, and how long the peer is away.
    pub(crate) failing: Option<(bool, Duration)>,
    /// What the end that is coming loses.
    pub(crate) loses: Loses,
    pub(crate) slow_steps: Option<Span>,
    pub(crate) late_reports: Option<Span>,
    /// What it makes of what it sends.
    pub(crate) hostile: Hostile,
    pub(crate) dice: NodeDice,
}

/// The machine's random numbers, by what they are for.
#[derive(Debug)]
pub(crate) struct NodeDice {
    pub(crate) steps: Dice,
    pub(crate) disk: Dice,
    pub(crate) state: Dice,
    pub(crate) ties: Dice,
    pub(crate) lives: Dice,
    pub(crate) finding: Dice,
    pub(crate) crash: Dice,
    pub(crate) reports: Dice,
    pub(crate) operator: Dice,
    pub(crate) hostile: Dice,
}

/// One start of a peer.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) number: u64,
    pub(crate) member: Member,
    /// The versions that its machine reads.
    pub(crate) versions: Versions,
    pub(crate) peer: Peer,
    pub(crate) clock: Clock,
    pub(crate) inbox: VecDeque<Input>,
    /// Whether a turn is scheduled.
    pub(crate) awake: bool,
    /// When it will be woken, at the latest; never if `u64::MAX`.
    pub(crate) wake: u64,
    /// Turns in a row that changed nothing and did not end the wish for another one.
    pub(crate) idle_turns: u32,
    pub(crate) next_link: u64,
    /// Number and side of each link in the network.
    pub(crate) links: BTreeMap<LinkId, (u64, usize)>,
    pub(crate) replica: Replica,
    /// What the replica is still to do; the first is under way.
    pub(crate) asked: VecDeque<StateOp>,
    /// Whether the end of a sync is scheduled.
    pub(crate) writing: bool,
    /// Whether a seal is scheduled.
    pub(crate) sealing: bool,
    /// How often the machine still fails.
    pub(crate) failures: Failures,
    /// Whether it was told that there is no space.
    pub(crate) full: bool,
}

impl Node {
    /// Makes a machine on which nothing runs yet.
    pub(crate) fn new(seed: u64, machine: u64, plan: PeerPlan, disk: Disk) -> Self {
        let dice = |purpose| Dice::new(seed, purpose, machine);
        Self {
            peer: peer_id(seed, machine),
            plan,
            disk,
            kept: Kept::default(),
            lives: 0,
            life: None,
            paused: 0,
            doomed: None,
            leaving_until: 0,
            left: None,
            slow_disk: None,
            fails_for: None,
            failing: None,
            loses: Loses::default(),
            slow_steps: None,
            late_reports: None,
            hostile: Hostile::default(),
            dice: NodeDice {
                steps: dice("steps"),
                disk: dice("disk"),
                state: dice("state"),
                ties: dice("ties"),
                lives: dice("lives"),
                finding: dice("finding"),
                crash: dice("crash"),
                reports: dice("reports"),
                operator: dice("operator"),
                hostile: dice("hostile"),
            },
        }
    }

    /// Makes the machine beside the others on which a copied directory is started.
    pub(crate) fn twin(scenario: &Scenario) -> Self {
        let plan = PeerPlan::calm(Form::Join);
        let disk = Disk::new(scenario.storage, plan.segment_bytes, scenario.bug.into());
        Self::new(
            scenario.seed,
            scenario.machine(scenario.peers.len()),
            plan,
            disk,
        )
    }

    /// Returns the life with this number, while it lasts.
    pub(crate) fn living(&mut self, life: u64) -> Option<&mut Life> {
        self.life.as_mut().filter(|one| one.number == life)
    }

    /// Draws how long the next turn waits for the processor, in nanoseconds.
    pub(crate) fn step_delay(&mut self) -> u64 {
        let span = self.slow_steps.unwrap_or(self.plan.step_delay);
        self.dice.steps.nanos(span)
    }

    /// Draws how long the disk's next piece of work takes, in nanoseconds.
    pub(crate) fn disk_delay(&mut self) -> u64 {
        let span = self.slow_disk.unwrap_or(self.plan.disk_delay);
        self.dice.disk.nanos(span)
    }

    /// Draws how long the replica's next operation takes, in nanoseconds.
    pub(crate) fn state_delay(&mut self) -> u64 {
        self.dice.state.nanos(self.plan.state_delay)
    }
}

/// Derives a peer's key, so that the order of the keys is another one in each run.
pub(crate) fn peer_id(seed: u64, machine: u64) -> PeerId {
    let mut dice = Dice::new(seed, "key", machine);
    let mut key = [0; 32];
    for word in key.chunks_exact_mut(8) {
        word.copy_from_slice(&dice.draw().to_le_bytes());
    }
    PeerId(key)
}

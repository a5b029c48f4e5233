//! The simulated world: machines, network, clients and checkers on one queue of events.
//!
//! Everything happens at a time and, where several things happen at one instant, in an order drawn
//! from the seed. Nothing in here decides anything for a peer: inputs go in, effects come out, and
//! what they ask for is done as badly as the scenario says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quorate_core::{
    Configuration, Event, GroupId, GroupKey, GroupView, Input, LinkId, Member, PeerId, Reply,
};

use crate::{
    checkers::{Checkers, Told, Violation},
    copied::{AtLarge, Image},
    dice::Dice,
    disk::Disk,
    inject::Lift,
    lock::Lock,
    named::{NamedClients, Plan},
    network::{Later, Network, NetworkEvent, nanos},
    node::Node,
    operation::{Action, Operation},
    operator::Errand,
    queue::Queue,
    scenario::Scenario,
    subject::Tested,
    trace::{Keep, Trace},
};

/// The machine name of the group that simulated peers share.
pub(crate) const MACHINE: &str = "quorate-simulated";

/// A cluster in one thread.
#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    /// The user's machine, if the peers run one.
    pub(crate) tested: Option<Tested>,
    pub(crate) at: u64,
    queue: Queue,
    pub(crate) nodes: Vec<Node>,
    pub(crate) numbers: BTreeMap<PeerId, usize>,
    pub(crate) network: Network,
    pub(crate) later: Later,
    pub(crate) checkers: Checkers,
    pub(crate) trace: Trace,
    pub(crate) key: GroupKey,
    pub(crate) group: GroupId,
    pub(crate) marks: BTreeMap<&'static str, u64>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Faults that were not carried out.
    pub(crate) left_out: u64,
    heard: Option<Vec<Heard>>,
    pub(crate) lifts: BTreeMap<u64, Lift>,
    pub(crate) next_lift: u64,
    /// Operators' wishes that wait for an answer.
    pub(crate) errands: BTreeMap<u64, Errand>,
    pub(crate) next_errand: u64,
    pub(crate) granted: BTreeMap<u64, Reply>,
    /// Disks as they once were.
    pub(crate) images: BTreeMap<u64, Image>,
    /// Who was copied, while the copy may not know of it.
    pub(crate) at_large: Option<AtLarge>,
    /// When a process was killed last.
    pub(crate) killed_at: u64,
    pub(crate) lock: Lock,
    pub(crate) calm: bool,
    /// Which peers are well once faults end: all, or a quorum.
    pub(crate) healed: BTreeSet<usize>,
    /// Which of the others cannot lead, whatever is believed of them.
    pub(crate) gone: BTreeSet<usize>,
    pub(crate) effects: quorate_core::Effects,
    pub(crate) named: NamedClients,
    ties: Dice,
    plan_ties: Dice,
}

/// An event that a peer told its user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// When, since the start of the run.
    pub at: Duration,
    /// Which peer told it.
    pub peer: usize,
    /// What.
    pub event: Event,
}

/// One thing that is to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    Network(NetworkEvent),
    /// A peer takes what is in its inbox.
    Turn {
        peer: usize,
        life: u64,
    },
    /// A peer's deadline may have come.
    Wake {
        peer: usize,
        life: u64,
    },
    /// A peer's disk does its next piece of work.
    Disk {
        peer: usize,
        life: u64,
    },
    /// A peer's disk has been idle for a while.
    Seal {
        peer: usize,
        life: u64,
    },
    /// A peer's disk tries again what there was no space for.
    Space {
        peer: usize,
        life: u64,
    },
    /// A peer's replica does its next operation.
    State {
        peer: usize,
        life: u64,
    },
    /// A peer is told something from outside.
    Tell {
        peer: usize,
        life: u64,
        input: Box<Input>,
    },
    /// A peer is started for the first time.
    Start(usize),
    /// The scenario's fault with this number.
    Fault(usize),
    /// The end of a fault.
    Lift(u64),
    /// The scenario's operation with this number.
    Operation(usize),
    /// A named client does what it planned.
    Named(Plan),
    /// Somebody may take the lock that picks the founder.
    Lock,
}

/// Makes the machines of a scenario's peers.
fn nodes_of(scenario: &Scenario) -> Vec<Node> {
    let plans = scenario.peers.iter().enumerate();
    let nodes = plans.map(|(number, plan)| {
        let disk = Disk::new(scenario.storage, plan.segment_bytes, scenario.bug.into());
        Node::new(scenario.seed, scenario.machine(number), plan.clone(), disk)
    });
    nodes.collect()
}

impl World {
    /// Builds the world of a scenario; nothing has happened yet.
    ///
    /// One that names a subject is for [`World::of`]: here that is a violation from the start.
    pub fn new(scenario: Scenario, keep: Keep) -> Self {
        Self::build(scenario, None, keep)
    }

    /// Builds a world whose peers run a machine of the user's, or the simulator's own.
    pub(crate) fn build(scenario: Scenario, tested: Option<Tested>, keep: Keep) -> Self {
        let peers = scenario.peers.len();
        let seed = scenario.seed;
        let key = GroupKey::named("simulated");
        let group = key.group_id(MACHINE);
        let mut nodes = nodes_of(&scenario);
        let machines: Vec<u64> = (0..=peers).map(|peer| scenario.machine(peer)).collect();
        let numbers = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| (node.peer, number))
            .collect();
        nodes.push(Node::twin(&scenario));
        let mut world = Self {
            at: 0,
            queue: Queue::default(),
            numbers,
            network: Network::new(scenario.network.clone(), seed, &machines),
            later: Later::new(),
            checkers: Checkers::new(
                group,
                peers + 1,
                scenario.client_limits,
                scenario.apart,
                tested.clone(),
            ),
            trace: Trace::new(keep, peers + 1),
            key,
            group,
            marks: BTreeMap::new(),
            faults: BTreeMap::new(),
            left_out: 0,
            heard: None,
            lifts: BTreeMap::new(),
            next_lift: 0,
            errands: BTreeMap::new(),
            next_errand: 0,
            granted: BTreeMap::new(),
            images: BTreeMap::new(),
            at_large: None,
            killed_at: 0,
            lock: Lock::new(seed),
            calm: false,
            healed: (0..peers).collect(),
            gone: BTreeSet::new(),
            effects: Vec::new(),
            named: NamedClients::new(seed),
            ties: Dice::new(seed, "ties", u64::MAX),
            plan_ties: Dice::new(seed, "ties of plans", 0),
            nodes,
            tested,
            scenario,
        };
        if keep == Keep::History {
            world.checkers.clients.keep_history();
        }
        if let Some(narration) = &mut world.trace.narration {
            narration.know(&world.numbers);
        }
        for number in 0..peers {
            let start = nanos(world.scenario.peers[number].start);
            world.schedule(start, Happening::Start(number));
        }
        world.schedule_fault(0);
        world.schedule_operation(0);
        world.check_subject();
        world
    }

    /// Returns how much time has passed in the world.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.at)
    }

    /// Returns how many inputs and effects there were.
    pub fn events(&self) -> u64 {
        self.trace.events()
    }

    /// Returns the number of peers.
    pub fn peers(&self) -> usize {
        self.scenario.peers.len()
    }

    /// Returns the first invariant that did not hold.
    pub fn violation(&self) -> Option<&Violation> {
        self.checkers.violation.as_ref()
    }

    /// Returns how often each named situation was reached.
    pub fn marks(&self) -> &BTreeMap<&'static str, u64> {
        &self.marks
    }

    /// Looks into a peer, if it runs and has the group open.
    pub fn view(&self, peer: usize) -> Option<GroupView<'_>> {
        let life = self.nodes.get(peer)?.life.as_ref()?;
        life.peer.view(self.group)
    }

    /// Returns the life that a peer is in, if it runs.
    pub fn member(&self, peer: usize) -> Option<Member> {
        self.nodes.get(peer)?.life.as_ref().map(|life| life.member)
    }

    /// Returns every configuration that was committed, in order.
    pub fn configurations(&self) -> Vec<Configuration> {
        self.checkers.configurations()
    }

    /// Begins to keep every event that a peer tells its user.
    pub fn listen(&mut self) {
        self.heard.get_or_insert_default();
    }

    /// Returns the events kept since [`World::listen`], in order.
    pub fn heard(&self) -> &[Heard] {
        self.heard.as_deref().unwrap_or_default()
    }

    /// Takes an event that a peer tells its user.
    pub(crate) fn hear(&mut self, peer: usize, event: Event) {
        if let Some(heard) = &mut self.heard {
            heard.push(Heard {
                at: Duration::from_nanos(self.at),
                peer,
                event,
            });
        }
    }

    /// Returns the number of the peer that all running peers with a leader agree leads.
    pub fn leader(&self) -> Option<usize> {
        let peers: Vec<usize> = (0..self.peers()).collect();
        self.leader_among(&peers)
    }

    /// Returns the number of the peer that all running ones of `peers` with a leader agree leads.
    pub(crate) fn leader_among(&self, peers: &[usize]) -> Option<usize> {
        let mut leaders = peers.iter().filter_map(|peer| self.view(*peer)?.leader);
        let first = leaders.next()?;
        let number = *self.numbers.get(&first.peer)?;
        let leads = self.view(number)?.role == quorate_core::Role::Leader;
        (leads && leaders.all(|leader| leader == first)).then_some(number)
    }

    /// Returns what the client of an operation was told.
    pub fn told(&self, operation: usize) -> Option<Told> {
        self.checkers.clients.told(operation)
    }

    /// Runs until `wanted` holds or `limit` has passed; tells whether it holds.
    ///
    /// Looks every 10 simulated milliseconds. A violation ends the run too.
    pub fn run_until(&mut self, limit: Duration, mut wanted: impl FnMut(&Self) -> bool) -> bool {
        let end = self.at.saturating_add(nanos(limit));
        loop {
            if self.violation().is_some() {
                return false;
            }
            if wanted(self) {
                return true;
            }
            if self.at >= end {
                return false;
            }
            self.run_to((self.at + 10_000_000).min(end));
        }
    }

    /// Runs for some time, or until an invariant does not hold.
    pub fn run_for(&mut self, time: Duration) {
        self.run_to(self.at.saturating_add(nanos(time)));
    }

    /// Runs up to a point in time, or until an invariant does not hold.
    pub(crate) fn run_to(&mut self, end: u64) {
        while self.violation().is_none() {
            let Some((at, happening)) = self.queue.pop_until(end) else {
                break;
            };
            self.at = at;
            self.checkers.clients.at = at;
            self.happen(happening);
        }
        if self.violation().is_none() {
            self.at = self.at.max(end);
            self.checkers.clients.at = self.at;
        }
    }

    /// Has a client of `peer` do something; returns the operation's number, or nothing if the peer
    /// does not run.
    pub fn ask(&mut self, peer: usize, action: Action, patience: Duration) -> Option<usize> {
        self.nodes.get(peer)?.life.as_ref()?;
        Some(self.begin(peer, action, patience))
    }

    /// Does an operation of the scenario.
    fn operate(&mut self, operation: &Operation) {
        let (peer, patience) = (operation.peer, operation.patience);
        let action = operation.action.clone();
        match operation.client.filter(|_| !action.is_read()) {
            Some(client) => self.ask_named(peer, client, action, patience),
            None => self.ask(peer, action, patience),
        };
    }

    /// Puts something on the queue.
    pub(crate) fn schedule(&mut self, at: u64, happening: Happening) {
        let tie = match happening.peer() {
            Some(peer) => self.nodes[peer].dice.ties.draw(),
            None if happening.is_planned() => self.plan_ties.draw(),
            None => self.ties.draw(),
        };
        self.queue.push(at.max(self.at), tie, happening);
    }

    /// Puts what the network wants on the queue.
    pub(crate) fn schedule_network(&mut self) {
        if self.later.is_empty() {
            return;
        }
        let mut later = std::mem::take(&mut self.later);
        for (at, event) in later.drain(..) {
            self.schedule(at, Happening::Network(event));
        }
        self.later = later;
    }

    /// Puts an input into a peer's inbox.
    pub(crate) fn give(&mut self, number: usize, life: u64, input: Input) {
        let node = &mut self.nodes[number];
        let paused = node.paused > 0;
        let delay = node.step_delay();
        let Some(life) = node.living(life) else {
            return;
        };
        life.inbox.push_back(input);
        if !life.awake && !paused {
            life.awake = true;
            let life = life.number;
            self.schedule(self.at + delay, Happening::Turn { peer: number, life });
        }
    }

    fn schedule_fault(&mut self, number: usize) {
        if let Some(fault) = self.scenario.faults.get(number) {
            let at = nanos(fault.at);
            self.schedule(at, Happening::Fault(number));
        }
    }

    fn schedule_operation(&mut self, number: usize) {
        if let Some(operation) = self.scenario.operations.get(number) {
            let at = nanos(operation.at);
            self.schedule(at, Happening::Operation(number));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Network(event) => self.happen_in_network(event),
            Happening::Turn { peer, life } => self.turn(peer, life),
            Happening::Wake { peer, life } => self.wake(peer, life),
            Happening::Disk { peer, life } => self.work_disk(peer, life),
            Happening::Seal { peer, life } => self.seal_disk(peer, life),
            Happening::Space { peer, life } => self.retry_disk(peer, life),
            Happening::State { peer, life } => self.work_state(peer, life),
            Happening::Tell { peer, life, input } => self.give(peer, life, *input),
            Happening::Start(peer) => self.carry_out_lift(Lift::Start(peer)),
            Happening::Fault(number) => {
                if !self.calm {
                    let kind = self.scenario.faults[number].kind.clone();
                    self.inject(kind);
                    self.schedule_fault(number + 1);
                }
            }
            Happening::Lift(number) => self.lift(number),
            Happening::Named(plan) => self.carry_out_plan(plan),
            Happening::Lock => self.try_lock(),
            Happening::Operation(number) => {
                if !self.calm {
                    let operation = self.scenario.operations[number].clone();
                    self.operate(&operation);
                    self.schedule_operation(number + 1);
                }
            }
        }
    }

    /// Schedules an input of a peer.
    pub(crate) fn tell(&mut self, at: u64, peer: usize, life: u64, input: Input) {
        let input = Box::new(input);
        self.schedule(at, Happening::Tell { peer, life, input });
    }

    fn happen_in_network(&mut self, event: NetworkEvent) {
        let at = self.at;
        match event {
            NetworkEvent::Dial { from, life, to } => {
                if self.nodes[from].living(life).is_some() {
                    let to_life = self.nodes[to].life.as_ref().map(|life| life.number);
                    self.network
                        .dialed(at, (from, life), (to, to_life), &mut self.later);
                }
            }
            NetworkEvent::Failed { from, life, to } => {
                let peer = self.nodes[to].peer;
                self.give(from, life, Input::DialFailed(peer));
            }
            NetworkEvent::Up { link, side } => self.link_up(link, side),
            NetworkEvent::Arrive {
                link,
                side,
                lane,
                frame,
            } => {
                if let Some(end) = self.network.end(link, side)
                    && let Some(id) = end.id
                {
                    let input = Input::Frame {
                        link: id,
                        lane,
                        bytes: frame,
                    };
                    self.give(end.node, end.life, input);
                }
            }
            NetworkEvent::Down { link, side, code } => {
                if let Some(end) = self.network.down(link, side)
                    && let Some(id) = end.id
                {
                    if let Some(life) = self.nodes[end.node].living(end.life) {
                        life.links.remove(&id);
                    }
                    self.give(end.node, end.life, Input::LinkDown { link: id, code });
                }
            }
            NetworkEvent::Idle { link, silence } => {
                self.network.idle(at, link, silence, &mut self.later);
            }
        }
        self.schedule_network();
    }

    fn link_up(&mut self, link: u64, side: usize) {
        let Some(end) = self.network.end(link, side) else {
            return;
        };
        let Some(life) = self.nodes[end.node].living(end.life) else {
            // It died while it was being dialed.
            self.network
                .close(self.at, link, side, None, &mut self.later);
            return;
        };
        let id = LinkId(life.next_link);
        life.next_link += 1;
        life.links.insert(id, (link, side));
        if let Some(other) = self.network.up(link, side, id) {
            let mut exporter = [0; 32];
            exporter[..8].copy_from_slice(&self.scenario.seed.to_le_bytes());
            exporter[8..16].copy_from_slice(&link.to_le_bytes());
            let input = Input::LinkUp {
                link: id,
                peer: self.nodes[other].peer,
                dialed: side == 0,
                exporter,
            };
            self.give(end.node, end.life, input);
        }
    }
}

impl Happening {
    /// Tells whether the scenario has it happen; what the network does must not be re-rolled when
    /// the scenario is cut down.
    fn is_planned(&self) -> bool {
        matches!(
            self,
            Self::Fault(_) | Self::Lift(_) | Self::Operation(_) | Self::Named(_)
        )
    }

    /// Returns the peer at which it happens, if at one.
    fn peer(&self) -> Option<usize> {
        match self {
            Self::Turn { peer, .. }
            | Self::Wake { peer, .. }
            | Self::Disk { peer, .. }
            | Self::Seal { peer, .. }
            | Self::Space { peer, .. }
            | Self::State { peer, .. }
            | Self::Tell { peer, .. }
            | Self::Start(peer) => Some(*peer),
            Self::Network(NetworkEvent::Dial { from, .. } | NetworkEvent::Failed { from, .. }) => {
                Some(*from)
            }
            Self::Network(_)
            | Self::Fault(_)
            | Self::Lift(_)
            | Self::Operation(_)
            | Self::Named(_)
            | Self::Lock => None,
        }
    }
}

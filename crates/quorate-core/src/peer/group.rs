//! One group on one peer: formation, consensus, state and state sync, put together.
//!
//! This file routes: what comes in goes to the part it belongs to, and after each input the parts
//! are looked at once for what follows from it (entries to apply, a catch-up to start, peers to be
//! told where this one stands). The decisions are in the parts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{
    canary::{Canary, Planted},
    client::{ClientOp, Reply, RequestId},
    configuration::Configuration,
    cursor::{Cursor, Index},
    disk_op::{Ballot, DiskError, DiskId, DiskWrite, RecoveredGroup},
    entry::{Body, Entry, Genesis},
    event::{GroupEvent, Role},
    fate::Fate,
    id::{GenesisId, GroupId, Member, PeerId},
    input::OpenGroup,
    limits,
    out::Out,
    profile::GroupProfile,
    raft::{Raft, RaftStart},
    random::Random,
    state_op::StateOp,
    time::{Now, Time},
    wire::{Address, Message, Proposal, Replication, Standing},
};

use super::{
    applier::Applier,
    early::Early,
    formation::{Formation, Step},
    meeting::Meeting,
    syncing::Syncing,
};

/// One group.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Group {
    pub(super) me: Member,
    pub(super) profile: GroupProfile,
    seed: u64,
    pub(super) planted: Planted,
    pub(super) random: Random,
    /// The ballot in a history that was dropped, should this peer come back to it.
    given_up: Ballot,
    pub(super) formation: Formation,
    pub(super) genesis: Option<GenesisId>,
    pub(super) raft: Option<Raft>,
    /// Other histories of the group, and those that are no more.
    pub(super) meeting: Meeting,
    /// What has become of the history here, as its state says.
    pub(super) fate: Fate,
    /// After which entry the machine failed last, in this history.
    pub(super) state_lost: Option<Cursor>,
    /// Whether the state answers for the history here: before, its answers are for another one.
    pub(super) begun: bool,
    pub(super) applier: Applier,
    pub(super) syncing: Syncing,
    /// When markers in the log were appended here, by index.
    pub(super) markers: BTreeMap<Index, Time>,
    /// Who has proven the group's key, and is reachable.
    pub(super) peers: Vec<Member>,
    pub(super) told: Option<Standing>,
    /// When the group is asked next to let this peer in, or out.
    pub(super) ask_at: Time,
    /// Whether the group was asked for a seat, in this life: true also where that may have been.
    pub(super) has_asked: bool,
    /// How often it was asked, through somebody who does not lead, to let this peer go.
    pub(super) asked: usize,
    early: Early,
    /// Since when each peer has a link, or has none any more.
    pub(super) links: BTreeMap<PeerId, Time>,
    /// Whether this peer has left before there was a history to leave.
    pub(super) left: bool,
    /// When its peer knows it to be due.
    pub(super) due: Time,
    /// Whether its peer knows that it is to settle.
    pub(super) touched: bool,
    /// The configuration that was looked through for members whose boots are to be remembered.
    pub(super) seen: Option<Index>,
}

impl Group {
    /// Opens a group with what the durable log held of it.
    pub(crate) fn open(
        open: &OpenGroup,
        id: GroupId,
        me: Member,
        (seed, planted): (u64, Planted),
        recovered: Option<RecoveredGroup>,
        now: Time,
        out: &mut Out,
    ) -> Self {
        let refused = recovered
            .iter()
            .flat_map(|group| group.refused.iter().copied());
        let tombstones = recovered
            .iter()
            .flat_map(|group| group.tombstones.iter().copied())
            .filter(|_| !planted.has(Canary::TombstoneForgotten));
        let meeting = Meeting::new(tombstones);
        // Each group of a peer has a stream of its own.
        let seed = seed ^ u64::from_le_bytes(id.0[..8].try_into().expect("eight bytes"));
        let mut group = Self {
            me,
            profile: open.profile.clone(),
            seed,
            planted,
            random: Random::new(seed, me.peer),
            formation: Formation::new(id, me, (open.form, planted), refused),
            given_up: Ballot::default(),
            genesis: None,
            raft: None,
            meeting,
            fate: Fate::Empty,
            begun: false,
            state_lost: None,
            applier: Applier::new(open.versions, planted),
            syncing: Syncing::new(&open.profile),
            markers: BTreeMap::new(),
            peers: Vec::new(),
            told: None,
            ask_at: Time(0),
            has_asked: false,
            asked: 0,
            early: Early::default(),
            links: BTreeMap::new(),
            left: false,
            due: Time::NEVER,
            touched: false,
            seen: None,
        };
        if group.meeting.has_buried() {
            group.formation.retire();
        }
        if let Some(recovered) = recovered {
            group.recover(recovered, now, out);
        }
        group
    }

    fn recover(&mut self, recovered: RecoveredGroup, now: Time, out: &mut Out) {
        let Some(genesis) = recovered.genesis else {
            self.given_up = recovered.ballot;
            return;
        };
        // A log that damage cut back to its genesis may have held much more.
        let bare = recovered.founding.filter(|_| recovered.floor.is_none());
        if let Some(founding) = bare {
            self.formation.resume(founding);
        }
        self.start(now, genesis, out, |start| RaftStart {
            ballot: recovered.ballot,
            base: recovered.base,
            configuration: recovered.configuration,
            entries: recovered.entries,
            floor: recovered.floor,
            ..start
        });
        self.syncing
            .started_at(self.raft.as_ref().map_or(Index(0), Raft::commit));
    }

    /// Starts the consensus of a history.
    fn start(
        &mut self,
        now: Time,
        genesis: GenesisId,
        out: &mut Out,
        with: impl FnOnce(RaftStart) -> RaftStart,
    ) {
        let start = RaftStart {
            me: self.me,
            planted: self.planted,
            genesis,
            profile: self.profile.clone(),
            versions: self.applier.versions(),
            random: Random::new(self.seed.rotate_left(17), self.me.peer),
            ballot: Ballot::default(),
            base: Cursor::ZERO,
            configuration: Configuration::default(),
            entries: Vec::new(),
            floor: None,
        };
        self.genesis = Some(genesis);
        self.raft = Some(Raft::new(with(start), now));
        self.forget_history();
        out.state.push(StateOp::Begin { genesis });
        out.event(GroupEvent::Formed { genesis });
    }

    /// Starts the consensus of a genesis that is durable here.
    fn start_genesis(&mut self, now: Time, genesis: &Genesis, first: bool, out: &mut Out) {
        let entry = Entry {
            term: Genesis::CURSOR.term,
            body: Body::Configuration(Box::new(genesis.configuration())),
        };
        let me = self.me;
        self.start(now, genesis.id(), out, |start| RaftStart {
            ballot: Ballot {
                term: Genesis::CURSOR.term,
                voted_for: genesis.voters.first().copied(),
            },
            entries: vec![entry],
            ..start
        });
        if let Some(raft) = self.raft.as_mut().filter(|_| first) {
            // The proposer's log is ready first: it campaigns as soon as others may hold it too.
            let soon = if genesis.voters == [me] {
                Duration::ZERO
            } else {
                self.profile.heartbeat
            };
            raft.campaign_at(now.after(soon));
        }
    }

    /// Takes a control message of `from` that is for this life.
    pub(crate) fn on_message(
        &mut self,
        now: Now,
        from: Member,
        address: Address,
        message: Message,
        out: &mut Out,
    ) {
        if self.is_poisoned() {
            return;
        }
        match message {
            Message::Standing(standing) => self.on_standing(now.time, from, standing, out),
            Message::Met { genesis, used } => self.on_met(now.time, from, genesis, used),
            Message::Dissolved { genesis, into } => {
                self.on_dissolved(now.time, from, (genesis, into), out);
            }
            Message::Propose(genesis) if self.tell_of_tombstone(from, genesis.id(), out) => {}
            Message::Propose(genesis) => {
                let durable = self.raft.as_ref().map(|raft| raft.log().durable().index());
                let holds = self
                    .genesis
                    .map(|id| (id, durable >= Some(Genesis::CURSOR.index)));
                self.formation.on_propose(from, genesis, holds, out);
            }
            Message::Accept(id) => self.formation.on_accept(from, id),
            Message::Refuse(id) => self.formation.on_refuse(from, id),
            message => {
                let leads = match message {
                    Message::Heartbeat { .. } | Message::Behind { .. } => true,
                    // A founder that the genesis never reached is still asked for its vote, and
                    // may be the one that makes the majority.
                    Message::PreVote { .. } | Message::Vote { .. } => {
                        self.formation.sees_established_at(from, address.genesis)
                    }
                    _ => false,
                };
                if !self.takes_part_in(now.time, address.genesis, leads, out) {
                    self.tell_of_tombstone(from, address.genesis, out);
                    out.mark("group.other_history");
                    return;
                }
                if let Some(message) = self.on_sync_message(now, from, message, out)
                    && let Some(raft) = &mut self.raft
                {
                    raft.on_message(now.time, from, message, out);
                }
            }
        }
        self.follow_up(now, out);
    }

    /// Takes a frame of the entries lane of `from` that is for this life.
    pub(crate) fn on_replication(
        &mut self,
        now: Now,
        from: Member,
        address: Address,
        message: Replication,
        out: &mut Out,
    ) {
        let leads = matches!(message, Replication::Append(_));
        if self.is_poisoned() {
            return;
        }
        if !self.takes_part_in(now.time, address.genesis, leads, out) {
            self.tell_of_tombstone(from, address.genesis, out);
            out.mark("group.other_history");
            return;
        }
        if let Some(raft) = &mut self.raft {
            raft.on_replication(now.time, from, message, out);
        }
        self.follow_up(now, out);
    }

    /// Tells whether a message of `genesis` is for this peer; a joiner follows the first leader
    /// that talks to it, and votes for the first candidate of an established history.
    ///
    /// That it has refused the genesis does not matter then: a leader proves that a quorum of its
    /// members took part without this one, so that nobody gives it up on the refusal's account.
    fn takes_part_in(&mut self, now: Time, genesis: GenesisId, leads: bool, out: &mut Out) -> bool {
        let none = genesis == GenesisId([0; 16]) || self.meeting.is_dissolved(genesis);
        if self.genesis.is_some() || !leads || self.left || none {
            return self.genesis == Some(genesis);
        }
        if self.formation.holds_one() {
            // A genesis of one's own is on its way to the disk.
            return false;
        }
        if self.formation.has_refused(genesis) {
            out.mark("group.joined_though_refused");
        }
        out.mark("group.joined");
        out.write(DiskWrite::Base {
            base: Cursor::ZERO,
            configuration: Box::default(),
            genesis,
            keep: false,
        });
        let ballot = if self.formation.has_refused(genesis) {
            self.given_up
        } else {
            Ballot::default()
        };
        self.start(now, genesis, out, |start| RaftStart { ballot, ..start });
        true
    }

    /// Takes the completion of a disk operation.
    pub(crate) fn on_disk(
        &mut self,
        now: Now,
        id: DiskId,
        result: Result<(), DiskError>,
        out: &mut Out,
    ) {
        if result.is_ok()
            && let Some(step) = self.formation.on_disk(id, out)
        {
            self.take_step(now.time, step, out);
        }
        if result.is_ok() {
            self.on_buried(id, out);
        }
        if let Some(raft) = &mut self.raft {
            raft.on_disk(now.time, id, result.is_err(), out);
        }
        self.follow_up(now, out);
    }

    /// Takes note of whether there is space for what is to be written.
    pub(crate) fn on_space(&mut self, now: Now, enough: bool, out: &mut Out) {
        if let Some(raft) = &mut self.raft {
            raft.on_space(now.time, enough, out);
        }
        self.follow_up(now, out);
    }

    fn take_step(&mut self, now: Time, step: Step, out: &mut Out) {
        match step {
            Step::Start { genesis, first } => self.start_genesis(now, &genesis, first, out),
            Step::Drop(genesis) => {
                if self.genesis == Some(genesis) {
                    out.belongs_to(genesis);
                    self.genesis = None;
                    if let Some(mut raft) = self.raft.take() {
                        self.given_up = raft.ballot();
                        raft.disband(out);
                    }
                    self.forget_history();
                }
            }
        }
    }

    /// Takes the news that this peer, and no other of the machine, may found the group.
    pub(crate) fn on_founder(&mut self, now: Now, out: &mut Out) {
        self.formation.on_founder();
        self.follow_up(now, out);
    }

    /// Tells whether this peer waits until it may found the group unasked.
    pub(crate) fn looks_around(&self) -> bool {
        self.raft.is_none() && self.formation.looks_around()
    }

    /// Takes note of whether a peer with a known address has neither answered nor failed to.
    pub(crate) fn note_unanswered(&mut self, unanswered: bool) {
        self.formation.note_unanswered(unanswered);
    }

    /// Takes a request of a client.
    pub(crate) fn on_client(&mut self, request: RequestId, op: ClientOp, out: &mut Out) {
        // Until its history has begun, the state may still be that of the one before.
        let applied = self.begun.then_some(self.applier.applied);
        match (&mut self.raft, op) {
            (Some(raft), ClientOp::Write { command, deadline }) => {
                raft.submit(request, Proposal::Command(command), deadline, out);
            }
            (Some(raft), ClientOp::Register { deadline }) => {
                raft.submit(request, Proposal::Register, deadline, out);
            }
            (
                Some(raft),
                ClientOp::Read {
                    freshness,
                    deadline,
                },
            ) => {
                raft.read(request, freshness, deadline, applied, out);
            }
            (Some(raft), ClientOp::Transfer { to, deadline }) => {
                raft.transfer(request, to, deadline, out);
            }
            (Some(raft), ClientOp::Leave { dissolve, deadline }) => {
                raft.leave(request, dissolve, deadline, out);
            }
            (None, ClientOp::Leave { .. }) if self.formation.is_unbound() && !self.has_asked => {
                // There is no seat to give up and will be none. Whoever may have one, or has asked
                // for one, waits until it knows of it and then gives it up.
                self.left = true;
                self.formation.retire();
                out.reply(request, Reply::Done);
                out.event(GroupEvent::Left);
            }
            (None, op) => self.early.push(request, op, out),
        }
    }

    /// Takes note of a new route to a peer, or of one more group proven on it.
    pub(crate) fn on_peer(&mut self, now: Now, member: Member, out: &mut Out) {
        self.peers.retain(|other| other.peer != member.peer);
        self.peers.push(member);
        self.peers.sort_unstable();
        self.note_link(now.time, member.peer);
        out.send(member, Message::Standing(self.standing()));
        if let Some(raft) = &mut self.raft {
            raft.on_link(now.time, member);
        }
        self.on_source_up(now, member, out);
        self.follow_up(now, out);
    }

    /// Notes, for people, when a link came or went.
    fn note_link(&mut self, now: Time, peer: PeerId) {
        self.links.insert(peer, now);
        if self.links.len() > limits::PEERS {
            let configuration = self.raft.as_ref().map(|raft| raft.configuration().1);
            let peers = &self.peers;
            self.links.retain(|peer, _| {
                peers.iter().any(|other| other.peer == *peer)
                    || configuration.is_some_and(|members| members.life_of(*peer).is_some())
            });
        }
    }

    /// Takes note that a peer has no route any more, and whether it said goodbye.
    pub(crate) fn on_peer_gone(&mut self, now: Now, peer: PeerId, goodbye: bool, out: &mut Out) {
        let Some(place) = self.peers.iter().position(|other| other.peer == peer) else {
            return;
        };
        let member = self.peers.remove(place);
        self.note_link(now.time, peer);
        self.formation.on_gone(peer);
        if let Some(raft) = self.raft.as_mut().filter(|_| goodbye) {
            raft.on_goodbye(now.time, member, out);
        }
        self.on_source_gone(now, member, out);
        self.follow_up(now, out);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Out) {
        let log = (self.is_bare(), self.has_voted());
        let step = self
            .formation
            .tick(now.time, self.genesis, log, &mut self.random, out);
        if let Some(step) = step {
            self.take_step(now.time, step, out);
        }
        if let Some(raft) = &mut self.raft {
            raft.tick(now.time, out);
        }
        self.early.expire(now.time, out);
        self.tick_sync(now, out);
        // What was needed when the last entry was applied may be so no more: a follower has it
        // now, or a snapshot has just expired.
        self.prune(out);
        self.tick_meeting(now.time, out);
        self.ask_the_group(now.time, out);
        self.follow_up(now, out);
    }

    /// Sends what the inputs since the last call have in common.
    pub(crate) fn settle(&mut self, now: Now, out: &mut Out) {
        if let Some(raft) = &mut self.raft {
            let peers = &self.peers;
            raft.settle(now, |member| peers.contains(&member), out);
            if self.begun {
                raft.answer_reads(self.applier.applied, out);
            }
        }
        self.tell_standing(out);
    }

    /// Returns when [`Group::tick`] is due.
    pub(crate) fn deadline(&self) -> Time {
        let raft = self.raft.as_ref().map_or(Time::NEVER, Raft::deadline);
        let ask = if self.wants_in() || self.wants_out() {
            self.ask_at
        } else {
            Time::NEVER
        };
        raft.min(ask)
            .min(self.formation.deadline())
            .min(self.syncing.deadline())
            .min(self.early.deadline())
            .min(self.meeting.deadline())
    }

    /// Looks once at what follows from an input.
    pub(super) fn follow_up(&mut self, now: Now, out: &mut Out) {
        if self.raft.is_some() && !self.early.is_empty() {
            for (request, op) in self.early.take() {
                self.on_client(request, op, out);
            }
        }
        if !out.markers.is_empty() {
            let markers = out.markers.drain(..).map(|index| (index, now.time));
            self.markers.extend(markers);
        }
        let bare = self.is_bare();
        let followed = !bare && !self.planted.has(Canary::FollowedGenesisDropped);
        if followed && self.raft.is_some() {
            self.formation.established();
        }
        if self.raft.is_none() || bare {
            let log = (bare, self.has_voted());
            let step = self
                .formation
                .tick(now.time, self.genesis, log, &mut self.random, out);
            if let Some(step) = step {
                self.take_step(now.time, step, out);
            }
        }
        if self.is_poisoned() {
            return;
        }
        self.follow_sync(now, out);
        self.feed_state(now, out);
    }

    /// Tells whether the log holds nothing but a genesis.
    pub(super) fn is_bare(&self) -> bool {
        self.raft.as_ref().is_some_and(|raft| {
            raft.log().base() == Cursor::ZERO && raft.log().last().index <= Genesis::CURSOR.index
        })
    }

    /// Tells whether a vote was given, or may have been, after that which founders begin with.
    fn has_voted(&self) -> bool {
        let raft = self.raft.as_ref();
        raft.is_some_and(|raft| raft.ballot().term > Genesis::CURSOR.term)
    }

    /// Drops what the log need not hold any more: all but a reserve of what the state has applied,
    /// and what live snapshots, sessions elsewhere and slow followers still need.
    pub(super) fn prune(&mut self, out: &mut Out) {
        if self.is_poisoned() {
            return;
        }
        let oldest_anchor = self.syncing.oldest_anchor();
        let Some(raft) = self.raft.as_mut().filter(|_| !self.profile.keep_log) else {
            return;
        };
        raft.prune(self.applier.applied, oldest_anchor, out);
        let base = raft.log().base().index;
        let first = self.markers.first_key_value();
        if first.is_some_and(|(first, _)| *first <= base) {
            self.markers.retain(|index, _| *index > base);
        }
    }

    /// Answers everybody who waits: this peer takes no part any more.
    pub(crate) fn close(&mut self, out: &mut Out) {
        self.early.close(out);
        if let Some(raft) = &mut self.raft {
            raft.close(out);
        }
    }

    /// Returns what this peer is in the group.
    pub(crate) fn role(&self) -> Role {
        self.raft.as_ref().map_or(Role::Follower, Raft::role)
    }
}

//! Consensus of one group: Raft as a pure state machine.
//!
//! Follows the paper (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm",
//! extended version) and the dissertation where it goes further; where we deviate:
//!
//! - A voter is a life of a peer, not a peer: a peer that lost its memory is somebody else, enters
//!   as a learner and takes the place of its old self by a change of configuration.
//! - A peer with an empty log never campaigns: it would read old configurations on its way up.
//! - A follower that needs entries that are gone asks for a snapshot itself and chooses among many
//!   sources; meanwhile the leader streams what follows the anchor, which is staged, not acked.
//! - Nothing is promised before it is durable: votes, acks and the leader's own share of a commit
//!   are built from tokens of finished disk operations.
//! - A leader that is removed, or whose disk is slow, hands over first; writes and reads that come
//!   meanwhile wait for the next leader instead of being refused.
//! - A candidate that is not elected asks for pre-votes again before it raises its term once more.
//! - Whoever is let go by the last configuration in its own log alone still campaigns, for it may
//!   be the only one whose log can win (D 4.2.2 has the leader do so).
//!
//! Where to look for what, in the paper's order (its sections; D is the dissertation):
//!
//! | file | what | where it is from |
//! |---|---|---|
//! | [`role`] | roles, and all ways between them | 5.1, figure 4 |
//! | [`election`] | pre-votes and votes | 5.2, 5.4.1; D 9.6 |
//! | [`leader`], [`replication`], [`follower`] | the log, from the leader to the others | 5.3 |
//! | [`conversation`] | one stream: modes, losses, late answers | D 10.2.1; run ids ours |
//! | [`window`] | how much of a stream is on its way | D 10.2.1; its size as TCP Vegas |
//! | [`heartbeat`] | keeping the lead, and giving it up without a quorum | 5.2; D 6.2 |
//! | [`commit`] | counting durable replicas | 5.4.2, figure 8 |
//! | [`log`] | entries, and how much of them is durable | 5.3; D 10.2.1 |
//! | [`configurations`], [`membership`] | who counts, and how that changes | 6; D 4.2, 4.3 |
//! | [`leave`] | members that go, the leader too | D 4.2.2 |
//! | [`transfer`] | handing the lead over | D 3.10 |
//! | [`reserve`], [`staging`] | what is kept of the log, and what replaces it | 7; staging ours |
//! | [`proposal`], [`proposals`], [`outcome`] | clients' commands | 8; D 6.3 |
//! | [`read`] | linearizable reads | 8; D 6.4 |
//! | [`receive`] | who is heard at all, by run, term and life | 5.1; runs and lives ours |
//! | [`disk`] | votes and acks after damage, and without space | ours |
//! | [`stateless`] | a member whose state is lost, its log whole | ours |
//! | [`ending`] | poisoned, closed, disbanded | ours |
//! | [`planted`] | where planted bugs are asked about | - |
//! | [`upgrade`] | by which version of the machine commands are applied | ours |
//!
//! What can go wrong is answered where it is handled: lost and late messages in [`conversation`],
//! writes that finish out of order in [`log`], stale reads in [`read`], lost commands in
//! [`proposal`], leaders that hand over in [`transfer`], members that go in [`leave`].

mod commit;
mod configurations;
mod conversation;
mod disk;
mod election;
mod ending;
mod follower;
mod heartbeat;
mod leader;
mod leave;
mod log;
mod membership;
mod outcome;
mod planted;
mod proposal;
mod proposals;
mod read;
mod receive;
mod replication;
mod reserve;
mod role;
mod staging;
mod stateless;
mod transfer;
mod upgrade;
mod window;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    canary::{Canary, Planted},
    configuration::Configuration,
    cursor::{Cursor, Index},
    disk_op::{Ballot, DiskId, DiskWrite},
    entry::Entry,
    event::GroupEvent,
    id::{GenesisId, Member, PeerId},
    out::Out,
    profile::GroupProfile,
    random::{Purpose, Random},
    time::{Now, Time, Wall},
    versions::Versions,
};

use self::{
    configurations::Configurations,
    election::VoteDue,
    leave::{Leaver, Waiting},
    log::Log,
    proposals::Proposals,
    read::Reads,
    role::RoleState,
    staging::Staging,
    transfer::Wish,
    upgrade::InEffect,
};

/// What one group's consensus starts with.
#[derive(Clone, Hash, Debug)]
pub(crate) struct RaftStart {
    pub(crate) me: Member,
    pub(crate) planted: Planted,
    pub(crate) genesis: GenesisId,
    pub(crate) profile: GroupProfile,
    pub(crate) versions: Versions,
    pub(crate) random: Random,
    pub(crate) ballot: Ballot,
    pub(crate) base: Cursor,
    pub(crate) configuration: Configuration,
    pub(crate) entries: Vec<Entry>,
    pub(crate) floor: Option<Cursor>,
}

/// The consensus of one group on one peer.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Raft {
    me: Member,
    planted: Planted,
    genesis: GenesisId,
    profile: GroupProfile,
    random: Random,
    ballot: Ballot,
    /// The newest ballot known to be durable, and the write that made it so.
    durable_ballot: (DiskId, Ballot),
    ballots: BTreeMap<DiskId, Ballot>,
    votes_due: Vec<VoteDue>,
    log: Log,
    disk: disk::Disk,
    configurations: Configurations,
    commit: Index,
    role: RoleState,
    leader: Option<Member>,
    leader_heard: Time,
    election_at: Time,
    /// How long this peer waits for a leader to be heard again before it campaigns, as last drawn.
    election_wait: u64,
    /// The conversation with the leader of this term, as it named it.
    run: u64,
    /// Up to where the log is known to equal the leader's, in this conversation.
    matched: Index,
    /// The highest read sequence seen in this conversation.
    read_seen: u64,
    ack_due: bool,
    staging: Option<Staging>,
    proposals: Proposals,
    /// What the wall clock showed when this peer last settled: the stamp of entries.
    wall: Wall,
    reads: Reads,
    /// Peers that asked to become learners, by key.
    joins: BTreeMap<PeerId, Member>,
    /// On the leader: members that want to go, by key.
    leaves: BTreeMap<PeerId, Leaver>,
    /// Clients here that wish that somebody else led.
    wishes: Vec<Wish>,
    /// Clients here that wait until this peer has left.
    leaving: Vec<Waiting>,
    /// The number of this peer's last wish to leave.
    leave_wish: u64,
    /// Whether this peer has given up its seat, in this life.
    left: bool,
    /// Up to which configuration it is known to be out, since it has left.
    out_upto: Index,
    /// Since when it has tried, in the lead, to hand over because it has to go.
    aside_since: Option<Time>,
    /// Set when the leader says that the entries needed here are gone there.
    behind: Option<Behind>,
    /// Up to how many bytes of log the last look for what to drop holds.
    prune_above: u64,
    /// The version of the state machine that commands are applied by.
    in_effect: InEffect,
    /// Bytes of keys and values in the state here, once it has said so.
    state_bytes: Option<u64>,
    poisoned: Option<&'static str>,
    /// Whether the state here is of before the log's start: only a snapshot can bring it on.
    lacks_state: bool,
    expiry_at: Time,
}

/// The leader no longer has the entries that are needed here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Behind {
    /// The leader's first log index.
    pub(crate) first: Index,
}

/// How often waiting requests are looked through for passed deadlines; their precision.
const EXPIRY: Duration = Duration::from_millis(50);

impl Raft {
    /// Starts from what the durable log held, all of it durable.
    pub(crate) fn new(mut start: RaftStart, now: Time) -> Self {
        let first_number = start.random.draw(Purpose::Run) >> 1;
        let (base, configuration) = (start.base.index, start.configuration);
        let configurations =
            Configurations::recovered(start.me, base, configuration, &start.entries);
        let mut raft = Self {
            me: start.me,
            planted: start.planted,
            genesis: start.genesis,
            profile: start.profile,
            random: start.random,
            ballot: start.ballot,
            durable_ballot: (DiskId(0), start.ballot),
            ballots: BTreeMap::new(),
            votes_due: Vec::new(),
            commit: start.base.index,
            log: Log::recovered(start.base, start.entries, start.planted),
            disk: disk::Disk::new(start.floor),
            configurations,
            role: RoleState::Follower,
            leader: None,
            leader_heard: Time(0),
            election_at: Time::NEVER,
            election_wait: 0,
            run: 0,
            matched: Index(0),
            read_seen: 0,
            ack_due: false,
            staging: None,
            proposals: Proposals::starting_at(first_number, start.planted),
            wall: Wall(0),
            reads: Reads::starting_at(first_number, start.planted),
            joins: BTreeMap::new(),
            leaves: BTreeMap::new(),
            wishes: Vec::new(),
            leaving: Vec::new(),
            leave_wish: 0,
            left: false,
            out_upto: Index(0),
            aside_since: None,
            behind: None,
            prune_above: 0,
            in_effect: InEffect::new(start.versions),
            state_bytes: None,
            poisoned: None,
            lacks_state: false,
            expiry_at: Time::NEVER,
        };
        raft.reset_election(now);
        raft
    }

    /// Makes the next campaign start at `at`, because nobody else will be ready earlier.
    pub(crate) fn campaign_at(&mut self, at: Time) {
        self.election_at = at;
    }

    /// Takes the completion of a disk operation.
    pub(crate) fn on_disk(&mut self, now: Time, id: DiskId, failed: bool, out: &mut Out) {
        if failed {
            self.poison("the durable log failed: what it holds is in doubt", out);
            return;
        }
        if let Some(ballot) = self.ballots.remove(&id) {
            self.ballot_is_durable(now, id, ballot, out);
        } else {
            let before = self.log.durable();
            self.log.written(id);
            self.ack_due |= self.log.durable() > before;
            self.lift_floor(out);
        }
        if self.is_leader() {
            self.advance_commit(now, out);
        }
    }

    /// Does what is due at `now`.
    pub(crate) fn tick(&mut self, now: Time, out: &mut Out) {
        if self.poisoned.is_some() {
            return;
        }
        if now >= self.expiry_at {
            self.proposals.expire(now, out);
            self.reads.expire(now, out);
            self.expire_wishes(now, out);
            self.expire_leaving(now, out);
            self.expiry_at = Time::NEVER;
        }
        if self.is_leader() {
            self.tick_leader(now, out);
        } else {
            self.tick_campaign(now, out);
        }
    }

    /// Sends what the inputs since the last call have in common.
    ///
    /// `reachable` tells whether there is a link to a member: what is meant for a leader without
    /// one waits, so that it is not lost on the way.
    pub(crate) fn settle(&mut self, now: Now, reachable: impl Fn(Member) -> bool, out: &mut Out) {
        if self.poisoned.is_some() {
            return;
        }
        self.wall = now.wall;
        let now = now.time;
        self.flush_votes(out);
        self.pursue_wishes(now, out);
        if self.is_leader() {
            self.settle_leader(now, out);
        } else {
            self.settle_follower(now, reachable, out);
        }
        let nobody_waits = self.proposals.is_empty()
            && self.reads.is_empty()
            && self.wishes.is_empty()
            && self.leaving.is_empty();
        if self.expiry_at == Time::NEVER && !nobody_waits {
            self.expiry_at = now.after(EXPIRY);
        }
    }

    /// Returns when [`Raft::tick`] is due.
    pub(crate) fn deadline(&self) -> Time {
        if self.poisoned.is_some() {
            return Time::NEVER;
        }
        let role = match &self.role {
            RoleState::Leader(leader) => leader.deadline(),
            RoleState::PreCandidate(campaign) | RoleState::Candidate(campaign) => {
                campaign.ask_again_at.min(self.election_at)
            }
            RoleState::Follower if self.leader.is_some() || self.may_campaign() => self.election_at,
            RoleState::Follower => Time::NEVER,
        };
        role.min(self.expiry_at)
    }

    /// Returns whether the leader said, since the last call, that this peer must restore.
    pub(crate) fn take_behind(&mut self) -> Option<Behind> {
        self.behind.take()
    }

    /// Notes that the link to `member` is new: what was on its way may be lost.
    pub(crate) fn on_link(&mut self, now: Time, member: Member) {
        let next = self.log.last().index.next();
        if let RoleState::Leader(leader) = &mut self.role {
            let run = self.random.draw(Purpose::Run) | 1;
            leader.relink(now, member, next, run);
        }
        if self.leader == Some(member) {
            self.proposals.resend();
            self.reads.ask_again();
        }
    }

    /// Notes that `member` has said goodbye: if it led, nobody does, and the next campaign need not
    /// wait for an election timeout.
    ///
    /// A campaign at any time is safe; a peer that still hears a leader refuses its pre-vote.
    pub(crate) fn on_goodbye(&mut self, now: Time, member: Member, out: &mut Out) {
        if self.leader != Some(member) || self.is_leader() {
            return;
        }
        out.mark("raft.leader_said_goodbye");
        self.set_leader(None, out);
        // Not all at one instant, so that one of them gets the votes.
        let spread = u64::try_from(self.profile.heartbeat.as_nanos()).unwrap_or(u64::MAX);
        let wait = self.random.between(Purpose::Election, 0, spread);
        self.election_at = Time(now.0.saturating_add(wait));
    }

    /// Takes note of how large the state is.
    pub(crate) fn note_state(&mut self, bytes: u64) {
        self.state_bytes = Some(bytes);
    }

    /// Returns whom this peer follows, or itself if it leads.
    pub(crate) fn leader(&self) -> Option<Member> {
        self.leader
    }

    /// Returns the ballot.
    pub(crate) fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Returns the commit index.
    pub(crate) fn commit(&self) -> Index {
        self.commit
    }

    /// Returns up to where the log is known to equal the leader's; all of it on the leader.
    pub(crate) fn matched(&self) -> Index {
        if self.is_leader() {
            self.log.last().index
        } else {
            self.matched
        }
    }

    /// Returns the log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the latest configuration in the log and its index.
    pub(crate) fn configuration(&self) -> (Index, &Configuration) {
        self.configurations.latest()
    }

    /// Returns why this peer takes no part any more, if so.
    pub(crate) fn poisoned(&self) -> Option<&'static str> {
        self.poisoned
    }

    fn set_leader(&mut self, leader: Option<Member>, out: &mut Out) {
        if self.leader != leader {
            self.leader = leader;
            if let Some(leader) = leader.filter(|leader| *leader != self.me) {
                self.aside_since = None;
                self.tell_leader_of_leave(leader, out);
            }
            self.proposals.resend();
            self.reads.ask_again();
            out.event(GroupEvent::LeaderChanged {
                term: self.ballot.term,
                leader,
            });
        }
    }

    fn write_ballot(&mut self, out: &mut Out) -> DiskId {
        let id = out.write(DiskWrite::Ballot(self.ballot));
        self.ballots.insert(id, self.ballot);
        id
    }

    /// Tells whether this peer may ask for votes: one that can be needed, with a log, that has not
    /// left.
    fn may_campaign(&self) -> bool {
        !self.left && self.disk.lets_campaign() && !self.log.is_empty() && self.can_be_needed()
    }

    /// Tells whether this peer votes, as far as it knows, or its log alone may hold that it does
    /// not: then others who still count it can elect nobody, for their logs are shorter
    /// (dissertation, section 4.2.2). Its own vote does not count.
    fn can_be_needed(&self) -> bool {
        let may_not_be = self.configurations.latest().0 > self.commit
            && !self.planted.has(Canary::RemovedIsSilent);
        self.configurations.votes() || (may_not_be && self.configurations.voted())
    }

    /// Raises the commit index to `commit`, as far as the log is known to equal the leader's.
    fn raise_commit(&mut self, commit: Index) {
        let matched = self.known_to_match();
        self.commit = self.commit.max(commit.min(matched));
    }
}

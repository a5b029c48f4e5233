//! A read-only look into a group, for checkers, status and tests.

use std::collections::{BTreeMap, BTreeSet};

use super::group::Group;
use crate::{
    configuration::Configuration,
    cursor::{Cursor, Index, Term},
    disk_op::Ballot,
    entries::LogEntries,
    event::Role,
    fate::Fate,
    id::{GenesisId, Member, SessionId},
    raft::Raft,
    time::Time,
    versions::Versions,
};

/// What a group looks like from one of its peers; borrowed, and cheap to make.
///
/// What is looked at after every step of a simulation is a field; the rest is looked up when asked
/// for.
#[derive(Clone, Debug)]
pub struct GroupView<'a> {
    group: &'a Group,
    /// The history, if there is one here.
    pub genesis: Option<GenesisId>,
    /// This peer's life.
    pub me: Member,
    /// Its role.
    pub role: Role,
    /// Its ballot.
    pub ballot: Ballot,
    /// Whom it follows, or itself.
    pub leader: Option<Member>,
    /// The cursor before the first entry of the log.
    pub base: Cursor,
    /// The log's entries after `base`.
    pub entries: &'a LogEntries,
    /// The last cursor of the log.
    pub last: Cursor,
    /// The last index known to be durable here.
    pub durable: Index,
    /// The commit index.
    pub commit: Index,
    /// The last cursor the state has applied.
    pub applied: Cursor,
    /// The latest configuration in the log, committed or not.
    pub configuration: &'a Configuration,
    /// The index of that configuration.
    pub configuration_index: Index,
    /// Bytes of proposed entries that are not committed.
    pub uncommitted_bytes: usize,
    /// Requests that wait here.
    pub waiting: usize,
    /// Why this peer takes no part any more, if so.
    pub poisoned: Option<&'static str>,
    /// After which entry the machine failed, until the state is there again.
    pub state_lost: Option<Cursor>,
}

impl<'a> GroupView<'a> {
    /// Returns the term of the entry at `index`, if the log holds it or starts right after it.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        Some(self.entries.get(usize::try_from(offset).ok()?)?.term)
    }

    /// Tells whether this peer has seen an established history of the group, and so founds none in
    /// this life.
    pub fn has_met(&self) -> bool {
        self.group.formation.has_met()
    }

    /// Returns the other members of the latest configuration, and what is known of each here.
    pub fn members(&self) -> Vec<MemberView> {
        let views = |raft| self.group.member_views(raft);
        self.raft().map(views).unwrap_or_default()
    }

    /// Returns the version of the state machine that the next command here is applied by.
    pub fn version(&self) -> u32 {
        self.group.applier.version()
    }

    /// Returns the versions that the state machine here reads. If the one in effect is not among
    /// them, this peer keeps its log and votes, and applies no command.
    pub fn versions(&self) -> Versions {
        self.group.applier.versions()
    }

    /// Returns, on a leader, to whom it is handing over.
    pub fn handover(&self) -> Option<Member> {
        self.raft().and_then(Raft::handover_to)
    }

    /// Tells whether a client waits until this peer has left the group.
    pub fn is_leaving(&self) -> bool {
        self.raft().is_some_and(Raft::is_leaving)
    }

    /// Tells whether this peer has given up its seat, in this life.
    pub fn has_left(&self) -> bool {
        self.group.left || self.raft().is_some_and(Raft::has_left)
    }

    /// Returns the catch-up under way here.
    pub fn session(&self) -> Option<SessionView> {
        self.group.session_view()
    }

    /// Returns where live snapshots were cut, in order.
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = Cursor> + 'a {
        self.group.syncing.anchors()
    }

    /// Returns what has become of the history here.
    pub fn fate(&self) -> Fate {
        self.group.fate
    }

    /// Returns other histories of the group that this one is in conflict with: both have user
    /// commands.
    pub fn conflicts(&self) -> &'a BTreeSet<GenesisId> {
        self.group.meeting.conflicts()
    }

    /// Returns the history that this peer waits for since its own was given up for that one.
    pub fn awaits(&self) -> Option<GenesisId> {
        let went_to = self.group.meeting.went_to();
        went_to.filter(|_| self.genesis.is_none())
    }

    /// Returns histories that are no more, and what each dissolved into.
    pub fn tombstones(&self) -> &'a BTreeMap<GenesisId, GenesisId> {
        self.group.meeting.tombstones()
    }

    /// Returns where the log once ended, if damage has taken that part: until it ends there again,
    /// this peer votes as if it did, and does not campaign.
    pub fn floor(&self) -> Option<Cursor> {
        self.raft().and_then(Raft::floor)
    }

    /// Tells whether there is no space for what is to be written.
    pub fn lacks_space(&self) -> bool {
        self.raft().is_some_and(Raft::is_short_of_space)
    }

    fn raft(&self) -> Option<&'a Raft> {
        self.group.raft.as_ref()
    }
}

/// What is known of another member here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberView {
    /// Who.
    pub member: Member,
    /// Whether there is a link to it.
    pub linked: bool,
    /// Since when that is so; nothing if there never was a link to it in this life.
    pub since: Option<Time>,
    /// When the consensus last heard from it: on the leader any member, elsewhere the leader only.
    pub heard: Option<Time>,
    /// On the leader, how far it follows.
    pub followed: Option<FollowerView>,
}

/// What a leader knows of a member that follows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerView {
    /// Up to where its log is known to equal the leader's, durably.
    pub matched: Index,
    /// Whether it restores from a snapshot.
    pub restoring: bool,
    /// If it is a learner, why it does not vote.
    pub learner: Option<WhyLearner>,
}

/// Why a learner does not vote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WhyLearner {
    /// It has not caught up with the log.
    NotCaughtUp,
    /// It was silent just now, or not long ago.
    NotSteady,
    /// There are as many voters as the profile wants.
    Enough,
    /// One more would make an even number of voters: it waits for another one.
    Odd,
    /// It is leaving the group.
    Leaving,
    /// It never wants to vote.
    Reader,
    /// It cannot run the version of the state machine that is in effect.
    OtherVersion,
    /// Nothing speaks against it: it becomes a voter by the next change.
    Next,
}

/// A catch-up under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionView {
    /// Which.
    pub session: SessionId,
    /// Where the snapshot was cut, once one is chosen.
    pub anchor: Option<Cursor>,
    /// Items verified.
    pub verified: u64,
    /// Items the snapshot has.
    pub total: u64,
    /// Entries staged behind the anchor.
    pub staged: u64,
}

impl Group {
    /// Looks into the group.
    #[inline(always)]
    pub(crate) fn view(&self) -> GroupView<'_> {
        // Asked once, and not for each field: this is what every step of a simulation does.
        let Some(raft) = &self.raft else {
            return self.view_without_history();
        };
        let (log, (configuration_index, configuration)) = (raft.log(), raft.configuration());
        GroupView {
            group: self,
            genesis: self.genesis,
            me: self.me,
            role: raft.role(),
            ballot: raft.ballot(),
            leader: raft.leader(),
            base: log.base(),
            entries: log.entries(),
            last: log.last(),
            durable: log.durable().index(),
            commit: raft.commit(),
            applied: self.applier.applied,
            configuration,
            configuration_index,
            uncommitted_bytes: raft.uncommitted_bytes(),
            waiting: raft.waiting(),
            poisoned: raft.poisoned(),
            state_lost: self.state_lost_at(),
        }
    }

    #[cold]
    fn view_without_history(&self) -> GroupView<'_> {
        static NO_ENTRIES: LogEntries = LogEntries::new();
        static NO_MEMBERS: Configuration = Configuration {
            voters: Vec::new(),
            outgoing: Vec::new(),
            learners: Vec::new(),
        };
        GroupView {
            group: self,
            genesis: self.genesis,
            me: self.me,
            role: self.role(),
            ballot: Ballot::default(),
            leader: None,
            base: Cursor::ZERO,
            entries: &NO_ENTRIES,
            last: Cursor::ZERO,
            durable: Index(0),
            commit: Index(0),
            applied: self.applier.applied,
            configuration: &NO_MEMBERS,
            configuration_index: Index(0),
            uncommitted_bytes: 0,
            waiting: 0,
            poisoned: None,
            state_lost: self.state_lost_at(),
        }
    }

    /// Returns what is known of the other members.
    fn member_views(&self, raft: &Raft) -> Vec<MemberView> {
        let mut members = raft.configuration().1.members();
        members.retain(|member| *member != self.me);
        members
            .into_iter()
            .map(|member| {
                let link = self.links.get(&member.peer);
                MemberView {
                    member,
                    linked: self.peers.contains(&member),
                    since: link.copied(),
                    heard: raft.heard(member),
                    followed: raft.followed(member),
                }
            })
            .collect()
    }
}

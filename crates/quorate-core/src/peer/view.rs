//! A read-only look into a group, for checkers, status and tests.

use std::collections::VecDeque;

use super::group::Group;
use crate::{
    configuration::Configuration,
    cursor::{Cursor, Index, Term},
    disk_op::Ballot,
    entry::Entry,
    event::Role,
    id::{GenesisId, Member, SessionId},
    raft::Raft,
    time::Time,
};

/// What a group looks like from one of its peers; borrowed, and cheap to make.
#[derive(Clone, Debug)]
pub struct GroupView<'a> {
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
    pub entries: &'a VecDeque<Entry>,
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
    /// On a leader, what it knows of each other member; else empty.
    pub members: Vec<MemberView>,
    /// The catch-up under way here.
    pub session: Option<SessionView>,
    /// Where live snapshots were cut.
    pub snapshots: Vec<Cursor>,
    /// Bytes of proposed entries that are not committed.
    pub uncommitted_bytes: usize,
    /// Requests that wait here.
    pub waiting: usize,
    /// Why this peer takes no part any more, if so.
    pub poisoned: Option<&'static str>,
}

impl GroupView<'_> {
    /// Returns the term of the entry at `index`, if the log holds it or starts right after it.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        Some(self.entries.get(usize::try_from(offset).ok()?)?.term)
    }
}

/// What a leader knows of another member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberView {
    /// Who.
    pub member: Member,
    /// Up to where its log is known to equal the leader's, durably.
    pub matched: Index,
    /// When it was last heard.
    pub heard: Time,
    /// Whether it restores from a snapshot.
    pub restoring: bool,
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
    pub(crate) fn view(&self) -> GroupView<'_> {
        static NO_ENTRIES: VecDeque<Entry> = VecDeque::new();
        static NO_MEMBERS: Configuration = Configuration {
            voters: Vec::new(),
            outgoing: Vec::new(),
            learners: Vec::new(),
        };
        let raft = self.raft.as_ref();
        let configuration = raft.map(Raft::configuration);
        GroupView {
            genesis: self.genesis,
            me: self.me,
            role: self.role(),
            ballot: raft.map(Raft::ballot).unwrap_or_default(),
            leader: raft.and_then(Raft::leader),
            base: raft.map(|raft| raft.log().base()).unwrap_or_default(),
            entries: raft.map_or(&NO_ENTRIES, |raft| raft.log().entries()),
            last: raft.map(|raft| raft.log().last()).unwrap_or_default(),
            durable: raft
                .map(|raft| raft.log().durable().index())
                .unwrap_or_default(),
            commit: raft.map(Raft::commit).unwrap_or_default(),
            applied: self.applier.applied,
            configuration: configuration.map_or(&NO_MEMBERS, |(_, configuration)| configuration),
            configuration_index: configuration.map(|(index, _)| index).unwrap_or_default(),
            members: raft.map(Raft::member_views).unwrap_or_default(),
            session: self.session_view(),
            snapshots: self.syncing.anchors(),
            uncommitted_bytes: raft.map_or(0, Raft::uncommitted_bytes),
            waiting: raft.map_or(0, Raft::waiting),
            poisoned: raft.and_then(Raft::poisoned),
        }
    }
}

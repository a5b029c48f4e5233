//! A read-only look into a group, for checkers, status and tests.

use crate::{
    configuration::Configuration,
    cursor::{Cursor, Index, Term},
    disk_op::Ballot,
    entry::Entry,
    event::Role,
    id::{GenesisId, Member, SessionId},
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
    pub entries: &'a std::collections::VecDeque<Entry>,
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
    /// Whether it was heard from within the last heartbeats.
    pub live: bool,
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

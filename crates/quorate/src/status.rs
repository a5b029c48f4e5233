//! How a group stands on this peer.

use std::sync::Arc;

use quorate_core::{
    CloseCode, Configuration, Cursor, GenesisId, GroupId, GroupView, Member, PeerId, Role,
    SessionView, Term,
};

use crate::position::Position;

/// How a group stands on this peer, as of the driver's last turn.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct GroupStatus {
    /// This peer.
    pub peer: PeerId,
    /// The group.
    pub group: GroupId,
    /// The history, once there is one here.
    pub genesis: Option<GenesisId>,
    /// This peer's life, once the group has been opened by the core.
    pub me: Option<Member>,
    /// What this peer is in the group.
    pub role: Role,
    /// The latest term it has heard of.
    pub term: Term,
    /// Whom it follows, or itself, if it knows a leader.
    pub leader: Option<Member>,
    /// The last cursor that its log does not hold any more, or never did.
    pub base: Cursor,
    /// The last cursor of its log.
    pub last: Cursor,
    /// The last index it knows to be committed.
    pub commit: quorate_core::Index,
    /// The last cursor its state has applied.
    pub applied: Cursor,
    /// The latest configuration in its log.
    pub configuration: Arc<Configuration>,
    /// Whether that configuration is committed.
    pub configuration_committed: bool,
    /// Items in its state.
    pub items: u64,
    /// Bytes of keys and values in its state.
    pub bytes: u64,
    /// The catch-up under way here.
    pub session: Option<SessionView>,
    /// Where the snapshots that it keeps for others were cut.
    pub snapshots: Vec<Cursor>,
    /// The peer that was refused last, and why; a wrong group key shows here.
    pub refused: Option<(PeerId, CloseCode)>,
    /// Why this peer takes no part in the group any more, if so.
    pub poisoned: Option<&'static str>,
    /// Whether the network was closed here.
    pub closed: bool,
}

impl GroupStatus {
    pub(crate) fn new(peer: PeerId, group: GroupId) -> Self {
        Self {
            peer,
            group,
            genesis: None,
            me: None,
            role: Role::Follower,
            term: Term::default(),
            leader: None,
            base: Cursor::ZERO,
            last: Cursor::ZERO,
            commit: quorate_core::Index::default(),
            applied: Cursor::ZERO,
            configuration: Arc::default(),
            configuration_committed: false,
            items: 0,
            bytes: 0,
            session: None,
            snapshots: Vec::new(),
            refused: None,
            poisoned: None,
            closed: false,
        }
    }

    /// Returns a cursor of this history with the history's name; nothing if there is none here.
    pub fn at(&self, cursor: Cursor) -> Option<Position> {
        Some(Position::new(self.genesis?, cursor))
    }

    /// Tells whether this peer leads.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// Tells whether this peer counts for quorums.
    pub fn is_voter(&self) -> bool {
        self.me.is_some_and(|me| self.configuration.is_voter(me))
    }

    /// Tells whether this peer replicates without counting.
    pub fn is_learner(&self) -> bool {
        self.me.is_some_and(|me| self.configuration.is_learner(me))
    }

    /// Tells whether this peer follows a leader's live log: no catch-up is under way, and all it
    /// knows to be committed is applied.
    pub fn is_caught_up(&self) -> bool {
        let member = self.is_voter() || self.is_learner();
        member
            && self.leader.is_some()
            && self.session.is_none()
            && self.applied.index >= self.commit
    }

    /// Takes over what the core shows; returns whether anything changed.
    pub(crate) fn refresh(&mut self, view: &GroupView<'_>, items: u64, bytes: u64) -> bool {
        let mut next = Self {
            genesis: view.genesis,
            me: Some(view.me),
            role: view.role,
            term: view.ballot.term,
            leader: view.leader,
            base: view.base,
            last: view.last,
            commit: view.commit,
            applied: view.applied,
            configuration: Arc::clone(&self.configuration),
            configuration_committed: view.configuration_index <= view.commit,
            items,
            bytes,
            session: view.session,
            snapshots: Vec::new(),
            refused: self.refused,
            poisoned: view.poisoned,
            ..Self::new(self.peer, self.group)
        };
        next.snapshots.clone_from(&view.snapshots);
        if *self.configuration != *view.configuration {
            next.configuration = Arc::new(view.configuration.clone());
        }
        let changed = *self != next;
        if changed {
            *self = next;
        }
        changed
    }
}

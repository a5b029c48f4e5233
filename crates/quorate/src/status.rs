//! How a group stands on this peer.

use std::{mem::discriminant, sync::Arc};

use chrono::{DateTime, Utc};
use quorate_core::{
    CloseCode, Configuration, Cursor, Form, GenesisId, GroupId, GroupView, Member, MemberView,
    PeerId, Role, SessionView, Term, Versions, WhyLearner,
};

use crate::{
    position::Position,
    progress::SessionProgress,
    sight::{LinkState, PeerStatus},
    standstill::{Standstill, StandstillCause},
};

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
    /// The version of the state machine that the next command here is applied by.
    pub version: u32,
    /// The versions that the state machine here can run.
    pub versions: Versions,
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
    /// How far it is.
    pub progress: Option<SessionProgress>,
    /// How the group was to come to be, where there is none yet.
    pub form: Form,
    /// The other peers that this one knows of, in the order of their ids: members of its groups,
    /// seen or not, and peers in sight.
    pub peers: Arc<[PeerStatus]>,
    /// On the leader, the learners and why each does not vote.
    pub learners: Vec<(PeerId, WhyLearner)>,
    /// Where the snapshots that it keeps for others were cut.
    pub snapshots: Vec<Cursor>,
    /// The peer that was refused last, and why; a wrong group key shows here.
    pub refused: Option<(PeerId, CloseCode)>,
    /// Whether this peer has given up its seat, in this life.
    pub left: bool,
    /// Another history of the group that is in sight, if both have user commands: they do not mix,
    /// and both go on.
    pub conflict: Option<GenesisId>,
    /// The history that this peer waits for since its own was given up for that one.
    pub awaits: Option<GenesisId>,
    /// Whether the log finds no space on its disk: until there is some, this peer does not lead,
    /// takes no entries, and goes on serving reads.
    pub lacks_space: bool,
    /// Why this peer takes no part in the group any more, if so.
    pub poisoned: Option<&'static str>,
    /// Whether the network was closed here.
    pub closed: bool,
    /// What is in the way of decisions, and since when.
    stands: Option<(StandstillCause, DateTime<Utc>)>,
}

/// What the driver shows of a group beside what the core does.
pub(crate) struct Shown<'a> {
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) progress: Option<&'a SessionProgress>,
    pub(crate) members: &'a [MemberView],
    pub(crate) peers: &'a Arc<[PeerStatus]>,
    pub(crate) now: DateTime<Utc>,
}

impl GroupStatus {
    pub(crate) fn new(peer: PeerId, group: GroupId, form: Form) -> Self {
        Self {
            peer,
            group,
            form,
            genesis: None,
            me: None,
            role: Role::Follower,
            term: Term::default(),
            leader: None,
            base: Cursor::ZERO,
            last: Cursor::ZERO,
            commit: quorate_core::Index::default(),
            applied: Cursor::ZERO,
            version: Versions::BEGINNING,
            versions: Versions::ONLY_THE_FIRST,
            configuration: Arc::default(),
            configuration_committed: false,
            items: 0,
            bytes: 0,
            session: None,
            progress: None,
            peers: Arc::default(),
            learners: Vec::new(),
            snapshots: Vec::new(),
            refused: None,
            left: false,
            conflict: None,
            awaits: None,
            lacks_space: false,
            poisoned: None,
            closed: false,
            stands: None,
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

    /// Says why the group does not decide, or this peer does not follow it; nothing if it does.
    ///
    /// An election shows as a standstill while it lasts.
    pub fn standstill(&self) -> Option<Standstill> {
        let (cause, since) = self.stands.clone()?;
        Some(Standstill::new(cause, since, self))
    }

    /// Returns what is known of another peer.
    pub fn peer(&self, peer: PeerId) -> Option<&PeerStatus> {
        let at = self.peers.binary_search_by_key(&peer, |it| it.peer);
        self.peers.get(at.ok()?)
    }

    /// Tells whether `peer` is this one or linked to it.
    pub(crate) fn reaches(&self, peer: PeerId) -> bool {
        let linked = |it: &PeerStatus| it.link == LinkState::Up;
        peer == self.peer || self.peer(peer).is_some_and(linked)
    }

    /// Returns the voters that cannot be reached.
    pub(crate) fn missing(&self) -> Vec<PeerStatus> {
        let voters = self.configuration.all_voters().into_iter();
        voters
            .filter(|voter| !self.reaches(voter.peer))
            .filter_map(|voter| self.peer(voter.peer).copied())
            .collect()
    }

    /// Takes over what the core and the driver show; returns whether anything changed.
    pub(crate) fn refresh(&mut self, view: &GroupView<'_>, shown: &Shown<'_>) -> bool {
        let why = |member: &MemberView| {
            let why = member.followed.as_ref()?.learner?;
            Some((member.member.peer, why))
        };
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
            version: view.version(),
            versions: view.versions(),
            configuration: Arc::clone(&self.configuration),
            configuration_committed: view.configuration_index <= view.commit,
            items: shown.items,
            bytes: shown.bytes,
            session: view.session(),
            progress: shown.progress.cloned(),
            peers: Arc::clone(shown.peers),
            learners: shown.members.iter().filter_map(why).collect(),
            snapshots: view.snapshots().collect(),
            refused: self.refused,
            left: view.has_left(),
            conflict: view.conflicts().first().copied(),
            awaits: view.awaits(),
            lacks_space: view.lacks_space(),
            poisoned: view.poisoned,
            stands: self.stands.clone(),
            ..Self::new(self.peer, self.group, self.form)
        };
        if *self.configuration != *view.configuration {
            next.configuration = Arc::new(view.configuration.clone());
        }
        next.look(shown.now);
        let changed = *self != next;
        if changed {
            *self = next;
        }
        changed
    }

    /// The network was closed here.
    pub(crate) fn close(&mut self, now: DateTime<Utc>) {
        self.closed = true;
        self.look(now);
    }

    /// Looks what is in the way; what was there before is there since then.
    fn look(&mut self, now: DateTime<Utc>) {
        let before = self.stands.take();
        self.stands = StandstillCause::of(self).map(|cause| {
            let same = before.filter(|(it, _)| discriminant(it) == discriminant(&cause));
            let since = same.map_or(now, |(_, since)| since);
            (cause, since)
        });
    }
}

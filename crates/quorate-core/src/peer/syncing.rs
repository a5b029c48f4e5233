//! State sync of one group, put together with its consensus and its state.
//!
//! The parts (requests, provider, session) know nothing of each other; here what they want is
//! turned into messages, operations and proposals, and what happens is told to them. Install is one
//! critical section: while the state puts a restored snapshot in place nothing is applied, and the
//! log, the configuration and the commit index follow in the step that takes the state's answer.

use crate::{
    cursor::{Cursor, Index},
    entry::{Body, Marker, Requester},
    event::GroupEvent,
    id::{Member, SessionId},
    out::{Chunk, Out},
    profile::GroupProfile,
    raft::Raft,
    random::Purpose,
    state_op::{Restored, StateDone, StateOp},
    sync::{
        FetchRequest, Leading, MarkerApplied, Phase, Provider, Requests, Session, SessionStart,
        SyncOut, authorize, pass_on,
    },
    time::{Now, Time},
    wire::{BulkChunk, Message},
};

use super::{group::Group, view::SessionView};

/// The parts of state sync, and what ties them to the group.
#[derive(Debug)]
pub(crate) struct Syncing {
    requests: Requests,
    provider: Provider,
    session: Option<Catching>,
    /// The commit index at which this peer started: older markers are nobody's any more.
    started_commit: Index,
    was_leader: bool,
    /// Wishes of the parts, on their way to the group's.
    wishes: Vec<SyncOut>,
}

/// A catch-up, and how far the log matched the leader's when it began.
#[derive(Debug)]
struct Catching {
    session: Session,
    matched: Index,
}

impl Syncing {
    pub(crate) fn new(profile: &GroupProfile) -> Self {
        Self {
            requests: Requests::new(profile),
            provider: Provider::new(profile),
            session: None,
            started_commit: Index(0),
            was_leader: false,
            wishes: Vec::new(),
        }
    }

    /// Takes note of the commit index at which this peer started.
    pub(crate) fn started_at(&mut self, commit: Index) {
        self.started_commit = commit;
    }

    /// Returns when the parts have something to do.
    pub(crate) fn deadline(&self) -> Time {
        let session = self
            .session
            .as_ref()
            .and_then(|catching| catching.session.deadline());
        let requests = self.was_leader.then(|| self.requests.deadline()).flatten();
        [session, requests, self.provider.deadline()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Time::NEVER)
    }

    /// Tells whether the state puts a restored snapshot in place just now.
    pub(crate) fn is_installing(&self) -> bool {
        self.phase() == Some(Phase::Installing)
    }

    /// Returns the index of the oldest live snapshot here.
    pub(crate) fn oldest_anchor(&self) -> Option<Index> {
        self.provider.oldest_anchor().map(|anchor| anchor.index)
    }

    /// Returns where live snapshots were cut.
    pub(crate) fn anchors(&self) -> Vec<Cursor> {
        self.provider.anchors().collect()
    }

    fn phase(&self) -> Option<Phase> {
        self.session
            .as_ref()
            .map(|catching| catching.session.phase())
    }
}

impl Group {
    /// Takes a message of state sync; gives back any other.
    pub(super) fn on_sync_message(
        &mut self,
        now: Now,
        from: Member,
        message: Message,
        out: &mut Out,
    ) -> Option<Message> {
        match message {
            Message::SnapshotRequest {
                member,
                session,
                have,
            } => {
                self.on_snapshot_request(
                    now,
                    from,
                    Requester {
                        member,
                        session,
                        have,
                    },
                );
            }
            Message::Authorize { session, anchor } => self.on_authorize(from, session, anchor),
            Message::Fetch {
                session,
                fetch,
                anchor,
                part,
                max_items,
                max_bytes,
            } => {
                let request = FetchRequest {
                    from,
                    session,
                    fetch,
                    anchor,
                    part,
                    max_items,
                    max_bytes,
                };
                let Syncing {
                    provider, wishes, ..
                } = &mut self.syncing;
                provider.on_fetch(now.time, request, wishes);
            }
            other => return self.on_session_message(now.time, from, other, out),
        }
        self.carry_out(out);
        None
    }

    /// Takes a message for the session here; gives back any other.
    fn on_session_message(
        &mut self,
        now: Time,
        from: Member,
        message: Message,
        out: &mut Out,
    ) -> Option<Message> {
        let Syncing {
            session, wishes, ..
        } = &mut self.syncing;
        let wanted = matches!(
            message,
            Message::SnapshotRefused { .. }
                | Message::Offer { .. }
                | Message::Authorized { .. }
                | Message::FetchRefused { .. }
        );
        if !wanted {
            return Some(message);
        }
        let Some(Catching {
            session: catching, ..
        }) = session
        else {
            out.mark("session.answer_without_session");
            return None;
        };
        match message {
            Message::SnapshotRefused {
                session,
                retry_after_ms,
                ..
            } => {
                let wait = std::time::Duration::from_millis(u64::from(retry_after_ms));
                catching.on_refused(now, from, session, wait, wishes);
            }
            Message::Offer {
                session,
                anchor,
                items,
                bytes,
                digest,
            } => {
                let terms = crate::sync::Terms {
                    items,
                    bytes,
                    digest,
                };
                catching.on_offer(now, from, session, (anchor, terms), wishes);
            }
            Message::Authorized {
                term,
                session,
                anchor,
                good,
                voters,
            } => {
                catching.on_authorized(now, from, session, anchor, (term, good, &voters), wishes);
            }
            Message::FetchRefused {
                session,
                fetch,
                reason,
            } => {
                catching.on_fetch_refused(now, from, (session, fetch), reason, wishes);
            }
            _ => {}
        }
        None
    }

    fn on_snapshot_request(&mut self, now: Now, from: Member, requester: Requester) {
        let Some(raft) = &self.raft else { return };
        let Syncing {
            requests, wishes, ..
        } = &mut self.syncing;
        let vouched = from == requester.member || raft.configuration().1.contains(from);
        if !vouched {
            wishes.push(SyncOut::Mark("requests.nobody_vouches"));
        } else if raft.is_leader() {
            requests.on_request(now.time, requester, wishes);
        } else {
            pass_on(from, requester, raft.leader(), &self.profile, wishes);
        }
    }

    fn on_authorize(&mut self, from: Member, session: SessionId, anchor: Cursor) {
        let Some(raft) = self.raft.as_ref().filter(|raft| raft.is_leader()) else {
            return;
        };
        let voters = raft.configuration().1.all_voters();
        let leading = Leading {
            term: raft.ballot().term,
            voters: &voters,
        };
        authorize(
            from,
            (session, anchor),
            raft.log().term_at(anchor.index),
            raft.commit(),
            leading,
            &mut self.syncing.wishes,
        );
    }

    /// Takes a chunk for the session here.
    pub(crate) fn on_chunk(&mut self, now: Now, from: Member, chunk: BulkChunk, out: &mut Out) {
        let BulkChunk {
            address,
            session,
            fetch,
            anchor,
            chunk,
        } = chunk;
        let Syncing {
            session: catching,
            wishes,
            ..
        } = &mut self.syncing;
        match catching
            .as_mut()
            .filter(|_| self.genesis == Some(address.genesis))
        {
            Some(Catching {
                session: catching, ..
            }) => {
                catching.on_chunk(now.time, from, (session, fetch, anchor), chunk, wishes);
            }
            None => out.mark("session.answer_without_session"),
        }
        self.follow_up(now, out);
    }

    /// Takes an answer of the state that concerns snapshots.
    pub(super) fn on_sync_done(&mut self, now: Now, done: StateDone, out: &mut Out) {
        let time = now.time;
        match done {
            StateDone::Cut {
                anchor,
                items,
                bytes,
            } => {
                let Syncing {
                    provider, wishes, ..
                } = &mut self.syncing;
                provider.on_cut(anchor, items, bytes, wishes);
            }
            StateDone::Hashed { anchor, digest } => {
                let voters = self.leading_voters();
                let leading = voters.as_ref().map(|(term, voters)| Leading {
                    term: *term,
                    voters,
                });
                let Syncing {
                    provider, wishes, ..
                } = &mut self.syncing;
                provider.on_hashed(time, anchor, digest, leading, wishes);
            }
            StateDone::Read { fetch, chunk, .. } => {
                let Syncing {
                    provider, wishes, ..
                } = &mut self.syncing;
                provider.on_read(time, fetch, chunk, wishes);
            }
            StateDone::Swept { more } => {
                let Syncing {
                    provider, wishes, ..
                } = &mut self.syncing;
                provider.on_swept(more, wishes);
            }
            StateDone::Verified {
                session,
                fetch,
                verdict,
            } => {
                let Syncing {
                    session: catching,
                    wishes,
                    ..
                } = &mut self.syncing;
                if let Some(catching) = catching.as_mut().filter(|c| c.session.id() == session) {
                    catching.session.on_verified(time, fetch, verdict, wishes);
                }
            }
            StateDone::Installed { session, restored } => {
                self.on_installed(now, session, restored, out);
            }
            StateDone::Applied { .. } => {}
        }
        self.carry_out(out);
    }

    fn leading_voters(&self) -> Option<(crate::cursor::Term, Vec<Member>)> {
        let raft = self.raft.as_ref().filter(|raft| raft.is_leader())?;
        Some((raft.ballot().term, raft.configuration().1.all_voters()))
    }

    /// The second half of the install: the log, the configuration and the commit index follow the
    /// state in one step.
    fn on_installed(
        &mut self,
        now: Now,
        session: SessionId,
        restored: Option<Restored>,
        out: &mut Out,
    ) {
        let Syncing {
            session: catching,
            wishes,
            ..
        } = &mut self.syncing;
        if let Some(catching) = catching.as_mut().filter(|c| c.session.id() == session) {
            catching
                .session
                .on_installed(now.time, restored.as_ref(), wishes);
        }
        let (Some(restored), Some(raft)) = (restored, &mut self.raft) else {
            return;
        };
        let Restored {
            anchor,
            configuration,
            items,
            bytes,
        } = restored;
        self.applier.installed(anchor, items, bytes);
        raft.install(anchor, configuration, out);
        raft.passed_over(anchor, out);
        self.markers.retain(|index, _| *index > anchor.index);
    }

    /// Takes note of a peer that has a new route.
    pub(super) fn on_source_up(&mut self, now: Now, member: Member, out: &mut Out) {
        let Syncing {
            session, wishes, ..
        } = &mut self.syncing;
        if let Some(catching) = session {
            catching.session.on_peer_up(now.time, member, wishes);
        }
        self.carry_out(out);
    }

    /// Takes note of a peer that has no route any more.
    pub(super) fn on_source_gone(&mut self, now: Now, member: Member, out: &mut Out) {
        let Syncing {
            session,
            provider,
            wishes,
            ..
        } = &mut self.syncing;
        provider.on_peer_down(member.peer);
        if let Some(catching) = session {
            catching.session.on_peer_down(now.time, member, wishes);
        }
        self.carry_out(out);
    }

    /// Does what is due in state sync.
    pub(super) fn tick_sync(&mut self, now: Now, out: &mut Out) {
        let voters = self.leading_voters();
        let handed = self.applier.handed();
        let Syncing {
            requests,
            provider,
            session,
            wishes,
            ..
        } = &mut self.syncing;
        provider.tick(now.time, wishes);
        if let Some((term, voters)) = &voters {
            let leading = Leading {
                term: *term,
                voters,
            };
            requests.tick(now, handed, leading, provider, wishes);
        }
        if let Some(catching) = session {
            catching.session.tick(now.time, wishes);
        }
        self.carry_out(out);
    }

    /// Cuts a snapshot at a marker that was just handed to the state.
    pub(super) fn on_marker(&mut self, now: Now, anchor: Cursor, marker: &Marker, out: &mut Out) {
        let appended_at = self.markers.get(&anchor.index).copied().unwrap_or(now.time);
        let me = self.me;
        let Syncing {
            requests,
            provider,
            wishes,
            started_commit,
            ..
        } = &mut self.syncing;
        requests.on_applied(marker);
        let started_commit = *started_commit;
        let applied = MarkerApplied {
            anchor,
            marker,
            me,
            started_commit,
            appended_at,
        };
        provider.on_marker_applied(now.time, &applied, wishes);
        self.carry_out(out);
    }

    /// Starts, moves on and ends the catch-up as the consensus asks for it.
    pub(super) fn follow_sync(&mut self, now: Now, out: &mut Out) {
        let Some(raft) = &mut self.raft else { return };
        let leads = raft.is_leader();
        if self.syncing.was_leader && !leads {
            self.syncing.requests.on_leadership_lost();
        }
        self.syncing.was_leader = leads;
        let lacks_state = self.applier.handed().index < raft.log().base().index;
        if let Some(behind) = raft.take_behind() {
            self.on_behind(now, behind.first, out);
        } else if lacks_state && self.syncing.session.is_none() && !leads {
            self.start_session(now);
        }
        self.follow_session(now, out);
        self.carry_out(out);
    }

    /// The leader no longer has what is needed here.
    fn on_behind(&mut self, now: Now, first: Index, out: &mut Out) {
        match &mut self.syncing.session {
            None => self.start_session(now),
            Some(Catching { session, .. }) => match (session.phase(), session.anchor()) {
                (Phase::Following, _) => {
                    self.syncing.session = None;
                    self.start_session(now);
                }
                (Phase::Fetching, Some(anchor)) if first > anchor.index.next() => {
                    if let Some(raft) = &mut self.raft {
                        raft.stop_staging();
                    }
                    session.on_staging_lost(now.time, &mut self.syncing.wishes);
                }
                (Phase::Fetching | Phase::Installing, Some(anchor)) => {
                    if let Some(raft) = &mut self.raft {
                        raft.stage_from(anchor, out);
                    }
                }
                _ => {}
            },
        }
    }

    fn start_session(&mut self, now: Now) {
        let (Some(raft), Some(genesis)) = (&self.raft, self.genesis) else {
            return;
        };
        let start = SessionStart {
            session: SessionId(self.random.draw(Purpose::Session)),
            genesis,
            me: self.me,
            have: self.applier.applied,
            leader: raft.leader(),
            term: raft.ballot().term,
        };
        let wishes = &mut self.syncing.wishes;
        let session = Session::new(now.time, start, &self.profile, wishes);
        self.syncing.session = Some(Catching {
            session,
            matched: raft.matched(),
        });
    }

    /// Tells the session who leads, and ends it when there is nothing to catch up with any more.
    fn follow_session(&mut self, now: Now, out: &mut Out) {
        let (Some(raft), Some(Catching { session, matched })) =
            (&self.raft, &mut self.syncing.session)
        else {
            return;
        };
        session.on_leader(
            now.time,
            raft.leader(),
            raft.ballot().term,
            &mut self.syncing.wishes,
        );
        let followed = is_followed(raft, &self.applier.applied);
        match session.phase() {
            Phase::Following if followed => {
                let session = session.id();
                let applied = self.applier.applied;
                out.event(GroupEvent::CaughtUp { session, applied });
                self.syncing.session = None;
            }
            Phase::Asking | Phase::Choosing | Phase::Fetching
                if followed && raft.matched() > *matched =>
            {
                out.mark("session.overtaken_by_replay");
                if let Some(Catching { session, .. }) = self.syncing.session.take() {
                    let (id, applied) = (session.id(), self.applier.applied);
                    session.abandon(&mut self.syncing.wishes);
                    out.event(GroupEvent::CaughtUp {
                        session: id,
                        applied,
                    });
                }
                if let Some(raft) = &mut self.raft {
                    raft.stop_staging();
                }
            }
            _ => {}
        }
    }

    /// Turns what the parts want into what the group wants.
    pub(super) fn carry_out(&mut self, out: &mut Out) {
        for wish in std::mem::take(&mut self.syncing.wishes) {
            match wish {
                SyncOut::State(StateOp::Install { session }) => self.install(session, out),
                SyncOut::State(op) => out.state.push(op),
                SyncOut::Send { to, message } => out.send(to, message),
                SyncOut::Chunk {
                    to,
                    session,
                    fetch,
                    anchor,
                    chunk,
                } => {
                    out.chunks.push(Chunk {
                        to,
                        session,
                        fetch,
                        anchor,
                        chunk,
                    });
                }
                SyncOut::Event(event) => out.event(event),
                SyncOut::Mark(mark) => out.mark(mark),
                SyncOut::Propose(marker) => self.propose_marker(marker, out),
                SyncOut::StageFrom(anchor) => {
                    if let Some(raft) = &mut self.raft {
                        raft.stage_from(anchor, out);
                    }
                }
            }
        }
        if !self.syncing.wishes.is_empty() {
            self.carry_out(out);
        }
    }

    /// Has the restored snapshot put in place, unless the state has passed its anchor meanwhile.
    fn install(&mut self, session: SessionId, out: &mut Out) {
        let handed = self.applier.handed().index;
        let Some(Catching {
            session: catching, ..
        }) = &self.syncing.session
        else {
            return;
        };
        if catching
            .anchor()
            .is_some_and(|anchor| anchor.index > handed)
        {
            out.state.push(StateOp::Install { session });
            return;
        }
        out.mark("install.state_is_ahead");
        if let Some(Catching { session, .. }) = self.syncing.session.take() {
            session.abandon(&mut self.syncing.wishes);
        }
        if let Some(raft) = &mut self.raft {
            raft.stop_staging();
        }
    }

    fn propose_marker(&mut self, marker: Marker, out: &mut Out) {
        let body = Body::Marker(Box::new(marker.clone()));
        let proposed = self.raft.as_mut().and_then(|raft| raft.propose(body, out));
        if proposed.is_none() {
            let Syncing {
                requests, wishes, ..
            } = &mut self.syncing;
            requests.on_unproposable(&marker, wishes);
        }
    }

    /// Returns what a catch-up here looks like.
    pub(super) fn session_view(&self) -> Option<SessionView> {
        let Catching { session, .. } = self.syncing.session.as_ref()?;
        let progress = session.progress();
        Some(SessionView {
            session: session.id(),
            anchor: progress.anchor,
            verified: progress.verified,
            total: progress.total,
            staged: self
                .raft
                .as_ref()
                .and_then(Raft::staged)
                .map_or(0, |(_, staged)| staged),
        })
    }
}

/// Tells whether the state here follows the log of the leader.
fn is_followed(raft: &Raft, applied: &Cursor) -> bool {
    raft.leader().is_some()
        && raft.matched() >= raft.commit()
        && applied.index >= raft.commit()
        && raft.commit() > Index(0)
}

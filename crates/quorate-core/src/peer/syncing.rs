//! State sync of one group, put together with its consensus and its state.
//!
//! The parts (requests, provider, session) know nothing of each other; here what they want is
//! turned into messages, operations and proposals, and what happens is told to them.

use crate::{
    cursor::{Cursor, Index},
    entry::{Body, Marker, Requester},
    id::{Member, SessionId},
    out::{Chunk, Out},
    profile::GroupProfile,
    state_op::{StateDone, StateOp},
    sync::{
        FetchRequest, Leading, MarkerApplied, Phase, Provider, Requests, SyncOut, authorize,
        pass_on,
    },
    time::{Now, Time},
    wire::Message,
};

use super::{catching::Catching, group::Group};

/// The parts of state sync, and what ties them to the group.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Syncing {
    pub(super) requests: Requests,
    provider: Provider,
    pub(super) session: Option<Catching>,
    /// The commit index at which this peer started: older markers are nobody's any more.
    started_commit: Index,
    pub(super) was_leader: bool,
    /// Wishes of the parts, on their way to the group's.
    pub(super) wishes: Vec<SyncOut>,
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
        let leads = self.was_leader && !self.requests.is_idle();
        if self.session.is_none() && !leads && self.provider.is_idle() {
            return Time::NEVER;
        }
        let session = self
            .session
            .as_ref()
            .and_then(|catching| catching.session.deadline());
        let requests = leads.then(|| self.requests.deadline()).flatten();
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
    pub(crate) fn anchors(&self) -> impl ExactSizeIterator<Item = Cursor> {
        self.provider.anchors()
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
            StateDone::Applied { .. }
            | StateDone::Begun { .. }
            | StateDone::Failed { .. }
            | StateDone::Recalled { .. } => {}
        }
        self.carry_out(out);
    }

    fn leading_voters(&self) -> Option<(crate::cursor::Term, Vec<Member>)> {
        let raft = self.raft.as_ref().filter(|raft| raft.is_leader())?;
        Some((raft.ballot().term, raft.configuration().1.all_voters()))
    }

    /// Takes note of a peer that has a new route.
    pub(super) fn on_source_up(&mut self, now: Now, member: Member, out: &mut Out) {
        let voters = self.leading_voters();
        let leading = voters.as_ref().map(|(term, voters)| Leading {
            term: *term,
            voters,
        });
        let Syncing {
            session,
            provider,
            wishes,
            ..
        } = &mut self.syncing;
        provider.on_peer_up(member, leading, wishes);
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

    /// Turns what the parts want into what the group wants; mostly that is nothing.
    #[inline]
    pub(super) fn carry_out(&mut self, out: &mut Out) {
        if !self.syncing.wishes.is_empty() {
            self.carry_out_wishes(out);
        }
    }

    fn carry_out_wishes(&mut self, out: &mut Out) {
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
                SyncOut::Replay { to, after } => {
                    if let Some(raft) = &mut self.raft {
                        raft.replay(to, after, out);
                    }
                }
            }
        }
        if !self.syncing.wishes.is_empty() {
            self.carry_out(out);
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
}

//! The catch-up of one group here: when it starts, how it is told what happens, when it is over.
//!
//! It starts when the leader says that it no longer has what is needed here, or when the log here
//! starts after what the state has applied. It ends when the state follows the log again: after an
//! install, or because entries came after all. Install is one critical section: while the state
//! puts a restored snapshot in place nothing is applied, and the log, the configuration and the
//! commit index follow in the step that takes the state's answer.

use std::time::Duration;

use crate::{
    cursor::Index,
    event::GroupEvent,
    id::{Member, SessionId},
    out::Out,
    raft::Raft,
    random::Purpose,
    state_op::{Restored, StateOp},
    sync::{Phase, Session, SessionStart, Terms},
    time::{Now, Time},
    wire::{BulkChunk, Message},
};

use super::{applier::Applier, group::Group, syncing::Syncing, view::SessionView};

/// A catch-up, and how far the log matched the leader's when it began.
#[derive(Clone, Hash, Debug)]
pub(super) struct Catching {
    pub(super) session: Session,
    matched: Index,
}

impl Group {
    /// Takes a message for the session here; gives back any other.
    pub(super) fn on_session_message(
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
                let wait = Duration::from_millis(u64::from(retry_after_ms));
                catching.on_refused(now, from, session, wait, wishes);
            }
            Message::Offer {
                session,
                anchor,
                items,
                bytes,
                digest,
            } => {
                let terms = Terms {
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

    /// Takes a chunk for the session here.
    pub(crate) fn on_chunk(&mut self, now: Now, from: Member, chunk: BulkChunk, out: &mut Out) {
        let BulkChunk {
            address,
            session,
            fetch,
            anchor,
            chunk,
        } = chunk;
        if self.is_poisoned() {
            return;
        }
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

    /// The second half of the install: the log, the configuration and the commit index follow the
    /// state in one step.
    pub(super) fn on_installed(
        &mut self,
        now: Now,
        session: SessionId,
        restored: Option<Box<Restored>>,
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
                .on_installed(now.time, restored.as_deref(), wishes);
        }
        let (Some(restored), Some(raft)) = (restored, &mut self.raft) else {
            return;
        };
        let Restored {
            anchor,
            configuration,
            fate,
            version,
            items,
            bytes,
        } = *restored;
        self.applier.installed(anchor, version, (items, bytes));
        raft.install(anchor, configuration, out);
        raft.note_version(anchor.index, version, out);
        if anchor.index < raft.log().base().index {
            // The log begins later: another state is needed, at a later anchor.
            out.mark("install.below_the_log");
            self.syncing.session = None;
        }
        raft.passed_over(anchor, out);
        self.markers.retain(|index, _| *index > anchor.index);
        self.on_fate(now, fate, out);
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
        raft.note_lack(lacks_state);
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
        let followed = is_followed(raft, &self.applier);
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

    /// Has the restored snapshot put in place, unless the state has passed its anchor meanwhile.
    pub(super) fn install(&mut self, session: SessionId, out: &mut Out) {
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
///
/// A state that cannot follow is as far as it will ever be.
fn is_followed(raft: &Raft, applier: &Applier) -> bool {
    raft.leader().is_some()
        && raft.matched() >= raft.commit()
        && (applier.applied.index >= raft.commit() || applier.is_stuck())
        && raft.commit() > Index(0)
}

//! The lagging side: one catch-up by a snapshot, from the request to the install.
//!
//! | phase | what it waits for | becomes |
//! |---|---|---|
//! | asking | an offer | choosing |
//! | choosing | a leader's permission, and enough voices for a digest | fetching, or asking |
//! | fetching | parts, from everybody who states the digest | installing, or asking |
//! | installing | the state's answer | following, or asking |
//! | following | nothing: entries after the anchor flow | |
//!
//! It goes back to asking when every offer was ruled out, when the tail behind the anchor is lost,
//! and when the parts made something else than the digest names.
//!
//! Progress is never thrown away for a newer offer: a session moves to another anchor only when
//! nobody serves the present one any more, when nothing is verified yet and a better founded one
//! is there, or when the leader no longer has what follows. It never gives up, and it sets no
//! deadline on anything but its own questions: elections go on beside it.

mod course;

use std::time::Duration;

use bytes::Bytes;

use super::{
    Progress, SourceProgress, SyncOut,
    missing::Kept,
    offers::{Offers, Terms},
    restore::{Restore, set_aside},
    sources::Sources,
};
use crate::{
    cursor::{Cursor, Term},
    event::{GroupEvent, Refusal},
    id::{GenesisId, Member, SessionId},
    profile::GroupProfile,
    state_op::{FetchId, Restored, StateOp, Verdict},
    time::Time,
};

/// The shortest time after which a refused request is repeated, whatever the leader says.
const LEAST_RETRY: Duration = Duration::from_millis(20);

/// Where a catch-up stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// It asked for a snapshot and has no offer.
    Asking,
    /// It has offers, none of which may be believed yet.
    Choosing,
    /// It fetches.
    Fetching,
    /// It has every part; the state puts them in place.
    Installing,
    /// The restored state is in place.
    Following,
}

/// Every step from one phase to another.
pub(super) const STEPS: &[(Phase, Phase)] = &[
    (Phase::Asking, Phase::Choosing),
    (Phase::Asking, Phase::Fetching),
    (Phase::Choosing, Phase::Asking),
    (Phase::Choosing, Phase::Fetching),
    (Phase::Fetching, Phase::Asking),
    (Phase::Fetching, Phase::Installing),
    (Phase::Installing, Phase::Asking),
    (Phase::Installing, Phase::Following),
];

/// Who catches up, and with what.
#[derive(Clone, Hash, Debug)]
pub struct SessionStart {
    /// The catch-up; its id is not used for another one of this incarnation.
    pub session: SessionId,
    /// The history.
    pub genesis: GenesisId,
    /// This peer.
    pub me: Member,
    /// The last applied cursor.
    pub have: Cursor,
    /// The known leader, or somebody who passes requests on.
    pub leader: Option<Member>,
    /// The known term.
    pub term: Term,
}

/// One catch-up on the lagging side.
#[derive(Clone, Hash, Debug)]
pub struct Session {
    start: SessionStart,
    profile: GroupProfile,
    phase: Phase,
    leader: Option<Member>,
    term: Term,
    offers: Offers,
    sources: Sources,
    restore: Option<Restore>,
    next_fetch: u64,
    /// When to ask for a snapshot again; nothing if no answer is awaited.
    ask_at: Option<Time>,
    strays: u64,
    now: Time,
    #[cfg(test)]
    taken: Vec<(Phase, Phase)>,
}

impl Session {
    /// Begins a catch-up: asks for a snapshot.
    pub fn new(
        now: Time,
        start: SessionStart,
        profile: &GroupProfile,
        out: &mut Vec<SyncOut>,
    ) -> Self {
        out.push(SyncOut::Event(GroupEvent::SessionStarted {
            session: start.session,
        }));
        let mut session = Self {
            offers: Offers::new(start.have, confirm_patience(profile)),
            leader: start.leader,
            term: start.term,
            start,
            profile: profile.clone(),
            phase: Phase::Asking,
            sources: Sources::default(),
            restore: None,
            next_fetch: 0,
            ask_at: None,
            strays: 0,
            now,
            #[cfg(test)]
            taken: Vec::new(),
        };
        session.ask(out);
        session
    }

    /// Returns the name of the catch-up.
    pub fn id(&self) -> SessionId {
        self.start.session
    }

    /// Returns where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the anchor it restores, once one is chosen.
    pub fn anchor(&self) -> Option<Cursor> {
        self.restore.as_ref().map(|restore| restore.anchor)
    }

    /// Takes note of who leads (or who passes requests on), and in which term.
    ///
    /// What was fetched stays: anchors are committed cursors whoever leads. The new leader is asked
    /// whether it still has what follows the anchor.
    pub fn on_leader(
        &mut self,
        now: Time,
        leader: Option<Member>,
        term: Term,
        out: &mut Vec<SyncOut>,
    ) {
        self.now = now;
        if (leader, term) == (self.leader, self.term) {
            return;
        }
        (self.leader, self.term) = (leader, term);
        self.offers.forget_answers();
        if leader.is_none() {
            return;
        }
        match self.phase {
            Phase::Asking | Phase::Choosing => self.ask(out),
            Phase::Fetching | Phase::Installing => {
                out.push(SyncOut::Mark("session.leader_changed"));
                out.extend(self.anchor().map(SyncOut::StageFrom));
                if !self.is_fed() {
                    self.ask(out);
                }
            }
            Phase::Following => {}
        }
        self.advance(out);
    }

    /// Takes an offer.
    pub fn on_offer(
        &mut self,
        now: Time,
        from: Member,
        session: SessionId,
        (anchor, terms): (Cursor, Terms),
        out: &mut Vec<SyncOut>,
    ) {
        self.now = now;
        if session != self.start.session || from == self.start.me {
            return self.stray("session.stray_offer", out);
        }
        if !self.sources.admit(from, &self.profile) {
            return out.push(SyncOut::Mark("session.too_many_providers"));
        }
        let chosen = self.anchor();
        if !self.offers.state(now, from, (anchor, terms), chosen) {
            return out.push(SyncOut::Mark("session.offer_too_old"));
        }
        if let Some(restore) = self.restore.as_ref().filter(|r| r.anchor == anchor) {
            if restore.terms == terms {
                out.push(SyncOut::Mark("session.provider_joined"));
            } else {
                out.push(SyncOut::Event(GroupEvent::Diverged {
                    anchor,
                    peer: from.peer,
                }));
            }
        }
        self.advance(out);
    }

    /// Takes the leader's word on an anchor.
    pub fn on_authorized(
        &mut self,
        now: Time,
        from: Member,
        session: SessionId,
        anchor: Cursor,
        (term, good, voters): (Term, bool, &[Member]),
        out: &mut Vec<SyncOut>,
    ) {
        self.now = now;
        if session != self.start.session || self.leader != Some(from) || term < self.term {
            return self.stray("session.stray_authorization", out);
        }
        let chosen = self.anchor();
        self.offers
            .authorize(now, anchor, (term, good, voters), chosen);
        if !good && chosen == Some(anchor) {
            return self.on_staging_lost(now, out);
        }
        self.advance(out);
    }

    /// Takes the leader's refusal to have a snapshot made now.
    pub fn on_refused(
        &mut self,
        now: Time,
        from: Member,
        session: SessionId,
        retry_after: Duration,
        out: &mut Vec<SyncOut>,
    ) {
        self.now = now;
        if session != self.start.session || self.leader != Some(from) || self.ask_at.is_none() {
            return self.stray("session.stray_refusal", out);
        }
        let wait = retry_after.clamp(LEAST_RETRY, self.profile.request_timeout.max(LEAST_RETRY));
        self.ask_at = Some(now.after(wait));
        out.push(SyncOut::Mark("session.request_refused"));
    }

    /// Takes a chunk; passes it on to be verified if it answers a fetch of this session.
    pub fn on_chunk(
        &mut self,
        now: Time,
        from: Member,
        (session, fetch, anchor): (SessionId, u64, Cursor),
        chunk: Bytes,
        out: &mut Vec<SyncOut>,
    ) {
        self.now = now;
        let expected = session == self.start.session && self.phase == Phase::Fetching;
        let restore = self
            .restore
            .as_mut()
            .filter(|r| expected && r.anchor == anchor);
        let Some(part) = restore.and_then(|restore| restore.on_chunk(from, fetch, out)) else {
            return self.stray("session.stray_chunk", out);
        };
        if let Some(source) = self.sources.get_mut(from) {
            source.answered = now;
        }
        out.push(SyncOut::State(StateOp::Verify {
            session,
            fetch: FetchId(fetch),
            part,
            chunk,
        }));
    }

    /// Takes what the state says of a chunk.
    pub fn on_verified(
        &mut self,
        now: Time,
        FetchId(fetch): FetchId,
        verdict: Verdict,
        out: &mut Vec<SyncOut>,
    ) {
        self.now = now;
        let Some(restore) = self.restore.as_mut() else {
            return;
        };
        // Nothing to end: it was asked for an anchor that was left since.
        let Some((from, part, asked)) = restore.end(fetch) else {
            return;
        };
        let answers = match verdict {
            Verdict::Kept {
                items,
                unfinished,
                pieces,
                bytes,
            } => {
                let kept = Kept {
                    items,
                    unfinished,
                    pieces,
                };
                let (new, answers) = restore.keep(part, &kept);
                if answers || new > 0 {
                    self.on_progress((from, asked), (new, bytes), out);
                }
                answers
            }
            Verdict::Known => {
                out.push(SyncOut::Mark("session.doubled_answer"));
                restore.known(part)
            }
            Verdict::Wrong { .. } => {
                restore.put_back(part);
                false
            }
        };
        if let Some(restore) = self.restore.as_mut().filter(|_| !answers) {
            restore.release(from);
            set_aside(now, from, Refusal::WrongChunk, &mut self.sources, out);
        }
        self.advance(out);
    }

    /// Takes a provider's refusal to serve a fetch.
    pub fn on_fetch_refused(
        &mut self,
        now: Time,
        from: Member,
        (session, fetch): (SessionId, u64),
        reason: Refusal,
        out: &mut Vec<SyncOut>,
    ) {
        self.now = now;
        let expected = session == self.start.session;
        let Some(restore) = self.restore.as_mut().filter(|_| expected) else {
            return self.stray("session.stray_refusal", out);
        };
        if !restore.on_refused(from, fetch) {
            return self.stray("session.stray_refusal", out);
        }
        if let Some(source) = self.sources.get_mut(from) {
            source.answered = now;
        }
        match reason {
            Refusal::UnknownAnchor => {
                self.offers.withdraw(restore.anchor, from);
                restore.release(from);
                out.push(SyncOut::Mark("session.provider_lost_anchor"));
            }
            Refusal::Busy => set_aside(now, from, reason, &mut self.sources, out),
            _ => {
                restore.release(from);
                set_aside(now, from, reason, &mut self.sources, out);
            }
        }
        self.advance(out);
    }

    /// Takes the end of the link to a peer: what it owed goes to others.
    pub fn on_peer_down(&mut self, now: Time, member: Member, out: &mut Vec<SyncOut>) {
        self.now = now;
        if let Some(restore) = self.restore.as_mut() {
            restore.release(member);
        }
        set_aside(now, member, Refusal::TimedOut, &mut self.sources, out);
        self.advance(out);
    }

    /// Takes a new link to a peer: it may be asked again.
    pub fn on_peer_up(&mut self, now: Time, member: Member, out: &mut Vec<SyncOut>) {
        self.now = now;
        if let Some(source) = self.sources.get_mut(member) {
            source.revive();
        }
        self.advance(out);
    }

    /// Takes the news that what follows the anchor can no longer be had, or staged: moves on to a
    /// newer anchor. While installing it is too late for that, and of no harm.
    pub fn on_staging_lost(&mut self, now: Time, out: &mut Vec<SyncOut>) {
        self.now = now;
        let Some(anchor) = self.anchor().filter(|_| self.phase == Phase::Fetching) else {
            return;
        };
        out.push(SyncOut::Mark("session.staging_lost"));
        self.offers.refuse(anchor);
        self.restore = None;
        self.enter(Phase::Asking);
        self.advance(out);
        if self.phase != Phase::Fetching {
            self.ask(out);
        }
    }

    /// Takes the state's answer to the install; nothing means that the parts did not make what the
    /// digest named, so everybody who stated it is suspect for a while and all begins again.
    pub fn on_installed(&mut self, now: Time, restored: Option<&Restored>, out: &mut Vec<SyncOut>) {
        self.now = now;
        if self.phase != Phase::Installing {
            return;
        }
        if let Some(restored) = restored {
            self.enter(Phase::Following);
            return out.push(SyncOut::Event(GroupEvent::Restored {
                session: self.start.session,
                anchor: restored.anchor,
            }));
        }
        out.push(SyncOut::Mark("session.install_failed"));
        if let Some(restore) = self.restore.take() {
            let suspects = self.offers.who_state(restore.anchor, restore.terms);
            for member in suspects.collect::<Vec<_>>() {
                set_aside(now, member, Refusal::WrongChunk, &mut self.sources, out);
            }
        }
        self.offers.clear();
        self.enter(Phase::Asking);
        self.ask(out);
    }

    /// Ends the catch-up whatever it has reached: the state drops what was gathered.
    pub fn abandon(self, out: &mut Vec<SyncOut>) {
        if self.phase != Phase::Following {
            out.push(SyncOut::State(StateOp::Abandon {
                session: self.start.session,
            }));
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time, out: &mut Vec<SyncOut>) {
        self.now = now;
        if self.phase == Phase::Fetching
            && let Some(restore) = self.restore.as_mut()
        {
            for member in restore.overdue(now, &self.sources, self.profile.fetch_timeout) {
                restore.release(member);
                set_aside(now, member, Refusal::TimedOut, &mut self.sources, out);
            }
        }
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
            if matches!(self.phase, Phase::Asking | Phase::Choosing) {
                self.ask(out);
            }
        }
        self.advance(out);
    }

    /// Returns when [`Session::tick`] has something to do; later than its last input.
    pub fn deadline(&self) -> Option<Time> {
        if matches!(self.phase, Phase::Installing | Phase::Following) {
            return None;
        }
        let retry = self.profile.election_max;
        let leader = (self.leader, self.term);
        let offers = self.offers.deadline(self.now, leader, retry, self.anchor());
        let fetches = self
            .restore
            .as_ref()
            .and_then(|restore| restore.deadline(&self.sources, self.profile.fetch_timeout));
        let returns = self.sources.next_return(self.now);
        [self.ask_at, offers, fetches, returns]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns how far it is.
    pub fn progress(&self) -> Progress {
        let restore = self.restore.as_ref();
        let source = |(member, source): (Member, &super::sources::Source)| SourceProgress {
            member,
            items: source.brought.0,
            bytes: source.brought.1,
            rate: source.rate,
            busy: restore.map_or(0, |restore| restore.busy(member)),
            aside_until: source.aside_until(self.now),
        };
        Progress {
            phase: self.phase,
            anchor: self.anchor(),
            confirmed: restore.is_some_and(|restore| restore.confirmed),
            verified: restore.map_or(0, Restore::verified),
            total: restore.map_or(0, |restore| restore.terms.items),
            bytes: self.sources.iter().map(|(_, s)| s.brought.1).sum(),
            total_bytes: restore.map_or(0, |restore| restore.terms.bytes),
            strays: self.strays,
            sources: self.sources.iter().map(source).collect(),
        }
    }
}

/// How long the leader's word waits for a second one: others learn of the commit within a
/// heartbeat and hash the same state in about the same time. It never waits until the snapshot is
/// forgotten: where the leader alone has the state, no other word would ever come.
fn confirm_patience(profile: &GroupProfile) -> Duration {
    let second = profile.election_max.saturating_mul(2);
    second.min(profile.snapshot_ttl / 2)
}

#[cfg(test)]
mod tests;

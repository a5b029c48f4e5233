//! What a session does with what it knows: choose, begin, reconsider, hand out work, ask again.

use super::{Phase, STEPS, Session};
use crate::{
    cursor::Cursor,
    event::GroupEvent,
    id::Member,
    state_op::StateOp,
    sync::{
        SyncOut,
        offers::Choice,
        restore::{Around, Restore},
    },
    time::Time,
    wire::Message,
};

impl Session {
    /// Asks the leader for a snapshot, and again if nothing comes of it.
    pub(super) fn ask(&mut self, out: &mut Vec<SyncOut>) {
        self.sources.pardon(self.now);
        self.ask_at = Some(self.now.after(self.profile.request_timeout));
        if let Some(leader) = self.leader.filter(|leader| *leader != self.start.me) {
            out.push(SyncOut::Send {
                to: leader,
                message: Message::SnapshotRequest {
                    member: self.start.me,
                    session: self.start.session,
                    have: self.start.have,
                },
            });
        }
    }

    /// Goes as far as what is known allows.
    pub(super) fn advance(&mut self, out: &mut Vec<SyncOut>) {
        match self.phase {
            Phase::Asking | Phase::Choosing => self.choose(out),
            Phase::Fetching => {
                self.reconsider(out);
                self.fetch(out);
            }
            Phase::Installing | Phase::Following => {}
        }
        self.question(out);
    }

    pub(super) fn choose(&mut self, out: &mut Vec<SyncOut>) {
        match self.best(None) {
            Some(choice) => self.begin(choice, out),
            None if self.offers.is_hopeful() => self.enter(Phase::Choosing),
            None => self.enter(Phase::Asking),
        }
    }

    pub(super) fn best(&self, but: Option<Cursor>) -> Option<Choice> {
        let usable = |member| {
            self.sources
                .get(member)
                .is_some_and(|s| s.is_usable(self.now))
        };
        self.offers.choose(self.now, self.leader, but, usable)
    }

    /// Restores the snapshot chosen.
    pub(super) fn begin(&mut self, choice: Choice, out: &mut Vec<SyncOut>) {
        let Choice {
            anchor,
            terms,
            confirmed,
            providers,
        } = choice;
        for (member, other) in self.offers.who_spoke(anchor) {
            if other != terms {
                let peer = member.peer;
                out.push(SyncOut::Event(GroupEvent::Diverged { anchor, peer }));
            }
        }
        self.ask_at = None;
        self.restore = Some(Restore::new(anchor, terms, confirmed));
        self.enter(Phase::Fetching);
        let session = self.start.session;
        out.push(SyncOut::State(StateOp::Restore {
            session,
            anchor,
            items: terms.items,
            digest: terms.digest,
            genesis: self.start.genesis,
        }));
        out.push(SyncOut::StageFrom(anchor));
        out.push(SyncOut::Event(GroupEvent::RestoreStarted {
            session,
            anchor,
            items: terms.items,
            bytes: terms.bytes,
            providers,
            confirmed,
        }));
        self.fetch(out);
    }

    /// Looks whether the present anchor is still the one to restore.
    pub(super) fn reconsider(&mut self, out: &mut Vec<SyncOut>) {
        let Some(restore) = self.restore.as_mut() else {
            return;
        };
        let anchor = restore.anchor;
        let judged = self.offers.judge(self.now, self.leader, anchor, |_| true);
        if let Some(choice) = judged.filter(|choice| choice.confirmed && !restore.confirmed) {
            if choice.terms != restore.terms {
                out.push(SyncOut::Mark("session.unconfirmed_digest_was_wrong"));
                return self.begin(choice, out);
            }
            restore.confirmed = true;
            out.push(SyncOut::Mark("session.confirmed_later"));
        }
        let untouched = restore.verified() == 0 && !restore.confirmed;
        let fed = self.is_fed();
        let better = |choice: &Choice| !fed || (untouched && choice.confirmed);
        if let Some(choice) = self.best(Some(anchor)).filter(better) {
            out.push(SyncOut::Mark("session.moved_to_another_anchor"));
            self.begin(choice, out);
        }
    }

    /// Tells whether anybody may still bring parts of the chosen snapshot.
    pub(super) fn is_fed(&self) -> bool {
        let usable = |member| {
            self.sources
                .get(member)
                .is_some_and(|s| s.is_usable(self.now))
        };
        self.restore.as_ref().is_some_and(|restore| {
            let mut providers = self.offers.who_state(restore.anchor, restore.terms);
            restore.is_complete() || restore.is_waiting() || providers.any(usable)
        })
    }

    /// Hands out work; installs when there is none left; asks again when nobody can do it.
    pub(super) fn fetch(&mut self, out: &mut Vec<SyncOut>) {
        let Some(restore) = self.restore.as_mut() else {
            return;
        };
        if restore.is_complete() {
            self.enter(Phase::Installing);
            return out.push(SyncOut::State(StateOp::Install {
                session: self.start.session,
            }));
        }
        let providers: Vec<Member> = self
            .offers
            .who_state(restore.anchor, restore.terms)
            .collect();
        let around = Around {
            session: self.start.session,
            leader: self.leader,
            providers: &providers,
            fetch_timeout: self.profile.fetch_timeout,
        };
        let next = &mut self.next_fetch;
        restore.schedule(self.now, &around, &mut self.sources, next, out);
        if !self.is_fed() && self.ask_at.is_none() {
            out.push(SyncOut::Mark("session.no_source_remains"));
            self.ask(out);
        }
    }

    /// Asks the leader about anchors it has said nothing of.
    pub(super) fn question(&mut self, out: &mut Vec<SyncOut>) {
        let Some(leader) = self.leader else {
            return;
        };
        if matches!(self.phase, Phase::Installing | Phase::Following) {
            return;
        }
        let chosen = self.anchor();
        let retry = self.profile.election_max;
        for anchor in self.offers.questions(self.now, self.term, retry, chosen) {
            out.push(SyncOut::Send {
                to: leader,
                message: Message::Authorize {
                    session: self.start.session,
                    anchor,
                },
            });
        }
    }

    pub(super) fn on_progress(
        &mut self,
        (from, asked): (Member, Time),
        (items, bytes): (u64, u64),
        out: &mut Vec<SyncOut>,
    ) {
        let took = self.now.since(asked);
        if let Some(source) = self.sources.get_mut(from) {
            source.brought.0 = source.brought.0.saturating_add(items);
            source.brought.1 = source.brought.1.saturating_add(bytes);
            source.on_answer(took, bytes, self.profile.fetch_timeout);
        }
        if let Some(restore) = &self.restore {
            out.push(SyncOut::Event(GroupEvent::RestoreProgress {
                session: self.start.session,
                from: from.peer,
                items,
                bytes,
                verified: restore.verified(),
                total: restore.terms.items,
            }));
        }
    }

    pub(super) fn stray(&mut self, mark: &'static str, out: &mut Vec<SyncOut>) {
        self.strays = self.strays.saturating_add(1);
        out.push(SyncOut::Mark(mark));
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        debug_assert!(
            self.phase == phase || STEPS.contains(&(self.phase, phase)),
            "no step from {:?} to {phase:?}",
            self.phase
        );
        #[cfg(test)]
        if self.phase != phase {
            self.taken.push((self.phase, phase));
        }
        self.phase = phase;
    }
}

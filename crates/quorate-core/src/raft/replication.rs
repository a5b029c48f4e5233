//! The leader's side of replication: what is sent, and what the answers mean (Raft, section 5.3).
//!
//! Flow control is per follower, in frames and in bytes: a window of appends is under way at once,
//! and a follower that does not answer costs its window and nothing else. What was not answered in
//! time is sent again from the last match on. An answer counts only in its own conversation, by the
//! run id, and never beyond what this leader has.
//!
//! A follower whose entries are gone here is told so and restores from a snapshot; so is one for
//! which the committed entries would cost more than the whole state. What is not committed yet is
//! in nobody's state and may wait for just this follower: it is sent in any case.

use std::time::Duration;

use crate::{
    canary::Canary,
    cursor::{Cursor, Index, Term},
    id::Member,
    limits,
    out::Out,
    time::Time,
    versions::Versions,
    wire::{Append, Message, Replication, entry_size},
};

use super::{
    Raft,
    conversation::{Conversation, Mode},
    log::Log,
    role::{Cause, RoleState},
};

impl Raft {
    /// Returns how long an answer to entries may take before they count as lost.
    pub(super) fn patience(&self) -> Duration {
        self.profile.heartbeat * 4
    }

    /// Goes back to what was not answered in time.
    pub(super) fn resend(&mut self, now: Time, out: &mut Out) {
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        for conversation in leader.conversations.values_mut() {
            if conversation.timed_out(now) {
                out.mark("raft.entries_without_an_answer");
                conversation.resend();
                // Nothing is kept for it from now on: look again, also if the log grows no more.
                self.prune_above = 0;
            }
        }
    }

    /// Sends entries to every member whose window has room.
    pub(super) fn pump(&mut self, now: Time, out: &mut Out) {
        let pump = Pump {
            now,
            term: self.ballot.term,
            commit: self.commit,
            read: self.reads.sequence(),
            patience: self.patience(),
            log: &self.log,
        };
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        for (member, conversation) in &mut leader.conversations {
            pump.send(*member, conversation, out);
        }
    }

    /// Takes note of a follower's message; returns its conversation, if it belongs to that.
    pub(super) fn hear_follower(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        run: u64,
        out: &mut Out,
    ) -> Option<&mut Conversation> {
        if term > self.ballot.term {
            self.become_follower(now, (Cause::HigherTerm, term), None, out);
            return None;
        }
        let pause = self.profile.election_min;
        let RoleState::Leader(leader) = &mut self.role else {
            return None;
        };
        let conversation = leader.conversations.get_mut(&from)?;
        let known = conversation.run == run || self.planted.has(Canary::RaftRs571);
        if term != self.ballot.term || !known {
            out.mark("raft.late_answer");
            return None;
        }
        conversation.heard(now, pause);
        Some(conversation)
    }

    /// Takes an ack.
    pub(super) fn on_ack(
        &mut self,
        now: Time,
        from: Member,
        (term, run): (Term, u64),
        (matched, read): (Index, u64),
        (reader, stateless, versions): (bool, bool, Versions),
        out: &mut Out,
    ) {
        let from = self.answer_of(from);
        let (last, base) = (self.log.last().index, self.log.base().index);
        let (sequence, patience) = (self.reads.sequence(), self.patience());
        let believes = self.planted.has(Canary::Cockroach87581);
        let Some(conversation) = self.hear_follower(now, from, term, run, out) else {
            return;
        };
        if matched > last || read > sequence {
            out.mark("raft.ack_beyond_the_log");
            out.misbehaved.push(from.peer);
            return;
        }
        conversation.read = conversation.read.max(read);
        conversation.reader = reader;
        conversation.stateless = stateless;
        conversation.versions = Some(versions);
        let probed = conversation.mode == Mode::Probe;
        let restored = conversation.acked(matched, base, now, patience);
        if restored && believes {
            let believed = conversation.matched.max(conversation.requested);
            conversation.matched = believed;
            conversation.restart(Mode::Replicate, believed.next());
        }
        let found = probed && conversation.mode == Mode::Replicate;
        let reached = conversation.matched;
        if let RoleState::Leader(leader) = &mut self.role {
            leader.furthest = leader.furthest.max(reached);
        }
        if found && self.state_is_cheaper(matched) {
            self.leave_behind(from, out);
        }
        self.advance_commit(now, out);
        self.confirm_reads(out);
    }

    /// Tells whether the committed entries after `matched` cost more to ship than the whole state.
    fn state_is_cheaper(&self, matched: Index) -> bool {
        let Some(state_bytes) = self.state_bytes.filter(|_| !self.profile.keep_log) else {
            return false;
        };
        // A marker, offers and an install cost something too: short gaps are always replayed.
        let budget = state_bytes.max(REPLAY_ALWAYS_BYTES);
        // Never more than the state here holds: a leader may have lost it.
        let held = self.commit.min(self.in_effect.upto);
        let place = |index: Index| usize::try_from(index.since(self.log.base().index)).ok();
        let (Some(first), Some(end)) = (place(matched), place(held)) else {
            return false;
        };
        let mut missing = self
            .log
            .entries()
            .iter_from(first)
            .take(end.saturating_sub(first));
        let mut bytes = 0_u64;
        missing.any(|entry| {
            bytes += entry_size(entry) as u64;
            bytes > budget
        })
    }

    /// Has a follower restore although the log still has what it needs.
    fn leave_behind(&mut self, member: Member, out: &mut Out) {
        let last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(conversation) = leader.conversations.get_mut(&member) else {
            return;
        };
        out.mark("raft.restore_is_cheaper");
        conversation.fall_behind(last);
        let run = conversation.run;
        self.say_behind(member, run, out);
    }

    /// Sends entries again to a follower that was to restore and has all that the state here has.
    pub(crate) fn replay(&mut self, to: Member, after: Cursor, out: &mut Out) {
        if !self.log.matches(after) {
            return;
        }
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        if let Some(conversation) = leader.conversations.get_mut(&to)
            && matches!(conversation.mode, Mode::Behind | Mode::Stage(_))
        {
            out.mark("raft.level_follower_is_sent_entries");
            conversation.restart(Mode::Probe, after.index.next());
        }
    }

    /// Tells a follower again that it is behind.
    pub(super) fn say_behind(&self, to: Member, run: u64, out: &mut Out) {
        let (term, first, commit) = (self.ballot.term, self.log.first(), self.commit);
        out.send(
            to,
            Message::Behind {
                term,
                run,
                first,
                commit,
            },
        );
    }

    /// Takes a reject: looks further back, or finds the follower behind the log's start.
    pub(super) fn on_reject(
        &mut self,
        now: Time,
        from: Member,
        (term, run): (Term, u64),
        (previous, hint): (Cursor, Cursor),
        out: &mut Out,
    ) {
        let from = self.answer_of(from);
        if self.hear_follower(now, from, term, run, out).is_none() {
            return;
        }
        let common = self.common_with(hint, previous);
        let last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(conversation) = leader.conversations.get_mut(&from) else {
            return;
        };
        let expected = match conversation.mode {
            Mode::Probe => conversation.probed == previous && !conversation.is_idle(),
            Mode::Replicate => previous.index > conversation.matched,
            // It stages nothing any more: a late append made it take its restore for needless.
            Mode::Stage(anchor) if previous.index >= anchor.index => {
                conversation.fall_behind(last);
                out.mark("staging.given_up");
                return self.say_behind(from, run, out);
            }
            Mode::Behind | Mode::Stage(_) => false,
        };
        if expected {
            out.mark("raft.logs_part");
            let next = common.max(conversation.matched).next();
            conversation.restart(Mode::Probe, next);
        }
    }

    /// Returns the last index of this log that may equal what ends at `hint` and is before
    /// `previous`.
    fn common_with(&self, hint: Cursor, previous: Cursor) -> Index {
        let mut index = hint
            .index
            .min(previous.index.previous())
            .min(self.log.last().index);
        while index > self.log.base().index
            && self.log.term_at(index).is_some_and(|term| term > hint.term)
        {
            index = index.previous();
        }
        index
    }
}

/// What a leader sends entries with.
struct Pump<'a> {
    now: Time,
    term: Term,
    commit: Index,
    read: u64,
    patience: Duration,
    log: &'a Log,
}

impl Pump<'_> {
    /// Sends one member what its window has room for.
    fn send(&self, member: Member, conversation: &mut Conversation, out: &mut Out) {
        let (term, commit, read) = (self.term, self.commit, self.read);
        let last = self.log.last().index;
        while conversation.is_due(last) {
            let before = conversation.next.previous().min(last);
            let Some(before_term) = self.log.term_at(before) else {
                conversation.fall_behind(last);
                let (run, first) = (conversation.run, self.log.first());
                out.mark("raft.follower_behind");
                out.send(
                    member,
                    Message::Behind {
                        term,
                        run,
                        first,
                        commit,
                    },
                );
                break;
            };
            let previous = Cursor::new(before_term, before);
            let (most, bytes) = (limits::APPEND_ENTRIES, conversation.append());
            let entries = self.log.slice(before.next(), most, bytes);
            let bytes = entries.bytes();
            let upto = Index(before.0 + entries.len() as u64);
            conversation.probed = previous;
            conversation.sent(upto, bytes, self.now, self.patience);
            conversation.told_commit = commit;
            let run = conversation.run;
            out.frame(
                member,
                Replication::Append(Append {
                    term,
                    run,
                    previous,
                    commit,
                    read,
                    entries,
                }),
            );
        }
    }
}

/// Bytes of entries that are always replayed, however small the state is.
const REPLAY_ALWAYS_BYTES: u64 = 1 << 20;

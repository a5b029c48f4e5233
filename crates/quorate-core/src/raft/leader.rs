//! The leader: conversations with every member, heartbeats, commit, check-quorum.
//!
//! Commit counts durable replicas of entries of the leader's own term only (Raft, section 5.4.2).
//! A leader that has not heard a quorum for an election timeout steps down: it could not commit,
//! and says so rather than letting its clients wait.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{
    canary::Canary,
    cursor::{Cursor, Index, Term},
    entry::{Body, Entry},
    event::GroupEvent,
    id::Member,
    limits,
    out::Out,
    peer::{FollowerView, WhyLearner},
    random::Purpose,
    time::Time,
    wire::{Append, Message, Replication, entry_size},
};

use super::{
    Raft, RoleState,
    conversation::{Conversation, Mode},
    planted::Progress,
    transfer::Handover,
};

/// What a leader keeps.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Leader {
    /// The first entry of its term.
    pub(crate) first: Index,
    /// What it knows of every other member.
    pub(crate) conversations: BTreeMap<Member, Conversation>,
    /// Of which configuration, by its index, the conversations are.
    conversing: Option<Index>,
    heartbeat_at: Time,
    /// When followers that have nothing to receive are told of a newer commit.
    notice_at: Time,
    /// Bytes of entries that are not committed.
    pub(crate) uncommitted: usize,
    /// The handover under way.
    pub(super) handover: Option<Handover>,
    /// When the next one may begin.
    pub(super) handover_after: Time,
    /// Why learners do not vote, as of the last look at the membership.
    pub(super) learners: BTreeMap<Member, WhyLearner>,
    /// For a planted bug.
    pub(super) progress: Progress,
}

impl Leader {
    pub(super) fn new(now: Time, first: Index) -> Self {
        Self {
            first,
            conversations: BTreeMap::new(),
            conversing: None,
            heartbeat_at: now,
            notice_at: Time::NEVER,
            uncommitted: 0,
            handover: None,
            handover_after: Time(0),
            learners: BTreeMap::new(),
            progress: Progress::default(),
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let handover = self.handover.as_ref();
        self.heartbeat_at
            .min(self.notice_at)
            .min(handover.map_or(Time::NEVER, Handover::deadline))
    }

    /// Probes anew: what was on its way over an older link may be lost.
    pub(super) fn relink(&mut self, now: Time, member: Member, next: Index) {
        let Some(conversation) = self.conversations.get_mut(&member) else {
            return;
        };
        if !matches!(conversation.mode, Mode::Stage(_)) {
            let matched = conversation.matched;
            let next = if matched == Index(0) {
                next
            } else {
                matched.next()
            };
            conversation.restart(Mode::Probe, next);
            conversation.heard = conversation.heard.max(now);
        }
    }
}

impl Raft {
    /// Returns how long an answer to entries may take before they count as lost.
    pub(super) fn patience(&self) -> Duration {
        self.profile.heartbeat * 4
    }

    /// Appends the first entry of this term.
    pub(super) fn append_noop(&mut self, out: &mut Out) {
        self.append_own(vec![Body::Noop], out);
    }

    /// Appends entries of this term; returns the index of the first.
    pub(super) fn append_own(&mut self, bodies: Vec<Body>, out: &mut Out) -> Index {
        let term = self.ballot.term;
        let first = self.log.last().index.next();
        let entries: Vec<Entry> = bodies
            .into_iter()
            .map(|body| Entry { term, body })
            .collect();
        if let RoleState::Leader(leader) = &mut self.role {
            leader.uncommitted += entries.iter().map(entry_size).sum::<usize>();
        }
        let changed = self.configurations.note(first, &entries);
        self.log.append(entries, out);
        if changed {
            self.configuration_changed(out);
        }
        first
    }

    /// Starts conversations with new members and ends those with former ones.
    pub(super) fn refresh_conversations(&mut self, now: Time) {
        let (index, configuration) = self.configurations.latest();
        let next = self.log.last().index.next();
        let me = self.me;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        if leader.conversing == Some(index) {
            return;
        }
        leader.conversing = Some(index);
        let members = configuration.members();
        leader
            .conversations
            .retain(|member, _| members.binary_search(member).is_ok());
        for member in members {
            if member != me && !leader.conversations.contains_key(&member) {
                let run = self.random.draw(Purpose::Run) | 1;
                let first = next.min(leader.first);
                leader
                    .conversations
                    .insert(member, Conversation::new(run, first, now));
            }
        }
    }

    /// Does what is due: commit notices, heartbeats, check-quorum, changes of the configuration.
    pub(super) fn tick_leader(&mut self, now: Time, out: &mut Out) {
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        if now >= leader.notice_at {
            leader.notice_at = Time::NEVER;
            self.beat(now, true, out);
        }
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        if now < leader.heartbeat_at {
            return;
        }
        leader.heartbeat_at = aligned(now, self.profile.heartbeat);
        if !self.hears_quorum(now) {
            out.mark("raft.leader_without_quorum");
            self.become_follower(now, self.ballot.term, None, out);
            return;
        }
        self.resend(now);
        self.beat(now, false, out);
        self.tick_membership(now, out);
    }

    fn hears_quorum(&self, now: Time) -> bool {
        let RoleState::Leader(leader) = &self.role else {
            return false;
        };
        self.planted.has(Canary::VisibleQuorum)
            || self.configurations.latest().1.quorum(|voter| {
                voter == self.me
                    || leader
                        .conversations
                        .get(&voter)
                        .is_some_and(|conversation| {
                            now.since(conversation.heard) < self.profile.election_max
                        })
            })
    }

    /// Sends heartbeats to all, or only to those that do not know of the latest commit.
    pub(super) fn beat(&mut self, now: Time, only_uninformed: bool, out: &mut Out) {
        let (term, commit, read) = (self.ballot.term, self.commit, self.reads.sequence());
        let behind_every = self.profile.heartbeat * 4;
        let (first, last) = (self.log.first(), self.log.last().index);
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        for (member, conversation) in &mut leader.conversations {
            if only_uninformed && conversation.told_commit >= commit {
                continue;
            }
            conversation.told_commit = commit;
            let run = conversation.run;
            out.send(
                *member,
                Message::Heartbeat {
                    term,
                    run,
                    commit,
                    read,
                },
            );
            if conversation.mode == Mode::Behind && conversation.behind_due(now, behind_every) {
                conversation.requested = last;
                out.send(
                    *member,
                    Message::Behind {
                        term,
                        run,
                        first,
                        commit,
                    },
                );
            }
        }
    }

    /// Goes back to what was not answered in time.
    fn resend(&mut self, now: Time) {
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        for conversation in leader.conversations.values_mut() {
            if conversation.timed_out(now) {
                conversation.resend();
            }
        }
    }

    /// Orders what waits, starts a read round, and sends what the windows allow.
    pub(super) fn settle_leader(&mut self, now: Time, out: &mut Out) {
        self.pursue_leave(now, out);
        if !self.is_leader() {
            return;
        }
        let handing_over = self.drive_handover(now, out);
        if !handing_over {
            self.order(out);
        }
        self.adopt_reads();
        let own_entry =
            self.is_established_leader() || self.planted.has(Canary::ReadBeforeOwnEntry);
        let established = own_entry && !handing_over;
        if self.reads.start_round(established, self.commit) {
            self.forget_confirmations();
            self.beat(now, false, out);
            self.confirm_reads(out);
        }
        self.advance_commit(now, out);
        // A quorum that has become smaller may have confirmed a round already.
        self.confirm_reads(out);
        self.refresh_conversations(now);
        self.pump(now, out);
        self.proposals.flush_outcomes(self.ballot.term, out);
    }

    /// Sends entries to every member whose window has room.
    fn pump(&mut self, now: Time, out: &mut Out) {
        let members: Vec<Member> = match &self.role {
            RoleState::Leader(leader) => leader
                .conversations
                .iter()
                .filter(|(_, conversation)| conversation.has_room())
                .map(|(member, _)| *member)
                .collect(),
            _ => return,
        };
        for member in members {
            self.pump_one(now, member, out);
        }
    }

    fn pump_one(&mut self, now: Time, member: Member, out: &mut Out) {
        let (term, commit, read) = (self.ballot.term, self.commit, self.reads.sequence());
        let patience = self.patience();
        let last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(conversation) = leader.conversations.get_mut(&member) else {
            return;
        };
        while conversation.has_room() {
            let probing = conversation.mode == Mode::Probe;
            if conversation.next > last && !probing {
                break;
            }
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
            let budget = if probing {
                PROBE_BYTES
            } else {
                limits::APPEND_BYTES
            };
            let entries = self
                .log
                .slice(before.next(), limits::APPEND_ENTRIES, budget);
            let bytes = entries.iter().map(entry_size).sum();
            let upto = Index(before.0 + entries.len() as u64);
            conversation.probed = previous;
            conversation.sent(upto, bytes, now, patience);
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

    /// Takes note of a follower's message; returns whether it belongs to the conversation.
    pub(super) fn hear_follower(
        &mut self,
        now: Time,
        from: Member,
        term: Term,
        run: u64,
        out: &mut Out,
    ) -> bool {
        if term > self.ballot.term {
            self.become_follower(now, term, None, out);
            return false;
        }
        let pause = self.profile.election_min;
        let RoleState::Leader(leader) = &mut self.role else {
            return false;
        };
        let Some(conversation) = leader.conversations.get_mut(&from) else {
            return false;
        };
        let known = conversation.run == run || self.planted.has(Canary::RaftRs571);
        if term != self.ballot.term || !known {
            out.mark("raft.late_answer");
            return false;
        }
        conversation.heard(now, pause);
        true
    }

    /// Takes an ack.
    pub(super) fn on_ack(
        &mut self,
        now: Time,
        from: Member,
        (term, run): (Term, u64),
        (matched, read): (Index, u64),
        out: &mut Out,
    ) {
        let from = self.answer_of(from);
        if !self.hear_follower(now, from, term, run, out) {
            return;
        }
        let last = self.log.last().index;
        let sequence = self.reads.sequence();
        let patience = self.patience();
        let base = self.log.base().index;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(conversation) = leader.conversations.get_mut(&from) else {
            return;
        };
        if matched > last || read > sequence {
            out.misbehaved.push(from.peer);
            return;
        }
        conversation.read = conversation.read.max(read);
        let probed = conversation.mode == Mode::Probe;
        let restored = conversation.acked(matched, base, now, patience);
        if restored && self.planted.has(Canary::Cockroach87581) {
            let believed = conversation.matched.max(conversation.requested);
            conversation.matched = believed;
            conversation.restart(Mode::Replicate, believed.next());
        }
        if probed && conversation.mode == Mode::Replicate && self.state_is_cheaper(matched) {
            self.leave_behind(from, out);
        }
        self.advance_commit(now, out);
        self.confirm_reads(out);
    }

    /// Tells whether the entries after `matched` cost more to ship than the whole state.
    fn state_is_cheaper(&self, matched: Index) -> bool {
        let Some(state_bytes) = self.state_bytes.filter(|_| !self.profile.keep_log) else {
            return false;
        };
        // A marker, offers and an install cost something too: short gaps are always replayed.
        let budget = state_bytes.max(REPLAY_ALWAYS_BYTES);
        let missing = usize::try_from(self.log.last().index.since(matched)).unwrap_or(usize::MAX);
        let entries = self.log.entries();
        let mut bytes = 0_u64;
        entries.iter().rev().take(missing).any(|entry| {
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
        if !self.hear_follower(now, from, term, run, out) {
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

    /// Raises the commit index to what a quorum holds durably, of this term.
    pub(super) fn advance_commit(&mut self, now: Time, out: &mut Out) {
        let in_order = self.commit_in_order();
        let RoleState::Leader(leader) = &self.role else {
            return;
        };
        if self.commit >= self.log.last().index {
            return;
        }
        let (changed_at, configuration) = self.configurations.latest();
        let own = self.log.durable();
        let matched = |voter| {
            if voter == self.me {
                own.index()
            } else {
                leader
                    .conversations
                    .get(&voter)
                    .map_or(Index(0), |other| other.matched)
            }
        };
        let reached = self
            .misjudged_commit(now, matched)
            .unwrap_or_else(|| configuration.quorum_value(matched));
        let reached = in_order.unwrap_or(reached);
        let own_term = self.log.term_at(reached) == Some(self.ballot.term)
            || self.planted.has(Canary::FigureEight);
        if reached <= self.commit || !own_term {
            return;
        }
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        for index in self.commit.0 + 1..=reached.0 {
            let size = self.log.get(Index(index)).map_or(0, entry_size);
            leader.uncommitted = leader.uncommitted.saturating_sub(size);
        }
        let was = self.commit;
        self.commit = reached;
        leader.notice_at = leader.notice_at.min(now.after(self.profile.heartbeat / 10));
        if was < changed_at && reached >= changed_at {
            out.event(GroupEvent::ConfigurationChanged {
                configuration: configuration.clone(),
                committed: true,
            });
            self.release(out);
        }
    }

    /// Returns what is known here of another member.
    pub(crate) fn followed(&self, member: Member) -> Option<FollowerView> {
        let RoleState::Leader(leader) = &self.role else {
            return None;
        };
        let conversation = leader.conversations.get(&member)?;
        Some(FollowerView {
            matched: conversation.matched,
            restoring: matches!(conversation.mode, Mode::Behind | Mode::Stage(_)),
            learner: leader.learners.get(&member).copied(),
        })
    }

    /// Returns when another member was last heard in this consensus, if that is known here: on the
    /// leader all that it converses with, elsewhere the leader.
    pub(crate) fn heard(&self, member: Member) -> Option<Time> {
        match &self.role {
            RoleState::Leader(leader) => leader.conversations.get(&member).map(|one| one.heard),
            _ => (self.leader == Some(member)).then_some(self.leader_heard),
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
}

/// Bytes of entries that are always replayed, however small the state is.
const REPLAY_ALWAYS_BYTES: u64 = 1 << 20;

/// Bytes of entries sent along with a probe, which may be sent in vain.
const PROBE_BYTES: usize = 16 << 10;

/// Returns the next multiple of `every` after `now`: groups of one peer beat together and share
/// frames.
fn aligned(now: Time, every: Duration) -> Time {
    let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    Time((now.0 / every).saturating_add(1).saturating_mul(every))
}

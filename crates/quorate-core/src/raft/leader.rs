//! The leader: what it keeps, what it does in turn (Raft, section 5.3; figure 2, "leaders").
//!
//! It appends, and never overwrites or drops an entry of its own. The rest is in the files named
//! after it: [`super::replication`], [`super::heartbeat`], [`super::commit`], [`super::read`],
//! [`super::membership`], [`super::transfer`].

use std::collections::BTreeMap;

use crate::{
    canary::Canary,
    cursor::Index,
    entries::Entries,
    entry::{Body, Entry},
    id::Member,
    out::Out,
    peer::{FollowerView, WhyLearner},
    random::Purpose,
    time::Time,
};

use super::{
    Raft,
    conversation::{Conversation, Mode},
    heartbeat::aligned,
    planted::Progress,
    role::{Cause, RoleState},
    transfer::Handover,
};

/// What a leader keeps.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Leader {
    /// The first entry of its term.
    pub(crate) first: Index,
    /// What it knows of every other member.
    pub(crate) conversations: BTreeMap<Member, Conversation>,
    /// No other member is known to match beyond this.
    pub(super) furthest: Index,
    /// Of which configuration, by its index, the conversations are.
    conversing: Option<Index>,
    heartbeat_at: Time,
    /// When followers that have nothing to receive are told of a newer commit.
    pub(super) notice_at: Time,
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
    pub(super) fn new(first: Index) -> Self {
        Self {
            first,
            conversations: BTreeMap::new(),
            furthest: Index(0),
            conversing: None,
            heartbeat_at: Time(0),
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
    ///
    /// The conversation begins anew, as `run`: the follower may have been started anew, from a disk
    /// that lost what it had acknowledged.
    pub(super) fn relink(&mut self, now: Time, member: Member, next: Index, run: u64) {
        let Some(conversation) = self.conversations.get_mut(&member) else {
            return;
        };
        let matched = std::mem::take(&mut conversation.matched);
        conversation.relink(run, now);
        if !matches!(conversation.mode, Mode::Stage(_)) {
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
    /// Counts what of the log is not committed: entries of earlier terms too.
    pub(super) fn count_uncommitted(&mut self) {
        let bytes = self.log.bytes_between(self.commit, self.log.last().index);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.uncommitted = bytes;
        }
    }

    /// Appends the first entry of this term.
    pub(super) fn append_noop(&mut self, out: &mut Out) {
        let term = self.ballot.term;
        let body = Body::Noop;
        self.append_own(vec![Entry { term, body }], out);
    }

    /// Appends entries of this term; returns the index of the first.
    pub(super) fn append_own(&mut self, entries: Vec<Entry>, out: &mut Out) -> Index {
        let entries = Entries::from(entries);
        let first = self.log.last().index.next();
        if let RoleState::Leader(leader) = &mut self.role {
            leader.uncommitted += entries.bytes();
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
            self.become_follower(now, (Cause::NoQuorum, self.ballot.term), None, out);
            return;
        }
        self.judge_disk(now, out);
        self.judge_state(now, out);
        self.resend(now, out);
        self.beat(now, false, out);
        self.tick_membership(now, out);
        self.tick_upgrade(now, out);
    }

    /// Orders what waits, starts a read round, and sends what the windows allow.
    pub(super) fn settle_leader(&mut self, now: Time, out: &mut Out) {
        self.pursue_leave(now, out);
        if !self.is_leader() {
            return;
        }
        let handing_over = self.drive_handover(now, out);
        if !handing_over && !self.is_at_a_loss() {
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
        self.retire(now, out);
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
}

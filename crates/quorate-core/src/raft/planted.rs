//! Planted bugs of the consensus that take more than a line; see [`crate::canary`].
//!
//! Nothing in here runs unless a simulation planted it.

use std::collections::BTreeMap;

use crate::{
    canary::{Canary, Planted},
    configuration::Configuration,
    cursor::Index,
    id::Member,
    out::Out,
    time::Time,
};

use super::{Raft, membership::joint, role::RoleState};

/// Match indexes kept in an order of their own, as a planted bug does.
#[derive(Clone, Hash, Debug, Default)]
pub(super) struct Progress {
    values: Vec<(Member, Index)>,
    reached: Index,
}

impl Progress {
    /// Takes a new match index; returns what a quorum has reached.
    ///
    /// Values above what is reached are meant to be in descending order, so that a prefix of them
    /// that is a quorum has reached its last value. But a voter is moved to its place only when it
    /// comes from below.
    fn update(&mut self, voters: &[Member], member: Member, value: Index) -> Index {
        self.values.retain(|(known, _)| voters.contains(known));
        let place = self.values.iter().position(|(known, _)| *known == member);
        let mut place = place.unwrap_or_else(|| {
            self.values.push((member, Index(0)));
            self.values.len() - 1
        });
        let before = std::mem::replace(&mut self.values[place].1, value);
        if before > self.reached || value <= self.reached {
            return self.reached;
        }
        while place > 0 && self.values[place - 1].1 < value {
            self.values.swap(place - 1, place);
            place -= 1;
        }
        for (prefix, (_, value)) in self.values.iter().enumerate().skip(place) {
            if *value <= self.reached {
                break;
            }
            if prefix + 1 > voters.len() / 2 {
                self.reached = *value;
                break;
            }
        }
        self.reached
    }
}

impl Raft {
    /// Tells whether a bug is planted by which a leader commits what it must not, or not what it
    /// must.
    pub(super) fn misjudges(&self) -> bool {
        [
            Canary::QuorumOffByOne,
            Canary::VisibleQuorum,
            Canary::JointAsUnion,
            Canary::LearnersCount,
            Canary::AllMustHaveIt,
            Canary::Openraft1802,
        ]
        .into_iter()
        .any(|bug| self.planted.has(bug))
    }

    /// Returns the commit index that a planted bug takes for reached, if one is planted.
    ///
    /// `matched` tells up to where a member is known to hold the leader's log durably.
    pub(super) fn misjudged_commit(
        &self,
        now: Time,
        matched: impl Fn(Member) -> Index,
    ) -> Option<Index> {
        let configuration = self.configurations.latest().1;
        let among = |counted: &[Member], needed: usize| {
            let mut values: Vec<Index> = counted.iter().map(|member| matched(*member)).collect();
            values.sort_unstable();
            let place = values.len().checked_sub(needed)?;
            values.get(place).copied()
        };
        let voters = &configuration.voters;
        if self.planted.has(Canary::QuorumOffByOne) && voters.len() > 1 {
            return among(voters, voters.len() / 2);
        }
        if self.planted.has(Canary::VisibleQuorum) {
            let seen = self.visible(now);
            return among(&seen, seen.len() / 2 + 1);
        }
        if self.planted.has(Canary::JointAsUnion) && configuration.is_joint() {
            let all = configuration.all_voters();
            return among(&all, all.len() / 2 + 1);
        }
        if self.planted.has(Canary::AllMustHaveIt) {
            let all = configuration.all_voters();
            return among(&all, all.len());
        }
        if self.planted.has(Canary::LearnersCount) {
            return among(&configuration.members(), voters.len() / 2 + 1);
        }
        None
    }

    /// Returns the voters that were heard within an election timeout, this peer among them.
    pub(super) fn visible(&self, now: Time) -> Vec<Member> {
        let heard = |voter: Member| {
            voter == self.me
                || self
                    .heard(voter)
                    .is_some_and(|heard| now.since(heard) < self.profile.election_max)
        };
        let voters = self.configurations.latest().1.all_voters();
        voters.into_iter().filter(|voter| heard(*voter)).collect()
    }

    /// Returns what a leader that keeps its match indexes in order commits; see [`Progress`].
    pub(super) fn commit_in_order(&mut self) -> Option<Index> {
        if !self.planted.has(Canary::Openraft1802) {
            return None;
        }
        let configuration = self.configurations.latest().1;
        let own = self.log.durable().index();
        let RoleState::Leader(leader) = &mut self.role else {
            return None;
        };
        if configuration.is_joint() {
            return None;
        }
        let voters = &configuration.voters;
        let mut reached = self.commit;
        leader.progress.reached = leader.progress.reached.max(self.commit);
        for voter in voters {
            let value = match leader.conversations.get(voter) {
                Some(conversation) => conversation.matched,
                None if *voter == self.me => own,
                None => continue,
            };
            let known = leader.progress.values.iter().find(|(one, _)| one == voter);
            if known.is_none_or(|(_, known)| *known != value) {
                reached = leader.progress.update(voters, *voter, value);
            }
        }
        Some(reached)
    }

    /// Returns the member whose answer it is taken for: with a bug, another life of the peer.
    pub(super) fn answer_of(&self, from: Member) -> Member {
        let by_key = self.planted.has(Canary::RaftRs571) || self.planted.has(Canary::KeyIsIdentity);
        let configuration = self.configurations.latest().1;
        if !by_key || configuration.contains(from) {
            return from;
        }
        configuration.life_of(from.peer).unwrap_or(from)
    }

    /// With the bug, answers that came before a round do not count for it, however it is numbered.
    pub(super) fn forget_confirmations(&mut self) {
        if let RoleState::Leader(leader) = &mut self.role
            && self.planted.has(Canary::Etcd20418)
        {
            for conversation in leader.conversations.values_mut() {
                conversation.read = 0;
            }
        }
    }

    /// Makes a term durable that was heard of; with the bug, takes it for durable at once.
    pub(super) fn write_term(&mut self, out: &mut Out) {
        if self.planted.has(Canary::TermNotWritten) {
            self.durable_ballot.1 = self.ballot;
        } else {
            self.write_ballot(out);
        }
    }

    /// Returns up to where a follower may believe that its log is the leader's; with the bug, all.
    pub(super) fn known_to_match(&self) -> Index {
        if self.planted.has(Canary::CommitPastMatch) {
            self.log.last().index
        } else {
            self.matched
        }
    }

    /// Returns a change of one voter at a time, without a joint configuration.
    pub(super) fn single_change(&self, next: &Configuration) -> Configuration {
        let current = self.configurations.latest().1;
        let leaves = |member: &&Member| !next.voters.contains(member);
        let enters = |member: &&Member| !current.voters.contains(member);
        let change = match current.voters.iter().find(leaves) {
            Some(old) => joint(current, &[*old], &[]),
            None => match next.voters.iter().find(enters) {
                Some(new) => joint(current, &[], &[*new]),
                None => next.clone(),
            },
        };
        Configuration {
            outgoing: Vec::new(),
            ..change
        }
    }
}

/// The rounds of reads by the question that each was begun for, as a planted bug keeps them.
///
/// A question that comes again goes under the number of its first round, so that whatever still
/// arrives of that one confirms it, and all that waits with it.
#[derive(Clone, Hash, Debug, Default)]
pub(super) struct Contexts {
    rounds: BTreeMap<(Member, u64), u64>,
    pub(super) planted: Planted,
}

impl Contexts {
    /// Tells whether questions are repeated under the same number.
    pub(super) fn on(&self) -> bool {
        self.planted.has(Canary::Etcd20418)
    }

    /// Returns the number of a round that is begun for these questions.
    pub(super) fn number(&mut self, asked: impl Iterator<Item = (Member, u64)>, next: u64) -> u64 {
        let mut number = next;
        for question in asked.filter(|_| self.planted.has(Canary::Etcd20418)) {
            number = number.min(*self.rounds.entry(question).or_insert(next));
        }
        number
    }
}

//! What is committed: durable replicas, counted by the leader (Raft, sections 5.3 and 5.4.2).
//!
//! Only entries of the leader's own term are committed by counting; all before them follow. The
//! leader's own replica counts when it is durable like anybody else's, and only as far as it is a
//! voter of the half that is counted.

use crate::{canary::Canary, cursor::Index, event::GroupEvent, id::Member, out::Out, time::Time};

use super::{Raft, role::RoleState};

impl Raft {
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
        if leader.furthest <= self.commit && configuration.voters.len() > 1 && !self.misjudges() {
            // A majority of several is somebody else at least, who does not have it.
            debug_assert!(configuration.quorum_value(matched) <= self.commit);
            return;
        }
        let reached = self
            .misjudged_commit(now, matched)
            .unwrap_or_else(|| configuration.quorum_value(matched));
        let reached = in_order.unwrap_or(reached);
        if reached <= self.commit {
            return;
        }
        let own_term = self.log.term_at(reached) == Some(self.ballot.term)
            || self.planted.has(Canary::FigureEight);
        if !own_term {
            // Figure 8: a quorum has it, and it may still be overwritten.
            out.mark("raft.earlier_term_waits_for_own");
            return;
        }
        let bytes = self.log.bytes_between(self.commit, reached);
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        leader.uncommitted = leader.uncommitted.saturating_sub(bytes);
        let was = self.commit;
        self.commit = reached;
        leader.notice_at = leader.notice_at.min(now.after(self.profile.heartbeat / 10));
        if was < changed_at && reached >= changed_at {
            out.event(GroupEvent::ConfigurationChanged {
                configuration: configuration.clone(),
                committed: true,
            });
            self.mark_committed(now, out);
            self.release(out);
        }
    }

    /// Notes, for simulations, how a configuration came to be committed.
    fn mark_committed(&self, now: Time, out: &mut Out) {
        let (_, configuration) = self.configurations.latest();
        let RoleState::Leader(leader) = &self.role else {
            return;
        };
        if !configuration.is_joint() {
            return;
        }
        out.mark("raft.joint_committed");
        let voters = configuration.all_voters();
        let silent = |voter: &Member| {
            let other = leader.conversations.get(voter);
            other.is_some_and(|other| now.since(other.heard) >= self.profile.election_min)
        };
        if voters.iter().any(silent) {
            out.mark("raft.joint_across_partition");
        }
        let reached = self.commit;
        let lags = |voter: &Member| {
            let other = leader.conversations.get(voter);
            other.is_some_and(|other| other.matched < reached)
                && configuration.outgoing.binary_search(voter).is_err()
        };
        if configuration.voters.iter().any(lags) {
            out.mark("raft.new_voter_lags");
        }
    }
}

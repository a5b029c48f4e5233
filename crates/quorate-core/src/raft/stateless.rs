//! A member without a state: what it may still do in its group.
//!
//! Consensus is about the log, and a log that is whole is worth as much without a state: such a
//! member acknowledges and votes as ever, and may win an election that nobody else could win, if
//! its log is the longest. But it can answer nobody, and it cannot restore, since a snapshot is
//! asked for from a leader: a group led by it would stand still for good. So a leader that lost its
//! state steps down, and one whose log starts after what its state has applied hands over as soon
//! as somebody has its entries, again and again until somebody leads who has a state. Every ack
//! says whether the member that sends it has one: nobody is handed to who has none, nobody becomes
//! a voter without, and no leader lets the last voter go that has it.
//!
//! *Alternative, rejected:* not to campaign. The others may have shorter logs, and then nobody
//! could be elected.

use crate::{cursor::Index, out::Out, time::Time};

use super::{
    Raft,
    role::{Cause, RoleState},
};

impl Raft {
    /// Leads no more: the state here is lost and begins anew.
    pub(crate) fn lose_state(&mut self, now: Time, out: &mut Out) {
        if !matches!(self.role, RoleState::Follower) {
            self.become_follower(now, (Cause::StateLost, self.ballot.term), None, out);
        }
        if self.staging.take().is_some() {
            // What restored it is gone as well, and the leader goes on to stage: restore once more.
            out.mark("staging.lost_with_the_state");
            self.behind = Some(super::Behind {
                first: Index(u64::MAX),
            });
        }
    }

    /// Takes note of whether only a snapshot can bring the state here on.
    pub(crate) fn note_lack(&mut self, lacks_state: bool) {
        self.lacks_state = lacks_state;
    }

    /// On a leader: hands over if only a snapshot can bring the state here on.
    pub(super) fn judge_state(&mut self, now: Time, out: &mut Out) {
        if self.lacks_state && !self.is_handing_over() {
            out.mark("raft.leader_without_a_state_hands_over");
            self.step_aside(now, out);
        }
    }
}

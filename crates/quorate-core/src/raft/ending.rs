//! How the consensus of a group ends on a peer: poisoned, disbanded, dissolved.
//!
//! Whoever waits is answered, for the last time. What it may be told differs: of a poisoned group
//! nobody knows what becomes of what was sent; in a genesis that came to nothing no entry was ever
//! ordered; in a history that was given up nothing takes effect any more, whoever has it in a log.

use crate::{client::Reply, event::GroupEvent, out::Out, time::Time};

use super::{Raft, role::Cause};

impl Raft {
    /// Stops taking part: this peer's own durable state contradicts itself.
    pub(crate) fn poison(&mut self, reason: &'static str, out: &mut Out) {
        if self.poisoned.is_none() {
            self.poisoned = Some(reason);
            self.change_role(Cause::Poisoned, out);
            self.leader = None;
            self.close(out);
            out.event(GroupEvent::Poisoned { reason });
        }
    }

    /// Answers everybody who waits: this peer takes no part any more.
    pub(crate) fn close(&mut self, out: &mut Out) {
        self.proposals.close(&Reply::Closed, &Reply::Unknown, out);
        self.reads.close(&Reply::Closed, out);
        self.close_wishes(&Reply::Closed, out);
        self.close_leaving(&Reply::Closed, out);
    }

    /// Answers everybody who waits: the genesis came to nothing, and nothing was ever ordered.
    pub(crate) fn disband(&mut self, out: &mut Out) {
        self.proposals
            .close(&Reply::Unavailable, &Reply::Unknown, out);
        self.reads.close(&Reply::Unavailable, out);
        self.close_wishes(&Reply::Unavailable, out);
        self.close_leaving(&Reply::Unavailable, out);
    }

    /// Answers everybody who waits: the history was given up for another one, and nothing that
    /// waits was applied in it or ever will be. Followers are told how far it is committed.
    pub(crate) fn dissolve(&mut self, now: Time, out: &mut Out) {
        if self.is_leader() {
            self.beat(now, false, out);
        }
        let (superseded, unavailable) = (Reply::Superseded, Reply::Unavailable);
        self.proposals.close(&superseded, &superseded, out);
        self.reads.close(&unavailable, out);
        self.close_wishes(&unavailable, out);
        // There is no seat any more.
        self.close_leaving(&Reply::Done, out);
    }
}

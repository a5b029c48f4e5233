//! What the disk lets a peer do in its group.
//!
//! * **Damage took the end of its log**: it votes as if the log ended at its *floor* and never
//!   campaigns, until the log, durable, ends there again.
//! * **No space is left**: it leads no more, does not campaign and takes no entries, while reads go
//!   on, until there is space.
//! * **Its own sync takes too long**: as a leader, it hands over.
//!
//! **Floor.** A peer that has acknowledged an entry and lost it must not help to elect somebody
//! without it: with its vote, the entry might be on no log that counts. So it compares candidates
//! with where its log once ended, the latest that it can have acknowledged (section 5.4.1 compares
//! with the log, which here cannot be shown). It acknowledges only what it has, so a leader refills
//! the hole by what it does anyway: with every new link its conversation begins anew, so that what
//! was acknowledged before is counted no more. The store keeps the floor across starts.
//!
//! **No space.** Nothing of what is under way is in doubt, so nothing is taken back: acks and votes
//! that wait for a write go on waiting.

use crate::{
    canary::Canary,
    cursor::{Cursor, Index},
    disk_op::{DiskId, DiskWrite},
    out::Out,
    time::Time,
};

use super::{Raft, RoleState, role::Cause};

/// What stands between a peer and its part in the group.
#[derive(Clone, Hash, Debug)]
pub(super) struct Disk {
    /// Where the log once ended, if it does not any more.
    floor: Option<Cursor>,
    /// Whether there is no space for what was to be written.
    full: bool,
    /// On a leader: the oldest write of its own that is under way, and since when it is known.
    oldest: Option<(DiskId, Time)>,
}

impl Disk {
    pub(super) fn new(floor: Option<Cursor>) -> Self {
        Self {
            floor,
            full: false,
            oldest: None,
        }
    }

    /// Tells whether the disk speaks against asking for votes.
    pub(super) fn lets_campaign(&self) -> bool {
        self.floor.is_none() && !self.full
    }

    /// Tells whether there is no space.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }
}

impl Raft {
    /// Returns where the log once ended, if damage has taken that part.
    pub(crate) fn floor(&self) -> Option<Cursor> {
        self.disk.floor
    }

    /// Tells whether there is no space for what is to be written here.
    pub(crate) fn is_short_of_space(&self) -> bool {
        self.disk.full
    }

    /// Tells whether a candidate whose log ends at `last` is not behind this peer.
    pub(super) fn is_level(&self, last: Cursor, out: &mut Out) -> bool {
        if let Some(floor) = self.disk.floor
            && !self.planted.has(Canary::LimitedVoteIgnored)
        {
            if last < floor {
                out.mark("disk.limited_vote_refused");
                return false;
            }
            out.mark("disk.limited_vote_granted");
        }
        last >= self.log.last()
    }

    /// Ends the limit on votes once the durable log ends where it once did.
    pub(super) fn lift_floor(&mut self, out: &mut Out) {
        let Some(floor) = self.disk.floor else { return };
        let upto = self.log.durable().index().min(self.log.last().index);
        let Some(term) = self.log.term_at(upto) else {
            return;
        };
        if Cursor::new(term, upto) >= floor {
            out.mark("disk.damage_refilled");
            self.disk.floor = None;
        }
    }

    /// Takes note of whether there is space for what is to be written.
    pub(crate) fn on_space(&mut self, now: Time, enough: bool, out: &mut Out) {
        if self.poisoned.is_some() || self.disk.full != enough {
            return;
        }
        self.disk.full = !enough;
        if enough {
            out.mark("disk.space_again");
            self.reset_election(now);
            return;
        }
        out.mark("disk.no_space");
        if self.is_leader() {
            out.mark("disk.no_space_leader_steps_down");
        }
        if !matches!(self.role, RoleState::Follower) {
            self.become_follower(now, (Cause::NoSpace, self.ballot.term), None, out);
        }
    }

    /// On a leader: hands over if its own sync takes longer than an election timeout.
    pub(super) fn judge_disk(&mut self, now: Time, out: &mut Out) {
        let oldest = self.log.oldest_write();
        match (oldest, self.disk.oldest) {
            (Some(id), Some((known, since))) if id == known => {
                if now.since(since) >= self.profile.election_max && !self.is_handing_over() {
                    out.mark("disk.slow_leader_hands_over");
                    self.step_aside(now, out);
                }
            }
            (oldest, _) => self.disk.oldest = oldest.map(|id| (id, now)),
        }
    }

    /// Ends a limit on votes that is above everything, once this peer has what its leader has
    /// committed.
    ///
    /// Such a floor stands where it is not known how far the log went. The leader's conversation is
    /// younger than this start, so it counts nothing any more that this peer acknowledged before.
    /// And a leader that has committed an entry of its own term knows of everything that ever was
    /// committed: what this peer helped to commit is at or below that index, and is here again.
    pub(super) fn lift_doubt(&mut self, commit: Index, out: &mut Out) {
        let doubtful = self
            .disk
            .floor
            .is_some_and(|floor| floor.index == Index(u64::MAX));
        let here = self.matched.min(self.log.durable().index());
        let own = self.log.term_at(commit) == Some(self.ballot.term);
        if doubtful && self.run != 0 && own && here >= commit {
            out.mark("disk.doubt_lifted");
            self.disk.floor = None;
            // Nothing waits for it: after a crash before that is durable, this is found out anew.
            out.write(DiskWrite::Whole);
        }
    }
}

//! Who belongs to a group and who counts.
//!
//! A configuration is an entry of the log and takes effect when it is appended (Raft dissertation,
//! section 4.3, the joint form of the original paper, section 6). While it is joint, a decision
//! needs a majority of both halves. Nothing is ever derived from who is reachable: that would let
//! each side of a partition decide alone.

use serde::{Deserialize, Serialize};

use crate::{
    id::{Member, PeerId},
    limits,
};

/// The members of a group at one cursor.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// Those whose durable copies and votes count, sorted.
    pub voters: Vec<Member>,
    /// While joint, the voters of the configuration being left, sorted; else empty.
    pub outgoing: Vec<Member>,
    /// Those that replicate without counting, sorted.
    pub learners: Vec<Member>,
}

impl Configuration {
    /// Makes a configuration of `voters` alone.
    pub fn of_voters(mut voters: Vec<Member>) -> Self {
        voters.sort_unstable();
        voters.dedup();
        Self {
            voters,
            outgoing: Vec::new(),
            learners: Vec::new(),
        }
    }

    /// Tells whether two majorities are needed.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Tells whether `member` counts in either half.
    pub fn is_voter(&self, member: Member) -> bool {
        // A search by halves costs more than a look at each: they are few.
        self.voters.contains(&member) || self.outgoing.contains(&member)
    }

    /// Tells whether `member` replicates without counting.
    pub fn is_learner(&self, member: Member) -> bool {
        !self.is_voter(member) && self.learners.binary_search(&member).is_ok()
    }

    /// Tells whether `member` belongs to the group at all.
    pub fn contains(&self, member: Member) -> bool {
        self.is_voter(member) || self.learners.binary_search(&member).is_ok()
    }

    /// Returns every member once, in order.
    pub fn members(&self) -> Vec<Member> {
        let mut all: Vec<Member> = self
            .voters
            .iter()
            .chain(&self.outgoing)
            .chain(&self.learners)
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns every voter of either half once, in order.
    pub fn all_voters(&self) -> Vec<Member> {
        let mut all: Vec<Member> = self.voters.iter().chain(&self.outgoing).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns the life of `peer` that belongs to the group, voters before learners.
    pub fn life_of(&self, peer: PeerId) -> Option<Member> {
        self.voters
            .iter()
            .chain(&self.outgoing)
            .chain(&self.learners)
            .find(|member| member.peer == peer)
            .copied()
    }

    /// Tells whether those for whom `holds` is true are a majority of every half.
    pub fn quorum(&self, mut holds: impl FnMut(Member) -> bool) -> bool {
        let mut majority =
            |half: &[Member]| half.iter().filter(|member| holds(**member)).count() > half.len() / 2;
        majority(&self.voters) && (self.outgoing.is_empty() || majority(&self.outgoing))
    }

    /// Returns the greatest value that a majority of every half has reached.
    ///
    /// Sorts the values each time: with at most a few voters that costs nothing, and a structure
    /// kept sorted across updates is where a commit without a quorum came from elsewhere
    /// (<https://github.com/databendlabs/openraft/issues/1802>).
    pub fn quorum_value<T: Ord + Copy + Default>(&self, mut value: impl FnMut(Member) -> T) -> T {
        let mut reached = |half: &[Member]| {
            // Room for the largest half there may be: this is asked for every answer.
            let mut room = [T::default(); limits::VOTERS];
            let mut more = Vec::new();
            let values = if half.len() <= room.len() {
                &mut room[..half.len()]
            } else {
                more.resize(half.len(), T::default());
                &mut more[..]
            };
            for (place, member) in values.iter_mut().zip(half) {
                *place = value(*member);
            }
            values.sort_unstable();
            // Of n sorted values, those from position (n - 1) / 2 on are held by a majority.
            values
                .get(half.len().saturating_sub(1) / 2)
                .copied()
                .unwrap_or_default()
        };
        let voters = reached(&self.voters);
        if self.outgoing.is_empty() {
            voters
        } else {
            voters.min(reached(&self.outgoing))
        }
    }

    /// Tells whether the lists are sorted, free of doubles, not empty and within the limits.
    pub fn is_valid(&self) -> bool {
        let sorted = |list: &[Member]| list.windows(2).all(|pair| pair[0] < pair[1]);
        !self.voters.is_empty()
            && self.voters.len() <= limits::VOTERS
            && self.outgoing.len() <= limits::VOTERS
            && self.learners.len() <= limits::LEARNERS
            && [&self.voters, &self.outgoing, &self.learners]
                .into_iter()
                .all(|list| sorted(list))
            && !self.learners.iter().any(|member| self.is_voter(*member))
    }
}

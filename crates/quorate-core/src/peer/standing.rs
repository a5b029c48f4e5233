//! Where this peer stands in the group, as it tells everybody who has proven the key.

use crate::{
    id::Member,
    out::Out,
    raft::Raft,
    time::Time,
    wire::{Message, Standing},
};

use super::group::Group;

impl Group {
    /// Returns where this peer stands.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            genesis: self.genesis,
            established: self.is_established(),
            used: self.fate.is_used(),
            leader: self.raft.as_ref().and_then(Raft::leader),
            founding: self.formation.founding(),
        }
    }

    /// Tells whether the history here exists: the log holds anything after its genesis.
    fn is_established(&self) -> bool {
        let held = self
            .raft
            .as_ref()
            .is_some_and(|raft| !raft.log().is_empty());
        held && !self.is_bare()
    }

    /// Tells whether everybody was told where this peer stands: asked at the end of every turn, so
    /// that it is compared where it is kept and not put together for that.
    fn is_told(&self) -> bool {
        self.told.as_ref().is_some_and(|told| {
            told.used == self.fate.is_used()
                && told.established == self.is_established()
                && told.founding == self.formation.founding()
                && told.genesis == self.genesis
                && told.leader == self.raft.as_ref().and_then(Raft::leader)
        })
    }

    /// Tells everybody where this peer stands, when that has changed.
    pub(super) fn tell_standing(&mut self, out: &mut Out) {
        if self.is_told() {
            return;
        }
        let standing = self.standing();
        self.told = Some(standing);
        for peer in &self.peers {
            out.send(*peer, Message::Standing(standing));
        }
    }

    /// Takes note of where a peer stands; one that looks for the history is told where it is.
    pub(super) fn on_standing(
        &mut self,
        now: Time,
        from: Member,
        standing: Standing,
        out: &mut Out,
    ) {
        self.formation.on_standing(from, standing);
        let other = standing.genesis.filter(|_| standing.established);
        if let Some(other) = other.filter(|_| standing.genesis != self.genesis) {
            self.formation.on_met(other, out);
        }
        self.meet(now, from, standing, out);
        let mine = self.standing();
        // Only to whoever knows less: two that know the same would answer each other for ever.
        let news = !standing.established || (standing.leader.is_none() && mine.leader.is_some());
        if mine.established && news {
            out.send(from, Message::Standing(mine));
        }
    }
}

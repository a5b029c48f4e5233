//! How much of the log is kept.
//!
//! Applied entries stay as a reserve, so that a peer that lags a little is sent entries and not
//! the state; beyond it, whatever live snapshots and followers that keep up still need, up to a
//! cap on bytes. A follower that needs what is gone restores.

use crate::{
    cursor::{Cursor, Index},
    disk_op::DiskWrite,
    limits,
    out::Out,
    wire::entry_size,
};

use super::{Raft, role::RoleState};

impl Raft {
    /// Drops the entries up to `applied` that nothing needs any more.
    pub(crate) fn prune(&mut self, applied: Cursor, oldest_anchor: Option<Index>, out: &mut Out) {
        let reserve = self.profile.reserve_entries;
        let over_entries = applied.index.since(self.log.base().index) > reserve + reserve / 4;
        let slack = self.profile.reserve_bytes / 4;
        let over_bytes = self.log.bytes()
            > self
                .profile
                .reserve_bytes
                .saturating_add(slack)
                .max(self.prune_above);
        if !over_entries && !over_bytes {
            return;
        }
        // Looking for the place costs a walk over the log: what cannot go now is not looked at
        // again before the log has grown by as much as would be worth dropping.
        self.prune_above = self.log.bytes().saturating_add(slack);
        let mut keep_after = Index(applied.index.0.saturating_sub(reserve));
        if over_bytes {
            keep_after = keep_after.max(self.within_bytes(self.profile.reserve_bytes, applied));
        }
        let needed = oldest_anchor
            .into_iter()
            .chain(self.needed_by_followers())
            .min();
        if let Some(needed) = needed {
            let pinned = self.within_bytes(limits::PINNED_BYTES, applied);
            keep_after = keep_after.min(needed.max(pinned));
        }
        // Never more than what is committed and applied, and never what is not durable here.
        let keep_after = keep_after
            .min(applied.index)
            .min(self.log.durable().index());
        let Some(term) = self.log.term_at(keep_after) else {
            return;
        };
        if keep_after.since(self.log.base().index) < (reserve / 4).max(1) && !over_bytes {
            return;
        }
        if keep_after <= self.log.base().index {
            return;
        }
        let base = Cursor::new(term, keep_after);
        out.write(DiskWrite::Base {
            base,
            configuration: Box::new(self.configurations.at(keep_after).clone()),
            genesis: self.genesis,
            keep: true,
        });
        self.log.prune(base);
        self.configurations.prune(keep_after);
        self.prune_above = 0;
    }

    /// Returns the index after which at most `bytes` of the log lie, at most `applied`.
    fn within_bytes(&self, bytes: u64, applied: Cursor) -> Index {
        let mut excess = self.log.bytes().saturating_sub(bytes);
        let mut index = self.log.base().index;
        for entry in self.log.entries().iter() {
            if excess == 0 || index >= applied.index {
                break;
            }
            excess = excess.saturating_sub(entry_size(entry) as u64);
            index = index.next();
        }
        index
    }

    /// Returns the index before what the slowest follower that is heard still needs.
    fn needed_by_followers(&self) -> Option<Index> {
        let RoleState::Leader(leader) = &self.role else {
            return None;
        };
        leader
            .conversations
            .values()
            .filter_map(|conversation| conversation.needs())
            .map(Index::previous)
            .min()
    }
}

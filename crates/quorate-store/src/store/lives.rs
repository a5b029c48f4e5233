//! What the superblock says of lives: the boots of others, and whether this incarnation is over.

use quorate_core::{Boot, Member};

use super::{Store, StoreEffects};

impl Store {
    /// Remembers the latest boots of others, and no others. Cost: a rewrite of the superblock.
    ///
    /// Nothing waits for it.
    pub fn remember(&mut self, boots: Vec<(Member, Boot)>, effects: &mut StoreEffects) {
        self.superblock.remembered = boots;
        self.due = true;
        self.pump(effects);
    }

    /// Ends the incarnation: the next start of the directory begins another one, and empties the
    /// log. [`Store::has_ended`] tells when that is durable.
    pub fn end_incarnation(&mut self, effects: &mut StoreEffects) {
        self.superblock.ended = true;
        self.due = true;
        self.pump(effects);
    }

    /// Returns the latest boot of `member` that is remembered durably.
    pub fn remembers(&self, member: Member) -> Option<Boot> {
        let durable = !self.due && !self.mirror.is_busy() && self.failed.is_none();
        let mut boots = self.superblock.remembered.iter().filter(|_| durable);
        boots.find_map(|(known, boot)| (*known == member).then_some(*boot))
    }

    /// Tells whether the incarnation has ended, durably.
    pub fn has_ended(&self) -> bool {
        self.superblock.ended && !self.due && !self.mirror.is_busy() && self.failed.is_none()
    }
}

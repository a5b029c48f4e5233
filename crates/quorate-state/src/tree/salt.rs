//! Where nodes begin: the level of a key, from a keyed hash of the key alone.
//!
//! A key of level `l` starts a new node at every height below `l`; the first key of the tree starts
//! one everywhere, whatever its level. Nothing else decides a boundary: no neighbour, no size, no
//! history. So equal content has one shape, and a change moves only the boundaries of its own key.
//!
//! The hash is keyed by a salt that a history fixes at its genesis, so that nobody can prepare keys
//! that bend the trees of histories yet to come. Whoever writes to a running history can still look
//! for keys of one level and make wide nodes; no key can make the tree deeper than [`MAX_HEIGHT`],
//! which bounds every recursion.

/// Items in a leaf, and children of an inner node, on average: one key in so many is a boundary.
///
/// With items of some 100 bytes that makes leaves of 2 to 4 KiB: small enough to copy for one
/// change after a snapshot, large enough that a node's own cost is small beside its items.
pub const MEAN_FANOUT: u64 = 24;

/// The greatest height of a node, leaves being at height 0: what 64 bits of hash can express.
pub const MAX_HEIGHT: u8 = 13;

/// A hash below the threshold `l - 1` has level `l` or more: each is a 24th of the one before.
const THRESHOLDS: [u64; MAX_HEIGHT as usize] = {
    let mut thresholds = [0; MAX_HEIGHT as usize];
    let mut threshold = u64::MAX;
    let mut level = 0;
    while level < thresholds.len() {
        threshold /= MEAN_FANOUT;
        thresholds[level] = threshold;
        level += 1;
    }
    thresholds
};

const _: () = assert!(THRESHOLDS[MAX_HEIGHT as usize - 1] > 0);

/// The key of the hash that makes a tree's boundaries; fixed for a whole history.
///
/// It is no secret among peers: it is part of snapshots and covered by their digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salt(pub [u8; 32]);

impl Salt {
    /// Returns the level of `key`: at how many heights, from the leaves up, it starts a node.
    ///
    /// Costs one hash of the key.
    pub fn level(&self, key: &[u8]) -> u8 {
        let hash = blake3::keyed_hash(&self.0, key);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        let hash = u64::from_le_bytes(first);
        let mut level = 0;
        while level < MAX_HEIGHT && hash < THRESHOLDS[usize::from(level)] {
            level += 1;
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_in_a_mean_fanout_is_a_boundary_at_each_level() {
        let salt = Salt([7; 32]);
        let mut at_least = [0_u64; 4];
        for i in 0..200_000_u64 {
            let level = salt.level(&i.to_be_bytes());
            for reached in at_least.iter_mut().take(usize::from(level)) {
                *reached += 1;
            }
        }
        // Expected 8333, 347, 14: wide bounds, the hash is fixed.
        assert!((8_000..8_700).contains(&at_least[0]), "{at_least:?}");
        assert!((280..420).contains(&at_least[1]), "{at_least:?}");
        assert!((3..35).contains(&at_least[2]), "{at_least:?}");
    }

    #[test]
    fn another_salt_makes_other_boundaries() {
        let same = (0..1_000_u64)
            .filter(|i| {
                let key = i.to_be_bytes();
                let level = Salt([1; 32]).level(&key);
                level > 0 && level == Salt([2; 32]).level(&key)
            })
            .count();
        assert!(same < 10, "{same} of some 40 boundaries coincide");
    }
}

//! Tests of the tree against plain models, and of its digests against fixed values.

mod golden;
mod model;
mod spec;
mod transfer;

use std::{collections::BTreeMap, sync::OnceLock};

use super::{Builder, Salt, Tree};

pub(super) const SALT: Salt = Salt([9; 32]);

pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys of every level up to three, in numbers that make small trees tall.
///
/// Among random keys one in 24 is a boundary: a tree of a few hundred would hardly have inner
/// nodes, and none above another.
pub(super) fn keys() -> &'static [Vec<u8>] {
    static KEYS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut wanted = [120, 60, 25, 8];
        let mut keys = Vec::new();
        for i in 0_u32.. {
            let key = blake3::hash(&i.to_le_bytes()).as_bytes()[..4].to_vec();
            let left = &mut wanted[usize::from(SALT.level(&key)).min(3)];
            if *left > 0 {
                *left -= 1;
                keys.push(key);
            }
            if wanted == [0; 4] {
                break;
            }
        }
        keys
    })
}

/// Keys that start no node, in order: together they make one leaf.
pub(super) fn inner_keys(count: usize) -> Vec<Vec<u8>> {
    (0_u32..)
        .map(|i| i.to_be_bytes().to_vec())
        .filter(|key| SALT.level(key) == 0)
        .take(count)
        .collect()
}

pub(super) fn build(model: &Model) -> Tree {
    let mut builder = Builder::new(SALT);
    for (key, value) in model {
        builder.push(key, value).unwrap();
    }
    builder.finish()
}

pub(super) fn content(tree: &Tree) -> Model {
    tree.iter()
        .map(|(key, value)| (key.to_vec(), value.to_bytes().to_vec()))
        .collect()
}

//! The canonical tree: persistent, history-independent, Merkle-hashed, ordered, with counts.
//!
//! Peers that hold the same items must be able to say so in 32 bytes, hand each other any range of
//! them with a proof, and go on writing meanwhile. A tree balanced by rotations or page splits has
//! a shape that remembers the order of its writes, so equal peers differ; a hash table of items has
//! no ranges. Here the shape follows from the keys alone (see [`Salt`]): equal content, one shape,
//! one digest.
//!
//! - *Persistent*: nodes are shared, a clone is O(1) and stays as it is. A change copies the nodes
//!   on its way that another tree shares, and works in place on those that none does.
//! - *Counts*: every node knows the items and bytes below it, so ranks cost O(log n).
//! - *Hashes* are computed when asked for and remembered: a digest costs what changed since the
//!   last one. [`Digesting`] computes it in slices, [`Graveyard`] frees a dropped tree in slices.
//! - *Compact*: a leaf is one buffer, its canonical encoding. Measured with 1,000,000 items of 8 +
//!   100 bytes on x86-64 Linux: 25 bytes of overhead per item after inserts in key order or a bulk
//!   build (28 with what the allocator adds), 31 after inserts in random order
//!   (`examples/tree_figures.rs` measures it again).
//! - *Large values* (over 32 KiB) lie beside the leaf in pieces of at most 256 KiB; the leaf's
//!   encoding holds their hashes. They are hashed when they are written: a value is hashed once in
//!   its life, and the leaf's encoding never has holes.
//!
//! Nodes have no minimum and no maximum size: bending the shape for size would make it depend on
//! neighbours. Transfer adapts instead: see [`chunk`].

pub mod assembly;
pub mod build;
pub mod chunk;
mod codec;
mod diff;
mod digest;
mod digesting;
mod edit;
mod graveyard;
mod iter;
mod leaf;
mod node;
mod packed;
mod proof;
mod salt;
mod value;

#[cfg(test)]
mod tests;

pub use assembly::Assembly;
pub use build::Builder;
pub use diff::{Difference, Differences};
pub use digesting::Digesting;
pub use graveyard::Graveyard;
pub use iter::Iter;
pub use salt::{MAX_HEIGHT, MEAN_FANOUT, Salt};
pub use value::{Value, ValueRef};

use crate::limits;
use leaf::Leaf;
use node::{Child, Kind};
use value::Draft;

/// An ordered map of byte strings; see the [module](self).
///
/// Clones share everything: cloning is O(1), and a clone never sees later changes.
#[derive(Clone, Debug)]
pub struct Tree {
    salt: Salt,
    root: Child,
}

/// Why an item was not put in; the tree is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// The key is longer than [`limits::KEY`].
    #[error("a key of {len} bytes is too long (at most {})", limits::KEY)]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The value is longer than [`limits::VALUE`].
    #[error("a value of {len} bytes is too long (at most {})", limits::VALUE)]
    ValueTooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl Tree {
    /// Makes the empty tree of a history.
    pub fn new(salt: Salt) -> Self {
        Self {
            salt,
            root: Child::leaf(Leaf::default()),
        }
    }

    /// Returns the key of the hash that makes the boundaries.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// Returns the number of items; O(1).
    pub fn len(&self) -> u64 {
        self.root.count
    }

    /// Tells whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.root.count == 0
    }

    /// Returns the bytes of all keys and values; O(1).
    pub fn bytes(&self) -> u64 {
        self.root.bytes
    }

    /// Returns the value of `key`; O(log n), copies nothing.
    pub fn get(&self, key: &[u8]) -> Option<ValueRef<'_>> {
        let mut node = &self.root.node;
        loop {
            match &node.kind {
                Kind::Inner(inner) => node = &inner.children[inner.covering(key)].node,
                Kind::Leaf(leaf) => return leaf.search(key).ok().map(|at| leaf.value(at)),
            }
        }
    }

    /// Tells whether there is an item with `key`; O(log n).
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Returns how many keys are smaller than `key`; O(log n).
    pub fn rank(&self, key: &[u8]) -> u64 {
        let mut node = &self.root.node;
        let mut rank = 0;
        loop {
            match &node.kind {
                Kind::Inner(inner) => {
                    let at = inner.covering(key);
                    let before = &inner.children[..at];
                    rank += before.iter().map(|child| child.count).sum::<u64>();
                    node = &inner.children[at].node;
                }
                Kind::Leaf(leaf) => {
                    let (Ok(at) | Err(at)) = leaf.search(key);
                    return rank + at as u64;
                }
            }
        }
    }

    /// Puts `value` in the place of `key`'s; returns what was there.
    ///
    /// Costs O(log n) and a copy of the item; a value over 32 KiB is hashed here.
    ///
    /// # Errors
    ///
    /// Refuses keys and values beyond [`limits::KEY`] and [`limits::VALUE`].
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Value>, InsertError> {
        let mut before = None;
        self.put(key, value, &mut |last| before = Some(last.to_value()))?;
        Ok(before)
    }

    /// Puts `value` in the place of `key`'s, which is shown to `last` and not copied.
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        last: &mut dyn FnMut(ValueRef<'_>),
    ) -> Result<(), InsertError> {
        check_lengths(key, value)?;
        edit::insert(&mut self.root, &self.salt, Draft::new(key, value), last);
        Ok(())
    }

    /// Removes the item with `key`; returns its value. O(log n).
    pub fn remove(&mut self, key: &[u8]) -> Option<Value> {
        let mut before = None;
        self.take_out(key, &mut |last| before = Some(last.to_value()));
        before
    }

    /// Removes the item with `key`, if there is one; its value is shown to `last` and not copied.
    pub(crate) fn take_out(&mut self, key: &[u8], last: &mut dyn FnMut(ValueRef<'_>)) {
        // Looked up first: an absent key must not copy shared nodes.
        if self.contains(key) {
            edit::remove(&mut self.root, key, last);
        }
    }

    /// Returns the first item whose key begins with `prefix`; O(log n).
    pub(crate) fn first(&self, prefix: &[u8]) -> Option<(&[u8], ValueRef<'_>)> {
        let mut node = &self.root.node;
        let found = loop {
            match &node.kind {
                Kind::Inner(inner) => node = &inner.children[inner.covering(prefix)].node,
                Kind::Leaf(leaf) => {
                    let (Ok(at) | Err(at)) = leaf.search(prefix);
                    break (at < leaf.len()).then(|| (leaf.key(at), leaf.value(at)));
                }
            }
        };
        // At the end of a leaf the next one has it.
        let found = found.or_else(|| self.from_key(prefix).next());
        found.filter(|(key, _)| key.starts_with(prefix))
    }

    /// Returns the bytes of memory that the tree needs beyond keys and values, without counting
    /// what the allocator adds; O(n), for measurements.
    pub fn overhead(&self) -> u64 {
        overhead(&self.root)
    }
}

fn check_lengths(key: &[u8], value: &[u8]) -> Result<(), InsertError> {
    if key.len() > limits::KEY {
        return Err(InsertError::KeyTooLong { len: key.len() });
    }
    if value.len() as u64 > limits::VALUE {
        return Err(InsertError::ValueTooLong { len: value.len() });
    }
    Ok(())
}

fn overhead(child: &Child) -> u64 {
    // The two counters of an Arc come on top of the node.
    let own = size_of::<node::Node>() + 2 * size_of::<usize>();
    match &child.node.kind {
        Kind::Leaf(leaf) => {
            let inline: u64 = leaf.entries().filter(|e| !e.large).map(|e| e.bytes()).sum();
            let large: u64 = leaf
                .entries()
                .filter(|e| e.large)
                .map(|e| e.key.len() as u64)
                .sum();
            own as u64 + leaf.overhead() as u64 + leaf.encoded().len() as u64 - inline - large
        }
        Kind::Inner(inner) => {
            let list = inner.children.capacity() * size_of::<Child>();
            let keys = inner.keys.overhead() + inner.keys.data().len();
            let below: u64 = inner.children.iter().map(overhead).sum();
            (own + list + keys) as u64 + below
        }
    }
}

//! Items in key order, by rank, from a key, or under a prefix.
//!
//! All are ranges of ranks: counts make finding a rank as cheap as finding a key, and then nothing
//! has to be compared along the way.

use std::{iter::FusedIterator, ops::Range, slice};

use super::{
    Tree,
    leaf::Leaf,
    node::{Child, Kind, Node},
    value::ValueRef,
};

/// Items in key order; see [`Tree::range`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    /// What comes after the current leaf, at each height above it.
    path: Vec<slice::Iter<'a, Child>>,
    leaf: Option<&'a Leaf>,
    at: usize,
    /// Large values in the leaf before `at`.
    large: usize,
    left: u64,
}

impl Tree {
    /// Iterates over all items in key order.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// Iterates over the items with these ranks, clamped to what there is.
    ///
    /// Costs O(log n) to begin and O(1) per item.
    pub fn range(&self, ranks: Range<u64>) -> Iter<'_> {
        let end = ranks.end.min(self.len());
        let mut iter = Iter {
            path: Vec::new(),
            leaf: None,
            at: 0,
            large: 0,
            left: end.saturating_sub(ranks.start),
        };
        if iter.left > 0 {
            iter.descend(&self.root.node, ranks.start);
        }
        iter
    }

    /// Iterates over the items whose keys are `key` or greater.
    pub fn from_key(&self, key: &[u8]) -> Iter<'_> {
        self.range(self.rank(key)..self.len())
    }

    /// Iterates over the items whose keys begin with `prefix`.
    pub fn prefix(&self, prefix: &[u8]) -> Iter<'_> {
        self.range(self.prefix_ranks(prefix))
    }

    /// Returns the ranks of the items whose keys begin with `prefix`; O(log n).
    pub fn prefix_ranks(&self, prefix: &[u8]) -> Range<u64> {
        let end = match after_prefix(prefix) {
            Some(after) => self.rank(&after),
            None => self.len(),
        };
        self.rank(prefix)..end
    }
}

/// The smallest key greater than every key that begins with `prefix`, if there is one.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

impl<'a> Iter<'a> {
    /// Goes down from `node` to its item number `skip`.
    fn descend(&mut self, mut node: &'a Node, mut skip: u64) {
        loop {
            match &node.kind {
                Kind::Inner(inner) => {
                    let mut children = inner.children.iter();
                    node = loop {
                        let child = children.next().expect("a node counts what is below it");
                        if skip < child.count {
                            break &child.node;
                        }
                        skip -= child.count;
                    };
                    self.path.push(children);
                }
                Kind::Leaf(leaf) => {
                    self.at = skip as usize;
                    self.large = leaf.large_before(self.at);
                    self.leaf = Some(leaf);
                    return;
                }
            }
        }
    }

    fn next_leaf(&mut self) {
        while let Some(children) = self.path.last_mut() {
            if let Some(child) = children.next() {
                return self.descend(&child.node, 0);
            }
            self.path.pop();
        }
        self.leaf = None;
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        loop {
            let leaf = self.leaf?;
            if self.at < leaf.len() {
                let entry = leaf.entry(self.at);
                let value = leaf.value_of(entry, self.large);
                self.at += 1;
                self.large += usize::from(entry.large);
                return Some((entry.key, value));
            }
            self.next_leaf();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Tree {
    type Item = (&'a [u8], ValueRef<'a>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

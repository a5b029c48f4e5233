//! What differs between two trees, without looking at what they share.
//!
//! Equal content has one shape, so two trees of one salt that differ in a few items have all other
//! nodes in common, and equal hashes (or one address) prove it. Whoever followed the changes of a
//! state that was replaced by a snapshot is told this difference instead of everything.

use std::sync::Arc;

use super::{
    Tree,
    leaf::Leaf,
    node::{Child, Kind},
    value::ValueRef,
};

/// An item in which two trees differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference<'a> {
    /// The item's key.
    pub key: &'a [u8],
    /// Its value in the first tree.
    pub old: Option<ValueRef<'a>>,
    /// Its value in the second tree.
    pub new: Option<ValueRef<'a>>,
}

/// The items in which two trees differ, in key order; see [`Tree::differences`].
#[derive(Clone, Debug)]
pub struct Differences<'a> {
    old: Walk<'a>,
    new: Walk<'a>,
}

impl Tree {
    /// Iterates over the items in which `newer` differs from this tree.
    ///
    /// Costs O(differences * log n) if one was made from the other or the digests of both are
    /// known, and O(n) otherwise.
    pub fn differences<'a>(&'a self, newer: &'a Self) -> Differences<'a> {
        Differences {
            old: Walk::new(&self.root),
            new: Walk::new(&newer.root),
        }
    }

    /// As [`Self::differences`], from the first key on that is `from` or greater: for whoever
    /// takes them in slices.
    pub fn differences_from<'a>(&'a self, newer: &'a Self, from: &[u8]) -> Differences<'a> {
        Differences {
            old: Walk::starting(&self.root, from),
            new: Walk::starting(&newer.root, from),
        }
    }
}

/// A walk through a tree in key order that can pass over whole nodes.
#[derive(Clone, Debug)]
struct Walk<'a> {
    /// Nodes not entered yet, the next one last in the last list.
    nodes: Vec<&'a [Child]>,
    /// The leaf that was entered, and where in it the walk is.
    leaf: Option<(&'a Leaf, usize)>,
    #[cfg(test)]
    entered: usize,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Child) -> Self {
        let mut walk = Self {
            nodes: vec![std::slice::from_ref(root)],
            leaf: None,
            #[cfg(test)]
            entered: 0,
        };
        if root.count == 0 {
            walk.nodes.clear();
        }
        walk
    }

    /// A walk that begins with the first key that is `from` or greater.
    fn starting(root: &'a Child, from: &[u8]) -> Self {
        let mut walk = Self::new(root);
        while let Some(child) = walk.node() {
            walk.skip();
            match &child.node.kind {
                Kind::Inner(inner) => walk.nodes.push(&inner.children[inner.covering(from)..]),
                Kind::Leaf(leaf) => {
                    let (Ok(at) | Err(at)) = leaf.search(from);
                    walk.leaf = (at < leaf.len()).then_some((leaf, at));
                    break;
                }
            }
        }
        walk
    }

    /// The node that begins where the walk is; nothing within a leaf and at the end.
    fn node(&self) -> Option<&'a Child> {
        match self.leaf {
            Some(_) => None,
            None => self.nodes.last()?.first(),
        }
    }

    /// The key where the walk is; nothing at the end. O(height).
    fn key(&self) -> Option<&'a [u8]> {
        if let Some((leaf, at)) = self.leaf {
            return Some(leaf.key(at));
        }
        let mut child = self.node()?;
        loop {
            match &child.node.kind {
                Kind::Inner(inner) => child = &inner.children[0],
                Kind::Leaf(leaf) => return Some(leaf.key(0)),
            }
        }
    }

    /// Passes over the node where the walk is.
    fn skip(&mut self) {
        if let Some(list) = self.nodes.last_mut() {
            *list = &list[1..];
        }
        while self.nodes.last().is_some_and(|list| list.is_empty()) {
            self.nodes.pop();
        }
    }

    /// Goes into the node where the walk is.
    fn enter(&mut self, child: &'a Child) {
        #[cfg(test)]
        {
            self.entered += 1;
        }
        self.skip();
        match &child.node.kind {
            Kind::Inner(inner) => self.nodes.push(&inner.children),
            Kind::Leaf(leaf) => self.leaf = Some((leaf, 0)),
        }
    }

    /// Takes the item where the walk is, entering what lies above it.
    fn item(&mut self) -> Option<(&'a [u8], ValueRef<'a>)> {
        while let Some(child) = self.node() {
            self.enter(child);
        }
        let (leaf, at) = self.leaf?;
        self.leaf = (at + 1 < leaf.len()).then_some((leaf, at + 1));
        Some((leaf.key(at), leaf.value(at)))
    }
}

impl<'a> Differences<'a> {
    /// Passes over nodes that both have at this place; enters one that differs.
    ///
    /// Returns false once no further node can be passed over here.
    fn pass_over(&mut self) -> bool {
        match (self.old.node(), self.new.node()) {
            (Some(old), Some(new)) => {
                let (old_height, new_height) = (old.node.height(), new.node.height());
                if same(old, new) {
                    self.old.skip();
                    self.new.skip();
                } else if old_height >= new_height && old_height > 0 {
                    self.old.enter(old);
                } else if new_height > 0 {
                    self.new.enter(new);
                } else {
                    return false;
                }
                true
            }
            _ => false,
        }
    }
}

/// Tells whether two nodes are known to hold the same: hashing them to find out would cost more
/// than looking.
fn same(old: &Child, new: &Child) -> bool {
    let known = |child: &Child| child.node.hash.get().map(|hashed| hashed.node);
    Arc::ptr_eq(&old.node, &new.node) || (known(old).is_some() && known(old) == known(new))
}

impl<'a> Iterator for Differences<'a> {
    type Item = Difference<'a>;

    fn next(&mut self) -> Option<Difference<'a>> {
        loop {
            let order = match (self.old.key(), self.new.key()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.cmp(new),
            };
            // Only nodes that begin with one key can be one node.
            if order.is_eq() && self.pass_over() {
                continue;
            }
            let old = if order.is_le() { self.old.item() } else { None };
            let new = if order.is_ge() { self.new.item() } else { None };
            let (key, _) = old.or(new)?;
            let difference = Difference {
                key,
                old: old.map(|(_, value)| value),
                new: new.map(|(_, value)| value),
            };
            if difference.old != difference.new {
                return Some(difference);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tree::tests::{Model, build};

    #[test]
    fn what_is_shared_is_not_looked_at() {
        let model: Model = (0..20_000_u32)
            .map(|i| (i.to_be_bytes().to_vec(), Vec::new()))
            .collect();
        let old = build(&model);
        let mut new = old.clone();
        new.insert(&7_777_u32.to_be_bytes(), b"new").unwrap();
        let mut rebuilt = build(&model);
        rebuilt.remove(&1_u32.to_be_bytes()).unwrap();
        old.digest();
        rebuilt.digest();
        for other in [&new, &rebuilt] {
            let mut differences = old.differences(other);
            assert_eq!(differences.by_ref().count(), 1);
            // The way to the one leaf that differs, or two of them, of some 840.
            let entered = differences.old.entered + differences.new.entered;
            assert!(entered < 20, "{entered} nodes entered");
        }
    }
}

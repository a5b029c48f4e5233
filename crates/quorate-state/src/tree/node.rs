//! Nodes: what a tree is made of, shared between all trees that have them.

use std::sync::{Arc, OnceLock};

use super::{digest::Hash, leaf::Leaf, packed::Packed};

/// A node and its remembered hash.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) hash: OnceLock<Hashed>,
    pub(super) kind: Kind,
}

/// What hashing a node found.
#[derive(Clone, Debug)]
pub(super) struct Hashed {
    pub(super) node: Hash,
    /// The hashes of the pieces of a leaf that has several, concatenated: a provider needs them
    /// for every part it sends, and they cost a pass over the whole leaf.
    pub(super) pieces: Box<[u8]>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Leaf(Leaf),
    Inner(Inner),
}

/// A node that holds nodes, all one height below it.
#[derive(Clone, Debug)]
pub(super) struct Inner {
    /// Leaves are at height 0.
    pub(super) height: u8,
    /// The first key of every child but the first: one less than children.
    pub(super) keys: Packed,
    pub(super) children: Vec<Child>,
}

/// A node with what its parent must know without touching it.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) node: Arc<Node>,
    /// Items below.
    pub(super) count: u64,
    /// Bytes of their keys and values.
    pub(super) bytes: u64,
}

/// A copy is made to be changed: it does not remember the hash.
impl Clone for Node {
    fn clone(&self) -> Self {
        Self {
            hash: OnceLock::new(),
            kind: self.kind.clone(),
        }
    }
}

impl Node {
    pub(super) fn height(&self) -> u8 {
        match &self.kind {
            Kind::Leaf(_) => 0,
            Kind::Inner(inner) => inner.height,
        }
    }
}

/// Makes a node writable: copies it if another tree shares it, forgets its hash.
pub(super) fn edit(node: &mut Arc<Node>) -> &mut Kind {
    let node = Arc::make_mut(node);
    node.hash.take();
    &mut node.kind
}

/// Takes a node's content out, or a copy of it if another tree shares it.
pub(super) fn take(node: Arc<Node>) -> Kind {
    Arc::unwrap_or_clone(node).kind
}

impl Child {
    pub(super) fn new(kind: Kind) -> Self {
        let mut child = Self {
            node: Arc::new(Node {
                hash: OnceLock::new(),
                kind,
            }),
            count: 0,
            bytes: 0,
        };
        child.recount();
        child
    }

    pub(super) fn leaf(leaf: Leaf) -> Self {
        Self::new(Kind::Leaf(leaf))
    }

    /// A leaf whose hash is known.
    pub(super) fn hashed_leaf(leaf: Leaf, hashed: Hashed) -> Self {
        let child = Self::leaf(leaf);
        child.node.hash.get_or_init(|| hashed);
        child
    }

    pub(super) fn inner(height: u8, keys: Packed, children: Vec<Self>) -> Self {
        Self::new(Kind::Inner(Inner {
            height,
            keys,
            children,
        }))
    }

    /// Looks again what the node holds, after it was changed.
    pub(super) fn recount(&mut self) {
        (self.count, self.bytes) = match &self.node.kind {
            Kind::Leaf(leaf) => (leaf.len() as u64, leaf.bytes()),
            Kind::Inner(inner) => inner.children.iter().fold((0, 0), |(count, bytes), child| {
                (count + child.count, bytes + child.bytes)
            }),
        };
    }
}

impl Inner {
    /// The child whose span contains `key`.
    pub(super) fn covering(&self, key: &[u8]) -> usize {
        self.keys.partition_point(|first| first <= key)
    }

    /// Inserts `child`, which begins with `key`, after the child at `at`.
    pub(super) fn insert_after(&mut self, at: usize, key: &[u8], child: Child) {
        self.keys.insert(at, &[key]);
        reserve_one(&mut self.children);
        self.children.insert(at + 1, child);
    }

    /// Cuts the node after the child at `at`; what follows goes behind `child`, in a new node.
    pub(super) fn split_after(&mut self, at: usize, child: Child) -> Child {
        let keys = self.keys.split_off(at);
        let mut children = Vec::with_capacity(self.children.len() - at);
        children.push(child);
        children.extend(self.children.drain(at + 1..));
        Child::inner(self.height, keys, children)
    }

    pub(super) fn remove(&mut self, at: usize) -> Child {
        if !self.keys.is_empty() {
            self.keys.remove(at.saturating_sub(1));
        }
        self.children.remove(at)
    }
}

/// Children are pointers and two numbers: grown by an eighth, like the packed lists.
fn reserve_one(children: &mut Vec<Child>) {
    if children.len() == children.capacity() {
        children.reserve_exact(1 + children.len() / 8);
    }
}

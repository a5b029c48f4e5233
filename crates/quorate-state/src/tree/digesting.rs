//! A digest in slices of bounded work, between which the caller does other things.

use std::sync::Arc;

use quorate_core::Digest;

use super::{
    Tree,
    digest::{HASH_LEN, leaf_hash, leaf_piece_hash},
    node::{Hashed, Kind, Node},
};
use crate::limits;

/// The work that visiting one child or hashing one small node costs, in bytes hashed.
const VISIT: usize = 128;

/// A digest being computed.
///
/// It works on a snapshot of its own, so the tree may change meanwhile; the hashes it finds are
/// remembered in the nodes, for every tree that shares them.
#[derive(Clone, Debug)]
pub struct Digesting {
    tree: Tree,
    /// The way from the top to where the work is: nodes and the child to look at next.
    path: Vec<(Arc<Node>, usize)>,
    /// The hashes of an oversize leaf's pieces so far.
    pieces: Vec<u8>,
}

impl Tree {
    /// Starts to compute the digest; O(1).
    pub fn digesting(&self) -> Digesting {
        Digesting {
            path: vec![(self.root.node.clone(), 0)],
            tree: self.clone(),
            pieces: Vec::new(),
        }
    }
}

impl Digesting {
    /// Works for about as long as hashing `budget` bytes takes; returns the digest once it is done.
    ///
    /// The budget is overrun by one piece (256 KiB) at most, whatever the sizes of nodes; only
    /// the children of one inner node are looked at in one go.
    pub fn advance(&mut self, budget: usize) -> Option<Digest> {
        let mut left = budget.max(1);
        while let Some((node, next)) = self.path.pop() {
            if node.hash.get().is_none() {
                left = left.saturating_sub(self.visit(node, next));
            }
            if left == 0 && !self.path.is_empty() {
                return None;
            }
        }
        Some(self.tree.digest())
    }

    /// Works on one node; returns what it cost. Puts the node back if there is more to do.
    fn visit(&mut self, node: Arc<Node>, next: usize) -> usize {
        match &node.kind {
            Kind::Leaf(leaf) if leaf.encoded().len() > limits::PIECE => {
                let encoded = leaf.encoded();
                let start = self.pieces.len() / HASH_LEN * limits::PIECE;
                let end = encoded.len().min(start + limits::PIECE);
                let hash = leaf_piece_hash(&encoded[start..end]);
                self.pieces.extend_from_slice(&hash);
                if end < encoded.len() {
                    self.path.push((node, 0));
                } else {
                    let pieces = std::mem::take(&mut self.pieces).into_boxed_slice();
                    let (count, bytes) = (leaf.len() as u64, leaf.bytes());
                    node.hash.get_or_init(|| Hashed {
                        node: leaf_hash(count, bytes, end as u64, &pieces),
                        pieces,
                    });
                }
                end - start
            }
            Kind::Leaf(leaf) => {
                node.hash();
                VISIT + leaf.encoded().len()
            }
            Kind::Inner(inner) => {
                let unknown = inner.children[next..]
                    .iter()
                    .position(|child| child.node.hash.get().is_none());
                match unknown {
                    Some(skipped) => {
                        let child = inner.children[next + skipped].node.clone();
                        let cost = VISIT * (skipped + 1);
                        self.path.push((node.clone(), next + skipped + 1));
                        self.path.push((child, 0));
                        cost
                    }
                    None => {
                        node.hash();
                        VISIT * inner.children.len()
                    }
                }
            }
        }
    }
}

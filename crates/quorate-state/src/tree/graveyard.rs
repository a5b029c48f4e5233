//! Freeing trees in slices: dropping one of ten million items at once would stall for a second.

use std::{sync::Arc, vec};

use super::{
    Assembly, Tree,
    assembly::Remains,
    node::{Child, Kind, Node},
};

/// Trees to be freed, a bounded number of nodes at a time.
///
/// Nodes that a living tree shares are only let go. Dropping the graveyard frees all the rest at
/// once.
#[derive(Default, Debug)]
pub struct Graveyard {
    trees: Vec<Arc<Node>>,
    assemblies: Vec<Remains>,
    /// The nodes of one tree that are still to be freed, by height.
    open: Vec<vec::IntoIter<Child>>,
}

impl Graveyard {
    /// Takes over a tree nobody needs; O(1).
    pub fn bury(&mut self, tree: Tree) {
        self.trees.push(tree.root.node);
    }

    /// Takes over what a transfer had gathered; O(1).
    pub fn bury_assembly(&mut self, assembly: Assembly) {
        self.assemblies.push(assembly.into_remains());
    }

    /// Tells whether nothing is left to free.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty() && self.open.is_empty() && self.assemblies.is_empty()
    }

    /// Frees up to `nodes` nodes; tells whether there is more.
    pub fn sweep(&mut self, nodes: usize) -> bool {
        for _ in 0..nodes {
            if !self.free_one() {
                return false;
            }
        }
        !self.is_empty()
    }

    /// Frees one node, or finds that there is none to be freed where it looked.
    fn free_one(&mut self) -> bool {
        if let Some(children) = self.open.last_mut() {
            match children.next() {
                Some(child) => self.take_apart(child.node),
                None => drop(self.open.pop()),
            }
        } else if let Some(root) = self.trees.pop() {
            self.take_apart(root);
        } else if let Some(remains) = self.assemblies.last_mut() {
            if !remains.free_one() {
                self.assemblies.pop();
            }
        } else {
            return false;
        }
        true
    }

    /// Lets go of a node; the last owner keeps its children until their turn.
    fn take_apart(&mut self, node: Arc<Node>) {
        if let Some(Node {
            kind: Kind::Inner(inner),
            ..
        }) = Arc::into_inner(node)
        {
            self.open.push(inner.children.into_iter());
        }
    }
}

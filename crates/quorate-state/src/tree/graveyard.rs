//! Freeing trees in slices: dropping one of ten million items at once would stall for a second.

use std::{sync::Arc, vec};

use super::{
    Tree,
    node::{Child, Kind, Node},
};

/// Trees to be freed, a bounded number of nodes at a time.
///
/// Nodes that a living tree shares are only let go. Dropping the graveyard frees all the rest at
/// once.
#[derive(Default, Debug)]
pub struct Graveyard {
    trees: Vec<Arc<Node>>,
    /// The nodes of one tree that are still to be freed, by height.
    open: Vec<vec::IntoIter<Child>>,
}

impl Graveyard {
    /// Takes over a tree nobody needs; O(1).
    pub fn bury(&mut self, tree: Tree) {
        self.trees.push(tree.root.node);
    }

    /// Tells whether nothing is left to free.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty() && self.open.is_empty()
    }

    /// Frees up to `nodes` nodes; tells whether there is more.
    pub fn sweep(&mut self, nodes: usize) -> bool {
        for _ in 0..nodes {
            let node = match self.open.last_mut() {
                Some(children) => children.next().map(|child| child.node),
                None => match self.trees.pop() {
                    Some(root) => Some(root),
                    None => return false,
                },
            };
            match node.map(Arc::into_inner) {
                // The last owner takes the node apart; its children wait for their turn.
                Some(Some(Node {
                    kind: Kind::Inner(inner),
                    ..
                })) => self.open.push(inner.children.into_iter()),
                Some(_) => {}
                None => {
                    self.open.pop();
                }
            }
        }
        !self.is_empty()
    }
}

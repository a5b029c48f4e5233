//! A tree from sorted items, or from whole leaves, in O(n).

use super::{
    InsertError, Tree, check_lengths,
    leaf::Leaf,
    node::{Child, Inner, Kind},
    packed::Packed,
    salt::Salt,
    value::Draft,
};

/// Builds a tree from items in key order.
#[derive(Debug)]
pub struct Builder {
    salt: Salt,
    leaf: Leaf,
    /// The level of the leaf's first key.
    level: u8,
    spine: Spine,
}

/// Why an item was not taken; the builder is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The key is not greater than the one before.
    #[error("items must come in ascending order of their keys")]
    OutOfOrder,
    /// The item is too large for any tree.
    #[error(transparent)]
    Refused(#[from] InsertError),
}

impl Builder {
    /// Starts a tree with this salt.
    pub fn new(salt: Salt) -> Self {
        Self {
            salt,
            leaf: Leaf::default(),
            level: 0,
            spine: Spine::default(),
        }
    }

    /// Adds the next item.
    ///
    /// # Errors
    ///
    /// Refuses a key that is not greater than the last one, and whatever [`Tree::insert`] refuses.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        check_lengths(key, value)?;
        let mut level = 0;
        if !self.leaf.is_empty() {
            if self.leaf.key(self.leaf.len() - 1) >= key {
                return Err(BuildError::OutOfOrder);
            }
            level = self.salt.level(key);
        }
        if level > 0 {
            let leaf = std::mem::take(&mut self.leaf);
            self.spine.push(leaf, self.level);
            self.level = level;
        }
        self.leaf.insert(self.leaf.len(), Draft::new(key, value));
        Ok(())
    }

    /// Returns the tree of all items added.
    pub fn finish(mut self) -> Tree {
        self.spine.push(self.leaf, self.level);
        self.spine.finish(self.salt)
    }
}

/// The nodes that are still open, on the right edge of a tree being built from leaves.
#[derive(Default, Debug)]
pub(super) struct Spine {
    /// At position `i`, the open node of height `i + 1`.
    open: Vec<Open>,
}

#[derive(Default, Debug)]
struct Open {
    /// The first key of the node's first child.
    first: Box<[u8]>,
    keys: Packed,
    children: Vec<Child>,
}

impl Spine {
    /// Adds the next leaf; `level` is the level of its first key (of no account for the first).
    pub(super) fn push(&mut self, leaf: Leaf, level: u8) {
        let first: Box<[u8]> = if leaf.is_empty() {
            Box::default()
        } else {
            leaf.key(0).into()
        };
        self.push_child(first, level, Child::leaf(leaf));
    }

    pub(super) fn push_child(&mut self, first: Box<[u8]>, level: u8, leaf: Child) {
        for height in 1..level {
            self.close(height);
        }
        self.add(1, first, leaf);
    }

    pub(super) fn finish(mut self, salt: Salt) -> Tree {
        let mut height = 1;
        while usize::from(height) < self.open.len() {
            self.close(height);
            height += 1;
        }
        let mut root = match self.open.pop() {
            Some(top) => top.into_child(height),
            None => Child::leaf(Leaf::default()),
        };
        // A node above a single one says nothing: the root is the lowest that holds everything.
        while let Kind::Inner(Inner { children, .. }) = &root.node.kind
            && children.len() == 1
        {
            root = children[0].clone();
        }
        Tree { salt, root }
    }

    /// Ends the open node of `height` and hands it to the one above.
    fn close(&mut self, height: u8) {
        let Some(open) = self.open.get_mut(usize::from(height) - 1) else {
            return;
        };
        if open.children.is_empty() {
            return;
        }
        let mut closed = std::mem::take(open);
        let first = std::mem::take(&mut closed.first);
        self.add(height + 1, first, closed.into_child(height));
    }

    fn add(&mut self, height: u8, first: Box<[u8]>, child: Child) {
        let at = usize::from(height) - 1;
        if at == self.open.len() {
            self.open.push(Open::default());
        }
        let open = &mut self.open[at];
        if open.children.is_empty() {
            open.first = first;
        } else {
            open.keys.insert(open.keys.len(), &[&first]);
        }
        open.children.push(child);
    }
}

impl Open {
    fn into_child(mut self, height: u8) -> Child {
        self.children.shrink_to_fit();
        Child::inner(height, self.keys, self.children)
    }
}

//! Insert and remove, in place where nothing is shared.
//!
//! An insert of a boundary key splits every node below its level that it falls into; its removal
//! joins what it separated. The one exception is the first key of all: it starts the first node of
//! every height whatever its level is, so its level counts only once a smaller key comes before it.

use std::sync::Arc;

use super::{
    leaf::Leaf,
    node::{Child, Inner, Kind, Node, edit, take},
    packed::Packed,
    salt::Salt,
    value::{Draft, Value},
};

/// What an insert did to a node.
enum Put {
    /// The key was there; its value was replaced.
    Replaced(Value),
    /// The item went in.
    Added,
    /// The node now ends before `key`; `right` begins with it and belongs behind the node.
    Split {
        key: Box<[u8]>,
        level: u8,
        right: Child,
    },
}

/// Inserts into the tree under `root`; returns the value that was replaced.
pub(super) fn insert(root: &mut Child, salt: &Salt, draft: Draft<'_>) -> Option<Value> {
    match put(root, salt, draft) {
        Put::Replaced(value) => Some(value),
        Put::Added => None,
        Put::Split { key, level, right } => {
            grow(root, &key, level, right);
            None
        }
    }
}

fn put(child: &mut Child, salt: &Salt, draft: Draft<'_>) -> Put {
    let inner = match edit(&mut child.node) {
        Kind::Leaf(leaf) => {
            let put = put_in_leaf(leaf, salt, draft);
            child.recount();
            return put;
        }
        Kind::Inner(inner) => inner,
    };
    let at = inner.covering(draft.key);
    let below = &mut inner.children[at];
    let (count, bytes) = (below.count, below.bytes);
    let put = match put(below, salt, draft) {
        Put::Split { key, level, right } if level > inner.height => Put::Split {
            key,
            level,
            right: inner.split_after(at, right),
        },
        Put::Split { key, right, .. } => {
            inner.insert_after(at, &key, right);
            Put::Added
        }
        done => {
            // Only what is below this one child has changed: no need to look at the others.
            child.count = child.count - count + below.count;
            child.bytes = child.bytes - bytes + below.bytes;
            return done;
        }
    };
    child.recount();
    put
}

fn put_in_leaf(leaf: &mut Leaf, salt: &Salt, draft: Draft<'_>) -> Put {
    let at = match leaf.search(draft.key) {
        Ok(at) => return Put::Replaced(leaf.replace(at, draft)),
        Err(at) => at,
    };
    // Only the first leaf can be asked for a place before its first key: every other leaf is
    // reached by keys at or behind its first one.
    if at == 0 && !leaf.is_empty() {
        return put_first(leaf, salt, draft);
    }
    let level = if leaf.is_empty() {
        0
    } else {
        salt.level(draft.key)
    };
    if level == 0 {
        leaf.insert(at, draft);
        return Put::Added;
    }
    let key = draft.key.into();
    let mut right = leaf.split_off(at);
    right.insert(0, draft);
    Put::Split {
        key,
        level,
        right: Child::leaf(right),
    }
}

/// Inserts a key before all others: the one that was first must now show its level.
fn put_first(leaf: &mut Leaf, salt: &Salt, draft: Draft<'_>) -> Put {
    let level = salt.level(leaf.key(0));
    if level == 0 {
        leaf.insert(0, draft);
        return Put::Added;
    }
    let right = std::mem::take(leaf);
    leaf.insert(0, draft);
    Put::Split {
        key: right.key(0).into(),
        level,
        right: Child::leaf(right),
    }
}

/// Raises the root so that `right`, which begins with a key of `level`, stands beside it.
fn grow(root: &mut Child, key: &[u8], level: u8, mut right: Child) {
    let mut left = root.clone();
    for height in root.node.height() + 1..level {
        left = Child::inner(height, Packed::default(), vec![left]);
        right = Child::inner(height, Packed::default(), vec![right]);
    }
    let mut keys = Packed::default();
    keys.insert(0, &[key]);
    *root = Child::inner(level, keys, vec![left, right]);
}

/// Removes `key`, which must be in the tree under `root`.
pub(super) fn remove(root: &mut Child, key: &[u8]) -> Value {
    let value = take_out(&mut root.node, key);
    root.recount();
    loop {
        let only = match &root.node.kind {
            Kind::Inner(Inner { children, .. }) if children.len() == 1 => children[0].clone(),
            _ => return value,
        };
        *root = only;
    }
}

fn take_out(node: &mut Arc<Node>, key: &[u8]) -> Value {
    let inner = match edit(node) {
        Kind::Leaf(leaf) => {
            let at = leaf.search(key).expect("looked up before it is removed");
            return leaf.remove(at);
        }
        Kind::Inner(inner) => inner,
    };
    let at = inner.covering(key);
    if at > 0 && inner.keys.get(at - 1) == key {
        // The key is what separates this child from the one before: join them without it.
        let right = inner.remove(at);
        let left = &mut inner.children[at - 1];
        let value = join(&mut left.node, right.node);
        left.recount();
        return value;
    }
    let child = &mut inner.children[at];
    let value = take_out(&mut child.node, key);
    child.recount();
    if child.count == 0 {
        inner.remove(at);
    }
    value
}

/// Appends `right` without its first item to `left`, its neighbour of the same height.
fn join(left: &mut Arc<Node>, right: Arc<Node>) -> Value {
    match (edit(left), take(right)) {
        (Kind::Leaf(left), Kind::Leaf(mut right)) => {
            let value = right.remove(0);
            left.append(right);
            value
        }
        (Kind::Inner(left), Kind::Inner(mut right)) => {
            let first = right.children.remove(0);
            let last = left.children.last_mut();
            let last = last.expect("an inner node has a child");
            let value = join(&mut last.node, first.node);
            last.recount();
            left.keys.append(&right.keys);
            left.children.append(&mut right.children);
            value
        }
        _ => unreachable!("neighbours have one height"),
    }
}

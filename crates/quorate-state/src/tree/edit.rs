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
    value::{Draft, ValueRef},
};

/// What an insert did to a node.
enum Put {
    /// The key was there, or the item went in.
    Done,
    /// The node now ends before `key`; `right` begins with it and belongs behind the node.
    Split {
        key: Box<[u8]>,
        level: u8,
        right: Child,
    },
}

/// Is shown the value that is replaced or removed, before it is.
pub(super) type Last<'a> = &'a mut dyn FnMut(ValueRef<'_>);

/// Inserts into the tree under `root`; shows a value that is replaced to `last`.
pub(super) fn insert(root: &mut Child, salt: &Salt, draft: Draft<'_>, last: Last<'_>) {
    if let Put::Split { key, level, right } = put(root, salt, draft, last) {
        grow(root, &key, level, right);
    }
}

fn put(child: &mut Child, salt: &Salt, draft: Draft<'_>, last: Last<'_>) -> Put {
    let inner = match edit(&mut child.node) {
        Kind::Leaf(leaf) => {
            let put = put_in_leaf(leaf, salt, draft, last);
            child.recount();
            return put;
        }
        Kind::Inner(inner) => inner,
    };
    let at = inner.covering(draft.key);
    let below = &mut inner.children[at];
    let (count, bytes) = (below.count, below.bytes);
    let put = match put(below, salt, draft, last) {
        Put::Split { key, level, right } if level > inner.height => Put::Split {
            key,
            level,
            right: inner.split_after(at, right),
        },
        Put::Split { key, right, .. } => {
            inner.insert_after(at, &key, right);
            Put::Done
        }
        Put::Done => {
            // Only what is below this one child has changed: no need to look at the others.
            child.count = child.count - count + below.count;
            child.bytes = child.bytes - bytes + below.bytes;
            return Put::Done;
        }
    };
    child.recount();
    put
}

fn put_in_leaf(leaf: &mut Leaf, salt: &Salt, draft: Draft<'_>, last: Last<'_>) -> Put {
    let at = match leaf.search(draft.key) {
        Ok(at) => {
            leaf.replace(at, draft, last);
            return Put::Done;
        }
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
        return Put::Done;
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
        return Put::Done;
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

/// Removes `key`, which must be in the tree under `root`; shows its value to `last`.
pub(super) fn remove(root: &mut Child, key: &[u8], last: Last<'_>) {
    take_out(root, key, last);
    loop {
        let only = match &root.node.kind {
            Kind::Inner(Inner { children, .. }) if children.len() == 1 => children[0].clone(),
            _ => return,
        };
        *root = only;
    }
}

fn take_out(from: &mut Child, key: &[u8], last: Last<'_>) {
    let inner = match edit(&mut from.node) {
        Kind::Leaf(leaf) => {
            let at = leaf.search(key).expect("looked up before it is removed");
            leaf.remove(at, last);
            return from.recount();
        }
        Kind::Inner(inner) => inner,
    };
    let at = inner.covering(key);
    if at > 0 && inner.keys.get(at - 1) == key {
        // The key is what separates this child from the one before: join them without it.
        let right = inner.remove(at);
        let left = &mut inner.children[at - 1];
        join(&mut left.node, right.node, last);
        left.recount();
        return from.recount();
    }
    let child = &mut inner.children[at];
    let (count, bytes) = (child.count, child.bytes);
    take_out(child, key, last);
    // Only what is below this one child has changed, as with an insert.
    from.count = from.count - count + child.count;
    from.bytes = from.bytes - bytes + child.bytes;
    if child.count == 0 {
        inner.remove(at);
    }
}

/// Appends `right` without its first item to `left`, its neighbour of the same height.
fn join(left: &mut Arc<Node>, right: Arc<Node>, last: Last<'_>) {
    match (edit(left), take(right)) {
        (Kind::Leaf(left), Kind::Leaf(mut right)) => {
            right.remove(0, last);
            left.append(right);
        }
        (Kind::Inner(left), Kind::Inner(mut right)) => {
            let first = right.children.remove(0);
            let end = left.children.last_mut();
            let end = end.expect("an inner node has a child");
            join(&mut end.node, first.node, last);
            end.recount();
            left.keys.append(&right.keys);
            left.children.append(&mut right.children);
        }
        _ => unreachable!("neighbours have one height"),
    }
}

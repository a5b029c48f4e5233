//! The shape and the digest once more, from the definition and as plainly as possible.

use super::*;
use crate::tree::{
    digest::Hash,
    leaf::Leaf,
    node::{Child, Kind},
};

/// A tree as the definition makes it: nothing but nested lists.
#[derive(PartialEq, Debug)]
pub(super) enum Shape {
    Leaf(Vec<Vec<u8>>),
    Inner(Vec<Self>),
}

/// The shape that these keys must have.
pub(super) fn shape_of(model: &Model) -> Shape {
    let keys: Vec<&Vec<u8>> = model.keys().collect();
    let top = keys.iter().skip(1).map(|key| SALT.level(key)).max();
    shape_at(&keys, top.unwrap_or(0))
}

fn shape_at(keys: &[&Vec<u8>], height: u8) -> Shape {
    if height == 0 {
        return Shape::Leaf(keys.iter().map(|key| key.to_vec()).collect());
    }
    // A node at `height` has a child for each stretch that begins with a key of that level.
    let mut children = Vec::new();
    let mut start = 0;
    for at in 1..=keys.len() {
        if at == keys.len() || SALT.level(keys[at]) >= height {
            children.push(shape_at(&keys[start..at], height - 1));
            start = at;
        }
    }
    Shape::Inner(children)
}

/// The shape that a tree has; checks its counts, sizes and separators on the way.
pub(super) fn shape(tree: &Tree) -> Shape {
    shape_of_node(&tree.root)
}

fn shape_of_node(child: &Child) -> Shape {
    match &child.node.kind {
        Kind::Leaf(leaf) => {
            let entries: Vec<_> = leaf.entries().collect();
            assert_eq!(child.count, entries.len() as u64);
            let bytes: u64 = entries.iter().map(|e| e.key.len() as u64 + e.len).sum();
            assert_eq!(child.bytes, bytes);
            Shape::Leaf(entries.iter().map(|e| e.key.to_vec()).collect())
        }
        Kind::Inner(inner) => {
            let children = &inner.children;
            assert_eq!(inner.keys.len() + 1, children.len());
            assert_eq!(child.count, children.iter().map(|c| c.count).sum::<u64>());
            assert_eq!(child.bytes, children.iter().map(|c| c.bytes).sum::<u64>());
            for (at, child) in children.iter().enumerate() {
                assert_eq!(child.node.height() + 1, inner.height);
                assert!(child.count > 0);
                assert!(at == 0 || inner.keys.get(at - 1) == first_key(child));
            }
            Shape::Inner(children.iter().map(shape_of_node).collect())
        }
    }
}

/// The leaves of a tree, in order.
pub(super) fn leaves(tree: &Tree) -> Box<dyn Iterator<Item = &Leaf> + '_> {
    fn below(child: &Child) -> Box<dyn Iterator<Item = &Leaf> + '_> {
        match &child.node.kind {
            Kind::Leaf(leaf) => Box::new(std::iter::once(leaf)),
            Kind::Inner(inner) => Box::new(inner.children.iter().flat_map(below)),
        }
    }
    below(&tree.root)
}

fn first_key(child: &Child) -> &[u8] {
    match &child.node.kind {
        Kind::Leaf(leaf) => leaf.key(0),
        Kind::Inner(inner) => first_key(&inner.children[0]),
    }
}

/// The digest from the definition.
pub(super) fn digest_of(model: &Model) -> Hash {
    let height = model.keys().skip(1).map(|key| SALT.level(key)).max();
    let summary = summary_of(&shape_of(model), height.unwrap_or(0), model);
    let mut input = vec![1];
    input.extend(SALT.0);
    input.extend(encoded(&summary));
    hash("quorate tree root", &input)
}

type Summary = (u64, u64, Hash);

fn summary_of(shape: &Shape, height: u8, model: &Model) -> Summary {
    match shape {
        Shape::Leaf(keys) => {
            let mut items = Vec::new();
            let mut bytes = 0;
            for key in keys {
                let value = &model[key];
                let large = value.len() > 32 << 10;
                varint(&mut items, key.len());
                varint(&mut items, value.len() * 2 + usize::from(large));
                items.extend(key);
                if large {
                    items.extend(pieces("quorate tree value piece", value));
                } else {
                    items.extend(value);
                }
                bytes += (key.len() + value.len()) as u64;
            }
            let count = keys.len() as u64;
            let mut input = Vec::new();
            for number in [count, bytes, items.len() as u64] {
                input.extend(number.to_le_bytes());
            }
            input.extend(pieces("quorate tree leaf piece", &items));
            (count, bytes, hash("quorate tree leaf", &input))
        }
        Shape::Inner(children) => {
            let summaries: Vec<Summary> = children
                .iter()
                .map(|child| summary_of(child, height - 1, model))
                .collect();
            let folded = fold(&summaries);
            let mut input = vec![height];
            input.extend((children.len() as u64).to_le_bytes());
            input.extend(encoded(&folded));
            (folded.0, folded.1, hash("quorate tree inner", &input))
        }
    }
}

fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number > 127 {
        out.push((number % 128 + 128) as u8);
        number /= 128;
    }
    out.push(number as u8);
}

/// The hashes of the stretches of 256 KiB of `bytes`.
fn pieces(domain: &str, bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks(256 << 10)
        .flat_map(|piece| hash(domain, piece))
        .collect()
}

fn fold(parts: &[Summary]) -> Summary {
    if let [part] = parts {
        return *part;
    }
    let mut middle = 1;
    while middle * 2 < parts.len() {
        middle *= 2;
    }
    let (left, right) = (fold(&parts[..middle]), fold(&parts[middle..]));
    let mut input = encoded(&left);
    input.extend(encoded(&right));
    (
        left.0 + right.0,
        left.1 + right.1,
        hash("quorate tree pair", &input),
    )
}

fn encoded((count, bytes, hash): &Summary) -> Vec<u8> {
    let mut out = count.to_le_bytes().to_vec();
    out.extend(bytes.to_le_bytes());
    out.extend(hash);
    out
}

fn hash(domain: &str, input: &[u8]) -> Hash {
    let mut key = [0; 32];
    key[..domain.len()].copy_from_slice(domain.as_bytes());
    *blake3::keyed_hash(&key, input).as_bytes()
}

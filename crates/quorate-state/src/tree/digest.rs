//! Hashes: what makes two trees comparable, and a part of one provable.
//!
//! Every hash is BLAKE3 keyed with the name of what is hashed, so that the bytes of one kind can
//! never pass for another.
//!
//! - piece: a stretch of at most 256 KiB of a leaf's encoding, or of a large value (two kinds);
//! - leaf: items, bytes, length of the encoding, and the hashes of its pieces (usually one);
//! - pair: two neighbouring parts of an inner node's children with their items and bytes;
//! - inner: height, number of children, items, bytes, and the pair tree over its children;
//! - root: version, salt, items, bytes and the top node.
//!
//! Inside an inner node the children are hashed as a binary tree (split at the largest power of two
//! below their number, as in RFC 6962) rather than as one list: a proof then has a number of hashes
//! logarithmic in the children, however wide a hostile writer made the node.

use quorate_core::Digest;

use super::{
    Tree,
    node::{Child, Hashed, Inner, Kind, Node},
    salt::Salt,
};
use crate::limits;

pub(super) type Hash = [u8; 32];
pub(super) const HASH_LEN: usize = 32;

/// The version of everything in this file: part of the root.
const FORMAT: u8 = 1;

const LEAF_PIECE: Hash = domain(b"quorate tree leaf piece");
const VALUE_PIECE: Hash = domain(b"quorate tree value piece");
const LEAF: Hash = domain(b"quorate tree leaf");
const PAIR: Hash = domain(b"quorate tree pair");
const INNER: Hash = domain(b"quorate tree inner");
const ROOT: Hash = domain(b"quorate tree root");

const fn domain(name: &[u8]) -> Hash {
    let mut key = [0; HASH_LEN];
    let mut at = 0;
    while at < name.len() {
        key[at] = name[at];
        at += 1;
    }
    key
}

/// A part of a tree in a few bytes: what it holds, and the hash that stands for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) hash: Hash,
}

impl Summary {
    const LEN: usize = 48;

    /// Joins two neighbours; nothing if their numbers are too great to be true.
    pub(super) fn pair(left: &Self, right: &Self) -> Option<Self> {
        let mut input = [0; 2 * Self::LEN];
        left.write(&mut input[..Self::LEN]);
        right.write(&mut input[Self::LEN..]);
        Some(Self {
            count: left.count.checked_add(right.count)?,
            bytes: left.bytes.checked_add(right.bytes)?,
            hash: keyed(&PAIR, &input),
        })
    }

    /// Returns the hash of an inner node of `children` whose pair tree has this summary.
    pub(super) fn inner_hash(&self, height: u8, children: u64) -> Hash {
        let mut input = [0; 9 + Self::LEN];
        input[0] = height;
        input[1..9].copy_from_slice(&children.to_le_bytes());
        self.write(&mut input[9..]);
        keyed(&INNER, &input)
    }

    /// Returns the digest of a tree whose top node has this summary.
    pub(super) fn root_digest(&self, salt: &Salt) -> Digest {
        let mut input = [0; 33 + Self::LEN];
        input[0] = FORMAT;
        input[1..33].copy_from_slice(&salt.0);
        self.write(&mut input[33..]);
        Digest(keyed(&ROOT, &input))
    }

    fn write(&self, out: &mut [u8]) {
        out[..8].copy_from_slice(&self.count.to_le_bytes());
        out[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        out[16..Self::LEN].copy_from_slice(&self.hash);
    }
}

pub(super) fn value_piece_hash(piece: &[u8]) -> Hash {
    keyed(&VALUE_PIECE, piece)
}

pub(super) fn leaf_piece_hash(piece: &[u8]) -> Hash {
    keyed(&LEAF_PIECE, piece)
}

/// Hashes a leaf from the hashes of its pieces, concatenated.
pub(super) fn leaf_hash(count: u64, bytes: u64, len: u64, pieces: &[u8]) -> Hash {
    let mut head = [0; 24];
    head[..8].copy_from_slice(&count.to_le_bytes());
    head[8..16].copy_from_slice(&bytes.to_le_bytes());
    head[16..].copy_from_slice(&len.to_le_bytes());
    if pieces.len() == HASH_LEN {
        let mut input = [0; 24 + HASH_LEN];
        input[..24].copy_from_slice(&head);
        input[24..].copy_from_slice(pieces);
        keyed(&LEAF, &input)
    } else {
        let mut hasher = blake3::Hasher::new_keyed(&LEAF);
        hasher.update(&head).update(pieces);
        *hasher.finalize().as_bytes()
    }
}

/// Hashes a leaf from its encoding.
pub(super) fn hash_leaf(count: u64, bytes: u64, encoded: &[u8]) -> Hashed {
    let len = encoded.len() as u64;
    if !encoded.is_empty() && encoded.len() <= limits::PIECE {
        return Hashed {
            node: leaf_hash(count, bytes, len, &leaf_piece_hash(encoded)),
            pieces: Box::default(),
        };
    }
    let pieces: Box<[u8]> = encoded
        .chunks(limits::PIECE)
        .flat_map(leaf_piece_hash)
        .collect();
    Hashed {
        node: leaf_hash(count, bytes, len, &pieces),
        pieces,
    }
}

fn keyed(domain: &Hash, input: &[u8]) -> Hash {
    *blake3::keyed_hash(domain, input).as_bytes()
}

/// Where the binary tree over `parts` (two or more) divides: after this many.
pub(super) fn divide(parts: u64) -> u64 {
    1 << (parts - 1).ilog2()
}

/// The summary of neighbouring children of one inner node, of which there is at least one.
pub(super) fn fold(children: &[Child]) -> Summary {
    if let [child] = children {
        return child.summary();
    }
    let (left, right) = children.split_at(divide(children.len() as u64) as usize);
    Summary::pair(&fold(left), &fold(right)).expect("a tree in memory has countable bytes")
}

impl Child {
    /// What stands for the node; hashes what is below and not remembered.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            count: self.count,
            bytes: self.bytes,
            hash: *self.node.hash(),
        }
    }
}

impl Node {
    /// The node's hash; hashes what is below and not remembered. Recursion is bounded by height.
    pub(super) fn hash(&self) -> &Hash {
        &self.hashed().node
    }

    /// The hashes of the pieces of a leaf that has more than one.
    pub(super) fn piece_hashes(&self) -> &[u8] {
        &self.hashed().pieces
    }

    fn hashed(&self) -> &Hashed {
        self.hash.get_or_init(|| match &self.kind {
            Kind::Leaf(leaf) => hash_leaf(leaf.len() as u64, leaf.bytes(), leaf.encoded()),
            Kind::Inner(inner) => Hashed {
                node: inner.hash(),
                pieces: Box::default(),
            },
        })
    }
}

impl Inner {
    fn hash(&self) -> Hash {
        fold(&self.children).inner_hash(self.height, self.children.len() as u64)
    }
}

impl Tree {
    /// Returns the digest: equal for equal salt and content, whatever the history.
    ///
    /// Costs a hash of whatever changed since the last digest of this tree or of any tree that
    /// shares its nodes, without bound; [`Tree::digesting`] does the same in slices.
    pub fn digest(&self) -> Digest {
        self.root.summary().root_digest(&self.salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_tree_divides_at_the_largest_power_of_two_below() {
        let divisions: Vec<u64> = (2..=9).map(divide).collect();
        assert_eq!(divisions, [1, 2, 2, 4, 4, 4, 4, 8]);
        assert_eq!(divide(u64::MAX), 1 << 63);
    }
}

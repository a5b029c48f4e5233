//! Chunks: a range of a tree that proves itself.
//!
//! A chunk is the tree cut down to whole adjacent leaves: whatever lies beside the range is reduced
//! to a count, a byte count and a hash. Whoever knows the root digest can compute it again from the
//! chunk alone, so every chunk is verified before it is kept, whoever sent it and whatever else is
//! missing, and its ranks follow from the counts on its left. The alternative, a list of leaf
//! hashes sent ahead, costs megabytes before the first item and must itself be proven.
//!
//! ```text
//! chunk  = 1 0 height node | 1 1 rank piece-number bytes        (a range; a piece of a value)
//! node   = LEAF count bytes length encoding                     (at height 0)
//!        | PIECES count bytes length first n hashes... bytes    (of a leaf over 256 KiB)
//!        | INNER children parts                                 (above)
//!        | SEALED count bytes hash                              (not in the range)
//! parts  = PAIR parts parts | SEALED count bytes hash | node    (of one child)
//! ```
//! Numbers are varints. `PAIR` divides the children of one node as the digest does.

use std::ops::Range;

use bytes::Bytes;

use super::{
    Tree,
    codec::put_varint,
    digest::{Summary, divide, fold},
    leaf::Leaf,
    node::{Child, Kind},
};
use crate::limits;

pub(super) const VERSION: u8 = 1;
pub(super) const RANGE: u8 = 0;
pub(super) const VALUE: u8 = 1;

pub(super) const SEALED: u8 = 0;
pub(super) const LEAF: u8 = 1;
pub(super) const PIECES: u8 = 2;
pub(super) const INNER: u8 = 3;
pub(super) const PAIR: u8 = 4;

/// What a leaf costs in a chunk beside its encoding: its head and its share of the tags above it.
const LEAF_HEAD: usize = 32;

/// What to read of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// The rank of the first item.
    pub start: u64,
    /// The rank after the last item.
    pub end: u64,
    /// Where to go on within the leaf at `start` if it is over 256 KiB; a multiple of that. Else 0.
    pub offset: u64,
    /// At most this many items, rounded up to whole leaves.
    pub max_items: u64,
    /// At most this many bytes of encoded items, but at least one leaf or one piece.
    pub max_bytes: u64,
}

/// A range of a tree, encoded with its proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The encoded chunk.
    pub encoded: Bytes,
    /// The ranks of its items.
    pub ranks: Range<u64>,
    /// If it is a part of a leaf over 256 KiB, the offset after it; nothing once the leaf is done.
    pub next_offset: Option<u64>,
}

/// Why nothing was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The range ends at or before its start.
    #[error("the range is empty or reversed")]
    Reversed,
    /// The range starts at or behind the last item's end.
    #[error("the range starts behind the last item")]
    OutOfRange,
    /// The offset is not the start of a piece of the leaf at the start of the range.
    #[error("the offset is not within an oversize leaf")]
    Offset,
    /// The item's value is not in pieces, or has fewer.
    #[error("the value has no such piece")]
    Piece,
}

impl Tree {
    /// Reads a range with its proof.
    ///
    /// The end is `min(end, start + max_items, len)`; both ends are rounded outwards to whole
    /// leaves, then the end inwards until the encoded leaves fit `max_bytes`, but never below one
    /// leaf. A leaf over 256 KiB comes alone, in as many of its pieces as fit, at least one.
    ///
    /// Costs O(log n + range) and hashes whatever is not remembered.
    ///
    /// # Errors
    ///
    /// Refuses ranges that are empty, reversed or beyond the end, and offsets that do not exist.
    pub fn read_range(&self, want: &Want) -> Result<Chunk, ReadError> {
        if want.start >= want.end {
            return Err(ReadError::Reversed);
        }
        if want.start >= self.len() {
            return Err(ReadError::OutOfRange);
        }
        let plan = Plan::new(self, want)?;
        let mut writer = Writer {
            out: Vec::with_capacity(plan.bytes + 2_048),
            plan,
        };
        writer.out.push(VERSION);
        writer.out.push(RANGE);
        writer.out.push(self.root.node.height());
        writer.node(&self.root, 0);
        Ok(Chunk {
            encoded: writer.out.into(),
            ranks: writer.plan.ranks,
            next_offset: writer.plan.next_offset,
        })
    }

    /// Reads one piece of the value at `rank`, to be verified against the hash in its leaf.
    ///
    /// # Errors
    ///
    /// Refuses ranks beyond the end, values that are not large and pieces they do not have.
    pub fn read_piece(&self, rank: u64, piece: u64) -> Result<Bytes, ReadError> {
        let end = rank.checked_add(1).ok_or(ReadError::OutOfRange)?;
        let (_, value) = self.range(rank..end).next().ok_or(ReadError::OutOfRange)?;
        let pieces = value.pieces().ok_or(ReadError::Piece)?;
        let at = usize::try_from(piece).map_err(|_| ReadError::Piece)?;
        let bytes = pieces.get(at).ok_or(ReadError::Piece)?;
        let mut out = Vec::with_capacity(bytes.len() + 24);
        out.push(VERSION);
        out.push(VALUE);
        put_varint(&mut out, rank);
        put_varint(&mut out, piece);
        out.extend_from_slice(bytes);
        Ok(out.into())
    }
}

/// Which leaves a chunk brings.
struct Plan {
    ranks: Range<u64>,
    /// The encoded bytes it brings.
    bytes: usize,
    /// The pieces, if it is one oversize leaf.
    pieces: Option<Range<usize>>,
    next_offset: Option<u64>,
}

impl Plan {
    fn new(tree: &Tree, want: &Want) -> Result<Self, ReadError> {
        let end = want
            .end
            .min(want.start.saturating_add(want.max_items.max(1)));
        let max_bytes = want.max_bytes.min(limits::CHUNK_BYTES) as usize;
        let mut leaves = Leaves::at(tree, want.start);
        let (first, leaf) = leaves.next().ok_or(ReadError::OutOfRange)?;
        let mut plan = Self {
            ranks: first..first + leaf.len() as u64,
            bytes: leaf.encoded().len(),
            pieces: None,
            next_offset: None,
        };
        if plan.bytes > limits::PIECE {
            plan.cut(want.offset, max_bytes)?;
            return Ok(plan);
        }
        if want.offset != 0 {
            return Err(ReadError::Offset);
        }
        for (rank, leaf) in leaves {
            let len = leaf.encoded().len();
            let bytes = len + LEAF_HEAD;
            if rank >= end || len > limits::PIECE || plan.bytes + bytes > max_bytes {
                break;
            }
            plan.ranks.end += leaf.len() as u64;
            plan.bytes += bytes;
        }
        Ok(plan)
    }

    /// Takes only the pieces from `offset` on of the oversize leaf that is planned.
    fn cut(&mut self, offset: u64, max_bytes: usize) -> Result<(), ReadError> {
        let offset = usize::try_from(offset).map_err(|_| ReadError::Offset)?;
        if !offset.is_multiple_of(limits::PIECE) || offset >= self.bytes {
            return Err(ReadError::Offset);
        }
        let count = (max_bytes / limits::PIECE).max(1);
        let first = offset / limits::PIECE;
        let last = self.bytes.div_ceil(limits::PIECE).min(first + count);
        let end = self.bytes.min(last * limits::PIECE);
        self.next_offset = (end < self.bytes).then_some(end as u64);
        self.pieces = Some(first..last);
        self.bytes = end - offset;
        Ok(())
    }
}

/// Leaves in order with the ranks of their first items.
struct Leaves<'a> {
    path: Vec<&'a [Child]>,
    rank: u64,
}

impl<'a> Leaves<'a> {
    /// Starts with the leaf that holds the item at `rank`.
    fn at(tree: &'a Tree, rank: u64) -> Self {
        let mut leaves = Self {
            path: vec![std::slice::from_ref(&tree.root)],
            rank: 0,
        };
        // Skips subtrees that end at or before the rank, then goes into the one that holds it.
        while let Some(children) = leaves.path.last_mut()
            && let Some((child, rest)) = children.split_first()
        {
            if leaves.rank + child.count <= rank {
                leaves.rank += child.count;
                *children = rest;
            } else if let Kind::Inner(inner) = &child.node.kind {
                *children = rest;
                leaves.path.push(&inner.children);
            } else {
                break;
            }
        }
        leaves
    }
}

impl<'a> Iterator for Leaves<'a> {
    type Item = (u64, &'a Leaf);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let children = self.path.last_mut()?;
            let Some((child, rest)) = children.split_first() else {
                self.path.pop();
                continue;
            };
            *children = rest;
            match &child.node.kind {
                Kind::Inner(inner) => self.path.push(&inner.children),
                Kind::Leaf(leaf) => {
                    let rank = self.rank;
                    self.rank += child.count;
                    return Some((rank, leaf));
                }
            }
        }
    }
}

struct Writer {
    out: Vec<u8>,
    plan: Plan,
}

impl Writer {
    /// Writes a node that overlaps the range and whose first item has this rank.
    fn node(&mut self, child: &Child, rank: u64) {
        match &child.node.kind {
            Kind::Leaf(leaf) => self.leaf(child, leaf),
            Kind::Inner(inner) => {
                self.out.push(INNER);
                put_varint(&mut self.out, inner.children.len() as u64);
                self.parts(&inner.children, rank);
            }
        }
    }

    fn parts(&mut self, children: &[Child], rank: u64) {
        let count: u64 = children.iter().map(|child| child.count).sum();
        if rank + count <= self.plan.ranks.start || rank >= self.plan.ranks.end {
            return self.sealed(&fold(children));
        }
        if let [child] = children {
            return self.node(child, rank);
        }
        self.out.push(PAIR);
        let (left, right) = children.split_at(divide(children.len() as u64) as usize);
        let before: u64 = left.iter().map(|child| child.count).sum();
        self.parts(left, rank);
        self.parts(right, rank + before);
    }

    fn sealed(&mut self, summary: &Summary) {
        self.out.push(SEALED);
        put_varint(&mut self.out, summary.count);
        put_varint(&mut self.out, summary.bytes);
        self.out.extend_from_slice(&summary.hash);
    }

    fn leaf(&mut self, child: &Child, leaf: &Leaf) {
        let encoded = leaf.encoded();
        let pieces = self.plan.pieces.clone();
        self.out.push(if pieces.is_some() { PIECES } else { LEAF });
        put_varint(&mut self.out, child.count);
        put_varint(&mut self.out, child.bytes);
        put_varint(&mut self.out, encoded.len() as u64);
        let Some(pieces) = pieces else {
            self.out.extend_from_slice(encoded);
            return;
        };
        put_varint(&mut self.out, pieces.start as u64);
        put_varint(&mut self.out, pieces.len() as u64);
        self.out.extend_from_slice(child.node.piece_hashes());
        let end = encoded.len().min(pieces.end * limits::PIECE);
        self.out
            .extend_from_slice(&encoded[pieces.start * limits::PIECE..end]);
    }
}

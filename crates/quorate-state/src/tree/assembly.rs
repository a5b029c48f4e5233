//! The receiving side of a transfer: parts in any order, from anybody, until the tree is whole.
//!
//! What is kept was verified against the digest first, so it never matters who sent it, in which
//! order, how often, or how the ranges were cut. Leaves become nodes as they come; only the inner
//! nodes are made at the end, and the digest of the whole is compared once more before anybody sees
//! the tree.

use std::{
    collections::{BTreeMap, btree_map::IntoValues},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use quorate_core::{Digest, Part};

use super::{
    Tree,
    build::Spine,
    chunk::{RANGE, VALUE, VERSION},
    codec::Reader,
    digest::{HASH_LEN, Hash},
    leaf::Leaf,
    node::{Child, Hashed},
    proof::{Found, FoundBody, piece_matches, verify},
    salt::Salt,
    value::{piece_count, piece_len},
};

pub use super::proof::Rejected;
use crate::limits;

/// The parts of a tree that were received and verified so far.
#[derive(Clone, Debug)]
pub struct Assembly {
    digest: Digest,
    salt: Salt,
    len: u64,
    /// By the rank of their first item.
    leaves: BTreeMap<u64, Whole>,
    /// Leaves over 256 KiB of which pieces are missing, by the rank of their first item.
    oversize: BTreeMap<u64, Oversize>,
    /// Large values by rank, whole or not.
    values: BTreeMap<u64, Pieces>,
    /// Items in `leaves`.
    items: u64,
    /// Bytes kept: encoded leaves and pieces.
    bytes: u64,
    /// Values of which pieces are missing.
    unfinished_values: u64,
    /// For a planted bug.
    mixed: bool,
}

#[derive(Clone, Debug)]
struct Whole {
    leaf: Leaf,
    hashed: Hashed,
}

#[derive(Clone, Debug)]
struct Oversize {
    count: u64,
    bytes: u64,
    hashed: Hashed,
    pieces: Pieces,
}

/// The pieces of something that has several.
#[derive(Clone, Debug)]
struct Pieces {
    len: u64,
    kept: Vec<Option<Bytes>>,
    missing: usize,
}

/// What an accepted chunk brought that was not known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// The ranks that the chunk covers with whole leaves; empty for a piece, or for a part of a
    /// leaf that is not whole yet.
    pub ranks: Range<u64>,
    /// Whether anything of it was new.
    pub new: bool,
    /// If it was a part of a leaf that is not whole yet: the leaf's first rank and the offset of
    /// its first missing piece.
    pub unfinished: Option<(u64, u64)>,
    /// The large values that its new leaves need: (rank, length in bytes). Pieces are of
    /// [`limits::PIECE`] bytes, the last one shorter.
    pub wanted: Vec<(u64, u64)>,
    /// Bytes of encoded items and pieces that were new.
    pub bytes: u64,
}

/// Returns the rank and the number of the piece that a chunk says it is; nothing if it is none.
pub fn piece_of(chunk: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader::new(chunk);
    let piece = reader.byte()? == VERSION && reader.byte()? == VALUE;
    piece.then(|| Some((reader.varint()?, reader.varint()?)))?
}

/// Why there is no tree yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfinished {
    /// Items or pieces are missing; nothing has changed.
    #[error("parts of the tree are missing")]
    Missing,
    /// Every part is there but they make another tree: the digest stands for nothing that could
    /// have been built. What was kept is gone.
    #[error("the parts do not make the tree of the digest")]
    Mismatch,
}

impl Assembly {
    /// Starts to gather the tree with this digest, length and salt; allocates nothing.
    pub fn new(digest: Digest, len: u64, salt: Salt) -> Self {
        Self {
            digest,
            salt,
            len,
            leaves: BTreeMap::new(),
            oversize: BTreeMap::new(),
            values: BTreeMap::new(),
            items: 0,
            bytes: 0,
            unfinished_values: 0,
            mixed: false,
        }
    }

    /// Takes over the leaves of another assembly by their ranks: a planted bug.
    pub(crate) fn mix_in(&mut self, other: &Self) {
        self.mixed = true;
        let small = |whole: &Whole| !whole.leaf.entries().any(|entry| entry.large);
        for (rank, whole) in other.leaves.iter().filter(|(_, whole)| small(whole)) {
            let count = whole.leaf.len() as u64;
            if rank + count <= self.len {
                self.items += count;
                self.leaves.insert(*rank, whole.clone());
            }
        }
    }

    /// Returns the digest of the tree being gathered.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns how many items are kept, of how many.
    pub fn items(&self) -> (u64, u64) {
        (self.items, self.len)
    }

    /// Returns the bytes kept: encoded items and pieces.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tells whether every item and every piece is there.
    pub fn is_complete(&self) -> bool {
        self.items == self.len && self.unfinished_values == 0
    }

    /// Verifies an encoded chunk, a range or a piece, and keeps what is new of it.
    ///
    /// Costs a hash of the chunk, and for new leaves one short hash per item.
    ///
    /// # Errors
    ///
    /// Whatever does not prove to be a part of the tree is refused and changes nothing;
    /// [`Rejected::NotCanonical`] says that the digest itself is worth nothing.
    pub fn offer(&mut self, chunk: &[u8]) -> Result<Accepted, Rejected> {
        let mut reader = Reader::new(chunk);
        let (Some(version), Some(kind)) = (reader.byte(), reader.byte()) else {
            return Err(Rejected::Malformed);
        };
        if version != VERSION {
            return Err(Rejected::Version);
        }
        let rest = &chunk[2..];
        match kind {
            RANGE => self.offer_range(rest),
            VALUE => {
                let rank = reader.varint().ok_or(Rejected::Malformed)?;
                let number = reader.varint().ok_or(Rejected::Malformed)?;
                self.offer_piece(rank, number, &chunk[chunk.len() - reader.remaining()..])
            }
            _ => Err(Rejected::Malformed),
        }
    }

    /// Verifies piece `number` of the value at `rank` against its leaf, and keeps it if it is new.
    ///
    /// # Errors
    ///
    /// Refuses pieces of values whose leaf is not there, and bytes with another hash.
    pub fn offer_piece(
        &mut self,
        rank: u64,
        number: u64,
        piece: &[u8],
    ) -> Result<Accepted, Rejected> {
        let (first, whole) = self
            .leaves
            .range(..=rank)
            .next_back()
            .ok_or(Rejected::NotWanted)?;
        let at = usize::try_from(rank - first).map_err(|_| Rejected::NotWanted)?;
        if at >= whole.leaf.len() {
            return Err(Rejected::NotWanted);
        }
        let entry = whole.leaf.entry(at);
        let hash = entry.piece_hash(number).ok_or(Rejected::NotWanted)?;
        if !piece_matches(piece, entry.len, number, &hash) {
            return Err(Rejected::Digest);
        }
        let mut accepted = Accepted {
            ranks: rank..rank,
            ..Accepted::default()
        };
        let pieces = self.values.get_mut(&rank).ok_or(Rejected::NotWanted)?;
        if pieces.keep(number, piece) {
            accepted.new = true;
            accepted.bytes = piece.len() as u64;
            self.bytes += piece.len() as u64;
            self.unfinished_values -= u64::from(pieces.missing == 0);
        }
        Ok(accepted)
    }

    fn offer_range(&mut self, input: &[u8]) -> Result<Accepted, Rejected> {
        let found = verify(input, &self.digest, &self.salt, self.len)?;
        let (Some(first), Some(last)) = (found.first(), found.last()) else {
            return Err(Rejected::Malformed);
        };
        let mut accepted = Accepted {
            ranks: first.rank..last.rank + last.count,
            ..Accepted::default()
        };
        for found in found {
            self.keep(found, &mut accepted)?;
        }
        Ok(accepted)
    }

    /// Keeps one verified leaf, or pieces of one.
    fn keep(&mut self, found: Found<'_>, accepted: &mut Accepted) -> Result<(), Rejected> {
        if self.leaves.contains_key(&found.rank) {
            return Ok(());
        }
        match found.body {
            FoundBody::Whole { encoded } => {
                let hashed = Hashed {
                    node: found.hash,
                    pieces: Box::default(),
                };
                accepted.new = true;
                accepted.bytes += encoded.len() as u64;
                self.bytes += encoded.len() as u64;
                let size = (found.count, found.bytes);
                self.keep_leaf(found.rank, size, encoded, hashed, accepted)
            }
            FoundBody::Pieces {
                len,
                hashes,
                first,
                data,
            } => {
                let rank = found.rank;
                let oversize = self.oversize.entry(rank).or_insert_with(|| Oversize {
                    count: found.count,
                    bytes: found.bytes,
                    hashed: Hashed {
                        node: found.hash,
                        pieces: hashes.into(),
                    },
                    pieces: Pieces::new(len),
                });
                for (number, piece) in (first..).zip(data.chunks(limits::PIECE)) {
                    if oversize.pieces.keep(number, piece) {
                        accepted.new = true;
                        accepted.bytes += piece.len() as u64;
                        self.bytes += piece.len() as u64;
                    }
                }
                self.close_oversize(rank, accepted)
            }
        }
    }

    /// Makes a leaf of an oversize one once all its pieces are there.
    fn close_oversize(&mut self, rank: u64, accepted: &mut Accepted) -> Result<(), Rejected> {
        if let Some(offset) = self
            .oversize
            .get(&rank)
            .and_then(|o| o.pieces.first_missing())
        {
            accepted.ranks = rank..rank;
            accepted.unfinished = Some((rank, offset));
            return Ok(());
        }
        match self.oversize.remove(&rank) {
            Some(oversize) => {
                let encoded = oversize.pieces.concat();
                let size = (oversize.count, oversize.bytes);
                self.keep_leaf(rank, size, &encoded, oversize.hashed, accepted)
            }
            None => Ok(()),
        }
    }

    fn keep_leaf(
        &mut self,
        rank: u64,
        (count, bytes): (u64, u64),
        encoded: &[u8],
        hashed: Hashed,
        accepted: &mut Accepted,
    ) -> Result<(), Rejected> {
        let leaf = Leaf::decode(encoded).ok_or(Rejected::NotCanonical)?;
        // The first key of each leaf is a boundary (of the tree's first one it need not be), the
        // others are not: otherwise the next insert would meet a shape that cannot be.
        let misplaced = leaf.entries().enumerate().any(|(at, entry)| {
            let boundary = self.salt.level(entry.key) > 0;
            if at == 0 {
                !boundary && rank > 0
            } else {
                boundary
            }
        });
        if misplaced || leaf.len() as u64 != count || leaf.bytes() != bytes {
            return Err(Rejected::NotCanonical);
        }
        for (at, entry) in leaf.entries().enumerate().filter(|(_, entry)| entry.large) {
            let rank = rank + at as u64;
            accepted.wanted.push((rank, entry.len));
            self.values.insert(rank, Pieces::new(entry.len));
            self.unfinished_values += 1;
        }
        self.items += count;
        self.leaves.insert(rank, Whole { leaf, hashed });
        Ok(())
    }

    /// Returns up to `max` parts that are missing: ranges of items first, then pieces.
    pub fn missing(&self, max: usize) -> Vec<Part> {
        let mut missing = Vec::new();
        let mut next = 0;
        let kept = self
            .leaves
            .iter()
            .map(|(rank, whole)| (*rank, whole.leaf.len() as u64))
            .chain(std::iter::once((self.len, 0)));
        for (rank, count) in kept {
            if next < rank {
                self.missing_items(next..rank, max, &mut missing);
            }
            next = rank + count;
            if missing.len() >= max {
                return missing;
            }
        }
        for (rank, pieces) in &self.values {
            for piece in pieces.missing() {
                if missing.len() >= max {
                    return missing;
                }
                missing.push(Part::Piece { rank: *rank, piece });
            }
        }
        missing
    }

    /// Splits a gap at the oversize leaves in it that are partly there.
    fn missing_items(&self, gap: Range<u64>, max: usize, missing: &mut Vec<Part>) {
        let mut next = gap.start;
        for (rank, oversize) in self.oversize.range(gap.clone()) {
            if next < *rank {
                missing.push(items(next, *rank, 0));
            }
            next = rank + oversize.count;
            for number in oversize.pieces.missing() {
                if missing.len() >= max {
                    return;
                }
                let offset = number * limits::PIECE as u64;
                missing.push(items(*rank, next, offset));
            }
        }
        if next < gap.end && missing.len() < max {
            missing.push(items(next, gap.end, 0));
        }
    }

    /// Makes the tree.
    ///
    /// Costs O(leaves), hashing inner nodes only.
    ///
    /// # Errors
    ///
    /// [`Unfinished::Missing`] leaves everything as it is; after [`Unfinished::Mismatch`] the
    /// assembly is empty.
    pub fn finish(&mut self) -> Result<Tree, Unfinished> {
        if !self.is_complete() {
            return Err(Unfinished::Missing);
        }
        let leaves = std::mem::take(&mut self.leaves);
        let mut values = std::mem::take(&mut self.values).into_values();
        (self.items, self.bytes) = (0, 0);
        let mut spine = Spine::default();
        let mut last: Option<Box<[u8]>> = None;
        for whole in leaves.into_values() {
            let Whole { mut leaf, hashed } = whole;
            let large = leaf.entries().filter(|entry| entry.large).count();
            if large > 0 {
                let large = values.by_ref().take(large);
                leaf.set_large(large.map(Pieces::into_shared).collect());
            }
            let first: Box<[u8]> = leaf.key(0).into();
            if last.is_some_and(|last| *last >= *first) {
                return Err(Unfinished::Mismatch);
            }
            last = Some(leaf.key(leaf.len() - 1).into());
            let level = self.salt.level(&first);
            spine.push_child(first, level, Child::hashed_leaf(leaf, hashed));
        }
        let tree = spine.finish(self.salt);
        if tree.digest() != self.digest && !self.mixed {
            return Err(Unfinished::Mismatch);
        }
        Ok(tree)
    }
}

impl Assembly {
    /// Hands over everything kept, to be freed bit by bit.
    pub(super) fn into_remains(self) -> Remains {
        Remains {
            leaves: self.leaves.into_values(),
            oversize: self.oversize.into_values(),
            values: self.values.into_values(),
        }
    }
}

/// What is left of an assembly that nobody needs.
#[derive(Debug)]
pub(super) struct Remains {
    leaves: IntoValues<u64, Whole>,
    oversize: IntoValues<u64, Oversize>,
    values: IntoValues<u64, Pieces>,
}

impl Remains {
    /// Frees one leaf or value; tells whether there was one.
    pub(super) fn free_one(&mut self) -> bool {
        self.leaves.next().is_some()
            || self.oversize.next().is_some()
            || self.values.next().is_some()
    }
}

fn items(start: u64, end: u64, offset: u64) -> Part {
    Part::Items { start, end, offset }
}

impl Pieces {
    /// `len` must be proven: it decides how much is allocated.
    fn new(len: u64) -> Self {
        let count = piece_count(len) as usize;
        Self {
            len,
            kept: vec![None; count],
            missing: count,
        }
    }

    /// Keeps a copy of the piece, so that it does not hold the frame it came in.
    ///
    /// Tells whether it is new.
    fn keep(&mut self, number: u64, piece: &[u8]) -> bool {
        debug_assert_eq!(piece.len() as u64, piece_len(self.len, number));
        match self.kept.get_mut(number as usize) {
            Some(place @ None) => {
                *place = Some(Bytes::copy_from_slice(piece));
                self.missing -= 1;
                true
            }
            _ => false,
        }
    }

    fn missing(&self) -> impl Iterator<Item = u64> {
        let absent = self.kept.iter().enumerate().filter(|(_, p)| p.is_none());
        absent.map(|(number, _)| number as u64)
    }

    fn first_missing(&self) -> Option<u64> {
        self.missing()
            .next()
            .map(|number| number * limits::PIECE as u64)
    }

    fn concat(self) -> Vec<u8> {
        let pieces: Vec<Bytes> = self.kept.into_iter().flatten().collect();
        pieces.concat()
    }

    fn into_shared(self) -> Arc<[Bytes]> {
        self.kept.into_iter().flatten().collect()
    }
}

// What a large value's hashes cost in its leaf pays for the list of its pieces here.
const _: () = assert!(size_of::<Option<Bytes>>() <= HASH_LEN);
const _: () = assert!(size_of::<Hash>() == HASH_LEN);

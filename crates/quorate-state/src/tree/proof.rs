//! Reading a chunk that somebody sent: what it holds, and whether it belongs to the digest.
//!
//! The bytes are walked twice. The first walk only hashes, keeps nothing but a bounded list of leaf
//! hashes, and compares the result with the digest; the second runs over bytes that are then known
//! to be what the providers hashed, and hands out the leaves. So bytes that prove nothing never
//! make us allocate more than a fraction of what they brought.

use quorate_core::Digest;

use super::{
    chunk::{INNER, LEAF, PAIR, PIECES, SEALED},
    codec::Reader,
    digest::{
        HASH_LEN, Hash, Summary, divide, hash_leaf, leaf_hash, leaf_piece_hash, value_piece_hash,
    },
    salt::{MAX_HEIGHT, Salt},
    value::{nth_hash, piece_count, piece_len},
};
use crate::limits;

/// Why a chunk was not kept; nothing has changed.
///
/// All but [`Rejected::NotWanted`] say that the sender is wrong or lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The bytes are not an encoded chunk.
    #[error("the chunk is malformed")]
    Malformed,
    /// The bytes are a chunk of a version that we do not know.
    #[error("the chunk has an unknown version")]
    Version,
    /// The chunk is well formed but not a part of the tree that is wanted.
    #[error("the chunk does not belong to the digest")]
    Digest,
    /// What the digest stands for is not a tree that we could have built.
    #[error("the tree behind the digest is not canonical")]
    NotCanonical,
    /// The piece belongs to no value known so far.
    #[error("the piece is not wanted")]
    NotWanted,
}

impl Rejected {
    /// Returns the reason as a text that lives for ever.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "the chunk is malformed",
            Self::Version => "the chunk has an unknown version",
            Self::Digest => "the chunk does not belong to the digest",
            Self::NotCanonical => "the tree behind the digest is not canonical",
            Self::NotWanted => "the piece is not wanted",
        }
    }
}

/// A leaf, or pieces of one, that a verified chunk brings.
pub(super) struct Found<'a> {
    /// The rank of the leaf's first item.
    pub(super) rank: u64,
    pub(super) count: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
    pub(super) hash: Hash,
    pub(super) body: FoundBody<'a>,
}

pub(super) enum FoundBody<'a> {
    Whole {
        encoded: &'a [u8],
    },
    Pieces {
        /// The length of the whole encoding.
        len: u64,
        /// The hashes of all its pieces.
        hashes: &'a [u8],
        /// The number of the first piece brought.
        first: u64,
        /// The pieces brought, one after the other.
        data: &'a [u8],
    },
}

/// Verifies the range in `input` (without the two bytes that say so) and hands out its leaves.
pub(super) fn verify<'a>(
    input: &'a [u8],
    digest: &Digest,
    salt: &Salt,
    len: u64,
) -> Result<Vec<Found<'a>>, Rejected> {
    let mut first = Walk::new(input, Pass::Hash(Vec::with_capacity(input.len() / 64)));
    let summary = first.tree()?;
    if summary.count != len || summary.root_digest(salt) != *digest {
        return Err(Rejected::Digest);
    }
    let Pass::Hash(hashes) = first.pass else {
        return Err(Rejected::Malformed);
    };
    let mut second = Walk::new(
        input,
        Pass::Collect {
            hashes: hashes.into_iter(),
            found: Vec::new(),
        },
    );
    second.tree()?;
    match second.pass {
        Pass::Collect { found, .. } => Ok(found),
        Pass::Hash(_) => Err(Rejected::Malformed),
    }
}

enum Pass<'a> {
    /// Computes all hashes; those of the first leaves, as many as there is room for, are kept.
    Hash(Vec<Hash>),
    /// Takes the leaves.
    Collect {
        hashes: std::vec::IntoIter<Hash>,
        found: Vec<Found<'a>>,
    },
}

/// Leaves are adjacent: sealed parts lie before the first and after the last.
#[derive(PartialEq)]
enum Place {
    Before,
    Within,
    After,
}

struct Walk<'a> {
    reader: Reader<'a>,
    /// Items passed so far.
    rank: u64,
    place: Place,
    pass: Pass<'a>,
}

impl<'a> Walk<'a> {
    fn new(input: &'a [u8], pass: Pass<'a>) -> Self {
        Self {
            reader: Reader::new(input),
            rank: 0,
            place: Place::Before,
            pass,
        }
    }

    fn tree(&mut self) -> Result<Summary, Rejected> {
        let height = self.reader.byte().ok_or(Rejected::Malformed)?;
        if height > MAX_HEIGHT {
            return Err(Rejected::Malformed);
        }
        let tag = self.reader.byte().ok_or(Rejected::Malformed)?;
        let summary = self.node(tag, height)?;
        if !self.reader.is_empty() {
            return Err(Rejected::Malformed);
        }
        Ok(summary)
    }

    fn node(&mut self, tag: u8, height: u8) -> Result<Summary, Rejected> {
        match (tag, height) {
            (LEAF, 0) => self.leaf(),
            (PIECES, 0) => self.pieces(),
            (INNER, 1..) => {
                let children = self.number()?;
                let parts = self.parts(children, height - 1)?;
                Ok(Summary {
                    hash: match self.pass {
                        Pass::Hash(_) => parts.inner_hash(height, children),
                        Pass::Collect { .. } => parts.hash,
                    },
                    ..parts
                })
            }
            _ => Err(Rejected::Malformed),
        }
    }

    /// Reads what stands for `count` children at `height`. The recursion is bounded: the height
    /// falls or the count halves.
    fn parts(&mut self, count: u64, height: u8) -> Result<Summary, Rejected> {
        match self.reader.byte().ok_or(Rejected::Malformed)? {
            _ if count == 0 => Err(Rejected::Malformed),
            SEALED => self.sealed(),
            PAIR if count > 1 => {
                let left = self.parts(divide(count), height)?;
                let right = self.parts(count - divide(count), height)?;
                match self.pass {
                    Pass::Hash(_) => Summary::pair(&left, &right).ok_or(Rejected::Malformed),
                    Pass::Collect { .. } => Ok(left),
                }
            }
            tag if count == 1 => self.node(tag, height),
            _ => Err(Rejected::Malformed),
        }
    }

    fn sealed(&mut self) -> Result<Summary, Rejected> {
        let count = self.number()?;
        let bytes = self.number()?;
        let hash = self.reader.hash().ok_or(Rejected::Malformed)?;
        self.pass_items(count)?;
        if self.place == Place::Within {
            self.place = Place::After;
        }
        Ok(Summary { count, bytes, hash })
    }

    fn leaf(&mut self) -> Result<Summary, Rejected> {
        let (count, bytes, len) = self.leaf_head()?;
        if len > limits::PIECE as u64 {
            return Err(Rejected::Malformed);
        }
        let encoded = self.reader.take(len).ok_or(Rejected::Malformed)?;
        let rank = self.rank;
        self.pass_items(count)?;
        let hash = match &mut self.pass {
            Pass::Hash(hashes) => {
                let hash = hash_leaf(count, bytes, encoded).node;
                if hashes.len() < hashes.capacity() {
                    hashes.push(hash);
                }
                hash
            }
            Pass::Collect { hashes, found } => {
                let known = hashes.next();
                let hash = known.unwrap_or_else(|| hash_leaf(count, bytes, encoded).node);
                found.push(Found {
                    rank,
                    count,
                    bytes,
                    hash,
                    body: FoundBody::Whole { encoded },
                });
                hash
            }
        };
        Ok(Summary { count, bytes, hash })
    }

    fn pieces(&mut self) -> Result<Summary, Rejected> {
        let (count, bytes, len) = self.leaf_head()?;
        let (first, pieces) = (self.number()?, self.number()?);
        let all = piece_count(len);
        let last = first.checked_add(pieces).ok_or(Rejected::Malformed)?;
        if len <= limits::PIECE as u64 || pieces == 0 || last > all {
            return Err(Rejected::Malformed);
        }
        let hashes_len = all.checked_mul(HASH_LEN as u64);
        let hashes = hashes_len.and_then(|len| self.reader.take(len));
        let hashes = hashes.ok_or(Rejected::Malformed)?;
        let start = self.reader.clone();
        for number in first..last {
            let piece = self.reader.take(piece_len(len, number));
            let piece = piece.ok_or(Rejected::Malformed)?;
            if matches!(self.pass, Pass::Hash(_))
                && Some(leaf_piece_hash(piece)) != nth_hash(hashes, number)
            {
                return Err(Rejected::Digest);
            }
        }
        let taken = start.remaining() - self.reader.remaining();
        let data = start.clone().take(taken as u64).unwrap_or_default();
        let rank = self.rank;
        self.pass_items(count)?;
        let hash = leaf_hash(count, bytes, len, hashes);
        if let Pass::Collect { found, .. } = &mut self.pass {
            found.push(Found {
                rank,
                count,
                bytes,
                hash,
                body: FoundBody::Pieces {
                    len,
                    hashes,
                    first,
                    data,
                },
            });
        }
        Ok(Summary { count, bytes, hash })
    }

    /// Reads what stands before a leaf's items: their number, their bytes, the encoding's length.
    fn leaf_head(&mut self) -> Result<(u64, u64, u64), Rejected> {
        if self.place == Place::After {
            return Err(Rejected::Malformed);
        }
        self.place = Place::Within;
        let count = self.number()?;
        if count == 0 {
            return Err(Rejected::Malformed);
        }
        Ok((count, self.number()?, self.number()?))
    }

    fn pass_items(&mut self, count: u64) -> Result<(), Rejected> {
        self.rank = self.rank.checked_add(count).ok_or(Rejected::Malformed)?;
        Ok(())
    }

    fn number(&mut self) -> Result<u64, Rejected> {
        self.reader.varint().ok_or(Rejected::Malformed)
    }
}

/// Tells whether `piece` is piece `number` of a value of `len` bytes with this hash.
pub(super) fn piece_matches(piece: &[u8], len: u64, number: u64, hash: &Hash) -> bool {
    piece.len() as u64 == piece_len(len, number) && value_piece_hash(piece) == *hash
}

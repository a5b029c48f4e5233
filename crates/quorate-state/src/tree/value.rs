//! Values: small ones inside the leaf, large ones as pieces beside it.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;

use super::{
    codec::{MAX_VARINT, write_varint},
    digest::{HASH_LEN, Hash, value_piece_hash},
};
use crate::limits;

/// The pieces of a large value, shared by every tree that holds it.
pub(super) type Pieces = Arc<[Bytes]>;

/// A value that is no longer in the tree, or not yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Owned);

#[derive(Clone, PartialEq, Eq)]
enum Owned {
    Inline(Bytes),
    Large(Pieces),
}

impl Value {
    pub(super) fn large(pieces: Pieces) -> Self {
        Self(Owned::Large(pieces))
    }

    /// Returns the value's bytes; O(1) unless it was large, then it is put together.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Owned::Inline(bytes) => bytes,
            Owned::Large(pieces) => pieces.concat().into(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Owned::Inline(bytes) => bytes.fmt(f),
            Owned::Large(pieces) => write!(f, "{} pieces", pieces.len()),
        }
    }
}

/// A value in the tree.
#[derive(Clone, Copy)]
pub struct ValueRef<'a>(Borrowed<'a>);

#[derive(Clone, Copy)]
enum Borrowed<'a> {
    Inline(&'a [u8]),
    Large { len: u64, pieces: &'a Pieces },
}

impl<'a> ValueRef<'a> {
    pub(super) fn inline(bytes: &'a [u8]) -> Self {
        Self(Borrowed::Inline(bytes))
    }

    pub(super) fn large(len: u64, pieces: &'a Pieces) -> Self {
        Self(Borrowed::Large { len, pieces })
    }

    /// Returns the value's length in bytes.
    pub fn len(&self) -> u64 {
        match self.0 {
            Borrowed::Inline(bytes) => bytes.len() as u64,
            Borrowed::Large { len, .. } => len,
        }
    }

    /// Tells whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the value as the slices it is made of: one, unless it is large.
    pub fn slices(&self) -> impl Iterator<Item = &'a [u8]> {
        let (one, many) = match self.0 {
            Borrowed::Inline(bytes) => (Some(bytes), &[][..]),
            Borrowed::Large { pieces, .. } => (None, &pieces[..]),
        };
        one.into_iter().chain(many.iter().map(|piece| &piece[..]))
    }

    /// Returns the value's bytes in one piece; copies those of a large value.
    pub(crate) fn in_one_piece(&self) -> Cow<'a, [u8]> {
        match self.0 {
            Borrowed::Inline(bytes) => Cow::Borrowed(bytes),
            Borrowed::Large { pieces, .. } => Cow::Owned(pieces.concat()),
        }
    }

    /// Copies the value's bytes.
    pub fn to_bytes(&self) -> Bytes {
        match self.0 {
            Borrowed::Inline(bytes) => Bytes::copy_from_slice(bytes),
            Borrowed::Large { pieces, .. } => pieces.concat().into(),
        }
    }

    /// Returns the value so that it outlives the tree; copies it unless it is large.
    pub fn to_value(&self) -> Value {
        match self.0 {
            Borrowed::Inline(bytes) => Value(Owned::Inline(Bytes::copy_from_slice(bytes))),
            Borrowed::Large { pieces, .. } => Value::large(pieces.clone()),
        }
    }

    pub(super) fn pieces(&self) -> Option<&'a Pieces> {
        match self.0 {
            Borrowed::Inline(_) => None,
            Borrowed::Large { pieces, .. } => Some(pieces),
        }
    }
}

impl PartialEq<[u8]> for ValueRef<'_> {
    fn eq(&self, other: &[u8]) -> bool {
        let mut rest = other;
        self.len() == other.len() as u64
            && self.slices().all(|slice| {
                let (head, tail) = rest.split_at(slice.len());
                rest = tail;
                head == slice
            })
    }
}

impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Borrowed::Inline(a), Borrowed::Inline(b)) => a == b,
            // Equal lengths are cut into equal pieces.
            (Borrowed::Large { pieces: a, .. }, Borrowed::Large { pieces: b, .. }) => a == b,
            _ => false,
        }
    }
}

impl Eq for ValueRef<'_> {}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Borrowed::Inline(bytes) => Bytes::copy_from_slice(bytes).fmt(f),
            Borrowed::Large { len, .. } => write!(f, "{len} bytes in pieces"),
        }
    }
}

/// An item on its way into a leaf, in the three parts of its encoding.
///
/// An item is `varint(key length) varint(value length * 2 + large) key body`, where the body is
/// the value or, for a large one, the hashes of its pieces.
pub(super) struct Draft<'a> {
    head: [u8; 2 * MAX_VARINT],
    head_len: usize,
    pub(super) key: &'a [u8],
    value: &'a [u8],
    hashes: Vec<u8>,
    pieces: Option<Pieces>,
}

impl<'a> Draft<'a> {
    /// Prepares an item; a large value is cut, copied and hashed here.
    pub(super) fn new(key: &'a [u8], value: &'a [u8]) -> Self {
        let large = value.len() as u64 > limits::INLINE_VALUE;
        let mut head = [0; 2 * MAX_VARINT];
        let mut head_len = write_varint(&mut head, key.len() as u64);
        let tagged = ((value.len() as u64) << 1) | u64::from(large);
        head_len += write_varint(&mut head[head_len..], tagged);
        let mut draft = Self {
            head,
            head_len,
            key,
            value,
            hashes: Vec::new(),
            pieces: None,
        };
        if large {
            let pieces: Pieces = value
                .chunks(limits::PIECE)
                .map(Bytes::copy_from_slice)
                .collect();
            draft.hashes.reserve_exact(pieces.len() * HASH_LEN);
            for piece in pieces.iter() {
                draft.hashes.extend_from_slice(&value_piece_hash(piece));
            }
            draft.pieces = Some(pieces);
        }
        draft
    }

    pub(super) fn parts(&self) -> [&[u8]; 3] {
        let body = match self.pieces {
            Some(_) => &self.hashes,
            None => self.value,
        };
        [&self.head[..self.head_len], self.key, body]
    }

    /// Bytes of key and value.
    pub(super) fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }

    pub(super) fn into_pieces(self) -> Option<Pieces> {
        self.pieces
    }
}

/// How many pieces a large value of `len` bytes has.
pub(super) fn piece_count(len: u64) -> u64 {
    len.div_ceil(limits::PIECE as u64)
}

/// The length of piece `number` of a value of `len` bytes.
pub(super) fn piece_len(len: u64, number: u64) -> u64 {
    let start = number.saturating_mul(limits::PIECE as u64);
    len.saturating_sub(start).min(limits::PIECE as u64)
}

/// The hash at position `number` of a list of hashes, if it has so many.
pub(super) fn nth_hash(hashes: &[u8], number: u64) -> Option<Hash> {
    let start = usize::try_from(number).ok()?.checked_mul(HASH_LEN)?;
    hashes
        .get(start..start.checked_add(HASH_LEN)?)?
        .try_into()
        .ok()
}

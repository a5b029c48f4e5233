//! Every limit of the state, with the reason for its number.

/// Bytes of a key: longer ones belong into the value, since separators repeat them in inner nodes.
pub const KEY: usize = 8 << 10;

/// Bytes of a value: four times the largest command, so that no command meets it.
pub const VALUE: u64 = 64 << 20;

/// Bytes of a value kept inside its leaf. Larger ones are kept beside it in pieces, so that a leaf
/// stays small enough to copy and to hash for one changed item.
pub const INLINE_VALUE: u64 = 32 << 10;

/// Bytes of a piece, of a large value or of an oversize leaf: what one answer always has room for,
/// and what takes well below a millisecond to hash.
pub const PIECE: usize = 256 << 10;

/// Bytes of encoded items joined into one chunk at most, whatever a fetch asks for.
pub const CHUNK_BYTES: u64 = quorate_core::limits::FETCH_BYTES;

/// Bytes of a collection's name: it is repeated in every key of the collection.
pub const NAME: usize = 128;

/// Operations in one transaction: decoded they are a list of a few hundred kilobytes, whatever a
/// hostile command says.
pub const TRANSACTION: usize = 4_096;

/// Bytes hashed in one slice of a snapshot's digest: some hundred microseconds.
pub const HASH_SLICE: usize = 256 << 10;

/// Nodes freed in one slice: some hundred microseconds.
pub const SWEEP_SLICE: usize = 256;

const _: () = assert!(INLINE_VALUE < PIECE as u64);
const _: () = assert!(PIECE + KEY < quorate_core::limits::BULK_FRAME);

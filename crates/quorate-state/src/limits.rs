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

// The limits of the client table decide what is applied, on every peer alike: a peer with other
// numbers would diverge. To change one is to change what the log means.

/// Clients in the client table: some 8 MB of state if all are there, and more programs than talk to
/// one group.
pub const CLIENTS: u64 = 65_536;

/// How far above its lowest open number a client may go: what a client that sends without waiting
/// has under way at a hundred thousand commands a second.
pub const CLIENT_WINDOW: u64 = 4_096;

/// Applied numbers remembered of all clients: 64 clients with their windows full, or all clients
/// with four each; some 30 MB of state.
pub const CLIENT_NUMBERS: u64 = 262_144;

/// Bytes of remembered outcomes of all clients: those of 16 clients that take all of their share;
/// not more, since every snapshot carries them.
pub const OUTCOME_BYTES: u64 = 16 << 20;

/// Bytes of remembered outcomes of one client: no less than a command's, so that what an exchange
/// of a largest value found can be repeated.
pub const CLIENT_OUTCOME_BYTES: u64 = 1 << 20;

/// Entries for which a client must not have been used before it expires: on a busy group they pass
/// within a second and time decides; on one that stands still, time alone expires nobody.
pub const CLIENT_IDLE_ENTRIES: u64 = 10_000;

/// Milliseconds for which a client must not have been used before it expires: longer than any
/// program tries one write again by itself.
pub const CLIENT_IDLE_TIME: u64 = 15 * 60 * 1_000;

/// Milliseconds by which one entry moves the clock of the client table at most: a clock that jumps
/// costs nobody more than a fifteenth of its time.
pub const CLIENT_CLOCK_STEP: u64 = 60 * 1_000;

/// Numbers and clients, of those that have expired, that one entry removes at most: well below a
/// millisecond, and more than one entry adds.
pub const CLIENT_SWEEP: u64 = 64;

const _: () = assert!(CLIENT_CLOCK_STEP * 15 <= CLIENT_IDLE_TIME);
const _: () = assert!(CLIENT_OUTCOME_BYTES <= OUTCOME_BYTES && OUTCOME_BYTES < VALUE);
const _: () = assert!(CLIENT_WINDOW <= CLIENT_NUMBERS && CLIENTS <= CLIENT_NUMBERS);
const _: () = assert!(INLINE_VALUE < PIECE as u64);
const _: () = assert!(PIECE + KEY < quorate_core::limits::BULK_FRAME);

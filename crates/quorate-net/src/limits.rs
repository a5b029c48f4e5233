//! Every limit of the transport, with the reason for its number.
//!
//! Frame sizes are the core's; what is here bounds memory per link and time per stranger. What
//! bounds queues holds for links within a process too, until the other driver has taken the frame.

use std::time::Duration;

pub use quorate_core::limits::{BULK_FRAME, CONTROL_FRAME, ENTRIES_FRAME, HELLO_FRAME};

/// Bytes that wait to be written on a link's control lane: hundreds of the largest frames, or a
/// minute of heartbeats; a peer that far behind is of no use to a quorum.
pub const CONTROL_QUEUE: usize = 1 << 20;

/// Bytes that wait to be written on one entries lane: several times what the core keeps unacked
/// towards one follower, so that only a peer that has stopped reading reaches it.
pub const ENTRIES_QUEUE: usize = 32 << 20;

/// Bytes that wait to be written on a link's bulk lane: an answer to every fetch the core allows
/// one peer to have under way, and one more.
pub const BULK_QUEUE: usize = (quorate_core::limits::FETCHES_PER_PEER + 1) * BULK_FRAME;

/// Bytes handed to QUIC in one write: long enough to fill many packets, short enough that the
/// queue's accounting follows what was really written.
pub const WRITE_BATCH: usize = 1 << 20;

/// Frames up to this size are copied together into blocks: one block of many frames costs QUIC
/// one segment, and a copy of this size costs less than a segment of its own.
pub const COALESCE_FRAME: usize = 8 << 10;

/// Size at which a block of small frames is closed.
pub const COALESCE_BLOCK: usize = 64 << 10;

/// Chunks taken from a stream in one go: about one GSO burst, so a lock is paid per burst and
/// not per packet.
pub const READ_CHUNKS: usize = 64;

/// What may be reserved for a frame before its bytes have come, beyond what has come already.
pub const RESERVE_AHEAD: usize = 64 << 10;

/// What one frame in a queue of received frames is charged beyond its bytes.
pub const FRAME_OVERHEAD: usize = 64;

/// Bytes of control frames received and not yet taken by the driver, per link.
pub const CONTROL_INBOX: usize = 1 << 20;

/// Bytes of other frames received and not yet taken by the driver, per link; beyond it the
/// stream is not read and QUIC holds the peer back.
pub const DATA_INBOX: usize = 8 << 20;

/// Parcels (events, or frames read in one go) that wait for the driver, per class. The links'
/// budgets bound memory; this only bounds their number, and must not be what stops a reader: a
/// stream left unread for some 2,000 small packets costs the connection, see [`STREAM_WINDOW`].
pub const INBOX_PARCELS: usize = 1 << 20;

/// Control events taken in a row while others wait: keeps a talkative peer from starving the
/// entries of all.
pub const CONTROL_STREAK: u32 = 64;

/// Bulk messages of one link that are put together at a time; the others wait in QUIC's window.
pub const BULK_READERS: usize = 4;

/// Bytes of one introduction: the addresses of many hundred peers.
pub const INTRODUCTION: usize = 64 << 10;

/// Bytes of introductions that wait to be written on a link; beyond it they are left out, as they
/// are hints.
pub const INTRODUCTION_QUEUE: usize = 4 * INTRODUCTION;

/// Addresses of one peer in an introduction: more than a machine has interfaces.
pub const INTRODUCTION_ADDRESSES: usize = 32;

/// Entries lanes a peer may have open on one link: as many as the core has groups.
pub const ENTRIES_LANES: usize = quorate_core::limits::GROUPS;

/// How long the entries lane of a group may still be open here once its next one begins.
pub const LANE_END: Duration = Duration::from_secs(1);

/// Bulk messages a peer may have on the way at a time.
pub const BULK_STREAMS: usize = 256;

/// Bytes a peer may send on one stream before we have read them.
///
/// noq 1.4 fails the whole connection once a stream holds more than 2,048 received pieces that it
/// cannot join, which on a loaded LAN one lost packet in front of a larger window is enough for.
/// This many bytes are some 900 full packets, each with a small one behind it still within the
/// bound.
pub const STREAM_WINDOW: u32 = 1_250_000;

/// Connection window of a stranger: enough for its first frame, little enough that a thousand
/// strangers cost less than one member.
pub const STRANGER_WINDOW: u32 = 8 << 10;

/// Bytes of control frames taken from a stranger: its first one, and the proofs of as many groups
/// as a peer may have. All strangers there may be cost about what one member does.
pub const HANDSHAKE: usize = HELLO_FRAME + quorate_core::limits::GROUPS * 48;

/// How long a stranger has to prove itself, streams and first frame included.
pub const STRANGER_TIME: Duration = Duration::from_secs(5);

/// Incoming links that have not proven themselves; further ones are turned away at once.
pub const STRANGERS: usize = 256;

/// Dials under way: one for each peer the core keeps.
pub const DIALS: usize = quorate_core::limits::PEERS;

/// How long one dial may take.
pub const DIAL_TIME: Duration = Duration::from_secs(5);

/// How long an orderly shutdown waits for the last control frames to be acknowledged.
pub const FLUSH_TIME: Duration = Duration::from_millis(500);

/// Bytes of a close reason that travel to the peer: fits a packet with room to spare.
pub const REASON: usize = 512;

/// Peers of one network read from a rendezvous directory.
pub const RENDEZVOUS_PEERS: usize = quorate_core::limits::PEERS;

/// Bytes of one peer's card in a rendezvous directory.
pub const RENDEZVOUS_CARD: usize = 16 << 10;

/// Sightings that wait for the driver; the watcher itself waits beyond that.
pub const SIGHTINGS: usize = 256;

const _: () = assert!(HELLO_FRAME + 64 <= STRANGER_WINDOW as usize);
const _: () = assert!(CONTROL_FRAME <= COALESCE_FRAME);
const _: () = assert!(CONTROL_FRAME + FRAME_OVERHEAD <= CONTROL_INBOX);
const _: () = assert!(ENTRIES_FRAME * 2 <= ENTRIES_QUEUE);
const _: () = assert!(DATA_INBOX <= u32::MAX as usize);

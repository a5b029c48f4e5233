//! Every limit of the core, with the reason for its number.

/// Voters of one half of a configuration: beyond this, quorums cost more than they protect.
pub const VOTERS: usize = 15;

/// Learners of a group: each costs the leader a conversation.
pub const LEARNERS: usize = 256;

/// How far a term may be ahead of the one known here: more elections than any group will hold, and
/// few enough that what is left of the numbers cannot be used up.
pub const TERM_JUMP: u64 = 1 << 32;

/// Peers of a network that one peer keeps links to.
pub const PEERS: usize = 1_024;

/// Boots of one incarnation that are told apart: one that is further ahead of the boot that a peer
/// remembers is believed.
pub const LINEAGE: usize = 16;

/// Boots of others that one peer remembers, voters first, then learners, then who was a member
/// once: as many as it has links to.
pub const BOOTS: usize = PEERS;

/// Groups one peer takes part in.
pub const GROUPS: usize = 4_096;

/// A frame on the control lane: what fits a few packets, so that it never waits long.
pub const CONTROL_FRAME: usize = 4 << 10;

/// A stranger's first frame: a handshake with a few proofs.
pub const HELLO_FRAME: usize = 1 << 10;

/// Proofs in a handshake's first frame; more groups are proven after it.
pub const HELLO_PROOFS: usize = 16;

/// The largest command a client may send.
pub const COMMAND: usize = 1 << 20;

/// Bytes of entries in one frame: large enough for the wire, small enough to keep time slices.
pub const APPEND_BYTES: usize = 512 << 10;

/// Entries in one frame.
pub const APPEND_ENTRIES: usize = 8_192;

/// A frame on an entries lane: one batch, or one largest command, and its header.
pub const ENTRIES_FRAME: usize = APPEND_BYTES + COMMAND + (64 << 10);

/// A frame on the bulk lane: a batch rounded up to a leaf, or a piece, with its proof.
pub const BULK_FRAME: usize = 4 << 20;

/// Bytes of entries on their way to one follower without an ack: half the connection's window.
pub const INFLIGHT_BYTES: usize = 8 << 20;

/// Bytes of entries that a leader begins with, before it knows how long an answer takes: half a
/// second of a slow link.
pub const WINDOW_FIRST: usize = 512 << 10;

/// Bytes of entries that may always be on their way: an eighth of a second of a slow link.
pub const WINDOW_LEAST: usize = 128 << 10;

/// Frames of entries on their way to one follower without an ack.
pub const INFLIGHT_FRAMES: usize = 256;

/// Bytes of commands a leader holds without a commit before it answers Busy.
pub const UNCOMMITTED_BYTES: usize = 64 << 20;

/// Other histories of a group that a peer keeps in mind: there are two where a network was split
/// when the group was founded, hardly ever three.
pub const OTHER_HISTORIES: usize = 16;

/// Dissolved histories of a group that a peer remembers; a peer goes from one history to another
/// once for each time that the group was founded apart.
pub const TOMBSTONES: usize = 64;

/// Commands and reads that wait here for a leader or a commit, per group.
pub const WAITING: usize = 65_536;

/// Wishes to hand the lead over that wait here, and as many to leave: what people and programs that
/// stop ask for, never what clients do in bulk.
pub const WISHES: usize = 64;

/// Bytes of committed entries handed to the state in one operation: bounds a step's apply.
pub const APPLY_BYTES: usize = 1 << 20;

/// Entries handed to the state in one operation.
pub const APPLY_ENTRIES: usize = 4_096;

/// Snapshots one peer keeps per group; the oldest idle one goes first.
pub const SNAPSHOTS: usize = 4;

/// Bytes of log that live snapshots may pin beyond the reserve: what joins must replay at the end.
pub const PINNED_BYTES: u64 = 256 << 20;

/// Requesters one marker names; the rest waits for the next.
pub const REQUESTERS: usize = 64;

/// Fetches one provider works on for one peer at a time.
pub const FETCHES_PER_PEER: usize = 16;

/// Fetches a session has under way at one provider: the credit that keeps bulk below half of the
/// connection's window.
pub const FETCHES_IN_FLIGHT: usize = 4;

/// Items one fetch may ask for, whatever it says.
pub const FETCH_ITEMS: u64 = 65_536;

/// Bytes one fetch may ask for, whatever it says.
pub const FETCH_BYTES: u64 = 2 << 20;

/// Bytes of entries after the anchor that a session stages; beyond, it asks for a newer anchor.
pub const STAGED_BYTES: usize = 128 << 20;

/// Providers one session asks.
pub const PROVIDERS: usize = 64;

/// Anchors one session remembers: what all its providers may keep.
pub const ANCHORS: usize = PROVIDERS * SNAPSHOTS;

/// Bytes one session has asked for and not yet verified, over all providers: what it holds in
/// memory beside the parts that the state keeps.
pub const ASKED_BYTES: u64 = 32 << 20;

/// Fetches a session remembers after their time, so that late answers are still of use.
pub const LATE_FETCHES: usize = 256;

/// Requests for snapshots that wait on a leader; one per peer.
pub const SNAPSHOT_REQUESTS: usize = PEERS;

/// Reads of snapshots handed to the state at once: enough that it never waits for the next step,
/// few enough that an apply behind them does not wait long.
pub const READS: usize = 2;

/// Bytes of what a machine said when it failed: a line for people.
pub const FAILURE_TEXT: usize = 1 << 10;

const _: () = assert!(HELLO_FRAME <= CONTROL_FRAME);
const _: () = assert!(APPEND_BYTES < ENTRIES_FRAME && COMMAND < ENTRIES_FRAME);
const _: () = assert!(FETCH_BYTES < BULK_FRAME as u64);

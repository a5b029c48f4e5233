//! Every limit of the store, with the reason for its number.

use std::time::Duration;

/// Bytes of one segment file before the next one begins.
///
/// A segment is removed whole, so this is the grain in which a pruned log gives its space back;
/// smaller ones cost a file creation and a directory sync more often.
pub const SEGMENT_BYTES: u64 = 4 << 20;

/// Bytes of the longest segment there can be: one that was not full took a last batch, and that a
/// last operation, of the largest entry. A file with more is none of ours.
pub const LONGEST_SEGMENT: u64 =
    SEGMENT_BYTES + (BATCH_BYTES + RECORD_BYTES + ENTRY_BYTES) as u64 + (1 << 20);

/// Bytes of records after which a batch takes no further operation.
///
/// One batch is one write and one sync: large enough that the sync is the smaller part, small
/// enough that an operation behind it does not wait long.
pub const BATCH_BYTES: usize = 8 << 20;

/// Bytes of entries after which a record is closed and the next one begins.
///
/// A record is what damage is named by, and what recovery checks at once.
pub const RECORD_BYTES: usize = 1 << 20;

/// The largest entry the store writes: four times the largest command a group may be set to.
pub const ENTRY_BYTES: usize = 64 << 20;

/// Refused histories remembered per group, the oldest forgotten first.
///
/// Each stands for one genesis that this peer had accepted and given up; a group that forms in
/// peace refuses none.
pub const REFUSED: usize = 256;

/// Dissolved histories remembered per group, the oldest forgotten first.
///
/// A peer's history dissolves once, where two founded apart; a second time only if the one it went
/// to dissolves too.
pub const TOMBSTONES: usize = 64;

/// The largest superblock: every group a peer may have, each with every refusal.
pub const SUPERBLOCK_BYTES: u64 = 32 << 20;

/// How long a driver lets a store be idle before it calls [`crate::Store::seal`].
///
/// Until then a crash together with rot in the last batch looks like a torn tail.
pub const SEAL_IDLE: Duration = Duration::from_millis(10);

/// How long a driver waits before it tries again to write what there was no space for.
///
/// Space comes back when somebody frees it, which is not a matter of milliseconds; a try costs a
/// write that fails.
pub const SPACE_RETRY: Duration = Duration::from_millis(100);

const _: () = assert!(RECORD_BYTES <= BATCH_BYTES);
const _: () = assert!(BATCH_BYTES + RECORD_BYTES + ENTRY_BYTES < u32::MAX as usize);

//! Every limit of a scenario that is read from a file, with the reason for its number.

use std::time::Duration;

/// Bytes of a scenario file: an hour at a hundred operations a second is some 50 MB.
pub const FILE_BYTES: usize = 64 << 20;

/// Peers of a cluster: all of them may found the group, and a group has no more voters.
pub const PEERS: usize = quorate_core::limits::VOTERS;

/// Faults of a scenario: forty kinds, each of them twice a second, for twenty minutes.
pub const FAULTS: usize = 100_000;

/// Operations of a scenario: a hundred a second for some hours; more do not fit the file.
pub const OPERATIONS: usize = 1_000_000;

/// Bytes of one value that a client writes: what a command has room for, beside a key.
pub const VALUE_BYTES: u32 = (quorate_core::limits::COMMAND - (4 << 10)) as u32;

/// Anything that lasts: sums of a few such spans must stay far from the end of 64-bit nanoseconds.
pub const LASTS: Duration = Duration::from_secs(366 * 24 * 3_600);

/// How much faster or slower a clock may run, in parts of a million: half.
pub const DRIFT: i32 = 500_000;

/// How far a wall clock may be off, in milliseconds: a century.
pub const SKEW: i64 = 100 * 366 * 24 * 3_600 * 1_000;

/// Runs to cut a scenario of a user's machine down, unless it is said otherwise: most need a tenth
/// of it, and a test that fails should say so within a minute.
pub const SUBJECT_TRIALS: u64 = 1_000;

/// Bytes of the story that a scenario file tells.
pub const STORY_BYTES: usize = 4 << 10;

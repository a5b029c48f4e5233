//! The durable log of a Quorate peer: block-file seam, record format, recovery, memory twin.
//!
//! One log per peer serves all its groups. [`Store`] turns the core's logical
//! [`quorate_core::DiskOp`]s into requests to files and the results of those into completions;
//! [`Recovery`] starts it from what a directory holds. Neither touches a file: whoever drives them
//! carries the requests out. So the same code, down to the bytes, runs on a disk, in memory
//! ([`MemoryStore`]) and on the simulator's disk, where power fails between any two requests.
//!
//! Read in this order: [`mod@file`] (the seam), [`record`] and [`superblock`] (the formats),
//! [`store`] (writing), [`recovery`] (reading), [`inspection`] (looking), [`memory`] (the twin),
//! [`limits`].

#![forbid(unsafe_code)]

mod batch;
pub mod file;
mod flight;
mod found;
pub mod inspection;
pub mod limits;
pub mod memory;
mod memory_store;
mod mirror;
pub mod record;
pub mod recovery;
mod replay;
mod rewrite;
mod scan;
mod segment;
pub mod store;
pub mod superblock;

pub use file::{FileDone, FileError, FileId, FileOp, FileOpId, FileRequest, FileResult, Listed};
pub use inspection::{GroupFound, Inspection, SegmentFound, inspect, segment_number};
pub use memory::{Fate, MemoryFiles, Unsynced};
pub use memory_store::{MemoryStore, recover};
pub use record::Position;
pub use recovery::{
    Damage, Opened, Recovery, RecoveryError, Report, StoreOptions, Torn, recover_with,
};
pub use replay::genesis_entry;
pub use store::{DiskCompletion, Store, StoreEffects};

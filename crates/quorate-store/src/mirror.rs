//! Writes the superblock's two copies, one after the other.
//!
//! At any moment at least one copy on the disk is whole and synced: the second is not touched
//! before the first is synced. That has to hold across a crash too, where a copy may read well and
//! yet not be on the disk (it is still in the operating system's cache). So [`first_to_write`]
//! keeps the copy that is surely synced: of two versions the older one, since the newer was only
//! begun when the older was in both; of two equal ones that which was written first, which is why
//! the superblock says so. Losing the newer of two versions is no loss: it was in one copy only, so
//! nobody was told of it.

use std::cmp::Ordering;

use bytes::Bytes;
use quorate_core::{Canary, Planted};

use crate::{
    file::{Awaited, FileError, FileId, FileOp, FileOpId, FileRequest, FileResult, Requests},
    superblock::Superblock,
};

/// The files of the two copies, by the order of [`crate::superblock::NAMES`].
pub(crate) const FILES: [FileId; 2] = [FileId(0), FileId(1)];

/// The two copies and the rewrite under way.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// The version last handed out to be written.
    version: u64,
    /// Which copy is written first.
    first: usize,
    /// The segment of the seal in the version last handed out.
    sealed_segment: u64,
    rewrite: Option<Rewrite>,
    planted: Planted,
}

#[derive(Debug)]
struct Rewrite {
    bytes: Bytes,
    second: bool,
    awaited: Awaited,
    /// Which request is the sync.
    sync: FileOpId,
    /// Whether there was no space for the copy that is being written.
    short: bool,
}

/// Chooses between two copies read at a start: the one that counts, and which to overwrite first.
pub(crate) fn first_to_write(copies: [Option<&Superblock>; 2]) -> Option<(usize, usize)> {
    match copies {
        [None, None] => None,
        [Some(_), None] => Some((0, 1)),
        [None, Some(_)] => Some((1, 0)),
        [Some(a), Some(b)] => Some(match a.version.cmp(&b.version) {
            Ordering::Greater => (0, 0),
            Ordering::Less => (1, 1),
            Ordering::Equal => (a.first, 1 - a.first),
        }),
    }
}

/// What a result meant for the superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// It was not one of the superblock's.
    Foreign,
    /// The rewrite goes on.
    Writing,
    /// Both copies hold the version last started.
    Durable,
    /// A copy could not be written, or not be synced.
    Failed,
}

impl Mirror {
    /// Continues after `version`, writing copy `first` before the other.
    pub(crate) fn new(version: u64, first: usize, planted: Planted) -> Self {
        Self {
            planted,
            version,
            first,
            sealed_segment: 0,
            rewrite: None,
        }
    }

    /// Returns the version that the next rewrite will carry.
    pub(crate) fn next_version(&self) -> u64 {
        self.version.saturating_add(1)
    }

    /// Returns the version that both copies hold, given that a rewrite has finished.
    pub(crate) fn durable_version(&self) -> u64 {
        self.version - u64::from(self.rewrite.is_some())
    }

    /// Tells whether a rewrite is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.rewrite.is_some()
    }

    /// Returns the copy that is written first.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// Returns the segment of the seal in the version last started.
    pub(crate) fn sealed_segment(&self) -> u64 {
        self.sealed_segment
    }

    /// Tells whether there was no space for a copy.
    pub(crate) fn is_short_of_space(&self) -> bool {
        self.rewrite.as_ref().is_some_and(|rewrite| rewrite.short)
    }

    /// Starts to write a superblock of the next version to both copies.
    pub(crate) fn start(
        &mut self,
        superblock: &Superblock,
        requests: &mut Requests,
        out: &mut Vec<FileRequest>,
    ) {
        self.version = self.next_version();
        self.sealed_segment = superblock.seal.segment;
        self.rewrite = Some(self.write(superblock.encode(), false, requests, out));
    }

    /// Takes the result of a request.
    pub(crate) fn completed(
        &mut self,
        id: FileOpId,
        result: &FileResult,
        requests: &mut Requests,
        out: &mut Vec<FileRequest>,
    ) -> Progress {
        let Some(rewrite) = &mut self.rewrite else {
            return Progress::Foreign;
        };
        let Some(last) = rewrite.awaited.note(id) else {
            return Progress::Foreign;
        };
        match result {
            Ok(_) => {}
            Err(FileError::NoSpace) if id < rewrite.sync => rewrite.short = true,
            Err(_) => return Progress::Failed,
        }
        if !last || rewrite.short {
            return Progress::Writing;
        }
        if rewrite.second || self.planted.has(Canary::OneSuperblockCopy) {
            self.rewrite = None;
            return Progress::Durable;
        }
        let bytes = rewrite.bytes.clone();
        self.rewrite = Some(self.write(bytes, true, requests, out));
        Progress::Writing
    }

    /// Writes the copy again that there was no space for.
    pub(crate) fn retry(&mut self, requests: &mut Requests, out: &mut Vec<FileRequest>) {
        if let Some(rewrite) = &self.rewrite
            && rewrite.short
            && rewrite.awaited.is_over()
        {
            let (bytes, second) = (rewrite.bytes.clone(), rewrite.second);
            self.rewrite = Some(self.write(bytes, second, requests, out));
        }
    }

    fn write(
        &self,
        bytes: Bytes,
        second: bool,
        requests: &mut Requests,
        out: &mut Vec<FileRequest>,
    ) -> Rewrite {
        let from = requests.next();
        let file = FILES[if second { 1 - self.first } else { self.first }];
        let write = FileOp::Write {
            file,
            offset: 0,
            bytes: bytes.clone(),
        };
        requests.push(out, write);
        let sync = requests.push(out, FileOp::Sync { file });
        Rewrite {
            bytes,
            second,
            awaited: Awaited::since(from, requests),
            sync,
            short: false,
        }
    }
}

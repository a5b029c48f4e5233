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

use crate::{
    file::{Awaited, FileId, FileOp, FileOpId, FileRequest, Requests},
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
    rewrite: Option<Rewrite>,
}

#[derive(Debug)]
struct Rewrite {
    bytes: Bytes,
    second: bool,
    awaited: Awaited,
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
}

impl Mirror {
    /// Continues after `version`, writing copy `first` before the other.
    pub(crate) fn new(version: u64, first: usize) -> Self {
        Self {
            version,
            first,
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

    /// Starts to write `bytes`, a superblock of the next version, to both copies.
    pub(crate) fn start(
        &mut self,
        bytes: Bytes,
        requests: &mut Requests,
        out: &mut Vec<FileRequest>,
    ) {
        self.version = self.next_version();
        let awaited = self.write(self.first, &bytes, requests, out);
        self.rewrite = Some(Rewrite {
            bytes,
            second: false,
            awaited,
        });
    }

    /// Takes the good result of a request.
    pub(crate) fn completed(
        &mut self,
        id: FileOpId,
        requests: &mut Requests,
        out: &mut Vec<FileRequest>,
    ) -> Progress {
        let Some(mut rewrite) = self.rewrite.take() else {
            return Progress::Foreign;
        };
        let progress = match (rewrite.awaited.note(id), rewrite.second) {
            (None, _) => Progress::Foreign,
            (Some(false), _) => Progress::Writing,
            (Some(true), false) => {
                rewrite.second = true;
                rewrite.awaited = self.write(1 - self.first, &rewrite.bytes, requests, out);
                Progress::Writing
            }
            (Some(true), true) => return Progress::Durable,
        };
        self.rewrite = Some(rewrite);
        progress
    }

    fn write(
        &self,
        copy: usize,
        bytes: &Bytes,
        requests: &mut Requests,
        out: &mut Vec<FileRequest>,
    ) -> Awaited {
        let from = requests.next();
        let file = FILES[copy];
        let write = FileOp::Write {
            file,
            offset: 0,
            bytes: bytes.clone(),
        };
        requests.push(out, write);
        requests.push(out, FileOp::Sync { file });
        Awaited::since(from, requests)
    }
}

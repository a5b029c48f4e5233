//! The batch that is being written.
//!
//! One write and one sync; with a new segment also its name, and the sync of that. Where there was
//! no space, the batch waits and is asked for again as a whole: the same bytes in the same place,
//! so that it does not matter how much of it had been written.

use bytes::Bytes;
use quorate_core::GroupId;

use crate::{
    file::{Awaited, FileError, FileOp, FileOpId, FileRequest, FileResult, Requests},
    record::Position,
    segment::{self, Change},
};

/// What is written, and what it changes once it is durable.
#[derive(Debug)]
pub(crate) struct Flown {
    /// Where it goes; at the beginning of a segment, the segment's header comes with it.
    pub(crate) at: Position,
    pub(crate) bytes: Bytes,
    /// Whether the segment begins with it.
    pub(crate) rolled: bool,
    /// Whether it is reported without a sync: a planted bug.
    pub(crate) lazy: bool,
    /// Whether a sync that fails passes for one that does not: a planted bug.
    pub(crate) swallows: bool,
    pub(crate) sequence: u64,
    pub(crate) changes: Vec<(GroupId, Change)>,
}

/// A batch under way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) batch: Flown,
    awaited: Awaited,
    /// Which request is its sync.
    sync: FileOpId,
    /// Whether there was no space for it.
    short: bool,
}

/// What a result meant for the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Landed {
    /// It was not one of the batch's.
    Foreign,
    /// Others are missing, or there was no space.
    Not,
    /// The batch is durable.
    Durable,
    /// The batch is in doubt.
    Failed,
}

impl Flown {
    /// Returns where the next batch goes.
    pub(crate) fn end(&self) -> Position {
        Position {
            segment: self.at.segment,
            offset: self.at.offset + self.bytes.len() as u64,
        }
    }
}

impl Flight {
    /// Asks for everything that makes a batch durable.
    pub(crate) fn start(batch: Flown, requests: &mut Requests, out: &mut Vec<FileRequest>) -> Self {
        let mut flight = Self {
            awaited: Awaited::since(requests.next(), requests),
            batch,
            sync: FileOpId(0),
            short: false,
        };
        flight.send(requests, out);
        flight
    }

    /// Takes a result.
    pub(crate) fn note(&mut self, id: FileOpId, result: &FileResult) -> Landed {
        let Some(last) = self.awaited.note(id) else {
            return Landed::Foreign;
        };
        match result {
            Ok(_) => {}
            Err(FileError::NoSpace) if id < self.sync => self.short = true,
            // What could not be created for lack of space is not found afterwards.
            Err(FileError::NotFound) if self.short => {}
            Err(_) if self.batch.swallows && id == self.sync => {}
            Err(_) => return Landed::Failed,
        }
        if last && !self.short {
            Landed::Durable
        } else {
            Landed::Not
        }
    }

    /// Tells whether there was no space for it.
    pub(crate) fn is_short_of_space(&self) -> bool {
        self.short
    }

    /// Asks again, if there was no space and nothing is under way.
    pub(crate) fn retry(&mut self, requests: &mut Requests, out: &mut Vec<FileRequest>) {
        if self.short && self.awaited.is_over() {
            self.send(requests, out);
        }
    }

    fn send(&mut self, requests: &mut Requests, out: &mut Vec<FileRequest>) {
        let from = requests.next();
        let at = self.batch.at;
        let file = segment::file(at.segment);
        if self.batch.rolled {
            let name = segment::name(at.segment);
            let open = FileOp::Open {
                file,
                name,
                create: true,
            };
            requests.push(out, open);
        }
        let write = FileOp::Write {
            file,
            offset: at.offset,
            bytes: self.batch.bytes.clone(),
        };
        requests.push(out, write);
        self.sync = FileOpId(requests.next());
        if !self.batch.lazy {
            requests.push(out, FileOp::Sync { file });
        }
        if self.batch.rolled {
            requests.push(out, FileOp::SyncDirectory);
        }
        self.short = false;
        self.awaited = Awaited::since(from, requests);
    }
}

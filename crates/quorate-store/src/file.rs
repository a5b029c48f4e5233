//! The block-file seam: what the store asks of the files of one directory, and what comes back.
//!
//! The store does not touch a file. It hands out [`FileRequest`]s; whoever drives it (a thread
//! with real files, [`crate::MemoryFiles`], the simulator's disk) carries them out and gives each
//! result back under the request's id. So the record format and recovery run unchanged on every
//! disk, the simulated one included, and a crash can be placed between any two requests.
//!
//! What a driver owes:
//!
//! * It carries requests out one after another, in the order in which they were handed out. (The
//!   store hands out a write and its sync together; a sync that overtook its write would be a lie.)
//!   Results may be given back in any order, each exactly once.
//! * A failed request does not stop the ones behind it. The store takes no good news after the
//!   first bad one.
//! * `Sync` returns when content and length of the file survive a power loss, `SyncDirectory` when
//!   the names do. Nothing else promises anything.
//!
//! A file is opened under a number that the *store* chooses, so that requests which use it need
//! not wait for the open. The rejected alternative, a trait with async methods, would have put a
//! runtime below the store and hidden the moments at which a crash matters.

use bytes::Bytes;

/// Names a request in its result; never re-used by one store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileOpId(pub u64);

/// An open file, numbered by the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u64);

/// One operation on the files of the store's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRequest {
    /// Names it in its result.
    pub id: FileOpId,
    /// What to do.
    pub op: FileOp,
}

/// What to do with the files of the store's directory.
///
/// Names are plain: ASCII letters, digits and `-`, no separators.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FileOp {
    /// Open a file for reading and writing. Ends in [`FileDone::Done`].
    Open {
        /// The number by which later operations call it.
        file: FileId,
        /// Its name.
        name: String,
        /// Whether to create it, empty, if there is none; else that is [`FileError::NotFound`].
        create: bool,
    },
    /// Forget an open file. Ends in [`FileDone::Done`].
    Close {
        /// Which.
        file: FileId,
    },
    /// Read; less comes back where the file ends. Ends in [`FileDone::Read`].
    Read {
        /// From which file.
        file: FileId,
        /// From which byte on.
        offset: u64,
        /// At most how many bytes.
        length: u64,
    },
    /// Write all of `bytes`, extending the file where needed. Ends in [`FileDone::Done`].
    Write {
        /// To which file.
        file: FileId,
        /// From which byte on; never beyond the end of the file.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Make content and length of a file survive a power loss. Ends in [`FileDone::Done`].
    Sync {
        /// Which file.
        file: FileId,
    },
    /// Cut a file to `length`. Ends in [`FileDone::Done`].
    Truncate {
        /// Which file.
        file: FileId,
        /// What is left of it, never more than it has.
        length: u64,
    },
    /// Give a file another name, replacing what had it, atomically. Ends in [`FileDone::Done`].
    Rename {
        /// The name it has.
        from: String,
        /// The name it gets.
        to: String,
    },
    /// Remove a name. Ends in [`FileDone::Done`].
    Remove {
        /// Which.
        name: String,
    },
    /// Make all names survive a power loss. Ends in [`FileDone::Done`].
    SyncDirectory,
    /// Name all files. Ends in [`FileDone::Listed`].
    List,
}

/// What an operation that succeeded brought.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FileDone {
    /// It is done.
    Done,
    /// The bytes read.
    Read(Bytes),
    /// The files of the directory, in any order.
    Listed(Vec<Listed>),
}

/// A file of the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
}

/// Why an operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The device or the operating system reported an error.
    #[error("the device reported an error")]
    Device,
    /// No space or no quota is left.
    #[error("no space is left on the device")]
    NoSpace,
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
}

/// What comes back for one request.
pub type FileResult = Result<FileDone, FileError>;

/// Numbers requests and puts them where they go out.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next: u64,
}

impl Requests {
    /// Hands out `op` and returns its id.
    pub(crate) fn push(&mut self, out: &mut Vec<FileRequest>, op: FileOp) -> FileOpId {
        let id = FileOpId(self.next);
        self.next += 1;
        out.push(FileRequest { id, op });
        id
    }

    /// Returns the number that the next request will have.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }
}

/// Requests handed out together, of which each result is awaited.
#[derive(Debug)]
pub(crate) struct Awaited {
    from: u64,
    to: u64,
    missing: u64,
}

impl Awaited {
    /// Awaits the requests handed out since `from`.
    pub(crate) fn since(from: u64, requests: &Requests) -> Self {
        Self {
            from,
            to: requests.next(),
            missing: requests.next() - from,
        }
    }

    /// Tells whether every result has come.
    pub(crate) fn is_over(&self) -> bool {
        self.missing == 0
    }

    /// Notes one result; `None` if it is not one of these, else whether it was the last.
    pub(crate) fn note(&mut self, id: FileOpId) -> Option<bool> {
        if !(self.from..self.to).contains(&id.0) {
            return None;
        }
        self.missing = self.missing.saturating_sub(1);
        Some(self.missing == 0)
    }
}

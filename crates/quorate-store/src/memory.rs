//! The memory twin of a directory of files.
//!
//! It carries requests out at once. A memory peer's log lives in one (so that it runs the code that
//! a disk runs), and so does a simulated peer's, where it can also lose what a power loss would:
//! [`MemoryFiles::crash`] asks the caller, for every write and every name that was not synced,
//! whether it survived, so that the randomness is the caller's and a run can be repeated.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use bytes::Bytes;

use crate::file::{FileDone, FileError, FileId, FileOp, FileOpId, FileRequest, FileResult, Listed};

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    /// Whether to tell what is synced from what is not.
    crashes: bool,
    capacity: Option<u64>,
    names: BTreeMap<String, u64>,
    synced_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
    contents: BTreeMap<u64, Content>,
    open: BTreeMap<FileId, u64>,
    next: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    synced: Stored,
    unsynced: Vec<Change>,
    /// How many of the unsynced changes no sync covers any more: one failed on them.
    adrift: usize,
    length: u64,
}

/// The bytes of a file: what was put at the end stays as it was written, until something changes
/// the middle. A log is written at its end, and hardly ever read.
#[derive(Clone, Debug, Default)]
struct Stored {
    flat: Vec<u8>,
    /// What follows.
    tail: Vec<Bytes>,
    length: usize,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Bytes },
    Truncate { length: u64 },
}

#[derive(Clone, Debug)]
enum NameChange {
    Created { name: String, content: u64 },
    Renamed { from: String, to: String },
    Removed { name: String },
}

/// Something that no sync has covered when a crash comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unsynced<'a> {
    /// A write.
    Write {
        /// To which file.
        name: &'a str,
        /// From which byte on.
        offset: u64,
        /// How many bytes.
        length: usize,
    },
    /// The cutting of a file.
    Truncate {
        /// Which file.
        name: &'a str,
        /// To what length.
        length: u64,
    },
    /// A new name.
    Created {
        /// Which.
        name: &'a str,
    },
    /// A changed name.
    Renamed {
        /// From which.
        from: &'a str,
        /// To which.
        to: &'a str,
    },
    /// A removed name.
    Removed {
        /// Which.
        name: &'a str,
    },
}

/// What a crash makes of something unsynced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It reached the disk.
    Kept,
    /// It never happened.
    Lost,
    /// Of a write, only this range of its bytes reached the disk; else as lost.
    Torn(Range<usize>),
}

impl MemoryFiles {
    /// Makes an empty directory that never crashes: every write is one copy, and there for good.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty directory that remembers what was not synced, to lose it in a crash.
    pub fn crashing() -> Self {
        Self {
            crashes: true,
            ..Self::default()
        }
    }

    /// Lets writes fail with [`FileError::NoSpace`] that would take the files beyond `bytes`.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    /// Carries one request out and returns its result under its id.
    pub fn execute(&mut self, request: FileRequest) -> (FileOpId, FileResult) {
        (request.id, self.carry_out(request.op))
    }

    /// Returns how many bytes the files hold, those without a name but open included.
    pub fn bytes(&self) -> u64 {
        self.contents.values().map(|content| content.length).sum()
    }

    /// Returns the names of the files, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Returns what a file holds, synced or not.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let content = self.contents.get(self.names.get(name)?)?;
        Some(content.current())
    }

    /// Puts `bytes` in the place of a file's content, synced: rot, or a file from elsewhere.
    pub fn replace(&mut self, name: &str, bytes: Vec<u8>) {
        let number = self.create(name);
        let length = bytes.len() as u64;
        let content = Content {
            synced: bytes.into(),
            length,
            ..Content::default()
        };
        self.contents.insert(number, content);
        self.synced_names.insert(name.to_owned(), number);
    }

    /// Takes a file away, synced: a file that somebody deleted.
    pub fn remove(&mut self, name: &str) {
        self.names.remove(name);
        self.synced_names.remove(name);
        self.collect();
    }

    /// Has a sync of an open file fail as it fails on Linux: what it should have covered stays
    /// readable, but counts as clean, so that a later sync does not cover it either.
    pub fn fail_sync(&mut self, file: FileId) {
        if let Ok(content) = self.opened(file) {
            content.adrift = content.unsynced.len();
        }
    }

    /// Returns how many writes and names a crash may lose or keep.
    pub fn unsynced(&self) -> usize {
        let contents = self.contents.values();
        let writes = contents.map(|content| content.unsynced.len() - content.adrift);
        self.unsynced_names.len() + writes.sum::<usize>()
    }

    /// Loses power: of what was not synced, `fate` tells what survived.
    ///
    /// It is asked about names first and then about each file's writes, in the order in which they
    /// were made. What survives is applied in that order, so that a later write that is kept shows
    /// zeros where an earlier one that is lost would have extended the file. All files are closed.
    pub fn crash(&mut self, mut fate: impl FnMut(Unsynced<'_>) -> Fate) {
        for change in std::mem::take(&mut self.unsynced_names) {
            if fate(change.as_unsynced()) == Fate::Kept {
                change.apply(&mut self.synced_names);
            }
        }
        let names: BTreeMap<u64, String> = self
            .names
            .iter()
            .map(|(name, number)| (*number, name.clone()))
            .collect();
        for (number, content) in &mut self.contents {
            let name = names.get(number).map_or("", String::as_str);
            content.crash(name, &mut fate);
        }
        self.names = self.synced_names.clone();
        self.open.clear();
        self.collect();
    }

    fn carry_out(&mut self, op: FileOp) -> FileResult {
        match op {
            FileOp::Open { file, name, create } => {
                let number = match self.names.get(&name) {
                    Some(number) => *number,
                    None if create => self.create(&name),
                    None => return Err(FileError::NotFound),
                };
                self.open.insert(file, number);
            }
            FileOp::Close { file } => {
                self.open.remove(&file);
                self.collect();
            }
            FileOp::Read {
                file,
                offset,
                length,
            } => {
                return Ok(FileDone::Read(self.opened(file)?.read(offset, length)));
            }
            FileOp::Write {
                file,
                offset,
                bytes,
            } => self.write(file, offset, bytes)?,
            FileOp::Sync { file } => self.opened(file)?.sync(),
            FileOp::Truncate { file, length } => {
                let crashes = self.crashes;
                let content = self.opened(file)?;
                content.length = content.length.min(length);
                content.note(Change::Truncate { length }, crashes);
            }
            FileOp::Rename { from, to } => {
                if !self.names.contains_key(&from) {
                    return Err(FileError::NotFound);
                }
                self.rename(NameChange::Renamed { from, to });
            }
            FileOp::Remove { name } => {
                if !self.names.contains_key(&name) {
                    return Err(FileError::NotFound);
                }
                self.rename(NameChange::Removed { name });
            }
            FileOp::SyncDirectory => self.sync_names(),
            FileOp::List => {
                let listed = self.names.iter().map(|(name, number)| Listed {
                    name: name.clone(),
                    length: self
                        .contents
                        .get(number)
                        .map_or(0, |content| content.length),
                });
                return Ok(FileDone::Listed(listed.collect()));
            }
        }
        Ok(FileDone::Done)
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: Bytes) -> Result<(), FileError> {
        let end = offset.saturating_add(bytes.len() as u64);
        let crashes = self.crashes;
        let room = self
            .capacity
            .map(|capacity| capacity.saturating_sub(self.bytes()));
        let content = self.opened(file)?;
        if offset > content.length {
            return Err(FileError::Device);
        }
        if room.is_some_and(|room| end.saturating_sub(content.length) > room) {
            return Err(FileError::NoSpace);
        }
        content.length = content.length.max(end);
        content.note(Change::Write { offset, bytes }, crashes);
        Ok(())
    }

    fn opened(&mut self, file: FileId) -> Result<&mut Content, FileError> {
        let number = self.open.get(&file).ok_or(FileError::NotFound)?;
        self.contents.get_mut(number).ok_or(FileError::NotFound)
    }

    fn create(&mut self, name: &str) -> u64 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let content = self.next;
        self.next += 1;
        self.contents.insert(content, Content::default());
        let name = name.to_owned();
        self.rename(NameChange::Created { name, content });
        content
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        if self.crashes {
            self.unsynced_names.push(change);
        } else {
            change.apply(&mut self.synced_names);
            self.collect();
        }
    }

    /// Has the names survive a crash as they are.
    fn sync_names(&mut self) {
        let changes = std::mem::take(&mut self.unsynced_names);
        if changes.is_empty() {
            return;
        }
        for change in changes {
            change.apply(&mut self.synced_names);
        }
        if self.synced_names.len() != self.names.len() {
            // A name was taken away since, which a change brought back.
            self.synced_names.clone_from(&self.names);
        }
        debug_assert_eq!(self.synced_names, self.names);
        self.collect();
    }

    /// Frees contents that have no name and are not open.
    fn collect(&mut self) {
        if self.contents.len() == self.names.len() {
            // No two names share a content: each content has one.
            return;
        }
        let unsynced = self
            .unsynced_names
            .iter()
            .filter_map(|change| match change {
                NameChange::Created { content, .. } => Some(content),
                _ => None,
            });
        let used: BTreeSet<u64> = self
            .names
            .values()
            .chain(self.synced_names.values())
            .chain(self.open.values())
            .chain(unsynced)
            .copied()
            .collect();
        self.contents.retain(|number, _| used.contains(number));
    }
}

impl Content {
    fn note(&mut self, change: Change, crashes: bool) {
        if crashes {
            self.unsynced.push(change);
        } else {
            self.synced.apply(change);
        }
    }

    fn sync(&mut self) {
        if self.adrift == 0 {
            for change in self.unsynced.drain(..) {
                self.synced.apply(change);
            }
        } else {
            let later = self.unsynced.split_off(self.adrift);
            for change in &later {
                self.synced.apply(change.clone());
            }
            let adrift = std::mem::take(&mut self.unsynced);
            self.unsynced = later.iter().fold(adrift, |adrift, change| {
                let left = adrift.iter().flat_map(|one| one.outside(change));
                left.collect()
            });
            self.adrift = self.unsynced.len();
        }
    }

    fn current(&self) -> Vec<u8> {
        let mut stored = self.synced.clone();
        for change in &self.unsynced {
            stored.apply(change.clone());
        }
        stored.flatten();
        stored.flat
    }

    fn read(&self, offset: u64, length: u64) -> Bytes {
        let end = offset.saturating_add(length).min(self.length);
        let range = offset.min(end) as usize..end as usize;
        if self.unsynced.is_empty() {
            self.synced.read(range)
        } else {
            Bytes::from(self.current()).slice(range)
        }
    }

    fn crash(&mut self, name: &str, fate: &mut impl FnMut(Unsynced<'_>) -> Fate) {
        let lost = std::mem::take(&mut self.adrift);
        for change in std::mem::take(&mut self.unsynced).into_iter().skip(lost) {
            match (fate(change.as_unsynced(name)), &change) {
                (Fate::Kept, _) => self.synced.apply(change),
                (Fate::Torn(range), Change::Write { offset, bytes }) => {
                    let from = range.start.min(bytes.len());
                    let to = range.end.clamp(from, bytes.len());
                    let torn = Change::Write {
                        offset: offset.saturating_add(from as u64),
                        bytes: bytes.slice(from..to),
                    };
                    self.synced.apply(torn);
                }
                _ => {}
            }
        }
        self.length = self.synced.length as u64;
    }
}

impl Stored {
    /// Makes a change.
    fn apply(&mut self, change: Change) {
        match change {
            Change::Write { offset, bytes } if offset == self.length as u64 => {
                self.length += bytes.len();
                self.tail.push(bytes);
            }
            Change::Write { offset, bytes } => {
                self.flatten();
                let from = offset as usize;
                let to = from + bytes.len();
                if self.length < to {
                    self.flat.resize(to, 0);
                }
                self.flat[from..to].copy_from_slice(&bytes);
                self.length = self.flat.len();
            }
            Change::Truncate { length } => {
                self.flatten();
                self.flat.truncate(length as usize);
                self.length = self.flat.len();
            }
        }
    }

    /// Puts all of it in one piece.
    fn flatten(&mut self) {
        self.flat.reserve(self.length - self.flat.len());
        for piece in self.tail.drain(..) {
            self.flat.extend_from_slice(&piece);
        }
    }

    /// Copies a part of it; nothing if it does not go so far.
    fn read(&self, range: Range<usize>) -> Bytes {
        if range.end > self.length {
            return Bytes::new();
        }
        let mut read = Vec::with_capacity(range.len());
        let mut at = 0;
        for piece in std::iter::once(&self.flat[..]).chain(self.tail.iter().map(|one| &one[..])) {
            let place = |end: usize| end.clamp(at, at + piece.len()) - at;
            read.extend_from_slice(&piece[place(range.start)..place(range.end)]);
            at += piece.len();
        }
        read.into()
    }
}

impl From<Vec<u8>> for Stored {
    fn from(flat: Vec<u8>) -> Self {
        Self {
            length: flat.len(),
            flat,
            tail: Vec::new(),
        }
    }
}

impl Change {
    /// Returns what is left of this change where a later one has not replaced it.
    fn outside(&self, later: &Self) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else {
            return Vec::new();
        };
        let (from, over) = match later {
            Self::Write { offset, bytes } => (offset, bytes.len() as u64),
            Self::Truncate { length } => (length, u64::MAX - length),
        };
        let end = offset + bytes.len() as u64;
        let before = (*from).clamp(*offset, end) - offset;
        let after = (from + over).clamp(*offset, end) - offset;
        let piece = |range: Range<u64>| Self::Write {
            offset: offset + range.start,
            bytes: bytes.slice(range.start as usize..range.end as usize),
        };
        [0..before, after.max(before)..end - offset]
            .into_iter()
            .filter(|range| !range.is_empty())
            .map(piece)
            .collect()
    }

    fn as_unsynced<'a>(&self, name: &'a str) -> Unsynced<'a> {
        match self {
            Self::Write { offset, bytes } => Unsynced::Write {
                name,
                offset: *offset,
                length: bytes.len(),
            },
            Self::Truncate { length } => Unsynced::Truncate {
                name,
                length: *length,
            },
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Created { name, content } => {
                names.insert(name.clone(), *content);
            }
            Self::Renamed { from, to } => {
                if let Some(content) = names.remove(from) {
                    names.insert(to.clone(), content);
                }
            }
            Self::Removed { name } => {
                names.remove(name);
            }
        }
    }

    fn as_unsynced(&self) -> Unsynced<'_> {
        match self {
            Self::Created { name, .. } => Unsynced::Created { name },
            Self::Renamed { from, to } => Unsynced::Renamed { from, to },
            Self::Removed { name } => Unsynced::Removed { name },
        }
    }
}

//! Starts a store: reads what the directory holds, mends the torn tail, counts the start.
//!
//! The order matters. Nothing is written before everything has been read and judged, so that a
//! directory with damage stays as it was found. Then the torn tail is cut, and what lies above the
//! seal is written once more and synced: it may have been read from the operating system's cache
//! without being on the disk, and a page whose write once failed is marked clean, so that a sync
//! alone would prove nothing. Last, both copies of the superblock get the next boot number; before
//! that is durable the caller has no store and can promise nothing.
//!
//! A crash at any point of this leaves a directory that recovers to the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{GroupId, Incarnation, Index, Planted, Recovered, RecoveredGroup};

use crate::{
    file::{
        Awaited, FileDone, FileError, FileOp, FileOpId, FileRequest, FileResult, Listed, Requests,
    },
    limits,
    mirror::{self, Mirror, Progress},
    record::Position,
    replay::Replay,
    scan::Scan,
    segment::{self, Change, Segments},
    store::Store,
    superblock::{BadCopy, NAMES, Superblock},
};

/// How to start a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// The incarnation of the directory, if it is new; at random.
    pub incarnation: Incarnation,
    /// What the batches of the directory begin with, if it is new; at random, told to nobody.
    pub marker: u64,
    /// Bytes of one segment file before the next one begins.
    pub segment_bytes: u64,
    /// The bug that a simulation planted; nothing else.
    pub planted: Planted,
}

impl StoreOptions {
    /// Options with the default sizes.
    pub fn new(incarnation: Incarnation, marker: u64) -> Self {
        Self {
            incarnation,
            marker,
            segment_bytes: limits::SEGMENT_BYTES,
            planted: Planted::default(),
        }
    }
}

/// A store that has started.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// What it held.
    pub recovered: Recovered,
    /// What was found on the way.
    pub report: Report,
}

/// What recovery found, for people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Whether the directory was new.
    pub fresh: bool,
    /// The torn tail that was cut.
    pub torn: Option<Torn>,
    /// Copies of the superblock that could not be read and were written anew.
    pub bad_copies: usize,
}

/// The end of a log that a crash left in pieces; nobody was told that it is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Torn {
    /// Where it began.
    pub at: Position,
    /// How many bytes were cut.
    pub bytes: u64,
}

/// Bytes that had been synced and are bad or gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where, if a place can be named.
    pub at: Option<Position>,
    /// Whose log it is, if that can be told.
    pub group: Option<GroupId>,
    /// The first index that is missing from that log.
    pub index: Option<Index>,
}

/// Why a store could not be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// A file could not be read or written; the directory may be as good as before.
    #[error("the files cannot be used: {0}")]
    File(#[from] FileError),
    /// Neither copy of the superblock can be read: this incarnation has no memory and is over.
    #[error("both copies of the superblock are lost")]
    SuperblockLost,
    /// The directory was written in a format that this version does not know.
    #[error("format {0} of the data directory is not known to this version")]
    Format(u32),
    /// Synced parts of the log are bad; nothing was changed.
    #[error("the log is damaged in {} places", .0.len())]
    Damaged(Vec<Damage>),
    /// The driver gave back a result that does not fit its request.
    #[error("a result does not fit its request")]
    Driver,
}

/// A store that is being started.
#[derive(Debug)]
pub struct Recovery {
    options: StoreOptions,
    requests: Requests,
    awaited: Awaited,
    answers: BTreeMap<FileOpId, FileResult>,
    phase: Phase,
    /// Segments to read, the next one first, with their lengths.
    unread: Vec<(u64, u64)>,
    report: Report,
    found: Option<Found>,
}

/// What has been read, once there is a superblock.
#[derive(Debug)]
struct Found {
    superblock: Superblock,
    /// As read: records up to its sequence number are among its facts.
    known: u64,
    mirror: Mirror,
    scan: Scan,
    replay: Replay,
    segments: Segments,
    /// The bytes of the last two segments: what may have to be written again.
    tails: Vec<(u64, Bytes)>,
    recovered: Vec<RecoveredGroup>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Listing,
    Superblocks,
    Segment,
    Mending,
    Booting,
    Over,
}

impl Found {
    /// Takes in the next segment.
    fn read(&mut self, number: u64, bytes: Bytes) {
        let Self {
            superblock,
            known,
            scan,
            replay,
            segments,
            ..
        } = self;
        segments.push(number, bytes.len() as u64);
        scan.segment(number, &bytes, |sequence, records| {
            for (group, record) in records {
                let facts = superblock.groups.entry(group).or_default();
                if sequence < facts.since {
                    continue;
                }
                let change = Change::of(&record);
                segments.apply(group, change, replay.end(group).index);
                // Those up to the known one are among the facts, with what came after them.
                if sequence > *known {
                    change.note(sequence, facts);
                }
                replay.apply(sequence, group, record);
            }
        });
        self.tails.push((number, bytes));
        if self.tails.len() > 2 {
            self.tails.remove(0);
        }
    }

    /// Tells where the torn tail begins, if there is one, or what is damaged.
    fn judge(&self) -> Result<Option<Position>, RecoveryError> {
        let groups = &self.superblock.groups;
        let cut = self.scan.verdict().map_err(|bad| {
            // Everything before the first bad byte has been replayed.
            let damage = bad.into_iter().map(|bad| {
                let group = bad.group.filter(|group| groups.contains_key(group));
                let index = group.map(|group| self.replay.end(group).index.next());
                let at = Some(bad.at);
                Damage { at, group, index }
            });
            RecoveryError::Damaged(damage.collect())
        })?;
        let holes = groups.iter().filter_map(|(group, facts)| {
            let index = self.replay.hole(*group, self.known, facts)?;
            let (at, group, index) = (None, Some(*group), Some(index));
            Some(Damage { at, group, index })
        });
        let damage: Vec<Damage> = holes.collect();
        if damage.is_empty() {
            Ok(cut)
        } else {
            Err(RecoveryError::Damaged(damage))
        }
    }

    /// Cuts the torn tail off, with the segments that have nothing before it.
    fn cut(&mut self, at: Position, requests: &mut Requests, out: &mut Vec<FileRequest>) -> Torn {
        let mut bytes = self.scan.length(at.segment).saturating_sub(at.offset);
        for number in self.segments.drop_after(at.segment) {
            bytes = bytes.saturating_add(self.scan.length(number));
            let (file, name) = (segment::file(number), segment::name(number));
            requests.push(out, FileOp::Close { file });
            requests.push(out, FileOp::Remove { name });
        }
        let (file, length) = (segment::file(at.segment), at.offset);
        requests.push(out, FileOp::Truncate { file, length });
        self.segments.set_end(at.offset);
        self.tails.retain_mut(|(number, tail)| {
            if *number == at.segment {
                tail.truncate(at.offset as usize);
            }
            *number <= at.segment
        });
        Torn { at, bytes }
    }

    /// Writes what is above the seal once more and syncs it, the newest segment in any case: a
    /// start that was interrupted may have cut it without a sync.
    fn write_again(&self, requests: &mut Requests, out: &mut Vec<FileRequest>) {
        let seal = self.scan.seal();
        for (number, tail) in self
            .tails
            .iter()
            .filter(|(number, _)| *number >= seal.segment)
        {
            let file = segment::file(*number);
            let sealed = *number == seal.segment;
            let offset = if sealed {
                seal.offset.min(tail.len() as u64)
            } else {
                0
            };
            let bytes = tail.slice(offset as usize..);
            if !bytes.is_empty() {
                requests.push(
                    out,
                    FileOp::Write {
                        file,
                        offset,
                        bytes,
                    },
                );
            }
            requests.push(out, FileOp::Sync { file });
        }
    }
}

impl Recovery {
    /// Begins to start the store in a directory.
    pub fn new(options: StoreOptions, out: &mut Vec<FileRequest>) -> Self {
        let mut requests = Requests::default();
        requests.push(out, FileOp::List);
        Self {
            options,
            awaited: Awaited::since(0, &requests),
            requests,
            answers: BTreeMap::new(),
            phase: Phase::Listing,
            unread: Vec::new(),
            report: Report::default(),
            found: None,
        }
    }

    /// Takes the result of a request; returns the store once it has started, or why it cannot.
    ///
    /// Cost: reads the log once. After it has returned something it does nothing any more.
    pub fn completed(
        &mut self,
        id: FileOpId,
        result: FileResult,
        out: &mut Vec<FileRequest>,
    ) -> Option<Result<Opened, RecoveryError>> {
        let ended = match self.advance(id, result, out) {
            Ok(None) => return None,
            Ok(Some(opened)) => Ok(opened),
            Err(error) => Err(error),
        };
        self.phase = Phase::Over;
        self.found = None;
        Some(ended)
    }

    fn advance(
        &mut self,
        id: FileOpId,
        result: FileResult,
        out: &mut Vec<FileRequest>,
    ) -> Result<Option<Opened>, RecoveryError> {
        if self.phase == Phase::Booting {
            result?;
            return self.booting(id, out);
        }
        let last = self.awaited.note(id);
        self.answers.insert(id, result);
        if last != Some(true) {
            return Ok(None);
        }
        let from = self.requests.next();
        let answers: Vec<FileResult> = std::mem::take(&mut self.answers).into_values().collect();
        match self.phase {
            Phase::Listing => self.listed(answers, out)?,
            Phase::Superblocks => self.superblocks(&answers, out)?,
            Phase::Segment => self.segment(answers, out)?,
            Phase::Mending => {
                for answer in answers {
                    answer?;
                }
                self.boot(out);
            }
            Phase::Booting | Phase::Over => {}
        }
        self.awaited = Awaited::since(from, &self.requests);
        Ok(None)
    }

    fn listed(
        &mut self,
        answers: Vec<FileResult>,
        out: &mut Vec<FileRequest>,
    ) -> Result<(), RecoveryError> {
        let Some(FileDone::Listed(files)) = answers.into_iter().next().transpose()? else {
            return Err(RecoveryError::Driver);
        };
        let segments = files
            .iter()
            .filter_map(|file| Some((segment::number(&file.name)?, file.length)));
        self.unread = segments.collect();
        self.unread.sort_unstable_by(|a, b| b.cmp(a));
        let length = |name: &str| {
            let file: Option<&Listed> = files.iter().find(|file| file.name == name);
            file.map_or(0, |file| file.length)
                .min(limits::SUPERBLOCK_BYTES)
        };
        // A peer that has only just been set up has written the first copy at most.
        self.report.fresh = self.unread.is_empty() && length(NAMES[1]) == 0;
        for (file, name) in mirror::FILES.into_iter().zip(NAMES) {
            let open = FileOp::Open {
                file,
                name: name.to_owned(),
                create: true,
            };
            self.requests.push(out, open);
            self.requests.push(
                out,
                FileOp::Read {
                    file,
                    offset: 0,
                    length: length(name),
                },
            );
        }
        self.phase = Phase::Superblocks;
        Ok(())
    }

    fn superblocks(
        &mut self,
        answers: &[FileResult],
        out: &mut Vec<FileRequest>,
    ) -> Result<(), RecoveryError> {
        let [open_a, read_a, open_b, read_b] = answers else {
            return Err(RecoveryError::Driver);
        };
        for open in [open_a, open_b] {
            open.clone()?;
        }
        let copies = [read_a, read_b].map(|read| match read {
            Ok(FileDone::Read(bytes)) => Superblock::decode(bytes),
            _ => Err(BadCopy::Unreadable),
        });
        for copy in &copies {
            if let Err(BadCopy::Format(format)) = copy {
                return Err(RecoveryError::Format(*format));
            }
        }
        let [a, b] = &copies;
        let (superblock, first) = match mirror::first_to_write([a.as_ref().ok(), b.as_ref().ok()]) {
            Some((counts, first)) => {
                self.report.fresh = false;
                self.report.bad_copies = copies.iter().filter(|copy| copy.is_err()).count();
                let chosen = copies.into_iter().nth(counts).and_then(Result::ok);
                (chosen.ok_or(RecoveryError::SuperblockLost)?, first)
            }
            None if self.report.fresh => (self.fresh(), 0),
            None => return Err(RecoveryError::SuperblockLost),
        };
        self.found = Some(Found {
            known: superblock.sequence,
            mirror: Mirror::new(superblock.version, first),
            scan: Scan::new(superblock.marker, superblock.seal),
            replay: Replay::default(),
            segments: Segments::default(),
            tails: Vec::new(),
            recovered: Vec::new(),
            superblock,
        });
        self.next_segment(out)
    }

    fn fresh(&self) -> Superblock {
        Superblock {
            version: 0,
            incarnation: self.options.incarnation,
            marker: self.options.marker,
            boot: 0,
            seal: Position::default(),
            sequence: 0,
            first: 0,
            groups: BTreeMap::new(),
        }
    }

    fn next_segment(&mut self, out: &mut Vec<FileRequest>) -> Result<(), RecoveryError> {
        let Some((number, length)) = self.unread.last().copied() else {
            return self.mend(out);
        };
        let (file, name) = (segment::file(number), segment::name(number));
        self.requests.push(
            out,
            FileOp::Open {
                file,
                name,
                create: false,
            },
        );
        self.requests.push(
            out,
            FileOp::Read {
                file,
                offset: 0,
                length,
            },
        );
        self.phase = Phase::Segment;
        Ok(())
    }

    fn segment(
        &mut self,
        answers: Vec<FileResult>,
        out: &mut Vec<FileRequest>,
    ) -> Result<(), RecoveryError> {
        let mut bytes = None;
        for answer in answers {
            if let FileDone::Read(read) = answer? {
                bytes = Some(read);
            }
        }
        let (Some(bytes), Some((number, _)), Some(found)) =
            (bytes, self.unread.pop(), self.found.as_mut())
        else {
            return Err(RecoveryError::Driver);
        };
        found.read(number, bytes);
        self.next_segment(out)
    }

    /// Everything has been read: judge it, and put the end of the log in order.
    fn mend(&mut self, out: &mut Vec<FileRequest>) -> Result<(), RecoveryError> {
        let Some(found) = self.found.as_mut() else {
            return Err(RecoveryError::Driver);
        };
        let cut = found.judge()?;
        if let Some(cut) = cut {
            self.report.torn = Some(found.cut(cut, &mut self.requests, out));
        }
        found.write_again(&mut self.requests, out);
        let newest = found.segments.end().map_or(0, |end| end.segment);
        for number in found.scan.segments().filter(|number| *number < newest) {
            let file = segment::file(number);
            self.requests.push(out, FileOp::Close { file });
        }
        self.requests.push(out, FileOp::SyncDirectory);
        self.phase = Phase::Mending;
        Ok(())
    }

    /// The log is in order: count the start.
    fn boot(&mut self, out: &mut Vec<FileRequest>) {
        let Some(found) = self.found.as_mut() else {
            return;
        };
        let superblock = &mut found.superblock;
        superblock.boot = superblock.boot.saturating_add(1);
        superblock.sequence = superblock.sequence.max(found.scan.sequence());
        superblock.seal = found.segments.end().unwrap_or_default();
        superblock.version = found.mirror.next_version();
        superblock.first = found.mirror.first();
        let mut groups = Vec::new();
        for (group, facts) in &mut superblock.groups {
            groups.push(found.replay.take(*group, facts));
        }
        found.recovered = groups;
        found
            .mirror
            .start(superblock.encode(), &mut self.requests, out);
        self.phase = Phase::Booting;
    }

    fn booting(
        &mut self,
        id: FileOpId,
        out: &mut Vec<FileRequest>,
    ) -> Result<Option<Opened>, RecoveryError> {
        let Some(found) = self.found.as_mut() else {
            return Ok(None);
        };
        if found.mirror.completed(id, &mut self.requests, out) != Progress::Durable {
            return Ok(None);
        }
        let Some(found) = self.found.take() else {
            return Ok(None);
        };
        let recovered = Recovered {
            incarnation: found.superblock.incarnation,
            boot: found.superblock.boot,
            groups: found.recovered,
        };
        let bases = recovered
            .groups
            .iter()
            .map(|group| (group.group, group.base))
            .collect();
        let store = Store::new(
            self.options,
            std::mem::take(&mut self.requests),
            found.superblock,
            found.mirror,
            found.segments,
            &bases,
        );
        let report = std::mem::take(&mut self.report);
        Ok(Some(Opened {
            store,
            recovered,
            report,
        }))
    }
}

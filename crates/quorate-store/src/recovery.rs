//! Starts a store: reads what the directory holds, mends it, counts the start.
//!
//! The order matters. Nothing is written before everything has been read and judged: a disk that
//! cannot be read just now ([`RecoveryError::File`]) is left as it is, and tried again later. Then:
//!
//! * A **torn tail**, bad bytes above the seal, is cut. What lies above the seal is written once
//!   more and synced: it may have been read from the operating system's cache without being on the
//!   disk, and a page whose write once failed is marked clean, so that a sync alone would prove
//!   nothing.
//! * **Damage**, bad or missing bytes below the seal, is named in the report. What is left of each
//!   group's log, up to its first hole, is written anew (`rewrite`). Where that ends before the
//!   place where the log once ended, the group gets a *floor*: the later of the seal and its last
//!   good record. Until its log ends there again, its peer votes as if it did and never campaigns
//!   (see [`floor`](quorate_core::RecoveredGroup::floor)). The floor is a fact of the superblock;
//!   it goes when the log that is synced has got there.
//! * **Both copies of the superblock bad**: the ballot is forgotten, so this life of the directory
//!   is over. The log is dropped and another incarnation begins, which nobody has a promise of.
//!
//! Last, both copies of the superblock get the next boot number; before that is durable the caller
//! has no store and can promise nothing.
//!
//! Where a floor is not known: damage in batches that the superblock does not reflect may have
//! taken the last record of a group that no later batch mentions. Then the floor lies above
//! everything of the terms that the peer has voted in: whatever it acknowledged is below that. The
//! log gets there with the first entry of a later term, whose leader was elected without this peer.
//!
//! A crash at any point of this leaves a directory that recovers to the same.

use std::collections::BTreeMap;

use quorate_core::{GroupId, Incarnation, Index, Lineage, Planted, Recovered};

use crate::{
    file::{
        Awaited, FileDone, FileError, FileOp, FileOpId, FileRequest, FileResult, Listed, Requests,
    },
    found::Found,
    limits,
    mirror::{self, Mirror, Progress},
    record::Position,
    segment,
    store::Store,
    superblock::{BadCopy, NAMES, Superblock},
};

/// How to start a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// The incarnation of the directory, if it is new; at random.
    pub incarnation: Incarnation,
    /// What the batches of the directory begin with, if it is new or its log is written anew; at
    /// random, told to nobody.
    pub marker: u64,
    /// Tells this start from one of a copy of the directory; at random, at each start.
    pub nonce: u64,
    /// Bytes of one segment file before the next one begins.
    pub segment_bytes: u64,
    /// The bug that a simulation planted; nothing else.
    pub planted: Planted,
}

impl StoreOptions {
    /// Options with the default sizes.
    pub fn new(incarnation: Incarnation, marker: u64, nonce: u64) -> Self {
        Self {
            incarnation,
            marker,
            nonce,
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
    /// Whether the incarnation that it held had ended, so that another one began.
    pub ended: bool,
    /// The torn tail that was cut.
    pub torn: Option<Torn>,
    /// What was damaged and has been left out of the log.
    pub damage: Vec<Damage>,
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
    /// The directory was written in a format that this version does not know.
    #[error("format {0} of the data directory is not known to this version")]
    Format(u32),
    /// The driver gave back a result that does not fit its request.
    #[error("a result does not fit its request")]
    Driver,
}

/// Starts a store, with `execute` carrying out one request after another.
///
/// # Errors
///
/// As [`Recovery::completed`].
pub fn recover_with(
    options: StoreOptions,
    mut execute: impl FnMut(FileRequest) -> (FileOpId, FileResult),
) -> Result<Opened, RecoveryError> {
    let mut requests = Vec::new();
    let mut recovery = Recovery::new(options, &mut requests);
    while !requests.is_empty() {
        for request in std::mem::take(&mut requests) {
            let (id, result) = execute(request);
            if let Some(ended) = recovery.completed(id, result, &mut requests) {
                return ended;
            }
        }
    }
    Err(RecoveryError::Driver)
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
    /// Whether the life that starts was started before.
    restarted: bool,
    found: Option<Found>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Listing,
    Superblocks,
    Segment,
    Mending,
    Booting,
    Clearing,
    Over,
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
            restarted: false,
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
            // What is in the way still is removed at the next start.
            Phase::Clearing => return Ok(self.opened()),
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
        let chosen = mirror::first_to_write([a.as_ref().ok(), b.as_ref().ok()]);
        if chosen.is_none() {
            // What cannot be read now may be good: that is no reason to forget it.
            for read in [read_a, read_b] {
                read.clone()?;
            }
        }
        let (superblock, first) = match chosen {
            Some((counts, first)) => {
                self.report.fresh = false;
                self.report.bad_copies = copies.iter().filter(|copy| copy.is_err()).count();
                let chosen = copies.into_iter().nth(counts).and_then(Result::ok);
                (chosen.ok_or(RecoveryError::Driver)?, first)
            }
            None => {
                let superblock = if self.report.fresh {
                    self.fresh()
                } else {
                    self.report.bad_copies = 2;
                    self.begin_another(None, out)
                };
                (superblock, 0)
            }
        };
        let superblock = if superblock.ended {
            self.begin_another(Some(superblock), out)
        } else {
            superblock
        };
        let mirror = Mirror::new(superblock.version, first, self.options.planted);
        self.found = Some(Found::new(superblock, mirror));
        self.next_segment(out)
    }

    fn fresh(&self) -> Superblock {
        Superblock {
            version: 0,
            incarnation: self.options.incarnation,
            marker: self.options.marker,
            lineage: Lineage::unborn(),
            ended: false,
            succeeds: false,
            remembered: Vec::new(),
            seal: Position::default(),
            sequence: 0,
            first: 0,
            groups: BTreeMap::new(),
        }
    }

    /// Empties a directory whose incarnation has ended; what it knows of others stays, if it knows
    /// anything.
    fn begin_another(
        &mut self,
        ended: Option<Superblock>,
        out: &mut Vec<FileRequest>,
    ) -> Superblock {
        self.report.ended = true;
        for (number, _) in std::mem::take(&mut self.unread) {
            let name = segment::name(number);
            self.requests.push(out, FileOp::Remove { name });
        }
        let (version, remembered) = ended
            .map(|ended| (ended.version, ended.remembered))
            .unwrap_or_default();
        Superblock {
            version,
            remembered,
            succeeds: true,
            ..self.fresh()
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

    /// Everything has been read: judge it, and put the log in order.
    fn mend(&mut self, out: &mut Vec<FileRequest>) -> Result<(), RecoveryError> {
        let Some(found) = self.found.as_mut() else {
            return Err(RecoveryError::Driver);
        };
        let (verdict, damage) = found.judge(self.options.planted);
        found.take();
        if damage.is_empty() {
            if let Some(torn) = verdict.torn {
                self.report.torn = Some(found.cut(torn, &mut self.requests, out));
            }
            found.write_again(&mut self.requests, out);
            let newest = found.segments.end().map_or(0, |end| end.segment);
            for number in found.scan.segments().filter(|number| *number < newest) {
                let file = segment::file(number);
                self.requests.push(out, FileOp::Close { file });
            }
        } else {
            self.report.damage = damage;
            found.rewrite(self.options, &mut self.requests, out);
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
        self.restarted = superblock.lineage != Lineage::unborn();
        superblock.lineage.boot(self.options.nonce);
        if self.report.damage.is_empty() {
            superblock.sequence = superblock.sequence.max(found.scan.sequence());
        }
        superblock.seal = found.segments.end().unwrap_or_default();
        superblock.version = found.mirror.next_version();
        superblock.first = found.mirror.first();
        found.mirror.start(superblock, &mut self.requests, out);
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
        let progress = found
            .mirror
            .completed(id, &Ok(FileDone::Done), &mut self.requests, out);
        if progress != Progress::Durable {
            return Ok(None);
        }
        let from = self.requests.next();
        for number in std::mem::take(&mut found.left_over) {
            let name = segment::name(number);
            self.requests.push(out, FileOp::Remove { name });
        }
        self.awaited = Awaited::since(from, &self.requests);
        if self.awaited.is_over() {
            return Ok(self.opened());
        }
        self.phase = Phase::Clearing;
        Ok(None)
    }

    /// Hands over to the store.
    fn opened(&mut self) -> Option<Opened> {
        let found = self.found.take()?;
        let recovered = Recovered {
            incarnation: found.superblock.incarnation,
            lineage: found.superblock.lineage.clone(),
            restarted: self.restarted,
            remembered: found.superblock.remembered.clone(),
            succeeds: found.superblock.succeeds,
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
        Some(Opened {
            store,
            recovered,
            report,
        })
    }
}

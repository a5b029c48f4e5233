//! The durable log of one peer, for all its groups.
//!
//! Logical operations come in, requests to files go out, results of files come in, completions go
//! out. Two pipelines run side by side:
//!
//! * **The log.** Operations become records; records gather in a batch; a batch is one write and
//!   one sync. While a batch is under way further operations gather in the next, so that under load
//!   one sync serves every group that waits, and at rest an operation waits for nothing.
//! * **The superblock** (`mirror`): ballots, and whatever must outlive the segment that
//!   says it. A rewrite carries all facts that are due, and the seal. Under load the seal also
//!   travels in the header of each batch, so that it costs the path of an operation no sync.
//!
//! Completions of one group come in the order of its operations, whichever pipeline they took: an
//! append that is reported durable never rests on a ballot that a crash could take back.
//!
//! An operation is reported durable only after the sync that covers it (and, for a ballot or a
//! change of genesis, after both copies of the superblock). The first failed request ends the store
//! for good: what was written since the last sync is in doubt, and asking the device again would
//! get an answer about something else (a page that could not be written is often marked clean). So
//! every operation under way and every later one fails.
//!
//! **No space** is another matter: what could not be written was not written, and nothing is in
//! doubt. The write stays, as do all behind it; the driver tries again ([`Store::retry`]) at the
//! same place with the same bytes until there is space, and tells the core meanwhile, which then
//! takes on nothing new. A sync that finds no space has failed like any other.
//!
//! The store keeps no entries; the core has them. It keeps, per group, where the log starts and
//! ends, and refuses what does not fit: that is a bug above, and acknowledging it would promise
//! what no recovery can keep.

mod lives;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_core::{
    Canary, Cursor, DiskError, DiskId, DiskOp, DiskWrite, Entry, Genesis, GenesisId, GroupId,
    Planted, wire::entry_size,
};

use crate::{
    batch::Batch,
    file::{FileOp, FileOpId, FileRequest, FileResult, Requests},
    flight::{Flight, Flown, Landed},
    limits,
    mirror::{Mirror, Progress},
    record::{Base, Position, SEGMENT_HEADER, SegmentHeader},
    recovery::StoreOptions,
    segment::{self, Segments, end_of},
    superblock::Superblock,
};

/// What the store wants done and has done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreEffects {
    /// Requests for the files, in the order in which they are to be carried out.
    pub files: Vec<FileRequest>,
    /// Operations that are finished.
    pub done: Vec<DiskCompletion>,
}

/// The end of one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskCompletion {
    /// Which operation.
    pub id: DiskId,
    /// Whether what it wrote is durable.
    pub result: Result<(), DiskError>,
}

/// The durable log of one peer. [`crate::Recovery`] makes one.
#[derive(Debug)]
pub struct Store {
    segment_bytes: u64,
    planted: Planted,
    requests: Requests,
    /// What is synced, and the ballots as submitted.
    superblock: Superblock,
    mirror: Mirror,
    /// Whether the superblock tells less than it should.
    due: bool,
    segments: Segments,
    groups: BTreeMap<GroupId, Group>,
    /// Groups with an operation that waits for the superblock.
    awaiting_superblock: BTreeSet<GroupId>,
    next_sequence: u64,
    gathered: VecDeque<Batch>,
    flight: Option<Flight>,
    /// Whether a segment may be free.
    freed: bool,
    /// Whether records are synced that the superblock does not seal.
    unsealed: bool,
    /// The segment that the log's seal is in, as both copies of the superblock tell.
    told_segment: u64,
    failed: Option<DiskError>,
}

/// A group's log as submitted.
#[derive(Debug, Default)]
struct Group {
    genesis: Option<GenesisId>,
    base: Cursor,
    end: Cursor,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: DiskId,
    needs: Needs,
}

/// What must be durable before an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    /// The batch with this sequence number.
    Batch(u64),
    /// The superblock of this version.
    Superblock(u64),
    /// The batch, and then the superblock that tells what it changed.
    Both(u64),
}

impl Store {
    /// Takes over from recovery, with everything in `superblock` durable.
    pub(crate) fn new(
        options: StoreOptions,
        requests: Requests,
        superblock: Superblock,
        mirror: Mirror,
        segments: Segments,
        bases: &BTreeMap<GroupId, Cursor>,
    ) -> Self {
        let groups = superblock.groups.iter().map(|(group, facts)| {
            let log = Group {
                genesis: facts.genesis,
                base: bases.get(group).copied().unwrap_or_default(),
                end: facts.sealed,
                waiting: VecDeque::new(),
            };
            (*group, log)
        });
        Self {
            segment_bytes: options.segment_bytes,
            planted: options.planted,
            requests,
            groups: groups.collect(),
            awaiting_superblock: BTreeSet::new(),
            told_segment: superblock.seal.segment,
            next_sequence: superblock.sequence.saturating_add(1),
            superblock,
            mirror,
            due: false,
            segments,
            gathered: VecDeque::new(),
            flight: None,
            freed: true,
            unsealed: false,
            failed: None,
        }
    }

    /// Takes one operation. Cost: encoding it once.
    ///
    /// After a failure it is answered at once with the error that ended the store.
    pub fn submit(&mut self, op: DiskOp, effects: &mut StoreEffects) {
        self.submit_all([op], effects);
    }

    /// Takes operations that come together, so that they go out together.
    pub fn submit_all(
        &mut self,
        ops: impl IntoIterator<Item = DiskOp>,
        effects: &mut StoreEffects,
    ) {
        for op in ops {
            if self.failed.is_none() && !self.take(&op) {
                self.fail(DiskError::Device, effects);
            }
            if let Some(error) = self.failed {
                let result = Err(error);
                effects.done.push(DiskCompletion { id: op.id, result });
            }
        }
        self.pump(effects);
    }

    /// Takes the result of a request.
    pub fn completed(&mut self, id: FileOpId, result: &FileResult, effects: &mut StoreEffects) {
        if self.failed.is_some() {
            return;
        }
        let landed = self.flight.as_mut().map(|flight| flight.note(id, result));
        if let Some(landed) = landed.filter(|landed| *landed != Landed::Foreign) {
            if landed == Landed::Failed {
                return self.fail(DiskError::Device, effects);
            }
            if landed == Landed::Durable
                && let Some(flight) = self.flight.take()
            {
                self.land(flight.batch, effects);
            }
        } else {
            let progress =
                self.mirror
                    .completed(id, result, &mut self.requests, &mut effects.files);
            match progress {
                Progress::Durable => {
                    self.freed |= self.told_segment < self.mirror.sealed_segment();
                    self.told_segment = self.mirror.sealed_segment();
                    for group in std::mem::take(&mut self.awaiting_superblock) {
                        self.release(group, effects);
                    }
                }
                Progress::Failed => return self.fail(DiskError::Device, effects),
                Progress::Foreign if result.is_err() => {
                    return self.fail(DiskError::Device, effects);
                }
                Progress::Foreign | Progress::Writing => {}
            }
        }
        self.pump(effects);
    }

    /// Tells whether there was no space for a write, which waits to be tried again.
    pub fn is_short_of_space(&self) -> bool {
        let flight = self.flight.as_ref();
        self.failed.is_none()
            && (flight.is_some_and(Flight::is_short_of_space) || self.mirror.is_short_of_space())
    }

    /// Tries again what there was no space for; nothing if that is under way already.
    ///
    /// A driver calls it every [`limits::SPACE_RETRY`] while [`Store::is_short_of_space`].
    pub fn retry(&mut self, effects: &mut StoreEffects) {
        if self.failed.is_some() {
            return;
        }
        if let Some(flight) = &mut self.flight {
            flight.retry(&mut self.requests, &mut effects.files);
        }
        self.mirror.retry(&mut self.requests, &mut effects.files);
    }

    /// Tells whether records are synced that the superblock does not seal yet.
    ///
    /// A driver calls [`Store::seal`] when that has been so for [`limits::SEAL_IDLE`].
    pub fn needs_seal(&self) -> bool {
        self.unsealed && self.is_idle() && self.failed.is_none()
    }

    /// Writes the seal to the superblock, since no batch comes that would carry it.
    ///
    /// Nothing waits for it; from then on bad bytes in those records are damage, not a torn tail,
    /// and so is their absence. Cost: a rewrite of the superblock; nothing if none is needed.
    pub fn seal(&mut self, effects: &mut StoreEffects) {
        if self.needs_seal() {
            self.due = true;
            self.pump(effects);
        }
    }

    /// Tells why the store accepts nothing any more, if it does not.
    pub fn failure(&self) -> Option<DiskError> {
        self.failed
    }

    /// Tells whether every operation taken is finished.
    pub fn is_idle(&self) -> bool {
        self.flight.is_none() && self.gathered.is_empty() && !self.mirror.is_busy() && !self.due
    }

    /// Returns how many bytes of records wait for the batch under way; for flow control.
    pub fn gathered_bytes(&self) -> usize {
        self.gathered.iter().map(Batch::len).sum()
    }

    /// Returns how many segment files the log has.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Makes records of an operation; `false` if it does not fit its group's log.
    fn take(&mut self, op: &DiskOp) -> bool {
        let group = op.group;
        let needs = match &op.write {
            DiskWrite::Ballot(ballot) => {
                self.superblock.groups.entry(group).or_default().ballot = *ballot;
                Some(self.write_superblock(group))
            }
            DiskWrite::Whole => {
                self.superblock.groups.entry(group).or_default().floor = None;
                Some(self.write_superblock(group))
            }
            DiskWrite::Taken => {
                self.superblock.lineage.take();
                Some(self.write_superblock(group))
            }
            DiskWrite::Genesis(genesis) => self.take_genesis(group, genesis),
            DiskWrite::Refuse(genesis) => Some(self.take_refuse(group, *genesis)),
            DiskWrite::Dissolve { genesis, into } => {
                Some(self.take_dissolve(group, *genesis, *into))
            }
            DiskWrite::Append { previous, entries } => self.take_append(group, *previous, entries),
            DiskWrite::Base {
                base,
                configuration,
                genesis,
                keep,
            } => {
                let log = self.groups.entry(group).or_default();
                let keep = *keep && log.end.index > base.index;
                let record = Base {
                    base: *base,
                    end: if keep { log.end } else { *base },
                    genesis: *genesis,
                    keep,
                    configuration: (**configuration).clone(),
                };
                self.take_base(group, &record)
            }
        };
        if let Some(needs) = needs {
            let log = self.groups.entry(group).or_default();
            log.waiting.push_back(Waiting { id: op.id, needs });
        }
        needs.is_some()
    }

    /// Has the superblock written, which an operation of the group waits for.
    fn write_superblock(&mut self, group: GroupId) -> Needs {
        self.due = true;
        self.awaiting_superblock.insert(group);
        Needs::Superblock(self.mirror.next_version())
    }

    fn take_genesis(&mut self, group: GroupId, genesis: &Genesis) -> Option<Needs> {
        if genesis.group != group {
            return None;
        }
        let log = self.groups.entry(group).or_default();
        log.genesis = Some(genesis.id());
        (log.base, log.end) = (Cursor::ZERO, Genesis::CURSOR);
        let sequence = self.open_batch().put_genesis(genesis);
        Some(Needs::Both(sequence))
    }

    /// Refuses a history; the log goes with it only if it is the history of the log.
    fn take_refuse(&mut self, group: GroupId, genesis: GenesisId) -> Needs {
        let drop = self.drop_log(group, genesis);
        Needs::Both(self.open_batch().put_refuse(group, genesis, drop))
    }

    /// Buries a history; the log goes with it only if it is the history of the log.
    fn take_dissolve(&mut self, group: GroupId, genesis: GenesisId, into: GenesisId) -> Needs {
        let drop = self.drop_log(group, genesis);
        Needs::Both(self.open_batch().put_dissolve(group, (genesis, into), drop))
    }

    /// Drops a group's log if it belongs to `genesis`; tells whether it did.
    fn drop_log(&mut self, group: GroupId, genesis: GenesisId) -> bool {
        let log = self.groups.entry(group).or_default();
        let drop = log.genesis == Some(genesis);
        if drop {
            log.genesis = None;
            (log.base, log.end) = (Cursor::ZERO, Cursor::ZERO);
        }
        drop
    }

    fn take_append(
        &mut self,
        group: GroupId,
        mut previous: Cursor,
        mut entries: &[Entry],
    ) -> Option<Needs> {
        let log = self.groups.entry(group).or_default();
        previous.index.0.checked_add(entries.len() as u64)?;
        let fits = log.base.index <= previous.index
            && previous.index <= log.end.index
            && (previous.index != log.base.index || previous == log.base)
            && (previous.index != log.end.index || previous == log.end)
            && entries
                .iter()
                .all(|entry| entry_size(entry) <= limits::ENTRY_BYTES);
        if !fits {
            return None;
        }
        log.end = end_of(previous, entries);
        loop {
            let (sequence, taken) = self.open_batch().put_append(group, previous, entries);
            let (record, rest) = entries.split_at(taken);
            previous = end_of(previous, record);
            entries = rest;
            if entries.is_empty() {
                return Some(Needs::Batch(sequence));
            }
        }
    }

    fn take_base(&mut self, group: GroupId, base: &Base) -> Option<Needs> {
        let log = self.groups.entry(group).or_default();
        if base.keep && base.base.index < log.base.index {
            return None;
        }
        let known = log.genesis.replace(base.genesis);
        (log.base, log.end) = (base.base, base.end);
        let sequence = self.open_batch().put_base(group, base);
        Some(if known == Some(base.genesis) {
            Needs::Batch(sequence)
        } else {
            Needs::Both(sequence)
        })
    }

    /// Returns the batch that takes the next record.
    fn open_batch(&mut self) -> &mut Batch {
        if self
            .gathered
            .back()
            .is_none_or(|batch| batch.len() >= limits::BATCH_BYTES)
        {
            let sequence = self.take_sequence();
            self.gathered
                .push_back(Batch::new(self.superblock.marker, sequence));
        }
        self.gathered
            .back_mut()
            .expect("a batch was pushed if there was none")
    }

    fn take_sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    /// Starts whatever can start.
    fn pump(&mut self, effects: &mut StoreEffects) {
        if self.failed.is_some() {
            return;
        }
        if self.flight.is_none()
            && let Some(batch) = self.gathered.pop_front()
        {
            self.launch(batch, effects);
        }
        // Only segments before the sealed end of the log that both copies tell ever go: so a batch
        // that is missing and that they do not reflect is surely lost.
        let newer = self.mirror.sealed_segment() < self.superblock.seal.segment;
        self.due |= self.freed && newer && self.segments.len() > 1;
        if self.due && !self.mirror.is_busy() {
            self.due = false;
            self.unsealed = false;
            self.superblock.version = self.mirror.next_version();
            self.superblock.first = self.mirror.first();
            self.mirror
                .start(&self.superblock, &mut self.requests, &mut effects.files);
        }
        // What a removed segment said of its groups must be in the superblock first.
        if self.freed && !self.mirror.is_busy() {
            self.freed = false;
            for number in self.segments.sweep(self.told_segment) {
                let name = segment::name(number);
                self.requests
                    .push(&mut effects.files, FileOp::Remove { name });
            }
        }
    }

    /// Hands a batch out to be written behind all others.
    fn launch(&mut self, batch: Batch, effects: &mut StoreEffects) {
        let (at, rolled) = self.place_for(&batch, &mut effects.files);
        let sequence = batch.sequence();
        let (records, changes) = batch.finish(self.superblock.seal);
        let bytes = if at.offset == 0 {
            // In one write with the header, so that a batch is there whole or not at all.
            let header = SegmentHeader {
                number: at.segment,
                marker: self.superblock.marker,
                first: sequence,
            };
            [&header.encode()[..], &records].concat().into()
        } else {
            records
        };
        self.segments.set_end(at.offset + bytes.len() as u64);
        let batch = Flown {
            at,
            bytes,
            rolled,
            lazy: self.planted.has(Canary::NatsLazyFsync),
            swallows: self.planted.has(Canary::FailedSyncSwallowed),
            sequence,
            changes,
        };
        let out = &mut effects.files;
        self.flight = Some(Flight::start(batch, &mut self.requests, out));
    }

    /// Returns where a batch goes, and whether that is in a new segment.
    fn place_for(&mut self, batch: &Batch, out: &mut Vec<FileRequest>) -> (Position, bool) {
        let mut at = self.segments.end().unwrap_or_default();
        let full = at.offset > SEGMENT_HEADER as u64
            && at.offset.saturating_add(batch.len() as u64) > self.segment_bytes;
        let rolls = full || self.segments.len() == 0;
        if full {
            let file = segment::file(at.segment);
            self.requests.push(out, FileOp::Close { file });
        }
        if rolls {
            at.segment = at.segment.saturating_add(1);
            at.offset = 0;
            self.segments.push(at.segment, 0);
        }
        (at, rolls)
    }

    /// A batch is synced.
    fn land(&mut self, flight: Flown, effects: &mut StoreEffects) {
        self.superblock.seal = flight.end();
        self.superblock.sequence = flight.sequence;
        self.unsealed = true;
        for (group, change) in &flight.changes {
            let facts = self.superblock.groups.entry(*group).or_default();
            self.freed |= self.segments.apply(*group, *change, facts.sealed.index);
            self.due |= change.note(flight.sequence, facts);
        }
        for (group, _) in &flight.changes {
            self.release(*group, effects);
        }
    }

    /// Reports what has become durable of a group, in order.
    fn release(&mut self, group: GroupId, effects: &mut StoreEffects) {
        let Some(log) = self.groups.get_mut(&group) else {
            return;
        };
        let sequence = self.superblock.sequence;
        let next = self.mirror.next_version();
        while let Some(first) = log.waiting.front_mut() {
            let durable = match first.needs {
                Needs::Batch(batch) => batch <= sequence,
                Needs::Superblock(version) => version <= self.mirror.durable_version(),
                Needs::Both(batch) if batch <= sequence => {
                    // What the batch changed is among the facts now: the next rewrite tells it.
                    first.needs = Needs::Superblock(next);
                    self.due = true;
                    false
                }
                Needs::Both(_) => false,
            };
            if !durable {
                break;
            }
            let (id, result) = (first.id, Ok(()));
            effects.done.push(DiskCompletion { id, result });
            log.waiting.pop_front();
        }
        let waits = |first: &Waiting| matches!(first.needs, Needs::Superblock(_));
        if log.waiting.front().is_some_and(waits) {
            self.awaiting_superblock.insert(group);
        }
    }

    /// Ends the store: whatever was under way has failed.
    fn fail(&mut self, error: DiskError, effects: &mut StoreEffects) {
        self.failed = Some(error);
        self.flight = None;
        self.gathered.clear();
        let groups = self.groups.values_mut();
        let mut lost: Vec<DiskId> = groups
            .flat_map(|log| log.waiting.drain(..))
            .map(|waiting| waiting.id)
            .collect();
        lost.sort_unstable();
        let result = Err(error);
        effects
            .done
            .extend(lost.into_iter().map(|id| DiskCompletion { id, result }));
    }
}

//! What recovery has read of a directory, and what it makes of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{Canary, Cursor, GroupId, Index, Planted, RecoveredGroup};

use crate::{
    file::{FileOp, FileRequest, Requests},
    mirror::Mirror,
    record::Position,
    recovery::{Damage, StoreOptions, Torn},
    replay::Replay,
    rewrite::{self, Beginning},
    scan::{Records, Scan, Verdict},
    segment::{self, Change, Segments},
    superblock::Superblock,
};

/// What has been read, once there is a superblock.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) superblock: Superblock,
    /// As read: records up to its sequence number are among its facts.
    pub(crate) known: u64,
    pub(crate) mirror: Mirror,
    pub(crate) scan: Scan,
    replay: Replay,
    pub(crate) segments: Segments,
    /// Segments with batches that may be behind a torn tail, and those batches.
    unjudged: Vec<(u64, Batches)>,
    /// Segments of a log that is not this one any more.
    pub(crate) left_over: Vec<u64>,
    /// The bytes of the last two segments: what may have to be written again.
    tails: Vec<(u64, Bytes)>,
    pub(crate) recovered: Vec<RecoveredGroup>,
}

/// Good batches of a segment: where each begins, its number, and what is in it.
type Batches = Vec<(Position, u64, Records)>;

impl Found {
    /// Starts with a superblock, and how it is written.
    pub(crate) fn new(superblock: Superblock, mirror: Mirror) -> Self {
        Self {
            known: superblock.sequence,
            mirror,
            scan: Scan::new(superblock.marker, superblock.seal, superblock.sequence),
            replay: Replay::default(),
            segments: Segments::default(),
            unjudged: Vec::new(),
            left_over: Vec::new(),
            tails: Vec::new(),
            recovered: Vec::new(),
            superblock,
        }
    }

    /// Takes in the next segment.
    pub(crate) fn read(&mut self, number: u64, bytes: Bytes) {
        if self.scan.is_left_over(number, &bytes) {
            self.left_over.push(number);
            return;
        }
        let mut batches = Batches::new();
        self.scan.segment(number, &bytes, |at, sequence, records| {
            batches.push((at, sequence, records));
        });
        if self.scan.is_sound() {
            self.replay(number, batches, None);
        } else {
            self.unjudged.push((number, batches));
        }
        self.tails.push((number, bytes));
        if self.tails.len() > 2 {
            self.tails.remove(0);
        }
    }

    /// Replays the batches of a segment, up to the torn tail.
    fn replay(&mut self, number: u64, batches: Batches, torn: Option<Position>) {
        self.segments.push(number, self.scan.length(number));
        for (at, sequence, records) in batches {
            if torn.is_some_and(|torn| at >= torn) {
                return;
            }
            for (group, record) in records {
                let facts = self.superblock.groups.entry(group).or_default();
                if sequence < facts.since {
                    continue;
                }
                let change = Change::of(&record);
                self.segments
                    .apply(group, change, self.replay.end(group).index);
                // Those up to the known one are among the facts, with what came after them.
                if sequence > self.known {
                    change.note(sequence, facts);
                }
                self.replay.apply(sequence, group, record);
            }
        }
    }

    /// Replays what could not be before, and names all damage; where the log was hurt, notes how
    /// far it had gone.
    pub(crate) fn judge(&mut self, planted: Planted) -> (Verdict, Vec<Damage>) {
        let verdict = self.scan.verdict(self.superblock.seal);
        for (number, batches) in std::mem::take(&mut self.unjudged) {
            self.replay(number, batches, verdict.torn);
        }
        let mut holes: BTreeMap<GroupId, Index> = BTreeMap::new();
        for (group, facts) in &mut self.superblock.groups {
            let whole = self.replay.whole(*group);
            let hole = self.replay.hole(*group, self.known, facts);
            let doubtful = verdict.damaged_upto > self.known
                && self.replay.touched(*group) <= verdict.damaged_upto;
            let mut floor = facts.floor.max(hole.map(|_| self.replay.end(*group)));
            if hole.is_some() {
                floor = floor.max(Some(facts.sealed));
            }
            if doubtful {
                let term = facts.ballot.term.max(facts.sealed.term);
                floor = Some(Cursor::new(term, Index(u64::MAX)));
            }
            facts.floor = floor.filter(|_| !planted.has(Canary::DamageIsTornTail));
            if hole.is_some() || doubtful {
                holes.insert(*group, hole.unwrap_or(whole.index.next()));
            }
        }
        let mut damage = Vec::new();
        for bad in &verdict.damage {
            let group = bad.group.filter(|group| holes.contains_key(group));
            let index = group.and_then(|group| holes.remove(&group));
            let at = Some(bad.at);
            damage.push(Damage { at, group, index });
        }
        damage.extend(holes.into_iter().map(|(group, index)| Damage {
            at: None,
            group: Some(group),
            index: Some(index),
        }));
        (verdict, damage)
    }

    /// Takes what was recovered of each group.
    pub(crate) fn take(&mut self) {
        for (group, facts) in &mut self.superblock.groups {
            self.recovered.push(self.replay.take(*group, facts));
        }
    }

    /// Writes what is left of the log anew, behind it.
    pub(crate) fn rewrite(
        &mut self,
        options: StoreOptions,
        requests: &mut Requests,
        out: &mut Vec<FileRequest>,
    ) {
        for number in self.scan.segments() {
            let file = segment::file(number);
            requests.push(out, FileOp::Close { file });
        }
        let old = self.scan.segments().chain(self.left_over.iter().copied());
        self.left_over = old.collect();
        let newest = self.left_over.iter().max().copied().unwrap_or(0);
        let superblock = &mut self.superblock;
        // Never the one that the old log has.
        superblock.marker = if superblock.marker == options.marker {
            !options.marker
        } else {
            options.marker
        };
        superblock.sequence = superblock.sequence.max(self.scan.sequence());
        let beginning = Beginning {
            marker: superblock.marker,
            segment: newest.max(superblock.seal.segment).saturating_add(1),
            sequence: superblock.sequence.saturating_add(1),
            segment_bytes: options.segment_bytes,
        };
        let (segments, last) = rewrite::rewrite(&self.recovered, beginning, requests, out);
        self.segments = segments;
        superblock.sequence = last.unwrap_or(superblock.sequence);
    }

    /// Cuts the torn tail off, with the segments that have nothing before it.
    pub(crate) fn cut(
        &mut self,
        at: Position,
        requests: &mut Requests,
        out: &mut Vec<FileRequest>,
    ) -> Torn {
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
    pub(crate) fn write_again(&self, requests: &mut Requests, out: &mut Vec<FileRequest>) {
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

//! Takes segments apart and tells a torn tail from damage.
//!
//! A crash leaves at most the last batch in pieces, and nothing was ever promised about a batch
//! that was not synced: it is a *torn tail* and is cut. Bytes that had been synced and are bad now
//! are *damage*: somebody was told that they are durable. Nothing in the bad bytes themselves tells
//! which of the two they are. The *seal* does: every batch header (and the superblock) states up to
//! where the log had been synced when it was written, so bad bytes before the greatest seal found
//! anywhere are damage. To find seals behind bad bytes, the scan looks on for the store's marker.
//!
//! Batches are numbered without a gap, and each is synced before the next is written. So a number
//! that is left out is damage too, a segment that is gone or was cut short, unless the superblock
//! reflects that batch: only segments up to there are ever removed.
//!
//! A segment that is well headed by *another* marker is left over from a log that was written anew
//! (see `rewrite`): it says nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::GroupId;

use crate::record::{
    self, BATCH_HEADER, BatchHeader, Position, Record, SEGMENT_HEADER, SegmentHeader,
};

/// Bytes that are not what the format says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bad {
    /// Where the batch begins whose bytes they are.
    pub(crate) batch: Position,
    /// Where they begin.
    pub(crate) at: Position,
    /// The group that they name, if they name one.
    pub(crate) group: Option<GroupId>,
}

/// What the segments read so far have told.
#[derive(Debug)]
pub(crate) struct Scan {
    marker: u64,
    /// The last batch that the superblock reflects.
    known: u64,
    /// The last good batch.
    sequence: u64,
    /// Per segment, up to where some header says that it was synced.
    seals: BTreeMap<u64, u64>,
    /// Per segment, how long it is.
    lengths: BTreeMap<u64, u64>,
    bad: Vec<Bad>,
    /// Where batches are missing.
    gaps: Vec<Bad>,
    /// Where each good batch behind the first bad byte or gap begins, and its number.
    behind: Vec<(Position, u64)>,
}

/// What the bad bytes of a log are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Verdict {
    /// Where the torn tail begins, if there is one.
    pub(crate) torn: Option<Position>,
    /// What had been synced and is bad or gone.
    pub(crate) damage: Vec<Bad>,
    /// The damaged batches have at most this number.
    pub(crate) damaged_upto: u64,
}

/// The records of one good batch.
pub(crate) type Records = Vec<(GroupId, Record)>;

/// The bad places of a batch, and the group that each names.
type BadPlaces = Vec<(usize, Option<GroupId>)>;

impl Scan {
    /// Starts with what the superblock says.
    pub(crate) fn new(marker: u64, seal: Position, known: u64) -> Self {
        let mut scan = Self {
            marker,
            known,
            sequence: 0,
            seals: BTreeMap::new(),
            lengths: BTreeMap::new(),
            bad: Vec::new(),
            gaps: Vec::new(),
            behind: Vec::new(),
        };
        scan.note_seal(seal);
        scan
    }

    /// Returns the sequence number of the last good batch.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Tells whether nothing bad has been found so far.
    pub(crate) fn is_sound(&self) -> bool {
        self.bad.is_empty() && self.gaps.is_empty()
    }

    /// Returns the position before which everything had been synced.
    pub(crate) fn seal(&self) -> Position {
        self.seals
            .last_key_value()
            .map(|(segment, offset)| Position {
                segment: *segment,
                offset: *offset,
            })
            .unwrap_or_default()
    }

    /// Returns the segments read.
    pub(crate) fn segments(&self) -> impl Iterator<Item = u64> {
        self.lengths.keys().copied()
    }

    /// Returns the length of a segment.
    pub(crate) fn length(&self, number: u64) -> u64 {
        self.lengths.get(&number).copied().unwrap_or(0)
    }

    /// Tells whether a segment is left over from a log that was written anew.
    pub(crate) fn is_left_over(&self, number: u64, bytes: &[u8]) -> bool {
        SegmentHeader::decode(bytes)
            .is_ok_and(|header| header.number == number && header.marker != self.marker)
    }

    /// Reads the next segment and hands out its good batches, each with where it begins.
    ///
    /// Those behind the torn tail, if the log has one, do not count.
    pub(crate) fn segment(
        &mut self,
        number: u64,
        bytes: &Bytes,
        mut visit: impl FnMut(Position, u64, Records),
    ) {
        let last = self.lengths.last_key_value().map_or(0, |(last, _)| *last);
        self.lengths.insert(number, bytes.len() as u64);
        let at = |offset: usize| Position {
            segment: number,
            offset: offset as u64,
        };
        let mut expected = None;
        let mut offset = 0;
        if let Some(first) = self.header(number, bytes) {
            expected = Some(first);
            offset = SEGMENT_HEADER;
            if first > self.sequence.saturating_add(1) && first.saturating_sub(1) > self.known {
                let gone = number.saturating_sub(1).max(last);
                let length = self.lengths.get(&gone).copied().unwrap_or(0);
                self.gaps.push(Bad::at(Position {
                    segment: gone,
                    offset: length,
                }));
            }
        } else if !bytes.is_empty() {
            self.bad.push(Bad::at(at(0)));
            offset = self.find(bytes, 0);
        }
        while offset < bytes.len() {
            let start = offset;
            match self.batch(bytes, start, expected) {
                Ok((header, records)) => {
                    offset = start + BATCH_HEADER + header.length as usize;
                    expected = header.sequence.checked_add(1);
                    self.sequence = header.sequence;
                    if !self.bad.is_empty() || !self.gaps.is_empty() {
                        self.behind.push((at(start), header.sequence));
                    }
                    visit(at(start), header.sequence, records);
                }
                Err(bad) => {
                    for (place, group) in bad {
                        self.bad.push(Bad {
                            batch: at(start),
                            at: at(place),
                            group,
                        });
                    }
                    expected = None;
                    offset = self.find(bytes, start + 1);
                }
            }
        }
    }

    /// Tells the torn tail from damage; `told` is the superblock's seal.
    pub(crate) fn verdict(&self, told: Position) -> Verdict {
        let seal = self.seal();
        let torn = self.bad.iter().find(|bad| bad.at >= seal);
        let mut damage = self.gaps.clone();
        damage.extend(self.bad.iter().filter(|bad| bad.at < seal));
        let mut cut_short = Vec::new();
        for (segment, sealed) in &self.seals {
            let length = self.lengths.get(segment).copied();
            // One that is not there was removed for good reason, or it leaves a gap; but never the
            // one in which the superblock's seal is, or a later one.
            let needed = *sealed > 0 && *segment >= told.segment;
            let short = length.map_or(needed, |length| length < *sealed);
            if short {
                cut_short.push(Bad::at(Position {
                    segment: *segment,
                    offset: length.unwrap_or(0),
                }));
            }
        }
        damage.extend(&cut_short);
        damage.sort_by_key(|bad| bad.at);
        let damaged_upto = damage.last().map_or(0, |last| {
            let next = self.behind.iter().find(|(at, _)| *at >= last.at);
            match next {
                Some((_, sequence)) => sequence.saturating_sub(1),
                // What a file lost with its end may be more than what was sealed.
                None if last.at < told && !cut_short.contains(last) => self.known,
                None => u64::MAX,
            }
        });
        Verdict {
            torn: torn.map(|bad| bad.batch),
            damage,
            damaged_upto,
        }
    }

    fn header(&self, number: u64, bytes: &[u8]) -> Option<u64> {
        let header = SegmentHeader::decode(bytes).ok()?;
        let good =
            header.number == number && header.marker == self.marker && header.first > self.sequence;
        good.then_some(header.first)
    }

    /// Reads the batch at `start`; `Err` tells each bad place in it.
    fn batch(
        &mut self,
        bytes: &Bytes,
        start: usize,
        expected: Option<u64>,
    ) -> Result<(BatchHeader, Records), BadPlaces> {
        let header =
            BatchHeader::decode(self.marker, &bytes[start..]).map_err(|_| vec![(start, None)])?;
        self.note_seal(header.seal);
        let in_order = match expected {
            Some(expected) => header.sequence == expected,
            None => header.sequence > self.sequence,
        };
        let end = start + BATCH_HEADER + header.length as usize;
        if !in_order || end > bytes.len() {
            return Err(vec![(start, None)]);
        }
        let mut rest = bytes.slice(start + BATCH_HEADER..end);
        let seed = record::seed(self.marker, header.sequence);
        let (mut records, mut bad) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let place = end - rest.len();
            match record::take_record(&mut rest, seed) {
                Ok(record) => records.push(record),
                Err(broken) => {
                    bad.push((place, broken.group));
                    rest = broken
                        .length
                        .map_or_else(Bytes::new, |length| rest.slice(length..));
                }
            }
        }
        if bad.is_empty() && records.len() != header.count as usize {
            bad.push((start, None));
        }
        if bad.is_empty() {
            Ok((header, records))
        } else {
            Err(bad)
        }
    }

    /// Returns where the next batch header begins, or the end.
    fn find(&self, bytes: &[u8], from: usize) -> usize {
        let marker = self.marker.to_le_bytes();
        let rest = bytes.get(from..).unwrap_or_default();
        rest.windows(marker.len())
            .enumerate()
            .filter(|(_, window)| *window == marker)
            .map(|(distance, _)| from + distance)
            .find(|offset| BatchHeader::decode(self.marker, &bytes[*offset..]).is_ok())
            .unwrap_or(bytes.len())
    }

    fn note_seal(&mut self, seal: Position) {
        let offset = self.seals.entry(seal.segment).or_default();
        *offset = seal.offset.max(*offset);
    }
}

impl Bad {
    /// Bad from here on, whoever's it was.
    fn at(at: Position) -> Self {
        Self {
            batch: at,
            at,
            group: None,
        }
    }
}

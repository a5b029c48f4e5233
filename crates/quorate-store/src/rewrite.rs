//! Writes a damaged log anew, with what is left of it.
//!
//! Bad bytes in the middle of the log cannot stay: every start would find them again, and whatever
//! is written after them would look like damage, too. Cutting the log there would throw away what
//! lies behind them, of all groups. So what is left of each group is written once more, in segments
//! behind the old ones and under another *marker*; the superblock that then counts the start names
//! that marker, and with it, at once, the new log is the log and the old one is left over. A crash
//! before that leaves the old log as it was found (segments of another marker are not even read);
//! after that the old segments are removed, now or at a later start.
//!
//! Cost: one write of what is left. Rejected: mending in place, which needs a mark in the log for
//! every hole, and a reader that believes it.

use bytes::Bytes;
use quorate_core::{Cursor, RecoveredGroup};

use crate::{
    batch::Batch,
    file::{FileOp, FileRequest, Requests},
    limits,
    record::{Base, Position, SEGMENT_HEADER, SegmentHeader},
    segment::{self, Segments},
};

/// Where the new log begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning {
    /// What its batches begin with.
    pub(crate) marker: u64,
    /// The number of its first segment.
    pub(crate) segment: u64,
    /// The number of its first batch.
    pub(crate) sequence: u64,
    /// Bytes of a segment before the next one begins.
    pub(crate) segment_bytes: u64,
}

/// Writes the logs of `groups` and syncs them; returns the segments, and the number of the last
/// batch, if there is one.
pub(crate) fn rewrite(
    groups: &[RecoveredGroup],
    beginning: Beginning,
    requests: &mut Requests,
    out: &mut Vec<FileRequest>,
) -> (Segments, Option<u64>) {
    let mut writer = Writer {
        segments: Segments::default(),
        next: beginning,
        last: None,
        requests,
        out,
    };
    for group in groups {
        writer.group(group);
    }
    writer.sync();
    (writer.segments, writer.last)
}

struct Writer<'a> {
    segments: Segments,
    next: Beginning,
    last: Option<u64>,
    requests: &'a mut Requests,
    out: &'a mut Vec<FileRequest>,
}

impl Writer<'_> {
    fn group(&mut self, group: &RecoveredGroup) {
        let Some(genesis) = group.genesis else {
            // Its facts are all that there is of it.
            return;
        };
        let mut batch = self.begin();
        let mut previous = group.base;
        let mut entries = group.entries.as_slice();
        match &group.founding {
            Some(founding) => {
                batch.put_genesis(founding);
                entries = &[];
            }
            None => {
                let base = Base {
                    base: group.base,
                    end: group.base,
                    genesis,
                    keep: false,
                    configuration: group.configuration.clone(),
                };
                batch.put_base(group.group, &base);
            }
        }
        let mut end = previous;
        while !entries.is_empty() {
            if batch.len() >= limits::BATCH_BYTES {
                self.write(batch, end);
                batch = self.begin();
            }
            let (_, taken) = batch.put_append(group.group, previous, entries);
            let (record, rest) = entries.split_at(taken);
            end = previous;
            previous = segment::end_of(previous, record);
            entries = rest;
        }
        self.write(batch, end);
    }

    fn begin(&mut self) -> Batch {
        Batch::new(self.next.marker, self.next.sequence)
    }

    /// Writes a batch, the first record of which finds its group's log to end at `end`.
    fn write(&mut self, batch: Batch, end: Cursor) {
        let sequence = batch.sequence();
        let at = self.place_for(&batch);
        let (bytes, changes) = batch.finish(Position::default());
        self.segments.set_end(at.offset + bytes.len() as u64);
        self.push_write(at, bytes);
        for (group, change) in changes {
            self.segments.apply(group, change, end.index);
        }
        self.last = Some(sequence);
        self.next.sequence = sequence.saturating_add(1);
    }

    fn place_for(&mut self, batch: &Batch) -> Position {
        if let Some(at) = self.segments.end() {
            let full = at.offset.saturating_add(batch.len() as u64) > self.next.segment_bytes;
            if !full {
                return at;
            }
            self.sync();
        }
        let number = self.next.segment;
        self.next.segment = number.saturating_add(1);
        let (file, name) = (segment::file(number), segment::name(number));
        let open = FileOp::Open {
            file,
            name,
            create: true,
        };
        self.requests.push(self.out, open);
        // A rewrite that a crash ended may have left something of that name.
        self.requests
            .push(self.out, FileOp::Truncate { file, length: 0 });
        let header = SegmentHeader {
            number,
            marker: self.next.marker,
            first: batch.sequence(),
        };
        let start = Position {
            segment: number,
            offset: 0,
        };
        self.push_write(start, header.encode().to_vec().into());
        self.segments.push(number, SEGMENT_HEADER as u64);
        Position {
            offset: SEGMENT_HEADER as u64,
            ..start
        }
    }

    fn push_write(&mut self, at: Position, bytes: Bytes) {
        let write = FileOp::Write {
            file: segment::file(at.segment),
            offset: at.offset,
            bytes,
        };
        self.requests.push(self.out, write);
    }

    /// Syncs the newest segment.
    fn sync(&mut self) {
        if let Some(end) = self.segments.end() {
            let file = segment::file(end.segment);
            self.requests.push(self.out, FileOp::Sync { file });
        }
    }
}

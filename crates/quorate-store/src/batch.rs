//! Records that are written together.

use bytes::Bytes;
use quorate_core::{Cursor, Entry, Genesis, GenesisId, GroupId};

use crate::{
    record::{self, BATCH_HEADER, Base, BatchHeader, Position},
    segment::{Change, end_of},
};

/// A batch in the making: its bytes, and what each record changes once they are synced.
#[derive(Debug)]
pub(crate) struct Batch {
    marker: u64,
    sequence: u64,
    seed: u32,
    bytes: Vec<u8>,
    changes: Vec<(GroupId, Change)>,
}

impl Batch {
    /// Starts the batch with this sequence number.
    pub(crate) fn new(marker: u64, sequence: u64) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.resize(BATCH_HEADER, 0);
        Self {
            marker,
            sequence,
            seed: record::seed(marker, sequence),
            bytes,
            changes: Vec::new(),
        }
    }

    /// Returns its number.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns how many bytes it takes in a segment.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a genesis record.
    pub(crate) fn put_genesis(&mut self, genesis: &Genesis) -> u64 {
        record::put_genesis(&mut self.bytes, self.seed, genesis);
        let change = Change::Genesis {
            genesis: genesis.id(),
            end: Genesis::CURSOR,
        };
        self.note(genesis.group, change)
    }

    /// Adds a refuse record.
    pub(crate) fn put_refuse(&mut self, group: GroupId, genesis: GenesisId, drop: bool) -> u64 {
        record::put_refuse(&mut self.bytes, self.seed, group, genesis, drop);
        self.note(group, Change::Refused { genesis, drop })
    }

    /// Adds a dissolve record.
    pub(crate) fn put_dissolve(
        &mut self,
        group: GroupId,
        (genesis, into): (GenesisId, GenesisId),
        drop: bool,
    ) -> u64 {
        record::put_dissolve(&mut self.bytes, self.seed, group, (genesis, into), drop);
        let change = Change::Dissolved {
            genesis,
            into,
            drop,
        };
        self.note(group, change)
    }

    /// Adds an append record with as many of `entries` as go into one, and returns how many.
    pub(crate) fn put_append(
        &mut self,
        group: GroupId,
        previous: Cursor,
        entries: &[Entry],
    ) -> (u64, usize) {
        let taken = record::put_append(&mut self.bytes, self.seed, group, previous, entries);
        let change = Change::Appended {
            previous: previous.index,
            end: end_of(previous, entries.get(..taken).unwrap_or_default()),
        };
        (self.note(group, change), taken)
    }

    /// Adds a base record.
    pub(crate) fn put_base(&mut self, group: GroupId, base: &Base) -> u64 {
        record::put_base(&mut self.bytes, self.seed, group, base);
        self.note(group, Change::based(base))
    }

    /// Completes the header and returns the bytes to write and what they change.
    pub(crate) fn finish(mut self, seal: Position) -> (Bytes, Vec<(GroupId, Change)>) {
        let header = BatchHeader {
            sequence: self.sequence,
            seal,
            length: u32::try_from(self.bytes.len() - BATCH_HEADER)
                .expect("a batch is closed at its limit, and a record is bounded"),
            count: u32::try_from(self.changes.len()).expect("a batch has fewer records than bytes"),
        };
        header.encode(self.marker, &mut self.bytes);
        (self.bytes.into(), self.changes)
    }

    fn note(&mut self, group: GroupId, change: Change) -> u64 {
        self.changes.push((group, change));
        self.sequence
    }
}

//! The record format: what a segment of the log looks like, byte by byte.
//!
//! All integers are little-endian. `crc32c` is the Castagnoli CRC. The *marker* is eight random
//! bytes minted with the data directory and kept in the superblock: recovery looks for it after
//! bad bytes, and a client that does not know it cannot plant a batch inside a command.
//!
//! A segment file `log-N` (N in decimal, at least ten digits) is a header and then batches without
//! gaps:
//!
//! ```text
//! segment header, 40 bytes
//!  0  8  "quorlog" and a zero byte
//!  8  4  format, 1
//! 12  4  crc32c of bytes 16..40, continued over bytes 0..12
//! 16  8  the segment's number N
//! 24  8  marker
//! 32  8  sequence number of the segment's first batch
//!
//! batch header, 44 bytes
//!  0  8  marker
//!  8  8  sequence number: one more than that of the batch before it in the log
//! 16  8  seal: segment ...
//! 24  8  ... and offset; every byte of the log before it had been synced when this was written
//! 32  4  length of the batch's records in bytes
//! 36  4  number of records
//! 40  4  crc32c of bytes 0..40
//!
//! record, 25 bytes and its body
//!  0  4  crc32c of the rest, continued from the crc32c of the batch's bytes 0..16
//!  4  4  length of the body
//!  8  1  kind
//!  9 16  group
//! 25     body
//! ```
//!
//! Bodies (`varint` and entries as in `quorate_core::wire`; a member is 32 bytes of peer and
//! 8 of incarnation; a list is a varint count and that many members; a cursor is 8 bytes of term
//! and 8 of index):
//!
//! ```text
//! 1 genesis   8 bytes of nonce, list of voters: the log restarts with this genesis entry
//! 2 refuse    16 bytes of genesis id, 1 byte drop: this history is never accepted (again); if
//!             drop is 1 it is the one the log belongs to, and the log is dropped
//! 3 append    cursor of the entry before, 4 bytes of count, entries: whatever followed is dropped
//! 4 base      cursor of the base, cursor of the log's end, 16 bytes of genesis id, 1 byte keep,
//!             lists of voters, outgoing voters, learners: the log starts after the base
//! 5 dissolve  16 bytes of genesis id, 16 bytes of the id it dissolved into, 1 byte drop: this
//!             history is no more; drop as in refuse
//! ```
//!
//! A batch is there whole or not at all: one write, one sync, and recovery takes it only if all
//! its records check out. Records have checksums of their own nevertheless, because damage has to
//! be named by group and index. They start from the batch's identity, so that a sector of an older
//! batch in the place of a newer one is seen.
//!
//! `base` repeats where the log ended, and `keep` is 1 only if that is above the base. What said so
//! before may be gone with its segment, while an older segment is still there for another group:
//! without that, entries that had been overwritten would rise from it.

use bytes::Bytes;
use quorate_core::{
    Configuration, Cursor, Entry, Genesis, GenesisId, GroupId, Incarnation, Index, Member, PeerId,
    Term,
    limits::{LEARNERS, VOTERS},
    wire::{Malformed, Reader, decode_entry, encode_entry, put_varint},
};

use crate::limits;

/// The version of the record format.
pub const FORMAT: u32 = 1;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER: usize = 40;

/// Bytes of a batch's header.
pub const BATCH_HEADER: usize = 44;

/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 25;

const MAGIC: [u8; 8] = *b"quorlog\0";
const GENESIS: u8 = 1;
const REFUSE: u8 = 2;
const APPEND: u8 = 3;
const BASE: u8 = 4;
const DISSOLVE: u8 = 5;

/// A place in the log: a byte of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// The byte within it.
    pub offset: u64,
}

/// What a segment begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The segment's number.
    pub number: u64,
    /// The store's marker.
    pub marker: u64,
    /// The sequence number of its first batch.
    pub first: u64,
}

/// What a batch begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The batch's number.
    pub sequence: u64,
    /// What had been synced before it was written.
    pub seal: Position,
    /// Bytes of its records.
    pub length: u32,
    /// How many records it has.
    pub count: u32,
}

/// One change to one group's log, as recovery reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// The log restarts with this genesis entry.
    Genesis(Genesis),
    /// A history is refused for ever.
    Refuse {
        /// Which.
        genesis: GenesisId,
        /// Whether the log belongs to it and is dropped.
        drop: bool,
    },
    /// A history has dissolved into another one.
    Dissolve {
        /// Which.
        genesis: GenesisId,
        /// Into which.
        into: GenesisId,
        /// Whether the log belongs to it and is dropped.
        drop: bool,
    },
    /// Entries follow `previous`; whatever followed it is dropped.
    Append {
        /// The cursor before the first entry.
        previous: Cursor,
        /// The entries; none, if the log was only cut.
        entries: Vec<Entry>,
    },
    /// The log starts after `base`.
    Base(Base),
}

/// Where a log starts, and where it ended when that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base {
    /// The last cursor that the log does not hold.
    pub base: Cursor,
    /// The last cursor of the log; `base` itself if nothing follows it.
    pub end: Cursor,
    /// The history.
    pub genesis: GenesisId,
    /// Whether entries after `base` were kept.
    pub keep: bool,
    /// The configuration at `base`.
    pub configuration: Configuration,
}

impl SegmentHeader {
    /// Returns the header's bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.marker.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        let checksum = segment_checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header from the front of `bytes`; a header of another format is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; SEGMENT_HEADER] = front(bytes)?;
        if header[..8] != MAGIC
            || u32_at(header, 8) != FORMAT
            || u32_at(header, 12) != segment_checksum(header)
        {
            return Err(Malformed("not a segment header"));
        }
        Ok(Self {
            number: u64_at(header, 16),
            marker: u64_at(header, 24),
            first: u64_at(header, 32),
        })
    }
}

fn segment_checksum(bytes: &[u8; SEGMENT_HEADER]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[16..]), &bytes[..12])
}

impl BatchHeader {
    /// Writes the header over the front of `bytes`, which has room for it.
    pub fn encode(&self, marker: u64, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(&marker.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seal.segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.seal.offset.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.length.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.count.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a header of the store with `marker` from the front of `bytes`.
    pub fn decode(marker: u64, bytes: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; BATCH_HEADER] = front(bytes)?;
        if u64_at(header, 0) != marker || u32_at(header, 40) != crc32c::crc32c(&header[..40]) {
            return Err(Malformed("not a batch header"));
        }
        Ok(Self {
            sequence: u64_at(header, 8),
            seal: Position {
                segment: u64_at(header, 16),
                offset: u64_at(header, 24),
            },
            length: u32_at(header, 32),
            count: u32_at(header, 36),
        })
    }
}

/// Returns the checksum from which those of a batch's records start.
pub fn seed(marker: u64, sequence: u64) -> u32 {
    crc32c::crc32c_append(
        crc32c::crc32c(&marker.to_le_bytes()),
        &sequence.to_le_bytes(),
    )
}

/// Appends a genesis record to a batch that starts from `seed`.
pub fn put_genesis(out: &mut Vec<u8>, seed: u32, genesis: &Genesis) {
    let start = begin(out, GENESIS, genesis.group);
    out.extend_from_slice(&genesis.nonce.to_le_bytes());
    put_members(out, &genesis.voters);
    finish(out, start, seed);
}

/// Appends a refuse record.
pub fn put_refuse(out: &mut Vec<u8>, seed: u32, group: GroupId, genesis: GenesisId, drop: bool) {
    let start = begin(out, REFUSE, group);
    out.extend_from_slice(&genesis.0);
    out.push(u8::from(drop));
    finish(out, start, seed);
}

/// Appends a dissolve record.
pub fn put_dissolve(
    out: &mut Vec<u8>,
    seed: u32,
    group: GroupId,
    (genesis, into): (GenesisId, GenesisId),
    drop: bool,
) {
    let start = begin(out, DISSOLVE, group);
    out.extend_from_slice(&genesis.0);
    out.extend_from_slice(&into.0);
    out.push(u8::from(drop));
    finish(out, start, seed);
}

/// Appends an append record with as many of `entries` as go into one; returns how many.
///
/// At least one goes, unless there is none.
pub fn put_append(
    out: &mut Vec<u8>,
    seed: u32,
    group: GroupId,
    previous: Cursor,
    entries: &[Entry],
) -> usize {
    let start = begin(out, APPEND, group);
    put_cursor(out, previous);
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count = 0_usize;
    for entry in entries {
        if count > 0 && out.len() - start >= limits::RECORD_BYTES {
            break;
        }
        encode_entry(out, entry);
        count += 1;
    }
    // A record holds at most `RECORD_BYTES` entries, since each takes at least one byte.
    out[count_at..count_at + 4].copy_from_slice(&(count as u32).to_le_bytes());
    finish(out, start, seed);
    count
}

/// Appends a base record.
pub fn put_base(out: &mut Vec<u8>, seed: u32, group: GroupId, base: &Base) {
    let start = begin(out, BASE, group);
    put_cursor(out, base.base);
    put_cursor(out, base.end);
    out.extend_from_slice(&base.genesis.0);
    out.push(u8::from(base.keep));
    put_members(out, &base.configuration.voters);
    put_members(out, &base.configuration.outgoing);
    put_members(out, &base.configuration.learners);
    finish(out, start, seed);
}

/// A record that could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRecord {
    /// The group it names, if there were bytes enough; not to be trusted.
    pub group: Option<GroupId>,
    /// How many bytes it would have taken, if that much of it is there.
    pub length: Option<usize>,
}

/// Takes a record off the front of `records`; commands are slices of it, not copies.
pub fn take_record(records: &mut Bytes, seed: u32) -> Result<(GroupId, Record), BadRecord> {
    let header: Result<&[u8; RECORD_HEADER], _> = front(records);
    let Ok(header) = header else {
        return Err(BadRecord {
            group: None,
            length: None,
        });
    };
    let mut group = GroupId([0; 16]);
    group.0.copy_from_slice(&header[9..]);
    let (checksum, kind) = (u32_at(header, 0), header[8]);
    let length = RECORD_HEADER.saturating_add(u32_at(header, 4) as usize);
    let bad = BadRecord {
        group: Some(group),
        length: (length <= records.len()).then_some(length),
    };
    if bad.length.is_none() || crc32c::crc32c_append(seed, &records[4..length]) != checksum {
        return Err(bad);
    }
    let body = records.slice(RECORD_HEADER..length);
    let record = take_body(kind, group, body).map_err(|_| bad)?;
    *records = records.slice(length..);
    Ok((group, record))
}

fn take_body(kind: u8, group: GroupId, body: Bytes) -> Result<Record, Malformed> {
    let mut reader = Reader::new(body);
    let record = match kind {
        GENESIS => Record::Genesis(Genesis {
            group,
            nonce: u64::from_le_bytes(reader.array()?),
            voters: take_members(&mut reader, VOTERS)?,
        }),
        REFUSE => Record::Refuse {
            genesis: GenesisId(reader.array()?),
            drop: reader.u8()? != 0,
        },
        DISSOLVE => Record::Dissolve {
            genesis: GenesisId(reader.array()?),
            into: GenesisId(reader.array()?),
            drop: reader.u8()? != 0,
        },
        APPEND => {
            let previous = take_cursor(&mut reader)?;
            let count = u32::from_le_bytes(reader.array()?);
            let mut entries = Vec::new();
            for _ in 0..count {
                entries.push(decode_entry(&mut reader)?);
            }
            Record::Append { previous, entries }
        }
        BASE => Record::Base(Base {
            base: take_cursor(&mut reader)?,
            end: take_cursor(&mut reader)?,
            genesis: GenesisId(reader.array()?),
            keep: reader.u8()? != 0,
            configuration: Configuration {
                voters: take_members(&mut reader, VOTERS)?,
                outgoing: take_members(&mut reader, VOTERS)?,
                learners: take_members(&mut reader, LEARNERS)?,
            },
        }),
        _ => return Err(Malformed("unknown kind of record")),
    };
    reader.finish()?;
    Ok(record)
}

fn begin(out: &mut Vec<u8>, kind: u8, group: GroupId) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.push(kind);
    out.extend_from_slice(&group.0);
    start
}

fn finish(out: &mut [u8], start: usize, seed: u32) {
    let length = u32::try_from(out.len() - start - RECORD_HEADER)
        .expect("a record is bounded by the limits of records and entries");
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c_append(seed, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

pub(crate) fn put_cursor(out: &mut Vec<u8>, cursor: Cursor) {
    out.extend_from_slice(&cursor.term.0.to_le_bytes());
    out.extend_from_slice(&cursor.index.0.to_le_bytes());
}

pub(crate) fn take_cursor(reader: &mut Reader) -> Result<Cursor, Malformed> {
    let term = Term(u64::from_le_bytes(reader.array()?));
    let index = Index(u64::from_le_bytes(reader.array()?));
    Ok(Cursor::new(term, index))
}

pub(crate) fn put_member(out: &mut Vec<u8>, member: Member) {
    out.extend_from_slice(&member.peer.0);
    out.extend_from_slice(&member.incarnation.0.to_le_bytes());
}

pub(crate) fn take_member(reader: &mut Reader) -> Result<Member, Malformed> {
    Ok(Member {
        peer: PeerId(reader.array()?),
        incarnation: Incarnation(u64::from_le_bytes(reader.array()?)),
    })
}

fn put_members(out: &mut Vec<u8>, members: &[Member]) {
    put_varint(out, members.len() as u64);
    for member in members {
        put_member(out, *member);
    }
}

fn take_members(reader: &mut Reader, limit: usize) -> Result<Vec<Member>, Malformed> {
    let count = reader.varint()?;
    if count > limit as u64 {
        return Err(Malformed("more members than a configuration may have"));
    }
    (0..count).map(|_| take_member(reader)).collect()
}

fn front<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], Malformed> {
    bytes.first_chunk().ok_or(Malformed("cut short"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

//! The superblock: the few facts that must outlive every segment and any one bad block.
//!
//! A ballot that goes back lets a peer vote twice; a boot number that goes back hides a copied
//! directory; a refusal that is forgotten lets two histories mix. They change rarely and are
//! small, so they are not in the log (where keeping them would pin its oldest segments) but in
//! two equal files, `superblock-a` and `superblock-b`, each rewritten in place as a whole: one
//! written and synced, then the other. Whatever is reported durable is in both, so that one bad
//! copy never brings back an older fact. `mirror` does the writing.
//!
//! Genesis, refusals and `since` also have records in the log, which come first; the superblock
//! tells the sequence number of the last synced batch whose records it reflects, and recovery adds
//! those of later ones.
//!
//! ```text
//! superblock (little-endian)
//!  0  8  "quorsupr"
//!  8  4  format, 1
//! 12  4  crc32c of the bytes from 16 to the end, continued over bytes 0..12
//! 16  8  length of all this in bytes; what follows in the file is left over and means nothing
//! 24  8  version: one more at each rewrite, the greater of two good copies counts
//! 32  8  incarnation
//! 40  8  marker of the log's batches
//! 48  8  boot number
//! 56  8  seal: segment ...
//! 64  8  ... and offset; every byte of the log before it is synced
//! 72  8  sequence number of the last synced batch
//! 80  1  bit 0: which copy was written first with this version; bit 1: the incarnation has ended;
//!        bit 2: an earlier one had; bit 3: the latest boot is not taken
//! 81  4  number of groups
//! 85  4  number of nonces
//! 89  4  number of remembered boots
//! 93     groups, by id; nonces, 8 bytes each, of the latest boots of this directory, the last one
//!        last; remembered boots of others: 40 bytes of member, boot number, nonce
//!
//! group
//!  0 16  group
//! 16  8  term of the ballot
//! 24 16  sealed cursor, term then index: the end of the group's log as last synced
//! 40  8  since: records of the group in batches before this sequence number are void
//! 48  1  bit 0: a vote follows; bit 1: a genesis follows; bit 2: tombstones follow; bit 3: a
//!        floor follows
//! 49  4  number of refused histories
//! 53     40 bytes of member voted for, if any; 16 bytes of genesis id, if any; 16 bytes each of
//!        refused genesis ids, oldest first; if there are tombstones, 4 bytes of their number and
//!        32 bytes each, the history that is no more and the one it dissolved into, oldest first;
//!        the floor's cursor, if any
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{
    Ballot, Boot, Cursor, GenesisId, GroupId, Incarnation, Lineage, Member, Term,
    wire::{Malformed, Reader},
};

use crate::{
    limits,
    record::{Position, put_cursor, put_member, take_cursor, take_member},
};

/// The version of the superblock's format.
pub const FORMAT: u32 = 1;

/// The names of the two copies, in the order in which a new directory gets them.
pub const NAMES: [&str; 2] = ["superblock-a", "superblock-b"];

const MAGIC: [u8; 8] = *b"quorsupr";
const HEADER: usize = 24;
const VOTED: u8 = 1;
const BEGUN: u8 = 2;
const BURIED: u8 = 4;
const FLOOR: u8 = 8;
const FIRST: u8 = 1;
const ENDED: u8 = 2;
const SUCCEEDS: u8 = 4;
const UNTAKEN: u8 = 8;

/// What a data directory knows besides its log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Grows at each rewrite.
    pub version: u64,
    /// Which life of the data directory this is.
    pub incarnation: Incarnation,
    /// What the log's batches begin with.
    pub marker: u64,
    /// The starts of this life.
    pub lineage: Lineage,
    /// Whether this life is over: the next start begins another one, with an empty log.
    pub ended: bool,
    /// Whether an earlier life of the directory ended.
    pub succeeds: bool,
    /// The latest boots of others.
    pub remembered: Vec<(Member, Boot)>,
    /// Every byte of the log before it is synced.
    pub seal: Position,
    /// The last synced batch.
    pub sequence: u64,
    /// Which copy was written, and synced, before the other was touched.
    pub first: usize,
    /// The facts of each group.
    pub groups: BTreeMap<GroupId, Facts>,
}

/// What must be known of a group whatever segments are left.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Its ballot.
    pub ballot: Ballot,
    /// The history it takes part in.
    pub genesis: Option<GenesisId>,
    /// Histories never to accept, oldest first.
    pub refused: Vec<GenesisId>,
    /// Histories that are no more, each with the one it dissolved into, oldest first.
    pub tombstones: Vec<(GenesisId, GenesisId)>,
    /// The end of its log as last synced.
    pub sealed: Cursor,
    /// Its records in batches before this one are void.
    pub since: u64,
    /// Where its log once ended, or later, if damage has taken part of it: until it ends there
    /// again, its peer votes as if it did.
    pub floor: Option<Cursor>,
}

/// Why a copy of the superblock does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadCopy {
    /// It is torn, rotten or missing.
    Unreadable,
    /// It is whole, but of a format that this version does not know.
    Format(u32),
}

impl Facts {
    /// Adds a refused history, forgetting the oldest beyond the limit.
    pub(crate) fn refuse(&mut self, genesis: GenesisId) {
        if !self.refused.contains(&genesis) {
            self.refused.push(genesis);
            let beyond = self.refused.len().saturating_sub(limits::REFUSED);
            self.refused.drain(..beyond);
        }
    }

    /// Adds a history that has dissolved, forgetting the oldest beyond the limit.
    pub(crate) fn bury(&mut self, genesis: GenesisId, into: GenesisId) {
        if self.tombstones.iter().all(|(known, _)| *known != genesis) {
            self.tombstones.push((genesis, into));
            let beyond = self.tombstones.len().saturating_sub(limits::TOMBSTONES);
            self.tombstones.drain(..beyond);
        }
    }

    /// Drops the log, as of the batch with this sequence number.
    pub(crate) fn drop_log(&mut self, sequence: u64) {
        self.genesis = None;
        self.since = sequence;
        self.sealed = Cursor::ZERO;
        self.floor = None;
    }

    /// Takes note of where the log ends, synced; returns whether that ends a limit on votes.
    pub(crate) fn reach(&mut self, end: Cursor) -> bool {
        self.sealed = end;
        let reached = self.floor.is_some_and(|floor| end >= floor);
        if reached {
            self.floor = None;
        }
        reached
    }
}

impl Superblock {
    /// Returns one copy's bytes. Cost: linear in the number of groups.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(93 + self.groups.len() * 128 + self.remembered.len() * 56);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 12]);
        for word in [
            self.version,
            self.incarnation.0,
            self.marker,
            self.lineage.present().number,
            self.seal.segment,
            self.seal.offset,
            self.sequence,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            flag(self.first != 0, FIRST)
                | flag(self.ended, ENDED)
                | flag(self.succeeds, SUCCEEDS)
                | flag(!self.lineage.is_taken(), UNTAKEN),
        );
        let nonces = self.lineage.nonces();
        for count in [self.groups.len(), nonces.len(), self.remembered.len()] {
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for (group, facts) in &self.groups {
            put_facts(&mut out, *group, facts);
        }
        for nonce in nonces {
            out.extend_from_slice(&nonce.to_le_bytes());
        }
        for (member, boot) in &self.remembered {
            put_member(&mut out, *member);
            out.extend_from_slice(&boot.number.to_le_bytes());
            out.extend_from_slice(&boot.nonce.to_le_bytes());
        }
        let length = out.len() as u64;
        out[16..24].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(&out);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out.into()
    }

    /// Reads one copy; bytes behind its stated length are ignored.
    pub fn decode(bytes: &Bytes) -> Result<Self, BadCopy> {
        let mut reader = Reader::new(bytes.slice(..bytes.len().min(HEADER)));
        let header = (|| {
            let magic: [u8; 8] = reader.array()?;
            let format = u32::from_le_bytes(reader.array()?);
            let stated = u32::from_le_bytes(reader.array()?);
            let length = u64::from_le_bytes(reader.array()?);
            Ok::<_, Malformed>((magic, format, stated, length))
        })();
        let Ok((MAGIC, format, stated, length)) = header else {
            return Err(BadCopy::Unreadable);
        };
        let length = usize::try_from(length).map_err(|_| BadCopy::Unreadable)?;
        if length < HEADER || length > bytes.len() || checksum(&bytes[..length]) != stated {
            return Err(BadCopy::Unreadable);
        }
        if format != FORMAT {
            return Err(BadCopy::Format(format));
        }
        take_superblock(bytes.slice(HEADER..length)).map_err(|_| BadCopy::Unreadable)
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[16..]), &bytes[..12])
}

fn put_facts(out: &mut Vec<u8>, group: GroupId, facts: &Facts) {
    out.extend_from_slice(&group.0);
    out.extend_from_slice(&facts.ballot.term.0.to_le_bytes());
    put_cursor(out, facts.sealed);
    out.extend_from_slice(&facts.since.to_le_bytes());
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let buried = !facts.tombstones.is_empty();
    out.push(
        flag(facts.ballot.voted_for.is_some(), VOTED)
            | flag(facts.genesis.is_some(), BEGUN)
            | flag(buried, BURIED)
            | flag(facts.floor.is_some(), FLOOR),
    );
    out.extend_from_slice(&(facts.refused.len() as u32).to_le_bytes());
    if let Some(member) = facts.ballot.voted_for {
        put_member(out, member);
    }
    for genesis in facts.genesis.iter().chain(&facts.refused) {
        out.extend_from_slice(&genesis.0);
    }
    if buried {
        out.extend_from_slice(&(facts.tombstones.len() as u32).to_le_bytes());
        for (genesis, into) in &facts.tombstones {
            out.extend_from_slice(&genesis.0);
            out.extend_from_slice(&into.0);
        }
    }
    if let Some(floor) = facts.floor {
        put_cursor(out, floor);
    }
}

fn take_superblock(body: Bytes) -> Result<Superblock, Malformed> {
    let mut reader = Reader::new(body);
    let mut word = || reader.array().map(u64::from_le_bytes);
    let (version, incarnation, marker, boot) = (word()?, word()?, word()?, word()?);
    let mut superblock = Superblock {
        version,
        incarnation: Incarnation(incarnation),
        marker,
        lineage: Lineage::unborn(),
        ended: false,
        succeeds: false,
        remembered: Vec::new(),
        seal: Position {
            segment: word()?,
            offset: word()?,
        },
        sequence: word()?,
        first: 0,
        groups: BTreeMap::new(),
    };
    let flags = reader.u8()?;
    superblock.first = usize::from(flags & FIRST != 0);
    superblock.ended = flags & ENDED != 0;
    superblock.succeeds = flags & SUCCEEDS != 0;
    let mut count = || reader.array().map(u32::from_le_bytes);
    let (groups, nonces, remembered) = (count()?, count()?, count()?);
    for _ in 0..groups {
        let group = GroupId(reader.array()?);
        superblock.groups.insert(group, take_facts(&mut reader)?);
    }
    let word = |reader: &mut Reader| reader.array().map(u64::from_le_bytes);
    let nonces: Result<Vec<u64>, Malformed> = (0..nonces).map(|_| word(&mut reader)).collect();
    let lineage = Lineage::from_parts(boot, nonces?, flags & UNTAKEN == 0);
    superblock.lineage = lineage.ok_or(Malformed("impossible boots"))?;
    for _ in 0..remembered {
        let member = take_member(&mut reader)?;
        let (number, nonce) = (word(&mut reader)?, word(&mut reader)?);
        superblock.remembered.push((member, Boot { number, nonce }));
    }
    reader.finish()?;
    Ok(superblock)
}

fn take_facts(reader: &mut Reader) -> Result<Facts, Malformed> {
    let term = Term(u64::from_le_bytes(reader.array()?));
    let sealed = take_cursor(reader)?;
    let since = u64::from_le_bytes(reader.array()?);
    let flags = reader.u8()?;
    let refused = u32::from_le_bytes(reader.array()?);
    let voted_for = if flags & VOTED != 0 {
        Some(take_member(reader)?)
    } else {
        None
    };
    let genesis = if flags & BEGUN != 0 {
        Some(GenesisId(reader.array()?))
    } else {
        None
    };
    let refused = (0..refused)
        .map(|_| reader.array().map(GenesisId))
        .collect::<Result<_, _>>()?;
    let buried = if flags & BURIED != 0 {
        u32::from_le_bytes(reader.array()?)
    } else {
        0
    };
    let tombstones = (0..buried)
        .map(|_| Ok((GenesisId(reader.array()?), GenesisId(reader.array()?))))
        .collect::<Result<_, Malformed>>()?;
    let floor = if flags & FLOOR != 0 {
        Some(take_cursor(reader)?)
    } else {
        None
    };
    Ok(Facts {
        ballot: Ballot { term, voted_for },
        genesis,
        refused,
        tombstones,
        sealed,
        since,
        floor,
    })
}

//! Looks at what a directory holds and changes nothing.
//!
//! The same judgement as at a start (see [`crate::recovery`]): what would be cut as a torn tail,
//! what is damage and whose it is, where each group's log begins and ends. Only the mending is
//! left out. So it needs no requests: the caller reads the files and hands the bytes in.

use bytes::Bytes;
use quorate_core::{Ballot, Cursor, GenesisId, GroupId, Incarnation, Planted, RecoveredGroup};

use crate::{
    found::Found,
    mirror::{self, Mirror},
    recovery::{Damage, RecoveryError, Torn},
    segment::{self, end_of},
    superblock::{BadCopy, Superblock},
};

/// What a directory holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inspection {
    /// Which life of the directory it is; nothing if both copies of the superblock are bad, or if
    /// there is none yet.
    pub incarnation: Option<Incarnation>,
    /// Whether there is no superblock, good or bad: the log has not begun.
    pub unborn: bool,
    /// The latest start of this life, counting those that a member has talked to.
    pub boot: u64,
    /// Whether this life is over: the next start begins another one.
    pub ended: bool,
    /// Copies of the superblock that are bad or missing.
    pub bad_copies: usize,
    /// The segments of the log, in order.
    pub segments: Vec<SegmentFound>,
    /// The groups, in order of their ids.
    pub groups: Vec<GroupFound>,
    /// What the next start would cut: nobody was told that it is durable.
    pub torn: Option<Torn>,
    /// Bytes that had been synced and are bad or gone.
    pub damage: Vec<Damage>,
}

/// A segment of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFound {
    /// Its number.
    pub number: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether it is left over from a log that was written anew: the next start removes it.
    pub left_over: bool,
}

/// What the log holds of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupFound {
    /// The group.
    pub group: GroupId,
    /// The history it takes part in.
    pub genesis: Option<GenesisId>,
    /// Its ballot.
    pub ballot: Ballot,
    /// The cursor before the first entry.
    pub base: Cursor,
    /// The cursor of the last entry.
    pub last: Cursor,
    /// Where the log once ended, if damage has taken the end of it.
    pub floor: Option<Cursor>,
}

impl Inspection {
    /// Tells whether something that had been promised is bad or gone. (One bad copy of the
    /// superblock loses nothing: the other one has it all.)
    pub fn is_damaged(&self) -> bool {
        !self.damage.is_empty() || self.is_forgotten()
    }

    /// Tells whether what the superblock held is gone: the next start begins another life.
    pub fn is_forgotten(&self) -> bool {
        self.incarnation.is_none() && !(self.unborn && self.segments.is_empty())
    }
}

/// Returns the number of the segment that a file is by its name, if it is one.
pub fn segment_number(name: &str) -> Option<u64> {
    segment::number(name)
}

/// Looks at a directory: at the copies of its superblock (nothing where there is no such file), and
/// at its segments in the order of their numbers.
///
/// # Errors
/// [`RecoveryError::Format`] for a newer version's; whatever reading a segment ended in.
pub fn inspect<E: From<RecoveryError>>(
    copies: [Option<Bytes>; 2],
    segments: impl IntoIterator<Item = Result<(u64, Bytes), E>>,
) -> Result<Inspection, E> {
    let unborn = copies
        .iter()
        .all(|bytes| bytes.as_ref().is_none_or(Bytes::is_empty));
    let copies = copies.map(|bytes| match bytes {
        Some(bytes) => Superblock::decode(&bytes),
        None => Err(BadCopy::Unreadable),
    });
    for copy in &copies {
        if let Err(BadCopy::Format(format)) = copy {
            return Err(RecoveryError::Format(*format).into());
        }
    }
    let bad_copies = copies.iter().filter(|copy| copy.is_err()).count();
    let [a, b] = &copies;
    let chosen = mirror::first_to_write([a.as_ref().ok(), b.as_ref().ok()]);
    let chosen = chosen.and_then(|(counts, first)| {
        let superblock = copies.into_iter().nth(counts)?.ok()?;
        Some((superblock, first))
    });
    let Some((superblock, first)) = chosen else {
        return without_superblock(unborn, bad_copies, segments);
    };
    let mut inspection = Inspection {
        incarnation: Some(superblock.incarnation),
        boot: superblock.lineage.present().number,
        ended: superblock.ended,
        bad_copies,
        ..Inspection::default()
    };
    let mirror = Mirror::new(superblock.version, first, Planted::default());
    let mut found = Found::new(superblock, mirror);
    for segment in segments {
        let (number, bytes) = segment?;
        inspection.push(number, &bytes);
        found.read(number, bytes);
    }
    for segment in &mut inspection.segments {
        segment.left_over = found.left_over.contains(&segment.number);
    }
    let (verdict, damage) = found.judge(Planted::default());
    inspection.damage = damage;
    inspection.torn = verdict.torn.map(|at| {
        let length = |segment: &&SegmentFound| segment.number >= at.segment && !segment.left_over;
        let behind = inspection.segments.iter().filter(length);
        let bytes: u64 = behind.map(|segment| segment.bytes).sum();
        let bytes = bytes.saturating_sub(at.offset);
        Torn { at, bytes }
    });
    found.take();
    inspection.groups = found.recovered.iter().map(GroupFound::of).collect();
    Ok(inspection)
}

fn without_superblock<E>(
    unborn: bool,
    bad_copies: usize,
    segments: impl IntoIterator<Item = Result<(u64, Bytes), E>>,
) -> Result<Inspection, E> {
    let mut inspection = Inspection {
        unborn,
        bad_copies,
        ..Inspection::default()
    };
    for segment in segments {
        let (number, bytes) = segment?;
        inspection.push(number, &bytes);
    }
    Ok(inspection)
}

impl Inspection {
    fn push(&mut self, number: u64, bytes: &Bytes) {
        self.segments.push(SegmentFound {
            number,
            bytes: bytes.len() as u64,
            left_over: false,
        });
    }
}

impl GroupFound {
    fn of(group: &RecoveredGroup) -> Self {
        Self {
            group: group.group,
            genesis: group.genesis,
            ballot: group.ballot,
            base: group.base,
            last: end_of(group.base, &group.entries),
            floor: group.floor,
        }
    }
}

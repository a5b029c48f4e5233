//! Which segments there are, what each still holds, and which may go.
//!
//! A segment is removed whole, when nothing in it is needed: for each group with records in it,
//! every entry lies at or below the group's base, or was overwritten from there on, and the group's
//! last base record is in another segment. To decide that, a segment keeps one number per group
//! (the highest index in it that counts: an append behind entry `p` lowers it to `p` everywhere)
//! and a group keeps two (its base, and where its base record is). All of this follows what is
//! *synced*, never what is merely submitted: a base that a crash may still take back frees nothing.
//!
//! Entries that were overwritten above the base stay for the while until the base gets there:
//! records behind them, overwritten too, can be replayed only if they are there.
//!
//! Removal is not synced. A segment whose removal a crash takes back is replayed once more, with
//! the same result (see `replay`), and removed once more. The segment in which the synced
//! part of the log ends always stays: a log whose last segment is missing is a damaged one.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::{Cursor, Entry, Genesis, GenesisId, GroupId, Index};

use crate::{
    file::FileId,
    record::{Base, Position, Record},
    superblock::Facts,
};

/// What one record changed, once its batch is synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// The log restarted with its genesis entry.
    Genesis { genesis: GenesisId, end: Cursor },
    /// A history is refused for ever, and with `drop` the log, which was part of it, dropped.
    Refused { genesis: GenesisId, drop: bool },
    /// A history has dissolved, and with `drop` the log, which was part of it, dropped.
    Dissolved {
        genesis: GenesisId,
        into: GenesisId,
        drop: bool,
    },
    /// Entries follow `previous` up to `end`.
    Appended { previous: Index, end: Cursor },
    /// The log starts after `base` and ends at `end`.
    Based {
        genesis: GenesisId,
        base: Index,
        end: Cursor,
        keep: bool,
    },
}

/// The segments of a log, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    list: Vec<Segment>,
    bases: BTreeMap<GroupId, BaseAt>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Where the next batch goes, if this is the newest.
    end: u64,
    /// Per group, the highest index that still counts.
    highest: BTreeMap<GroupId, Index>,
}

/// Where a group's log starts and which segment says so.
#[derive(Clone, Copy, Debug, Default)]
struct BaseAt {
    base: Index,
    segment: Option<u64>,
}

/// Returns the name of segment `number`.
pub(crate) fn name(number: u64) -> String {
    format!("log-{number:010}")
}

/// Returns the number of the segment called `name`, if it is one.
pub(crate) fn number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("log-")?.parse().ok()?;
    (self::name(number) == name).then_some(number)
}

/// Returns the number under which segment `number` is opened; 0 and 1 are the superblock's.
pub(crate) fn file(number: u64) -> FileId {
    FileId(number.saturating_add(2))
}

impl Change {
    /// Returns what a record of `group` changes.
    pub(crate) fn of(record: &Record) -> Self {
        match record {
            Record::Genesis(genesis) => Self::Genesis {
                genesis: genesis.id(),
                end: Genesis::CURSOR,
            },
            Record::Refuse { genesis, drop } => Self::Refused {
                genesis: *genesis,
                drop: *drop,
            },
            Record::Dissolve {
                genesis,
                into,
                drop,
            } => Self::Dissolved {
                genesis: *genesis,
                into: *into,
                drop: *drop,
            },
            Record::Append { previous, entries } => Self::Appended {
                previous: previous.index,
                end: end_of(*previous, entries),
            },
            Record::Base(base) => Self::based(base),
        }
    }

    /// Returns what a base record changes.
    pub(crate) fn based(base: &Base) -> Self {
        Self::Based {
            genesis: base.genesis,
            base: base.base.index,
            end: base.end,
            keep: base.keep,
        }
    }

    /// Applies the change to the facts of its group; returns whether the superblock has to tell it.
    pub(crate) fn note(self, sequence: u64, facts: &mut Facts) -> bool {
        match self {
            Self::Appended { end, .. } => facts.reach(end),
            Self::Genesis { genesis, end } => {
                facts.genesis = Some(genesis);
                facts.since = sequence;
                facts.sealed = end;
                facts.floor = None;
                true
            }
            Self::Refused { genesis, drop } => {
                facts.refuse(genesis);
                if drop {
                    facts.drop_log(sequence);
                }
                true
            }
            Self::Dissolved {
                genesis,
                into,
                drop,
            } => {
                facts.bury(genesis, into);
                if drop {
                    facts.drop_log(sequence);
                }
                true
            }
            Self::Based {
                genesis, end, keep, ..
            } => {
                let begins = facts.genesis != Some(genesis);
                facts.genesis = Some(genesis);
                if begins {
                    facts.floor = None;
                }
                if begins && !keep {
                    facts.since = sequence;
                }
                facts.reach(end) || begins
            }
        }
    }
}

/// Returns the cursor of the last of `entries`, which follow `previous`.
pub(crate) fn end_of(previous: Cursor, entries: &[Entry]) -> Cursor {
    let index = previous.index.0.saturating_add(entries.len() as u64);
    entries
        .last()
        .map_or(previous, |last| Cursor::new(last.term, Index(index)))
}

impl Segments {
    /// Adds a segment behind all others.
    pub(crate) fn push(&mut self, number: u64, end: u64) {
        self.list.push(Segment {
            number,
            end,
            highest: BTreeMap::new(),
        });
    }

    /// Returns where the next batch goes, if there is a segment at all.
    pub(crate) fn end(&self) -> Option<Position> {
        self.list.last().map(|segment| Position {
            segment: segment.number,
            offset: segment.end,
        })
    }

    /// Moves the end of the newest segment.
    pub(crate) fn set_end(&mut self, offset: u64) {
        if let Some(segment) = self.list.last_mut() {
            segment.end = offset;
        }
    }

    /// Takes segments after `number` off the list and returns their numbers.
    pub(crate) fn drop_after(&mut self, number: u64) -> Vec<u64> {
        let at = self
            .list
            .partition_point(|segment| segment.number <= number);
        self.list
            .drain(at..)
            .map(|segment| segment.number)
            .collect()
    }

    /// Returns how many segments there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Applies the change that a record of a synced batch in the newest segment made to a log that
    /// ended at `end`; returns whether a segment may have become free.
    ///
    /// Cost: O(log groups) for an append that follows the log's end, else O(segments).
    pub(crate) fn apply(&mut self, group: GroupId, change: Change, end: Index) -> bool {
        match change {
            Change::Appended {
                previous,
                end: last,
            } => {
                let cuts = previous < end;
                if cuts {
                    self.cut(group, previous);
                }
                // An append without entries counts as one entry: while the base is at or below its
                // place, only this record says that nothing follows.
                self.hold(group, last.index.max(previous.next()));
                cuts
            }
            Change::Genesis { end, .. } => {
                self.forget(group);
                self.hold(group, end.index);
                true
            }
            Change::Refused { drop, .. } | Change::Dissolved { drop, .. } => {
                if drop {
                    self.forget(group);
                }
                drop
            }
            Change::Based {
                base, end, keep, ..
            } => {
                if keep {
                    self.cut(group, end.index);
                } else {
                    self.forget(group);
                }
                let segment = self.list.last().map(|segment| segment.number);
                self.bases.insert(group, BaseAt { base, segment });
                true
            }
        }
    }

    /// Takes the segments that nothing needs off the list and returns their numbers.
    ///
    /// `sealed` is the segment in which the synced part of the log ends; it and later ones stay.
    /// Cost: O(segments * groups in them).
    pub(crate) fn sweep(&mut self, sealed: u64) -> Vec<u64> {
        let bases = &self.bases;
        let told_in: BTreeSet<u64> = bases.values().filter_map(|at| at.segment).collect();
        let mut free = Vec::new();
        self.list.retain(|segment| {
            let keep = segment.number >= sealed
                || told_in.contains(&segment.number)
                || segment.holds_above(bases);
            if !keep {
                free.push(segment.number);
            }
            keep
        });
        free
    }

    fn hold(&mut self, group: GroupId, index: Index) {
        if let Some(segment) = self.list.last_mut() {
            let highest = segment.highest.entry(group).or_default();
            *highest = index.max(*highest);
        }
    }

    /// Everything above `index` has been overwritten.
    fn cut(&mut self, group: GroupId, index: Index) {
        for segment in &mut self.list {
            if let Some(highest) = segment.highest.get_mut(&group) {
                *highest = index.min(*highest);
            }
        }
    }

    /// Nothing written so far counts.
    fn forget(&mut self, group: GroupId) {
        self.bases.remove(&group);
        for segment in &mut self.list {
            segment.highest.remove(&group);
        }
    }
}

impl Segment {
    fn holds_above(&self, bases: &BTreeMap<GroupId, BaseAt>) -> bool {
        self.highest.iter().any(|(group, highest)| {
            let base = bases.get(group).map_or(Index(0), |at| at.base);
            *highest > base
        })
    }
}

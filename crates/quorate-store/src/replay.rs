//! Rebuilds the groups' logs from the records that are left.
//!
//! Records are replayed in the order in which they were written, but not all of them are there: a
//! segment whose records were all superseded is gone, while an older one may still be there because
//! another group needs it (or because a crash took its removal back). So a record may follow on
//! something that is not there, or on entries that had been overwritten by records that are gone.
//!
//! What makes this sound: every entry above a group's last base is in a segment that is left, and
//! an append drops whatever it finds above the entry it follows. So of stale entries only those
//! above the last base *and* above the end of the log at that time could survive, and the base
//! record carries that end. In between, a log may *float*: it is known from some cursor on, with a
//! gap between the base and that. A later base closes the gap; if none does, records are missing
//! that should be there, and that is damage.

use std::collections::BTreeMap;

use quorate_core::{
    Body, Configuration, Cursor, Entry, Genesis, GroupId, Index, RecoveredGroup, Term,
};

use crate::{
    record::{Base, Record},
    superblock::Facts,
};

/// The logs of all groups as far as they have been replayed.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    logs: BTreeMap<GroupId, Log>,
}

/// One group's log as far as it has been replayed.
#[derive(Debug, Default)]
struct Log {
    base: Cursor,
    configuration: Configuration,
    /// The cursor before the first of `entries`; other than `base`, the log floats.
    start: Cursor,
    entries: Vec<Entry>,
    /// The genesis with which the log begins, if it begins there.
    founding: Option<Genesis>,
    /// The last batch with a record of the group.
    sequence: u64,
}

/// Returns the entry that a genesis puts at its cursor.
pub fn genesis_entry(genesis: &Genesis) -> Entry {
    Entry {
        term: Genesis::CURSOR.term,
        body: Body::Configuration(Box::new(genesis.configuration())),
    }
}

impl Replay {
    /// Applies a record of the batch with this sequence number.
    pub(crate) fn apply(&mut self, sequence: u64, group: GroupId, record: Record) {
        let log = self.logs.entry(group).or_default();
        log.sequence = sequence;
        match record {
            Record::Genesis(genesis) => {
                *log = Log {
                    entries: vec![genesis_entry(&genesis)],
                    founding: Some(genesis),
                    sequence,
                    ..Log::default()
                }
            }
            Record::Refuse { drop: false, .. } => {}
            Record::Refuse { drop: true, .. } => {
                *log = Log {
                    sequence,
                    ..Log::default()
                }
            }
            Record::Append { previous, entries } => log.append(previous, entries),
            Record::Base(base) => log.rebase(base),
        }
    }

    /// Returns the end of the group's log.
    pub(crate) fn end(&self, group: GroupId) -> Cursor {
        self.logs.get(&group).map(Log::end).unwrap_or_default()
    }

    /// Returns the index of the first entry of a group that should be there and is not.
    ///
    /// `sequence` is the last batch that `facts` know of.
    pub(crate) fn hole(&self, group: GroupId, sequence: u64, facts: &Facts) -> Option<Index> {
        let log = self.logs.get(&group);
        let (base, start) = log.map(|log| (log.base, log.start)).unwrap_or_default();
        if base != start {
            return Some(base.index.next());
        }
        // If no record came after what the facts know of, the log ends where they say.
        let untouched = log.is_none_or(|log| log.sequence <= sequence);
        let end = self.end(group);
        (untouched && end != facts.sealed).then(|| end.index.min(facts.sealed.index).next())
    }

    /// Takes what was recovered of a group, with its facts.
    ///
    /// A log that ends in a term above the ballot's raises the ballot: the ballot was on its way
    /// to the disk when the entries came there first, and whoever has entries of a term has heard
    /// of the term.
    pub(crate) fn take(&mut self, group: GroupId, facts: &mut Facts) -> RecoveredGroup {
        let log = self.logs.remove(&group).unwrap_or_default();
        let end = log.end();
        facts.sealed = end;
        if end.term > facts.ballot.term {
            facts.ballot.term = end.term;
            facts.ballot.voted_for = None;
        }
        let bare = log.base == Cursor::ZERO && end == Genesis::CURSOR;
        RecoveredGroup {
            group,
            genesis: facts.genesis,
            founding: log.founding.filter(|_| bare),
            refused: facts.refused.clone(),
            ballot: facts.ballot,
            base: log.base,
            configuration: log.configuration,
            entries: log.entries,
        }
    }
}

impl Log {
    fn end(&self) -> Cursor {
        let index = self.start.index.0.saturating_add(self.entries.len() as u64);
        self.entries
            .last()
            .map_or(self.start, |last| Cursor::new(last.term, Index(index)))
    }

    /// Returns how many entries lie at or below `cursor`, if the log is known to hold it.
    fn position(&self, cursor: Cursor) -> Option<usize> {
        if cursor == self.start {
            return Some(0);
        }
        let distance = cursor.index.0.checked_sub(self.start.index.0)?;
        let position = usize::try_from(distance).ok()?;
        let term: Term = self.entries.get(position.checked_sub(1)?)?.term;
        (term == cursor.term).then_some(position)
    }

    fn append(&mut self, previous: Cursor, entries: Vec<Entry>) {
        match self.position(previous) {
            Some(position) => {
                self.entries.truncate(position);
                self.entries.extend(entries);
            }
            None => {
                self.start = previous;
                self.entries = entries;
            }
        }
    }

    fn rebase(&mut self, base: Base) {
        self.base = base.base;
        self.configuration = base.configuration;
        match self.position(base.end) {
            Some(end) if base.keep => {
                self.entries.truncate(end);
                match self.position(base.base) {
                    Some(position) => {
                        self.entries.drain(..position);
                        self.start = base.base;
                    }
                    // The log floats above the base, unless its entries contradict the base.
                    None if self.start.index > base.base.index => {}
                    None => self.float(base.end),
                }
            }
            _ => self.float(base.end),
        }
    }

    /// Nothing is known of the log but that it reaches up to `end`.
    fn float(&mut self, end: Cursor) {
        self.start = end;
        self.entries.clear();
    }
}

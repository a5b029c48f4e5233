//! Rebuilds the groups' logs from the records that are left.
//!
//! Records are replayed in the order in which they were written, but not all of them are there: a
//! segment whose records were all superseded is gone, while an older one may still be there because
//! another group needs it (or because a crash took its removal back). So a record may follow on
//! something that is not there, or on entries that had been overwritten by records that are gone.
//!
//! What makes this sound: whatever wrote or cut the log above a group's last base is in a segment
//! that is left, and an append drops whatever it finds above the entry it follows. So of stale
//! entries only those above the end of the log at the time of the last base could survive, and the
//! base record carries that end. In between, a log may *float*: it is known from some cursor on,
//! with a gap between the base and that. A later base closes the gap; if none does, records are
//! missing that should be there, and that is damage.

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
            Record::Refuse { drop: false, .. } | Record::Dissolve { drop: false, .. } => {}
            Record::Refuse { drop: true, .. } | Record::Dissolve { drop: true, .. } => {
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
            tombstones: facts.tombstones.clone(),
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
                // If it is not there, the log floats above it, and goes on doing so.
                if let Some(position) = self.position(base.base) {
                    self.entries.drain(..position);
                    self.start = base.base;
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

#[cfg(test)]
mod tests {
    use quorate_core::GenesisId;

    use super::*;

    const GROUP: GroupId = GroupId([1; 16]);

    fn at(term: u64, index: u64) -> Cursor {
        Cursor::new(Term(term), Index(index))
    }

    fn append(replay: &mut Replay, previous: Cursor, term: u64, count: usize) {
        let entry = Entry {
            term: Term(term),
            body: Body::Noop,
        };
        let entries = vec![entry; count];
        replay.apply(1, GROUP, Record::Append { previous, entries });
    }

    fn rebase(replay: &mut Replay, base: Cursor, end: Cursor) {
        let base = Base {
            base,
            end,
            genesis: GenesisId([7; 16]),
            keep: end.index > base.index,
            configuration: Configuration::default(),
        };
        replay.apply(1, GROUP, Record::Base(base));
    }

    /// Returns base, end and whether anything is missing.
    fn state(replay: &Replay) -> (Cursor, Cursor, Option<Index>) {
        let facts = Facts::default();
        let base = replay.logs[&GROUP].base;
        (base, replay.end(GROUP), replay.hole(GROUP, 0, &facts))
    }

    #[test]
    fn a_log_without_its_beginning_floats_until_a_base_lands_in_it() {
        let mut replay = Replay::default();
        append(&mut replay, at(1, 100), 1, 5);
        assert_eq!(state(&replay), (at(0, 0), at(1, 105), Some(Index(1))));
        // An older base, whose entries are gone, does not close the gap.
        rebase(&mut replay, at(1, 90), at(1, 105));
        assert_eq!(state(&replay), (at(1, 90), at(1, 105), Some(Index(91))));
        append(&mut replay, at(1, 105), 2, 5);
        rebase(&mut replay, at(1, 103), at(2, 110));
        assert_eq!(state(&replay), (at(1, 103), at(2, 110), None));
    }

    #[test]
    fn a_base_drops_what_lies_above_the_end_it_tells() {
        let mut replay = Replay::default();
        append(&mut replay, at(0, 0), 1, 10);
        rebase(&mut replay, at(1, 3), at(1, 6));
        assert_eq!(state(&replay), (at(1, 3), at(1, 6), None));
        rebase(&mut replay, at(1, 6), at(1, 6));
        assert_eq!(state(&replay), (at(1, 6), at(1, 6), None));
    }

    #[test]
    fn a_base_over_other_entries_takes_none_of_them() {
        let mut replay = Replay::default();
        append(&mut replay, at(0, 0), 1, 10);
        // The log ended in an entry of term 2, so what is here had been overwritten.
        rebase(&mut replay, at(2, 4), at(2, 8));
        assert_eq!(state(&replay), (at(2, 4), at(2, 8), Some(Index(5))));
        append(&mut replay, at(2, 8), 2, 1);
        rebase(&mut replay, at(2, 9), at(2, 9));
        assert_eq!(state(&replay), (at(2, 9), at(2, 9), None));
    }

    #[test]
    fn an_append_of_an_entry_that_is_not_there_starts_over() {
        let mut replay = Replay::default();
        append(&mut replay, at(0, 0), 1, 10);
        append(&mut replay, at(2, 8), 2, 1);
        assert_eq!(state(&replay), (at(0, 0), at(2, 9), Some(Index(1))));
        append(&mut replay, at(2, 30), 2, 1);
        assert_eq!(replay.end(GROUP), at(2, 31));
        assert_eq!(replay.logs[&GROUP].entries.len(), 1);
    }

    #[test]
    fn a_log_that_nothing_touched_ends_where_the_facts_say() {
        let mut replay = Replay::default();
        append(&mut replay, at(0, 0), 1, 10);
        let facts = |sealed| Facts {
            sealed,
            ..Facts::default()
        };
        assert_eq!(replay.hole(GROUP, 1, &facts(at(1, 10))), None);
        assert_eq!(replay.hole(GROUP, 1, &facts(at(1, 12))), Some(Index(11)));
        assert_eq!(replay.hole(GROUP, 0, &facts(at(1, 12))), None);
        let other = GroupId([2; 16]);
        assert_eq!(replay.hole(other, 1, &facts(at(1, 12))), Some(Index(1)));
    }

    #[test]
    fn a_ballot_is_at_least_of_the_term_of_the_log() {
        let mut replay = Replay::default();
        append(&mut replay, at(0, 0), 4, 1);
        let mut facts = Facts::default();
        assert_eq!(replay.take(GROUP, &mut facts).ballot.term, Term(4));
        assert_eq!(facts.sealed, at(4, 1));
    }
}

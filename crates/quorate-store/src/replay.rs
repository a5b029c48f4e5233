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
//! base record carries that end. In between, a log may have a *hole*: it is known up to some cursor
//! and again from a later one on. A later base closes the hole; if none does, records are missing
//! that should be there, and that is damage. Then the part before the hole is the log, and the part
//! behind it only tells how far the log once went.
//!
//! A cursor names an entry and all before it, so an append that follows a known cursor is known to
//! fit, whatever was lost between the two records.

use std::collections::BTreeMap;

use quorate_core::{
    Body, Configuration, Cursor, Entry, Genesis, GroupId, Index, RecoveredGroup, Term,
};

use crate::{
    record::{Base, Record},
    segment::end_of,
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
    /// The entries after `base`, without a gap.
    entries: Vec<Entry>,
    /// What is known of the log behind a hole.
    beyond: Option<Run>,
    /// The genesis with which the log begins, if it begins there.
    founding: Option<Genesis>,
    /// The last batch with a record of the group.
    sequence: u64,
}

/// Entries in a row.
#[derive(Clone, Debug)]
struct Run {
    /// The cursor before the first one.
    start: Cursor,
    entries: Vec<Entry>,
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

    /// Returns the last batch with a record of the group.
    pub(crate) fn touched(&self, group: GroupId) -> u64 {
        self.logs.get(&group).map_or(0, |log| log.sequence)
    }

    /// Returns the end of the part of the group's log that has no hole below it.
    pub(crate) fn whole(&self, group: GroupId) -> Cursor {
        self.logs.get(&group).map(Log::whole).unwrap_or_default()
    }

    /// Returns the index of the first entry of a group that should be there and is not.
    ///
    /// `sequence` is the last batch that `facts` know of.
    pub(crate) fn hole(&self, group: GroupId, sequence: u64, facts: &Facts) -> Option<Index> {
        let log = self.logs.get(&group);
        let whole = self.whole(group);
        if let Some(beyond) = log.and_then(|log| log.beyond.as_ref()) {
            return Some(whole.index.min(beyond.start.index).next());
        }
        // If no record came after what the facts know of, the log ends where they say.
        let untouched = self.touched(group) <= sequence;
        (untouched && whole != facts.sealed).then(|| whole.index.min(facts.sealed.index).next())
    }

    /// Takes what was recovered of a group, with its facts: what lies behind a hole is no part of
    /// it.
    ///
    /// A log that ends, or once ended, in a term above the ballot's raises the ballot: the ballot
    /// was on its way to the disk when the entries came there first, and whoever has entries of a
    /// term has heard of the term.
    pub(crate) fn take(&mut self, group: GroupId, facts: &mut Facts) -> RecoveredGroup {
        let log = self.logs.remove(&group).unwrap_or_default();
        let end = log.whole();
        facts.sealed = end;
        facts.floor = facts.floor.filter(|floor| end < *floor);
        let heard = match facts.floor {
            Some(floor) => floor.term.max(end.term),
            None => end.term,
        };
        if heard > facts.ballot.term {
            facts.ballot.term = heard;
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
            floor: facts.floor,
        }
    }
}

impl Log {
    /// Returns the end of the log, whether there is a hole below it or not.
    fn end(&self) -> Cursor {
        match &self.beyond {
            Some(beyond) => end_of(beyond.start, &beyond.entries),
            None => self.whole(),
        }
    }

    /// Returns the end of the part without a hole.
    fn whole(&self) -> Cursor {
        end_of(self.base, &self.entries)
    }

    fn append(&mut self, previous: Cursor, entries: Vec<Entry>) {
        if let Some(position) = position(self.base, &self.entries, previous) {
            self.entries.truncate(position);
            self.entries.extend(entries);
            self.beyond = None;
            return;
        }
        let beyond = self.beyond.get_or_insert_with(|| Run::after(previous));
        match beyond.position(previous) {
            Some(position) => beyond.entries.truncate(position),
            None => *beyond = Run::after(previous),
        }
        beyond.entries.extend(entries);
    }

    /// Puts the base in place. Of the entries behind it, those in a row with the end that it tells
    /// are surely the log's; of those before a hole, any that follow the base.
    fn rebase(&mut self, base: Base) {
        let (at, end) = (base.base, base.end);
        let mut before = Run {
            start: self.base,
            entries: std::mem::take(&mut self.entries),
        };
        let beyond = self.beyond.take();
        self.base = at;
        self.configuration = base.configuration;
        if !base.keep {
            return;
        }
        let mut run = match beyond.filter(|run| run.position(end).is_some()) {
            Some(run) => run,
            None if before.position(end).is_some() => {
                std::mem::replace(&mut before, Run::after(at))
            }
            None => Run::after(end),
        };
        let last = run.position(end).unwrap_or(0);
        run.entries.truncate(last);
        match run.position(at) {
            Some(first) => self.entries = run.entries.split_off(first),
            None => {
                let first = before.position(at).unwrap_or(before.entries.len());
                self.entries = before.entries.split_off(first);
                self.beyond = Some(run);
            }
        }
    }
}

impl Run {
    fn after(start: Cursor) -> Self {
        Self {
            start,
            entries: Vec::new(),
        }
    }

    fn position(&self, cursor: Cursor) -> Option<usize> {
        position(self.start, &self.entries, cursor)
    }
}

/// Returns how many of `entries`, which follow `start`, lie at or below `cursor`, if that is one
/// of them.
fn position(start: Cursor, entries: &[Entry], cursor: Cursor) -> Option<usize> {
    if cursor == start {
        return Some(0);
    }
    let distance = cursor.index.0.checked_sub(start.index.0)?;
    let position = usize::try_from(distance).ok()?;
    let term: Term = entries.get(position.checked_sub(1)?)?.term;
    (term == cursor.term).then_some(position)
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
    fn a_log_without_its_beginning_has_a_hole_until_a_base_lands_behind_it() {
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
    fn an_append_of_an_entry_that_is_not_there_leaves_a_hole() {
        let mut replay = Replay::default();
        append(&mut replay, at(0, 0), 1, 10);
        append(&mut replay, at(2, 8), 2, 1);
        assert_eq!(state(&replay), (at(0, 0), at(2, 9), Some(Index(9))));
        append(&mut replay, at(2, 30), 2, 1);
        assert_eq!(state(&replay), (at(0, 0), at(2, 31), Some(Index(11))));
        // What is before the hole is kept, and is the log from there on.
        assert_eq!(replay.whole(GROUP), at(1, 10));
        append(&mut replay, at(1, 6), 3, 2);
        assert_eq!(state(&replay), (at(0, 0), at(3, 8), None));
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

    #[test]
    fn a_floor_stands_until_the_log_ends_there_again() {
        for (floor, stands) in [(at(4, 1), false), (at(3, 9), false), (at(4, 2), true)] {
            let mut replay = Replay::default();
            append(&mut replay, at(0, 0), 4, 1);
            let mut facts = Facts {
                floor: Some(floor),
                ..Facts::default()
            };
            let recovered = replay.take(GROUP, &mut facts);
            assert_eq!(recovered.floor, stands.then_some(floor));
            assert_eq!(facts.floor, recovered.floor);
        }
    }
}

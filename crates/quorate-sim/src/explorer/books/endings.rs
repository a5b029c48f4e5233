//! What must hold where two histories of one group meet.
//!
//! | invariant | |
//! |---|---|
//! | dissolves-downwards | into one that exists, and is used or has the lower id |
//! | dissolved-by-its-own-log | whoever buries a history does what its committed log says |
//! | followed-stays | a log that goes on after its genesis stays, or its history is buried |
//! | acknowledged-stands | an acknowledged write is committed, and no dissolve precedes it |
//! | superseded-never-applies | what was said to be superseded takes effect in no history |
//! | conflict-is-true | both histories of a conflict have applied a command |
//!
//! Together they say that no acknowledged write is given up: a history that has one is used, a used
//! one is never told to dissolve by its own log, and nobody leaves a history but by that. What a
//! single host may not do any more once it has buried a history is judged in
//! [`super::super::host`]; that a conflict is said, and that one history is left where there is
//! none, is what the cluster must come to when left alone.

use quorate_core::{Body, Entry, Fate, Genesis, GenesisId};

use super::{Books, Facts};
use crate::{
    checkers::{Found, dissolved},
    explorer::host::Told,
    machine,
};

impl Books {
    /// Returns what has become of a history; nothing if nobody is known to have been in it.
    pub(in crate::explorer) fn fate(&self, genesis: GenesisId) -> Option<Fate> {
        let committed = self.histories.get(&genesis)?;
        Some(committed.last().map_or(Fate::Empty, |last| last.fate))
    }

    /// Returns the histories in which a write was acknowledged.
    pub(in crate::explorer) fn acknowledged(&self) -> impl Iterator<Item = GenesisId> + '_ {
        self.acknowledged.values().map(|(genesis, _)| *genesis)
    }

    /// Takes what a client is told of its write.
    pub(in crate::explorer) fn hear(&mut self, told: Told) -> Result<(), Found> {
        let Some((genesis, cursor)) = told.stands else {
            self.superseded.insert(told.value);
            return self.judge_superseded();
        };
        let place = usize::try_from(cursor.index.0.saturating_sub(1)).unwrap_or(usize::MAX);
        let committed = self.histories.get(&genesis);
        let stands = committed.and_then(|known| known.get(place));
        if !stands.is_some_and(|known| {
            known.trace.term == cursor.term && known.writes == Some(told.value)
        }) {
            let detail = format!("{told:?}, where the committed log has {stands:?}");
            return Err(Found::new("acknowledged-stands", detail));
        }
        self.acknowledged.insert(told.value, (genesis, cursor));
        Ok(())
    }

    /// Judges a history that was `fate` before, if that has changed.
    pub(super) fn judge_end(&self, genesis: GenesisId, fate: Option<Fate>) -> Result<(), Found> {
        self.judge_superseded()?;
        let now = self.fate(genesis);
        if let Some(into) = now.filter(|_| now != fate).and_then(Fate::dissolved_into) {
            dissolved::judge_end(genesis, into, self.fate(into))?;
        }
        Ok(())
    }

    /// Judges the tombstones that a host has and had not before, and the log that it had.
    pub(super) fn judge_burials(&self, facts: &Facts, before: &Facts) -> Result<(), Found> {
        let new = |tombstone: &(&GenesisId, &GenesisId)| {
            before.me != facts.me || !before.tombstones.contains_key(tombstone.0)
        };
        for (genesis, into) in facts.tombstones.iter().filter(new) {
            dissolved::judge_burial(*genesis, *into, self.fate(*genesis))?;
        }
        let (was, is) = (&before.durable, &facts.durable);
        let left = before.me == facts.me && was.genesis != is.genesis;
        let followed = was.last() > Genesis::CURSOR.index;
        if let Some(genesis) = was.genesis.filter(|_| left && followed)
            && !is.tombstones.contains(&genesis)
        {
            let detail = format!("{:?} drops {genesis:?} up to {:?}", facts.me, was.last());
            return Err(Found::new("followed-stays", detail));
        }
        Ok(())
    }

    /// Judges what a host says its history is in conflict with.
    pub(super) fn judge_conflicts(&self, genesis: GenesisId, facts: &Facts) -> Result<(), Found> {
        let used = |genesis| self.fate(genesis).is_some_and(Fate::is_used);
        let both = |other: &GenesisId| used(genesis) && used(*other);
        if facts.conflicts.iter().all(both) {
            return Ok(());
        }
        let detail = format!("{:?} says that {genesis:?} is in conflict", facts.me);
        Err(Found::new("conflict-is-true", detail))
    }

    fn judge_superseded(&self) -> Result<(), Found> {
        for (genesis, log) in &self.histories {
            let written = log.iter().filter_map(|known| known.writes);
            if let Some(value) = written
                .into_iter()
                .find(|value| self.superseded.contains(value))
            {
                let detail = format!("{value} is superseded, and written in {genesis:?}");
                return Err(Found::new("superseded-never-applies", detail));
            }
        }
        Ok(())
    }
}

/// Returns what an entry writes, in a history that has become `fate` before it.
pub(super) fn written(fate: Fate, entry: &Entry) -> Option<u8> {
    let Body::Command(command) = &entry.body else {
        return None;
    };
    let value = command.last().copied();
    value.filter(|value| {
        fate.dissolved_into().is_none() && machine::insert(&[*value], &[*value]) == *command
    })
}

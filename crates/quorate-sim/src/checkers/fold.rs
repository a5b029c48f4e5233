//! State machine safety: the state at an index is the fold of the log up to it, everywhere.
//!
//! A model replica applies the committed log as it becomes known. Whatever a peer's replica does is
//! compared with it: the outcome of each command, the digest of each snapshot that is cut for
//! somebody and of each that is installed, whoever served its parts, and the digest of the live
//! state every so many entries and at the end.
//!
//! A peer that lags is compared at its own index: the model keeps its last entries, and a snapshot
//! every few of them. A snapshot after each one would save applying those few again, but a kept
//! snapshot has the next write copy what it touches, and it is rarely asked for.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::{
    Applied, Body, Configuration, Cursor, Digest, Entry, Fate, GenesisId, Index, Planted,
    StateDone, StateOp,
};

use quorate_state::{ClientLimits, Replica};

use super::Found;
use crate::{
    hash::Rolling,
    machine,
    subject::{NO_PANIC, Tested},
    trace::hash_applied,
};

/// Of how many entries back the model can tell the digest.
const WINDOW: u64 = 2_048;

/// How far apart the states are that the model keeps: one between them is made again, from the
/// last one before it and the entries since.
const STRIDE: u64 = 16;

/// How many entries a replica applies between two comparisons of its live state.
const INTERVAL: u64 = 128;

/// The committed log, folded.
#[derive(Debug)]
pub(crate) struct Fold {
    model: Replica,
    applied: Cursor,
    fate: Fate,
    /// The model as it was every so many entries, from before the window on.
    states: VecDeque<Replica>,
    /// The entries of the window, and those back to the first of these states.
    entries: VecDeque<Entry>,
    /// The outcome of each command, hashed, by index from 1.
    outcomes: Vec<u128>,
    digests: BTreeMap<Index, Digest>,
    /// The committed configurations, in order.
    configurations: Vec<(Index, Configuration)>,
    compared: u64,
    missed: u64,
}

impl Fold {
    /// Starts with the empty state of a history.
    pub(crate) fn new(genesis: GenesisId, limits: ClientLimits, tested: Option<&Tested>) -> Self {
        let mut model = machine::replica(tested, limits, Planted::default());
        model.execute(StateOp::Begin { genesis });
        Self {
            states: VecDeque::from([model.clone()]),
            model,
            applied: Cursor::ZERO,
            fate: Fate::Empty,
            entries: VecDeque::new(),
            outcomes: Vec::new(),
            digests: BTreeMap::new(),
            configurations: Vec::new(),
            compared: 0,
            missed: 0,
        }
    }

    /// Returns how many digests were compared, and how many could not be.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.compared, self.missed)
    }

    /// Returns the committed configurations, in order.
    pub(crate) fn configurations(&self) -> impl DoubleEndedIterator<Item = &Configuration> {
        self.configurations
            .iter()
            .map(|(_, configuration)| configuration)
    }

    /// Returns what has become of the history.
    pub(crate) fn fate(&self) -> Fate {
        self.fate
    }

    /// Returns the committed configuration at an index, and where it stands.
    pub(crate) fn configuration_at(&self, index: Index) -> Option<(Index, &Configuration)> {
        // Asked after each step, and mostly answered by the last one.
        let mut latest = self.configurations.iter().rev();
        let (at, configuration) = latest.find(|(at, _)| *at <= index)?;
        Some((*at, configuration))
    }

    /// Takes the next committed entry in; returns what came of it.
    pub(crate) fn commit(&mut self, cursor: Cursor, entry: &Entry) -> Result<Applied, Found> {
        if let Body::Configuration(configuration) = &entry.body {
            self.configurations
                .push((cursor.index, (**configuration).clone()));
        }
        let done = self.model.execute(StateOp::Apply {
            first: cursor,
            entries: vec![entry.clone()].into(),
            outcomes: true,
        });
        let applied = match done {
            Some(StateDone::Applied {
                last,
                outcomes,
                fate,
                ..
            }) if last == cursor => {
                if fate != self.fate.after(&entry.body) {
                    let detail = format!("{cursor:?} makes of {:?} {fate:?}", self.fate);
                    return Err(Found::new("state-machine", detail));
                }
                self.fate = fate;
                outcomes
            }
            Some(StateDone::Failed { text, .. }) => return Err(Found::new(NO_PANIC, text)),
            done => {
                return Err(Found::new(
                    "state-machine",
                    format!("the model did not apply {cursor:?}: {done:?}"),
                ));
            }
        };
        let [applied] = applied.as_slice() else {
            return Err(Found::new(
                "state-machine",
                format!("the model says {applied:?} for {cursor:?}"),
            ));
        };
        self.applied = cursor;
        self.outcomes.push(hash_of(applied));
        self.keep(entry);
        Ok(applied.clone())
    }

    /// Keeps an entry that the model has applied, and now and then the model as it is.
    fn keep(&mut self, entry: &Entry) {
        self.entries.push_back(entry.clone());
        if !self.applied.index.0.is_multiple_of(STRIDE) {
            return;
        }
        self.states.push_back(self.model.clone());
        let oldest = Index(self.applied.index.0.saturating_sub(WINDOW));
        while let Some(next) = self.states.get(1)
            && next.applied().index <= oldest
        {
            let gone = next.applied().index.since(self.first());
            self.entries.drain(..usize::try_from(gone).unwrap_or(0));
            self.states.pop_front();
        }
    }

    /// Returns where the first of the kept states is, after which the kept entries begin.
    fn first(&self) -> Index {
        let first = self.states.front();
        first.map_or(Index(0), |state| state.applied().index)
    }

    /// Returns the model as it was at `cursor`, if what is kept goes back so far.
    fn state_at(&self, cursor: Cursor) -> Option<Replica> {
        if cursor == self.applied {
            return Some(self.model.clone());
        }
        let oldest = self.applied.index.0.saturating_sub(WINDOW);
        if cursor.index.0 <= oldest || cursor.index > self.applied.index {
            return None;
        }
        let after = |state: &Replica| state.applied().index <= cursor.index;
        let place = self.states.partition_point(after).checked_sub(1)?;
        let mut state = self.states[place].clone();
        let skip = usize::try_from(state.applied().index.since(self.first())).ok()?;
        let count = usize::try_from(cursor.index.since(state.applied().index)).ok()?;
        for entry in self.entries.iter().skip(skip).take(count) {
            // One by one, as the model itself did.
            state.execute(StateOp::Apply {
                first: Cursor::new(entry.term, state.applied().index.next()),
                entries: vec![entry.clone()].into(),
                outcomes: false,
            });
        }
        (state.applied() == cursor).then_some(state)
    }

    /// Returns the model's digest at `cursor`, if it still has that state.
    fn digest_at(&mut self, cursor: Cursor) -> Option<Digest> {
        if let Some(digest) = self.digests.get(&cursor.index) {
            return Some(*digest);
        }
        let digest = self.state_at(cursor)?.tree().digest();
        self.digests.insert(cursor.index, digest);
        Some(digest)
    }

    fn compare(&mut self, cursor: Cursor, digest: Digest, what: &str) -> Result<(), Found> {
        match self.digest_at(cursor) {
            None => {
                self.missed += 1;
                Ok(())
            }
            Some(expected) if expected == digest => {
                self.compared += 1;
                Ok(())
            }
            Some(expected) => Err(Found::new(
                "state-is-the-fold-of-the-log",
                format!(
                    "{what} at {cursor:?} has the digest {digest:?}, the log gives {expected:?}"
                ),
            )),
        }
    }

    /// Looks at a replica right after it has carried out an operation.
    pub(crate) fn observe(
        &mut self,
        replica: &Replica,
        before: Cursor,
        done: &StateDone,
    ) -> Result<(), Found> {
        match done {
            StateDone::Applied { last, outcomes, .. } => {
                self.compare_outcomes(*last, outcomes)?;
                if last.index.0 / INTERVAL > before.index.0 / INTERVAL {
                    self.compare(*last, replica.tree().digest(), "the live state")?;
                }
                Ok(())
            }
            StateDone::Cut { anchor, .. } => {
                // Kept, because the snapshot may be hashed long after.
                self.digest_at(*anchor);
                Ok(())
            }
            StateDone::Hashed {
                anchor,
                digest: Some(digest),
            } => self.compare(*anchor, *digest, "the snapshot"),
            StateDone::Installed {
                restored: Some(restored),
                ..
            } => {
                self.compare(
                    restored.anchor,
                    replica.tree().digest(),
                    "the installed state",
                )?;
                let expected = self.configuration_at(restored.anchor.index);
                let expected = expected.map(|(_, configuration)| configuration);
                if expected == Some(&restored.configuration) {
                    return Ok(());
                }
                Err(Found::new(
                    "state-is-the-fold-of-the-log",
                    format!(
                        "the snapshot at {:?} says {:?}, the log {expected:?}",
                        restored.anchor, restored.configuration
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Compares a replica's live state at `applied`.
    pub(crate) fn observe_state(
        &mut self,
        applied: Cursor,
        replica: &Replica,
    ) -> Result<(), Found> {
        self.compare(applied, replica.tree().digest(), "the state at the end")
    }

    fn compare_outcomes(&self, last: Cursor, outcomes: &[Applied]) -> Result<(), Found> {
        let end = usize::try_from(last.index.0).unwrap_or(usize::MAX);
        if outcomes.is_empty() {
            return Ok(());
        }
        let expected = end
            .checked_sub(outcomes.len())
            .and_then(|start| self.outcomes.get(start..end));
        let Some(expected) = expected else {
            return Err(Found::new(
                "state-machine",
                format!("{last:?} is applied and not known to be committed"),
            ));
        };
        for (offset, (outcome, expected)) in outcomes.iter().zip(expected).enumerate() {
            if hash_of(outcome) != *expected {
                let index = end - outcomes.len() + offset + 1;
                return Err(Found::new(
                    "state-machine",
                    format!("the command at {index} answered {outcome:?}, elsewhere otherwise"),
                ));
            }
        }
        Ok(())
    }
}

fn hash_of(applied: &Applied) -> u128 {
    let mut hash = Rolling::new(2);
    hash_applied(&mut hash, applied);
    hash.value()
}

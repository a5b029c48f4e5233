//! Writes what clients do and are told into a history, for checkers that know nothing of the log.

use quorate_core::GenesisId;

use super::{
    clients::{Clients, Told},
    ledger::Expected,
};
use crate::{
    history::{self, Function, History, Kind, Value},
    operation::Action,
};

impl Clients {
    /// Begins to write a history down.
    pub(crate) fn keep_history(&mut self) {
        self.history.get_or_insert_default();
    }

    /// Returns the history, if one was kept.
    pub(crate) fn history(&self) -> &[history::Event] {
        self.history.as_ref().map_or(&[], History::events)
    }

    /// Ends the history.
    pub(crate) fn finish_history(&mut self) {
        let at = self.at;
        if let Some(history) = &mut self.history {
            history.finish(at);
        }
    }

    /// Tells the beginning of an operation.
    pub(super) fn tell_begin(&mut self, number: usize) {
        let text = |writer: usize| Some(writer.to_string());
        let record = &self.records[number];
        let (f, key, value) = match record.action {
            Action::Insert { key, .. } => (Function::Write, key, Value::One(text(number))),
            Action::Remove { key } => (Function::Write, key, Value::One(None)),
            Action::Exchange { key, .. } => {
                let pair = [record.expect.and_then(text), text(number)];
                (Function::Cas, key, Value::Pair(pair))
            }
            Action::Read { linearizable, .. } if !linearizable => return,
            // A user's machine has no keys to tell of.
            Action::Command { .. } => return,
            Action::Read { key, .. } => (Function::Read, key, Value::One(None)),
        };
        let at = self.at;
        if let Some(history) = &mut self.history {
            history.begin(at, number, f, key, value);
        }
    }

    /// Tells the end of an operation; a read was answered in the history `genesis`.
    pub(super) fn tell_end(&mut self, number: usize, genesis: Option<GenesisId>, told: Told) {
        if self.history.is_none() {
            return;
        }
        let (mut kind, mut read) = match told {
            Told::Written(_) | Told::Read(_) => (Kind::Ok, None),
            Told::Superseded | Told::Refused => (Kind::Fail, None),
            Told::Unknown | Told::Forgotten | Told::Lost => (Kind::Info, None),
        };
        let record = &self.records[number];
        let place = record
            .committed
            .map_or(genesis, |(genesis, _)| Some(genesis));
        let ledger = place.and_then(|genesis| self.ledgers.get(&genesis));
        match (&record.action, told) {
            (Action::Read { key, .. }, Told::Read(state)) => {
                let found = ledger.and_then(|ledger| ledger.version_at(*key, state.index));
                read = Some(Value::One(found.map(|writer| writer.to_string())));
            }
            (Action::Exchange { .. }, Told::Written(cursor)) => {
                let answer = ledger.and_then(|ledger| ledger.answers.get(&cursor.index));
                kind = match answer {
                    Some(Expected { done: false, .. }) => Kind::Fail,
                    _ => Kind::Ok,
                };
            }
            _ => {}
        }
        let at = self.at;
        if let Some(history) = &mut self.history {
            history.end(at, number, kind, read);
        }
    }
}

//! What clients did and were told, in the shape that Jepsen's checkers read.
//!
//! The online oracle (see `checkers::clients`) knows the log and needs no search; a history knows
//! only what clients saw, so that somebody else's checker can judge it. One line of JSON an event.
//! `process` is a thread of Jepsen's: it does one thing at a time, and after an `info`, when nobody
//! knows what became of its operation, it does nothing more, since the operation may still happen
//! at any later time.
//!
//! Values are the numbers of the operations that wrote them, each written once; a removal writes
//! null. An exchange that found something else is a `fail`: it changed nothing. Reads that did not
//! ask to be linearizable are left out, because they are not.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// What happened in one event of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The operation began.
    Invoke,
    /// It was carried out.
    Ok,
    /// It was surely not carried out, and never will be.
    Fail,
    /// Nobody knows.
    Info,
}

/// What an operation of a history does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Reads a key.
    Read,
    /// Writes a key.
    Write,
    /// Writes a key if it has the expected value.
    Cas,
}

/// What an operation reads or writes; nothing stands for an absent key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// One value.
    One(Option<String>),
    /// The expected value and the new one.
    Pair([Option<String>; 2]),
}

/// One event of a history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Event {
    /// Its place in the history.
    pub index: u64,
    /// When, in nanoseconds since the start of the run.
    pub time: u64,
    /// Which thread of operations.
    pub process: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What the operation does.
    pub f: Function,
    /// The key.
    pub key: String,
    /// The value: what a read found, once it did.
    pub value: Value,
}

impl Event {
    /// Writes the event as one line of JSON, without its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data with string keys has a form in JSON")
    }
}

/// A history while it is written.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: Vec<Event>,
    /// What each operation that is under way began with.
    open: BTreeMap<usize, Event>,
    free: BTreeSet<u64>,
    processes: u64,
}

impl History {
    /// Returns the events so far.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Begins an operation.
    pub(crate) fn begin(&mut self, time: u64, number: usize, f: Function, key: u32, value: Value) {
        let process = self.free.pop_first().unwrap_or_else(|| {
            self.processes += 1;
            self.processes - 1
        });
        let event = Event {
            index: self.events.len() as u64,
            time,
            process,
            kind: Kind::Invoke,
            f,
            key: key.to_string(),
            value,
        };
        self.open.insert(number, event.clone());
        self.events.push(event);
    }

    /// Ends an operation; `read` is what a read found.
    pub(crate) fn end(&mut self, time: u64, number: usize, kind: Kind, read: Option<Value>) {
        let Some(begun) = self.open.remove(&number) else {
            return;
        };
        if kind != Kind::Info {
            self.free.insert(begun.process);
        }
        self.events.push(Event {
            index: self.events.len() as u64,
            time,
            kind,
            value: read.unwrap_or(begun.value.clone()),
            ..begun
        });
    }

    /// Ends what is still under way: nobody knows what becomes of it.
    pub(crate) fn finish(&mut self, time: u64) {
        let open: Vec<usize> = self.open.keys().copied().collect();
        for number in open {
            self.end(time, number, Kind::Info, None);
        }
    }
}

//! The client table's rules, said a second time: what each entry must come to.
//!
//! Written with lists and searches, from the rules alone, so that a mistake in the table under test
//! is not made here too. The checker folds the committed log with it and compares, entry by entry.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_core::{Applied, ClientSequence, Cursor, Index, Recalled, Remembered, Wall};
use quorate_state::ClientLimits;

/// A registered client.
#[derive(Clone, Debug)]
struct Known {
    used: Index,
    clock: u64,
    open: u64,
    /// Its applied numbers, and where each was applied.
    numbers: BTreeMap<u64, Index>,
}

/// A remembered outcome, and whose it is.
#[derive(Clone, Debug)]
struct Answer {
    owner: Index,
    remembered: Remembered,
}

/// What the committed log has made of the client table.
#[derive(Debug)]
pub(crate) struct Table {
    limits: ClientLimits,
    stamp: (Cursor, Wall),
    clock: u64,
    clients: BTreeMap<Index, Known>,
    /// Oldest first.
    answers: Vec<Answer>,
    /// The last entry that was taken in.
    last: Index,
}

impl Table {
    pub(crate) fn new(limits: ClientLimits) -> Self {
        Self {
            limits,
            stamp: (Cursor::ZERO, Wall(0)),
            clock: 0,
            clients: BTreeMap::new(),
            answers: Vec::new(),
            last: Index(0),
        }
    }

    /// Takes note of an entry that is nobody's.
    pub(crate) fn pass(&mut self, cursor: Cursor) {
        self.last = cursor.index;
    }

    /// Returns what a registration must come to.
    pub(crate) fn register(&mut self, cursor: Cursor, at: Wall) -> Applied {
        self.stamped(cursor, at);
        if self.clients.len() as u64 >= self.limits.clients {
            return Applied::Full;
        }
        let known = Known {
            used: cursor.index,
            clock: self.clock,
            open: 0,
            numbers: BTreeMap::new(),
        };
        self.clients.insert(cursor.index, known);
        Applied::Registered
    }

    /// Returns what a named command must come to that answers `says` if it is applied.
    pub(crate) fn command(
        &mut self,
        cursor: Cursor,
        name: ClientSequence,
        at: Wall,
        says: &Bytes,
    ) -> Applied {
        self.stamped(cursor, at);
        if !self.is_live(name.client) {
            return Applied::Expired;
        }
        let clock = self.clock;
        if let Some(known) = self.clients.get_mut(&name.client) {
            known.used = cursor.index;
            known.clock = clock;
            known.open = known.open.max(name.open);
            let kept = known.numbers.split_off(&known.open);
            let gone: BTreeSet<Index> = std::mem::replace(&mut known.numbers, kept)
                .into_values()
                .collect();
            self.answers
                .retain(|answer| !gone.contains(&answer.remembered.cursor.index));
        }
        match self.find(name) {
            Recalled::Applied(remembered) => return Applied::Repeated(Box::new(remembered)),
            Recalled::Dropped => return Applied::Dropped,
            Recalled::Expired => return Applied::Expired,
            Recalled::NotSeen => {}
        }
        let numbers: usize = self.clients.values().map(|known| known.numbers.len()).sum();
        let Some(known) = self.clients.get_mut(&name.client) else {
            return Applied::Expired;
        };
        let far = name.sequence - known.open >= self.limits.window;
        if far || numbers as u64 >= self.limits.numbers {
            return Applied::Full;
        }
        known.numbers.insert(name.sequence, cursor.index);
        self.answers.push(Answer {
            owner: name.client,
            remembered: Remembered {
                cursor,
                outcome: says.clone(),
            },
        });
        self.evict(name.client, says.len() as u64);
        Applied::Outcome(says.clone())
    }

    /// Drops the oldest outcomes until what is left is within the limits; the newest goes at once
    /// if it alone is beyond them.
    fn evict(&mut self, client: Index, newest: u64) {
        if newest > self.limits.client_bytes || newest > self.limits.bytes {
            self.answers.pop();
            return;
        }
        while self.bytes(Some(client)) > self.limits.client_bytes {
            let oldest = self.answers.iter().position(|a| a.owner == client);
            self.answers.remove(oldest.unwrap_or_default());
        }
        while self.bytes(None) > self.limits.bytes {
            self.answers.remove(0);
        }
    }

    fn bytes(&self, of: Option<Index>) -> u64 {
        let wanted = |answer: &&Answer| of.is_none_or(|owner| owner == answer.owner);
        let answers = self.answers.iter().filter(wanted);
        answers
            .map(|answer| answer.remembered.outcome.len() as u64)
            .sum()
    }

    /// Returns what is known of a command after the last entry.
    pub(crate) fn find(&self, name: ClientSequence) -> Recalled {
        let Some(known) = self.clients.get(&name.client) else {
            return Recalled::Expired;
        };
        if !self.is_live(name.client) {
            return Recalled::Expired;
        }
        if name.sequence < known.open {
            return Recalled::Dropped;
        }
        let Some(index) = known.numbers.get(&name.sequence) else {
            return Recalled::NotSeen;
        };
        let mut answers = self.answers.iter().map(|answer| &answer.remembered);
        match answers.find(|remembered| remembered.cursor.index == *index) {
            Some(remembered) => Recalled::Applied(remembered.clone()),
            None => Recalled::Dropped,
        }
    }

    fn is_live(&self, client: Index) -> bool {
        self.clients.get(&client).is_some_and(|known| {
            self.last.since(known.used) < self.limits.idle_entries
                || self.clock - known.clock < self.limits.idle_time
        })
    }

    fn stamped(&mut self, cursor: Cursor, at: Wall) {
        self.last = cursor.index;
        let (before, stamp) = self.stamp;
        if before.term == cursor.term && at > stamp {
            self.clock += (at.0 - stamp.0).min(self.limits.step);
        }
        self.stamp = (cursor, at);
        for _ in 0..self.limits.sweep {
            let longest = self.clients.iter().min_by_key(|(_, known)| known.used);
            let Some(client) = longest.map(|(client, _)| *client) else {
                return;
            };
            if self.is_live(client) {
                return;
            }
            let numbers = self
                .clients
                .get_mut(&client)
                .map(|known| &mut known.numbers);
            match numbers.and_then(BTreeMap::pop_first) {
                Some((_, index)) => {
                    let kept = |answer: &Answer| answer.remembered.cursor.index != index;
                    self.answers.retain(kept);
                }
                None => {
                    self.clients.remove(&client);
                }
            }
        }
    }
}

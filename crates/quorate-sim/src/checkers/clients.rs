//! What clients are told, against the committed log: exactly once, never lost, linearizable.
//!
//! The committed log gives every write a place, so linearizability needs no search. Each write has
//! a value of its own; a read names the write it saw. An operation notes, when it begins, the
//! highest index that any finished operation has shown (the *floor*). A write must then get a place
//! above the floor, and a linearizable read must see the state at the floor or later. That is real
//! time order for the whole log, not only per key. Expected answers come from a plain map folded
//! here, not from the state under test.
//!
//! Only removals of one key are not told apart by their bytes. Which of several equal commands a
//! place in the log belongs to is left open until a client is told. A named command belongs to the
//! operation that has its name; what it comes to is the matter of [`super::names::Names`].
//!
//! A group may have been founded twice. Each history has a [`Ledger`] of its own; an operation
//! takes effect in one of them at most, and is judged by that of the peer that answers it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_core::{Applied, Body, ClientSequence, Cursor, Entry, GenesisId, Index, Reply};

use quorate_state::{ClientLimits, Replica};

use super::{
    Found,
    ledger::{Expected, Ledger},
};
use crate::{
    hash::Rolling,
    history::History,
    machine::{self, Answer},
    operation::Action,
};

/// What a client was told, in short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// The write stands at this cursor.
    Written(Cursor),
    /// The read was answered from the state at this cursor.
    Read(Cursor),
    /// The write will never take effect.
    Superseded,
    /// The client table does not know the client any more, or not what it answered.
    Forgotten,
    /// Nothing is known of the operation.
    Unknown,
    /// The operation was surely not carried out.
    Refused,
    /// The peer died first.
    Lost,
}

/// One operation of a client.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) action: Action,
    peer: usize,
    /// What had been shown of each history when it began.
    floors: Vec<(GenesisId, Index)>,
    pub(super) expect: Option<usize>,
    /// The cursor that a read must not be older than, and of which history.
    at_least: Option<(GenesisId, Cursor)>,
    command: u128,
    pub(super) committed: Option<(GenesisId, Cursor)>,
    told: Option<Told>,
    /// Whether a named client sends it, which asks again until it settles it.
    named: bool,
}

impl Record {
    /// Returns what had been shown of a history when the operation began.
    fn floor(&self, genesis: GenesisId) -> Index {
        let floor = self.floors.iter().find(|(one, _)| *one == genesis);
        floor.map_or(Index(0), |(_, floor)| *floor)
    }

    /// Tells whether the command may still turn out to be committed.
    fn is_open(&self) -> bool {
        let refused = matches!(self.told, Some(Told::Superseded | Told::Refused));
        self.committed.is_none() && !refused
    }
}

/// All operations of a run, and the maps they should have made.
#[derive(Debug)]
pub(crate) struct Clients {
    limits: ClientLimits,
    /// Whether the state is the clients' map; else it is a user's, of which no read is known.
    pub(crate) has_map: bool,
    pub(super) ledgers: BTreeMap<GenesisId, Ledger>,
    pub(super) records: Vec<Record>,
    commands: BTreeMap<u128, Vec<usize>>,
    outstanding: BTreeSet<usize>,
    /// Commands and registrations behind the end of their history.
    superseded: u64,
    /// What is told to other checkers, if it was asked for.
    pub(super) history: Option<History>,
    /// The present time.
    pub(crate) at: u64,
}

/// What a client asks its peer for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    Write(Bytes),
    Read { at_least: Option<Cursor> },
}

impl Clients {
    /// Starts with no operation; client tables are empty and have these limits.
    pub(crate) fn new(limits: ClientLimits) -> Self {
        Self {
            limits,
            has_map: true,
            ledgers: BTreeMap::new(),
            records: Vec::new(),
            commands: BTreeMap::new(),
            outstanding: BTreeSet::new(),
            superseded: 0,
            history: None,
            at: 0,
        }
    }

    /// Returns the books of a history.
    pub(crate) fn ledger(&mut self, genesis: GenesisId) -> &mut Ledger {
        let limits = self.limits;
        let ledger = self.ledgers.entry(genesis);
        ledger.or_insert_with(|| Ledger::new(limits))
    }

    /// Returns how often each thing happened to an entry.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for (name, count) in self.ledgers.values().flat_map(|one| one.names.counts()) {
            *counts.entry(*name).or_insert(0) += count;
        }
        if self.superseded > 0 {
            counts.insert("meeting: entry behind a dissolve", self.superseded);
        }
        counts
    }

    /// Begins an operation at a peer in some history, by a named client or not; returns its number
    /// and what it asks for.
    pub(crate) fn begin(
        &mut self,
        (peer, genesis): (usize, Option<GenesisId>),
        action: Action,
        named: bool,
    ) -> (usize, Asked) {
        let number = self.records.len();
        let floors = self.ledgers.iter();
        let here = genesis.and_then(|genesis| Some((genesis, self.ledgers.get(&genesis)?)));
        let mut record = Record {
            action,
            peer,
            floors: floors.map(|(one, ledger)| (*one, ledger.floor)).collect(),
            expect: None,
            at_least: None,
            command: 0,
            committed: None,
            told: None,
            named,
        };
        let asked = match record.action {
            Action::Insert { key, size } => {
                Asked::Write(machine::insert(&key_of(key), &value_of(number, size)))
            }
            Action::Remove { key } => Asked::Write(machine::remove(&key_of(key))),
            Action::Command { ref hex, .. } => Asked::Write(hex.clone()),
            Action::Exchange {
                key,
                size,
                informed,
            } => {
                let latest = here.and_then(|(_, ledger)| ledger.latest(key));
                record.expect = latest.filter(|_| informed);
                let expected = record.expect.map(|writer| self.value(writer));
                Asked::Write(machine::exchange(
                    &key_of(key),
                    expected.as_deref(),
                    &value_of(number, size),
                ))
            }
            Action::Read { linearizable, .. } => {
                let seen = here.and_then(|(one, ledger)| Some((one, *ledger.seen.get(&peer)?)));
                record.at_least = seen.filter(|_| !linearizable);
                let at_least = record.at_least.map_or(Cursor::ZERO, |(_, cursor)| cursor);
                Asked::Read {
                    at_least: (!linearizable).then_some(at_least),
                }
            }
        };
        if let Asked::Write(command) = &asked {
            record.command = hash_of(command);
            if !named {
                let senders = self.commands.entry(record.command).or_default();
                senders.push(number);
            }
        }
        self.outstanding.insert(number);
        self.records.push(record);
        self.tell_begin(number);
        (number, asked)
    }

    /// Returns how many operations have begun.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns what the client of an operation was told, if it was.
    pub(crate) fn told(&self, number: usize) -> Option<Told> {
        self.records.get(number)?.told
    }

    /// Returns the operations that were not answered yet, each with its peer.
    pub(crate) fn outstanding(&self) -> Vec<(usize, usize)> {
        let peer = |number: &usize| (*number, self.records[*number].peer);
        self.outstanding.iter().map(peer).collect()
    }

    /// Counts the operations by what was told.
    pub(crate) fn count(&self, wanted: impl Fn(&Told) -> bool) -> u64 {
        self.records
            .iter()
            .filter(|record| record.told.as_ref().is_some_and(&wanted))
            .count() as u64
    }

    /// Takes the death of a peer: its clients hear nothing more.
    pub(crate) fn died(&mut self, peer: usize) {
        let lost = |number: &usize| {
            let record = &self.records[*number];
            record.peer == peer && !record.named
        };
        let lost: Vec<usize> = self.outstanding.iter().copied().filter(lost).collect();
        for number in lost {
            self.outstanding.remove(&number);
            self.records[number].told = Some(Told::Lost);
            self.tell_end(number, None, Told::Lost);
        }
    }

    /// Takes a committed entry, and what the state made of it.
    pub(crate) fn commit(
        &mut self,
        genesis: GenesisId,
        cursor: Cursor,
        entry: &Entry,
        applied: &Applied,
    ) -> Result<(), Found> {
        if *applied == Applied::Superseded {
            // Its history was given up before it.
            self.superseded += 1;
            return Ok(());
        }
        let named = self.ledger(genesis).names.commit(cursor, entry, applied)?;
        match (&entry.body, named) {
            (Body::Command(command), _) => {
                let number = self.sender(cursor, command)?;
                self.take_effect(number, (genesis, cursor), applied);
            }
            (Body::Named(command), Some(number)) => {
                let record = &self.records[number];
                if !record.is_open() || record.command != hash_of(&command.bytes) {
                    return Err(Found::new(
                        "exactly-once",
                        format!(
                            "{cursor:?} takes effect as operation {number}, which is {:?} at {:?}",
                            record.told, record.committed
                        ),
                    ));
                }
                self.take_effect(number, (genesis, cursor), applied);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns an operation that an anonymous command may be.
    fn sender(&self, cursor: Cursor, command: &[u8]) -> Result<usize, Found> {
        let Some(senders) = self.commands.get(&hash_of(command)) else {
            return Err(Found::new(
                "exactly-once",
                format!("{cursor:?} is a command that no client sent"),
            ));
        };
        let open = senders.iter().find(|one| self.records[**one].is_open());
        open.copied().ok_or_else(|| {
            let told: Vec<_> = senders
                .iter()
                .map(|one| (one, self.records[*one].committed, self.records[*one].told))
                .collect();
            Found::new(
                "exactly-once",
                format!("{cursor:?} is a command that was settled before: {told:?}"),
            )
        })
    }

    /// Gives an operation its place in the log, and in the map that the log makes.
    fn take_effect(
        &mut self,
        number: usize,
        (genesis, cursor): (GenesisId, Cursor),
        applied: &Applied,
    ) {
        let record = &self.records[number];
        let (key, value, expect) = match record.action {
            Action::Insert { key, .. } => (key, Some(number), None),
            Action::Remove { key } => (key, None, None),
            Action::Exchange { key, .. } => (key, Some(number), Some(record.expect)),
            Action::Command { .. } => {
                if let Applied::Outcome(outcome) = applied {
                    let said = hash_of(outcome);
                    self.ledger(genesis).said.insert(cursor.index, said);
                }
                self.records[number].committed = Some((genesis, cursor));
                return;
            }
            Action::Read { .. } => return,
        };
        let ledger = self.ledger(genesis);
        let before = ledger.latest(key);
        let done = expect.is_none_or(|expect| expect == before);
        if done {
            ledger.write(key, cursor.index, value);
        }
        let expected = Expected { done, before };
        ledger.answers.insert(cursor.index, expected);
        self.records[number].committed = Some((genesis, cursor));
    }

    /// Gives an operation its place in the log, if an equal command stands there that nobody was
    /// told of.
    fn claim(&mut self, number: usize, cursor: (GenesisId, Cursor)) {
        let record = &self.records[number];
        if record.committed == Some(cursor) {
            return;
        }
        let holder = self.commands.get(&record.command).and_then(|senders| {
            senders.iter().copied().find(|one| {
                let other = &self.records[*one];
                other.committed == Some(cursor) && !matches!(other.told, Some(Told::Written(_)))
            })
        });
        if let Some(holder) = holder {
            let place = self.records[number].committed.take();
            self.records[holder].committed = place;
            self.records[number].committed = Some(cursor);
        }
    }

    /// Takes an operation's place away, if it may as well belong to an equal command.
    fn release(&mut self, number: usize) {
        let record = &self.records[number];
        let heir = self.commands.get(&record.command).and_then(|senders| {
            let mut others = senders.iter().copied().filter(|one| *one != number);
            others.find(|one| self.records[*one].is_open())
        });
        if let Some(heir) = heir {
            self.records[heir].committed = self.records[number].committed.take();
        }
    }

    /// Takes a reply of a peer in some history; `replica` is the state that answers a read.
    pub(crate) fn reply(
        &mut self,
        number: usize,
        genesis: GenesisId,
        reply: &Reply,
        replica: &Replica,
    ) -> Result<(), Found> {
        if !self.outstanding.remove(&number) {
            return Err(Found::new(
                "answered-once",
                format!("operation {number} is answered {reply:?}, without having asked"),
            ));
        }
        let told = match reply {
            Reply::Committed { cursor, outcome } => {
                self.written(number, (genesis, *cursor), outcome)?
            }
            Reply::Fresh { applied } => self.read(number, genesis, *applied, replica)?,
            Reply::Superseded => Told::Superseded,
            Reply::Unknown => Told::Unknown,
            Reply::Busy
            | Reply::Unavailable
            | Reply::TooLarge
            | Reply::Closed
            | Reply::LastVoter
            | Reply::NotVoter
            | Reply::TooOld
            | Reply::Registered { .. }
            | Reply::Expired
            | Reply::Dropped
            | Reply::Done => Told::Refused,
        };
        self.records[number].told = Some(told);
        self.tell_end(number, Some(genesis), told);
        if matches!(told, Told::Superseded | Told::Refused) {
            self.release(number);
        }
        let record = &self.records[number];
        if let (Told::Superseded | Told::Refused, Some(cursor)) = (told, record.committed) {
            return Err(Found::new(
                "exactly-once",
                format!("operation {number} is answered {reply:?} and committed at {cursor:?}"),
            ));
        }
        if let Told::Written(cursor) | Told::Read(cursor) = told {
            let peer = record.peer;
            self.ledger(genesis).show(peer, cursor);
        }
        Ok(())
    }

    /// Takes a reply of `peer` to one try of a named client; returns what it says of the operation
    /// for good, if anything.
    pub(crate) fn try_answered(
        &mut self,
        number: usize,
        (genesis, name): (GenesisId, ClientSequence),
        peer: usize,
        reply: &Reply,
    ) -> Result<Option<Told>, Found> {
        let told = match reply {
            Reply::Committed { cursor, outcome } => {
                self.written(number, (genesis, *cursor), outcome)?
            }
            Reply::Expired | Reply::Dropped => {
                self.ledger(genesis).names.refused(name, reply)?;
                Told::Forgotten
            }
            // Its history is no more, and its name with it.
            Reply::Superseded => Told::Forgotten,
            Reply::Unknown | Reply::Busy | Reply::Unavailable | Reply::Closed => return Ok(None),
            reply => {
                return Err(Found::new(
                    "client-table",
                    format!("operation {number}, which has a name, is answered {reply:?}"),
                ));
            }
        };
        if let Told::Written(cursor) = told {
            self.ledger(genesis).show(peer, cursor);
        }
        Ok(Some(told))
    }

    /// Ends an operation of a named client, which will ask no more.
    pub(crate) fn settle(&mut self, number: usize, told: Told) -> Result<(), Found> {
        self.outstanding.remove(&number);
        self.records[number].told = Some(told);
        self.tell_end(number, None, told);
        match (told, self.records[number].committed) {
            (Told::Refused, Some(cursor)) => Err(Found::new(
                "exactly-once",
                format!("operation {number} was refused every time and stands at {cursor:?}"),
            )),
            _ => Ok(()),
        }
    }

    fn written(
        &mut self,
        number: usize,
        (genesis, cursor): (GenesisId, Cursor),
        outcome: &Bytes,
    ) -> Result<Told, Found> {
        if !self.records[number].named {
            self.claim(number, (genesis, cursor));
        }
        let record = &self.records[number];
        if record.committed != Some((genesis, cursor)) {
            return Err(Found::new(
                "acknowledged-write-stands",
                format!(
                    "operation {number} is acknowledged at {cursor:?} and committed at {:?}",
                    record.committed
                ),
            ));
        }
        let floor = record.floor(genesis);
        if cursor.index <= floor {
            return Err(Found::new(
                "linearizable",
                format!(
                    "operation {number} stands at {cursor:?}, before {floor:?}, which somebody \
                     was told before it began"
                ),
            ));
        }
        let ledger = self.ledgers.get(&genesis);
        if let Action::Command { .. } = record.action {
            let said = ledger.and_then(|ledger| ledger.said.get(&cursor.index));
            if said == Some(&hash_of(outcome)) {
                return Ok(Told::Written(cursor));
            }
            let detail = format!("operation {number} is told another outcome than the log's");
            return Err(Found::new("outcome", detail));
        }
        let answers = ledger.and_then(|ledger| ledger.answers.get(&cursor.index));
        let expected = answers.map(|expected| {
            let before = expected.before.map(|writer| self.value(writer));
            match (&record.action, expected.done) {
                (Action::Exchange { .. }, true) => {
                    Answer::Exchanged(true, Some(self.value(number)))
                }
                (Action::Exchange { .. }, false) => Answer::Exchanged(false, before),
                _ => Answer::Previous(before),
            }
        });
        let answer = machine::answer(outcome);
        if answer != expected {
            return Err(Found::new(
                "outcome",
                format!("operation {number} answered {answer:?} instead of {expected:?}"),
            ));
        }
        Ok(Told::Written(cursor))
    }

    fn read(
        &self,
        number: usize,
        genesis: GenesisId,
        applied: Cursor,
        replica: &Replica,
    ) -> Result<Told, Found> {
        let record = &self.records[number];
        let Action::Read { key, linearizable } = record.action else {
            return Err(Found::new(
                "answered-once",
                format!("operation {number}, a write, is answered as a read"),
            ));
        };
        let state = replica.applied();
        let wanted = if linearizable {
            record.floor(genesis)
        } else {
            // A cursor of another history says nothing of this one.
            let at_least = record.at_least.filter(|(one, _)| *one == genesis);
            at_least.map_or(Index(0), |(_, cursor)| cursor.index)
        };
        if state.index < wanted || state < applied {
            return Err(Found::new(
                "linearizable",
                format!(
                    "operation {number} reads the state at {state:?} (told {applied:?}), older \
                     than {wanted:?}"
                ),
            ));
        }
        let ledger = self.ledgers.get(&genesis);
        let writer = ledger.and_then(|ledger| ledger.version_at(key, state.index));
        let expected = writer.map(|writer| self.value(writer));
        let found = machine::read(replica, &key_of(key));
        if self.has_map && found != expected {
            return Err(Found::new(
                "linearizable",
                format!(
                    "operation {number} reads {:?} at {state:?}, the log gives {writer:?}",
                    found.map(|value| value.len())
                ),
            ));
        }
        Ok(Told::Read(state))
    }

    fn value(&self, writer: usize) -> Bytes {
        match self.records[writer].action {
            Action::Insert { size, .. } | Action::Exchange { size, .. } => value_of(writer, size),
            Action::Remove { .. } | Action::Read { .. } | Action::Command { .. } => Bytes::new(),
        }
    }
}

fn key_of(key: u32) -> Bytes {
    Bytes::from(format!("key-{key:06}"))
}

/// Makes the value that operation `number` alone writes.
fn value_of(number: usize, size: u32) -> Bytes {
    let mut value = (number as u64).to_be_bytes().to_vec();
    let padding = (number as u8).wrapping_mul(31);
    value.resize(value.len().max(size as usize), padding);
    Bytes::from(value)
}

fn hash_of(command: &[u8]) -> u128 {
    let mut hash = Rolling::new(3);
    hash.bytes(command);
    hash.value()
}

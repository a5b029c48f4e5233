//! The client table: which named commands were applied, and what they answered.
//!
//! A client that hears nothing of a write must be able to send it again, through any peer, without
//! having it applied twice. So a client registers by an entry of the log, whose index is its id,
//! and gives its commands numbers; the table remembers, in the tree and so in every snapshot, which
//! numbers were applied and what each answered. It decides where entries are applied, and nowhere
//! else: every peer refuses and repeats the same, at the same index.
//!
//! What an entry of a named command comes to, by the first line that fits:
//!
//! | the client ... | outcome |
//! |---|---|
//! | is not in the table, or was idle for too long | expired |
//! | has said that it would not repeat this number (it is below the lowest open one) | dropped |
//! | had this number applied, its outcome is remembered | repeated: cursor and outcome of then |
//! | had this number applied, its outcome is remembered no more | dropped |
//! | uses a number too far above its lowest open one, or the table is full | full |
//! | none of these | the command is applied; its number and outcome are remembered |
//!
//! *Open numbers.* Each command says which is the lowest number that its client may still repeat.
//! All below is forgotten at once; it only ever grows. Numbers come in any order above it, so a
//! client may have many commands under way. A number that was applied is remembered as long as it
//! is open, even if its outcome had to be dropped: "applied, answer gone" must never look like "not
//! seen". That is why numbers are limited by refusing new ones, and outcomes by dropping the oldest
//! by position in the log: of the client that goes beyond its own share, or of all.
//!
//! *Time.* A client expires when it was not used for a number of entries and for a time, both:
//! entries alone pass within a second on a busy group, time alone passes on one that stands still.
//! The time is the leader's, or peers would disagree; the leader stamps registrations and named
//! commands. But clocks differ and jump, and two leaders' clocks have nothing to do with each
//! other. So the table has a clock of its own, which only adds up what passes *between two stamps
//! of one term*, that is of one leader's clock, and never more than [`ClientLimits::step`] for one
//! entry. It never goes back; a leader whose clock is a year ahead adds nothing by that, nor does
//! one a year behind stop it; a clock that jumps adds one step. Whoever was used lately therefore
//! never expires by a wrong clock. The price: a clock that stands while nobody is stamped makes
//! clients live longer. The alternative, the highest stamp seen, expires everybody at once behind a
//! clock that is ahead, and nobody for as long as the next one is behind.
//!
//! *Expired* is a matter of numbers, not of when somebody looks: an idle client is refused though
//! its items are still there. They are removed a few at a time by the entries that follow.
//!
//! A full table refuses registrations rather than forgetting who is idle least long: what a client
//! is promised (to be known as long as it is not idle) must not depend on how many others there
//! are.
//!
//! A command costs a few changes of small items, O(log n) each; nothing that grows with the number
//! of commands of its client is ever encoded again.

pub(crate) mod items;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use quorate_core::{Applied, ClientSequence, Cursor, Index, Recalled, Remembered, Wall};
use serde::{Deserialize, Serialize};

use self::items::{Answer, Record, Totals};
use crate::{limits, tree::Tree};

/// The limits of the client table.
///
/// They decide what is applied: all peers of a group must have the same. Applications do not
/// choose them; simulations make them small.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientLimits {
    /// Clients in the table; beyond, registrations are refused.
    pub clients: u64,
    /// How many numbers from its lowest open one on a client may use.
    pub window: u64,
    /// Applied numbers that are remembered, of all clients; beyond, commands are refused.
    pub numbers: u64,
    /// Bytes of remembered outcomes of all clients; beyond, the oldest are dropped.
    pub bytes: u64,
    /// Bytes of remembered outcomes of one client; beyond, its oldest are dropped.
    pub client_bytes: u64,
    /// A client expires when it was not used for this many entries ...
    pub idle_entries: u64,
    /// ... and for this long by the table's clock, in milliseconds.
    pub idle_time: u64,
    /// How far one entry moves the table's clock at most, in milliseconds.
    pub step: u64,
    /// Numbers and clients that one entry removes at most, of those that have expired.
    pub sweep: u64,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            clients: limits::CLIENTS,
            window: limits::CLIENT_WINDOW,
            numbers: limits::CLIENT_NUMBERS,
            bytes: limits::OUTCOME_BYTES,
            client_bytes: limits::CLIENT_OUTCOME_BYTES,
            idle_entries: limits::CLIENT_IDLE_ENTRIES,
            idle_time: limits::CLIENT_IDLE_TIME,
            step: limits::CLIENT_CLOCK_STEP,
            sweep: limits::CLIENT_SWEEP,
        }
    }
}

/// What a named command is to do.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is to be applied, and its outcome to be remembered.
    Apply(Admitted),
    /// It changes nothing.
    Refused(Applied),
}

/// A command that is to be applied.
#[derive(Debug)]
pub(crate) struct Admitted {
    totals: Totals,
    record: Record,
}

impl ClientLimits {
    /// Registers the client of the entry at `cursor`.
    pub(crate) fn register(&self, tree: &mut Tree, cursor: Cursor, at: Wall) -> Applied {
        let mut totals = self.begin(tree, cursor, at);
        let room = totals.clients < self.clients;
        if room {
            totals.clients += 1;
            items::set_last_use(tree, cursor.index, cursor.index);
            let record = Record {
                used: cursor.index,
                clock: totals.clock,
                open: 0,
                bytes: 0,
            };
            record.store(tree, cursor.index);
        }
        totals.store(tree);
        if room {
            Applied::Registered
        } else {
            Applied::Full
        }
    }

    /// Says what the command `name` of the entry at `cursor` is to do.
    ///
    /// If it is to be applied, [`ClientLimits::remember`] must follow.
    pub(crate) fn admit(
        &self,
        tree: &mut Tree,
        cursor: Cursor,
        name: ClientSequence,
        at: Wall,
    ) -> Admission {
        let mut totals = self.begin(tree, cursor, at);
        let known = Record::load(tree, name.client);
        let live = known.filter(|record| !self.is_idle(record, cursor.index, totals.clock));
        let Some(mut record) = live else {
            totals.store(tree);
            return Admission::Refused(Applied::Expired);
        };
        items::remove_last_use(tree, record.used);
        items::set_last_use(tree, cursor.index, name.client);
        record.used = cursor.index;
        record.clock = totals.clock;
        if name.open > record.open {
            let below = items::numbers(tree, name.client, Some(name.open), u64::MAX);
            forget(tree, &mut totals, &mut record, name.client, &below);
            record.open = name.open;
        }
        let refused = match find(tree, &record, name) {
            Recalled::Applied(remembered) => Some(Applied::Repeated(Box::new(remembered))),
            Recalled::Dropped => Some(Applied::Dropped),
            Recalled::Expired => Some(Applied::Expired),
            Recalled::NotSeen => {
                let far = name.sequence - record.open >= self.window;
                (far || totals.numbers >= self.numbers).then_some(Applied::Full)
            }
        };
        match refused {
            None => Admission::Apply(Admitted { totals, record }),
            Some(refused) => {
                record.store(tree, name.client);
                totals.store(tree);
                Admission::Refused(refused)
            }
        }
    }

    /// Remembers that the command `name` was applied at `cursor`, and what it answered.
    pub(crate) fn remember(
        &self,
        tree: &mut Tree,
        admitted: Admitted,
        cursor: Cursor,
        name: ClientSequence,
        outcome: &Bytes,
    ) {
        let Admitted {
            mut totals,
            mut record,
        } = admitted;
        totals.numbers = totals.numbers.saturating_add(1);
        items::set_number(tree, name, cursor.index);
        let size = outcome.len() as u64;
        if size <= self.client_bytes && size <= self.bytes {
            while record.bytes.saturating_add(size) > self.client_bytes {
                let Some(oldest) = items::oldest_of(tree, name.client) else {
                    break;
                };
                drop_answer(tree, &mut totals, &mut record, name.client, oldest);
            }
            self.make_room(tree, (&mut totals, &mut record), name.client, size);
            Answer::store(tree, cursor, name, outcome);
            record.bytes = record.bytes.saturating_add(size);
            totals.bytes = totals.bytes.saturating_add(size);
        }
        record.store(tree, name.client);
        totals.store(tree);
    }

    /// Drops the oldest outcomes of all clients until `size` bytes more fit.
    ///
    /// `record` is that of `client`, which the tree does not hold at the moment.
    fn make_room(
        &self,
        tree: &mut Tree,
        (totals, record): (&mut Totals, &mut Record),
        client: Index,
        size: u64,
    ) {
        while totals.bytes.saturating_add(size) > self.bytes {
            let Some((oldest, owner)) = items::oldest(tree) else {
                break;
            };
            if owner == client {
                drop_answer(tree, totals, record, owner, oldest);
            } else if let Some(mut other) = Record::load(tree, owner) {
                drop_answer(tree, totals, &mut other, owner, oldest);
                other.store(tree, owner);
            } else {
                break;
            }
        }
    }

    /// Says what is known of the command `name` as of `applied`, changing nothing.
    pub(crate) fn recall(&self, tree: &Tree, applied: Index, name: ClientSequence) -> Recalled {
        if name.client > applied {
            // Registered after this state.
            return Recalled::NotSeen;
        }
        let clock = Totals::load(tree).clock;
        match Record::load(tree, name.client) {
            Some(record) if !self.is_idle(&record, applied, clock) => find(tree, &record, name),
            _ => Recalled::Expired,
        }
    }

    /// Moves the clock and removes some of those that are idle for too long.
    fn begin(&self, tree: &mut Tree, cursor: Cursor, at: Wall) -> Totals {
        let mut totals = Totals::load(tree);
        totals.tick(cursor.term, at, self.step);
        let mut left = self.sweep;
        while left > 0 {
            let Some(client) = items::least_lately_used(tree) else {
                break;
            };
            let Some(mut record) = Record::load(tree, client) else {
                break;
            };
            if !self.is_idle(&record, cursor.index, totals.clock) {
                break;
            }
            let some = items::numbers(tree, client, None, left);
            left -= some.len() as u64;
            forget(tree, &mut totals, &mut record, client, &some);
            if left == 0 {
                record.store(tree, client);
                break;
            }
            left -= 1;
            items::remove_last_use(tree, record.used);
            Record::remove(tree, client);
            totals.clients = totals.clients.saturating_sub(1);
        }
        totals
    }

    fn is_idle(&self, record: &Record, index: Index, clock: u64) -> bool {
        index.since(record.used) >= self.idle_entries
            && clock.saturating_sub(record.clock) >= self.idle_time
    }
}

/// Says what is known of a command of a client that is in the table.
fn find(tree: &Tree, record: &Record, name: ClientSequence) -> Recalled {
    if name.sequence < record.open {
        return Recalled::Dropped;
    }
    let Some(index) = items::number(tree, name) else {
        return Recalled::NotSeen;
    };
    match Answer::load(tree, index) {
        Some(answer) => Recalled::Applied(Remembered {
            cursor: Cursor::new(answer.term, index),
            outcome: answer.outcome,
        }),
        None => Recalled::Dropped,
    }
}

/// Forgets that numbers of a client were applied.
fn forget(
    tree: &mut Tree,
    totals: &mut Totals,
    record: &mut Record,
    client: Index,
    numbers: &[(u64, Index)],
) {
    for (sequence, index) in numbers {
        drop_answer(tree, totals, record, client, *index);
        items::remove_number(tree, client, *sequence);
        totals.numbers = totals.numbers.saturating_sub(1);
    }
}

/// Drops the outcome of the command at `index`, if it is remembered.
fn drop_answer(
    tree: &mut Tree,
    totals: &mut Totals,
    record: &mut Record,
    client: Index,
    index: Index,
) {
    if let Some(size) = Answer::remove(tree, client, index) {
        totals.bytes = totals.bytes.saturating_sub(size);
        record.bytes = record.bytes.saturating_sub(size);
    }
}

//! Named commands: applied at most once, and everybody is told the same of them.
//!
//! Each committed entry must come to what the rules of the client table say ([`Table`]), whichever
//! peer applies it. What a client is told must be justified by the committed log: a cursor is that
//! of the one entry that took effect; a refusal is one that the rules give, and that stays true. A
//! registration is told to one client only, or two would use each other's numbers.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{Applied, Body, ClientSequence, Cursor, Entry, Index, Recalled, Reply};
use quorate_state::ClientLimits;

use super::{Found, table::Table};

/// The names in use, and the table that the committed log makes.
#[derive(Debug)]
pub(crate) struct Names {
    table: Table,
    /// The operation behind each name.
    owners: BTreeMap<(Index, u64), usize>,
    /// Registrations in the log, and whether a client was told of it.
    registered: BTreeMap<Index, bool>,
    /// How often each thing happened to an entry.
    counts: BTreeMap<&'static str, u64>,
}

impl Names {
    pub(crate) fn new(limits: ClientLimits) -> Self {
        Self {
            table: Table::new(limits),
            owners: BTreeMap::new(),
            registered: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Notes whose name it is.
    pub(crate) fn name(&mut self, name: ClientSequence, operation: usize) {
        self.owners.insert((name.client, name.sequence), operation);
    }

    /// Returns how often each thing happened to an entry.
    pub(crate) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Takes a committed entry and what the state made of it; returns the operation that takes
    /// effect, if it is a named one.
    pub(crate) fn commit(
        &mut self,
        cursor: Cursor,
        entry: &Entry,
        applied: &Applied,
    ) -> Result<Option<usize>, Found> {
        let expected = match &entry.body {
            Body::Register { at } => self.table.register(cursor, *at),
            Body::Named(named) => {
                let says = match applied {
                    Applied::Outcome(outcome) => outcome.clone(),
                    _ => Bytes::new(),
                };
                self.table.command(cursor, named.client, named.at, &says)
            }
            _ => {
                self.table.pass(cursor);
                return Ok(None);
            }
        };
        if expected != *applied {
            return Err(Found::new(
                "client-table",
                format!("{cursor:?} came to {applied:?}, the rules give {expected:?}"),
            ));
        }
        *self.counts.entry(count_of(applied)).or_insert(0) += 1;
        match (&entry.body, applied) {
            (Body::Named(named), Applied::Outcome(_)) => {
                let name = (named.client.client, named.client.sequence);
                match self.owners.get(&name) {
                    Some(operation) => Ok(Some(*operation)),
                    None => Err(Found::new(
                        "exactly-once",
                        format!("{cursor:?} is {name:?}, a name that no client used"),
                    )),
                }
            }
            (Body::Register { .. }, Applied::Registered) => {
                self.registered.insert(cursor.index, false);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Takes what a client was told of its registration; returns its id, if it has one now.
    pub(crate) fn registered(&mut self, reply: &Reply) -> Result<Option<Index>, Found> {
        let Reply::Registered { cursor } = reply else {
            return match reply {
                Reply::Unknown
                | Reply::Busy
                | Reply::Unavailable
                | Reply::Superseded
                | Reply::Closed => Ok(None),
                reply => Err(Found::new(
                    "client-table",
                    format!("a registration is answered {reply:?}"),
                )),
            };
        };
        match self.registered.insert(cursor.index, true) {
            Some(false) => Ok(Some(cursor.index)),
            before => Err(Found::new(
                "client-table",
                format!("a client is told of its registration at {cursor:?}, told {before:?}"),
            )),
        }
    }

    /// Checks that a refusal of the client table is one that the rules give.
    pub(crate) fn refused(&self, name: ClientSequence, reply: &Reply) -> Result<(), Found> {
        let known = self.table.find(name);
        let justified = match reply {
            Reply::Expired => known == Recalled::Expired,
            _ => matches!(known, Recalled::Dropped | Recalled::Expired),
        };
        if justified {
            return Ok(());
        }
        Err(Found::new(
            "client-table",
            format!("{name:?} is answered {reply:?}, the rules give {known:?}"),
        ))
    }
}

fn count_of(applied: &Applied) -> &'static str {
    match applied {
        Applied::Silent => "client table: silent",
        Applied::Outcome(_) => "client table: applied",
        Applied::Repeated(_) => "client table: repeated",
        Applied::Registered => "client table: registered",
        Applied::Expired => "client table: expired",
        Applied::Dropped => "client table: dropped",
        Applied::Full => "client table: full",
        Applied::Superseded => "client table: superseded",
    }
}

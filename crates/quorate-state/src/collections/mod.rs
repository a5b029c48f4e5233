//! Typed collections: many of them, by name, in one group.
//!
//! All collections of a group live in one log and one tree, so that one command can change several
//! of them or none, and one snapshot holds all at one cursor. A collection is its kind and its
//! name; it exists as long as it has items, and nothing has to create it. Its items lie together:
//!
//! ```text
//! kind  name-length  name  key      (within the machine's own keys)
//! ```
//!
//! The kind is part of the key, so a map and a set of one name are two collections, and a peer
//! never has to agree with another on what a name stands for.

mod command;
mod key;
mod map;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use bytes::Bytes;

pub use command::{Command, MapOp, MapOutcome, Op, OpOutcome, Outcome, OutcomeError, Raw, Refusal};
pub use key::{
    Key, KeyReader, KeyWriter, Lookup, ValueError, decode_key, decode_value, encode_key,
    encode_lookup, encode_value,
};
pub(crate) use key::{encode_lookup_after, encode_value_after};
pub use map::MapView;

use crate::{
    limits,
    machine::{ApplyContext, Machine},
    space::MACHINE,
};

/// The machine that runs collections.
#[derive(Clone, Copy, Default, Debug)]
pub struct Collections;

/// The kind of a collection. Numbers are part of the tree's keys: they are never re-used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// Keys and values, ordered by the keys' encodings.
    Map = 1,
}

impl Machine for Collections {
    fn name(&self) -> &str {
        "quorate.collections"
    }

    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: &[u8]) -> Bytes {
        match Command::decode(command) {
            Ok(command) => execute(cx, &command),
            Err(refusal) => Outcome::Refused(refusal).encode(),
        }
    }
}

fn execute(cx: &mut ApplyContext<'_>, command: &Command<'_>) -> Bytes {
    match command {
        Command::One(op) => match one(cx, op) {
            Ok(_) if !cx.is_heard() => Bytes::new(),
            Ok(done) => Outcome::One(done.outcome()).encode(),
            Err(refusal) => Outcome::Refused(refusal).encode(),
        },
        Command::All(ops) => {
            let all = cx.transaction(|cx| {
                ops.iter()
                    .enumerate()
                    .map(|(at, op)| match one(cx, op) {
                        Ok(done) if done.holds() => Ok(done),
                        Ok(_) => Err(Refusal::Mismatch { at: at as u32 }),
                        Err(refusal) => Err(refusal),
                    })
                    .collect::<Result<Vec<_>, _>>()
            });
            match all {
                Ok(_) if !cx.is_heard() => Bytes::new(),
                Ok(all) => Outcome::All(all.iter().map(map::Done::outcome).collect()).encode(),
                Err(refusal) => Outcome::Refused(refusal).encode(),
            }
        }
    }
}

fn one(cx: &mut ApplyContext<'_>, op: &Op<'_>) -> Result<map::Done, Refusal> {
    match op {
        Op::Map { name, op } => map::apply(cx, name, op),
    }
}

/// Returns the beginning of all keys of a collection, unless its name is too long.
pub fn prefix(kind: Kind, name: &str) -> Option<Vec<u8>> {
    begin(&[], kind, name, 32)
}

/// Returns the tree's own key of an item, unless the collection's name is too long.
fn own(kind: Kind, name: &str, key: &[u8]) -> Option<Vec<u8>> {
    // Room to the byte: it becomes the key of a change as it is.
    let mut own = begin(&[MACHINE], kind, name, key.len())?;
    own.extend_from_slice(key);
    Some(own)
}

/// Begins a key: what it lies in, the collection, and `room` for more.
fn begin(within: &[u8], kind: Kind, name: &str, room: usize) -> Option<Vec<u8>> {
    if name.len() > limits::NAME {
        return None;
    }
    let mut key = Vec::with_capacity(within.len() + 2 + name.len() + room);
    key.extend_from_slice(within);
    key.extend_from_slice(&[kind as u8, name.len() as u8]);
    key.extend_from_slice(name.as_bytes());
    Some(key)
}

/// Splits the key of a machine's item into the collection's kind and name and the item's own key.
pub fn split_key(key: &[u8]) -> Option<(Kind, &str, &[u8])> {
    let (&kind, rest) = key.split_first()?;
    let kind = match kind {
        1 => Kind::Map,
        _ => return None,
    };
    let (&len, rest) = rest.split_first()?;
    let (name, key) = rest.split_at_checked(len.into())?;
    Some((kind, std::str::from_utf8(name).ok()?, key))
}

// The length of a name is one byte of the prefix.
const _: () = assert!(limits::NAME <= u8::MAX as usize);

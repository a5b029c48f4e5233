//! Maps: keys and values, ordered by the keys' encodings.

use bytes::Bytes;

use super::{
    Kind,
    command::{MapOp, MapOutcome, OpOutcome, Raw, Refusal},
    prefix,
};
use crate::{
    machine::{ApplyContext, Items, View},
    tree::{InsertError, Value, ValueRef},
};

/// What an operation did, with the values it found.
pub(super) enum Done {
    Previous(Option<Bytes>),
    Exchanged {
        swapped: bool,
        current: Option<Bytes>,
    },
}

impl Done {
    pub(super) fn outcome(&self) -> OpOutcome<'_> {
        OpOutcome::Map(match self {
            Self::Previous(value) => MapOutcome::Previous(value.as_deref().map(Raw)),
            Self::Exchanged { swapped, current } => MapOutcome::Exchanged {
                swapped: *swapped,
                current: current.as_deref().map(Raw),
            },
        })
    }

    /// Tells whether a transaction may go on after this.
    pub(super) fn holds(&self) -> bool {
        !matches!(self, Self::Exchanged { swapped: false, .. })
    }
}

/// Does `op` on the map called `name`.
pub(super) fn apply(
    cx: &mut ApplyContext<'_>,
    name: &str,
    op: &MapOp<'_>,
) -> Result<Done, Refusal> {
    let mut full = prefix(Kind::Map, name).ok_or(Refusal::Name)?;
    let (MapOp::Insert { key, .. } | MapOp::Remove { key } | MapOp::CompareExchange { key, .. }) =
        op;
    full.extend_from_slice(key.0);
    match op {
        MapOp::Insert { value, .. } => {
            let previous = cx.insert(&full, value.0).map_err(refusal)?;
            Ok(Done::Previous(previous.map(Value::into_bytes)))
        }
        MapOp::Remove { .. } => Ok(Done::Previous(cx.remove(&full).map(Value::into_bytes))),
        MapOp::CompareExchange { expect, value, .. } => exchange(cx, &full, *expect, *value),
    }
}

fn exchange(
    cx: &mut ApplyContext<'_>,
    key: &[u8],
    expect: Option<Raw<'_>>,
    value: Option<Raw<'_>>,
) -> Result<Done, Refusal> {
    let current = cx.view().get(key);
    let swapped = match (current, expect) {
        (Some(current), Some(expected)) => current == *expected.0,
        (current, expected) => current.is_none() && expected.is_none(),
    };
    if !swapped {
        let current = current.map(|value| value.to_bytes());
        return Ok(Done::Exchanged { swapped, current });
    }
    match value {
        Some(value) => {
            cx.insert(key, value.0).map_err(refusal)?;
        }
        None => {
            cx.remove(key);
        }
    }
    Ok(Done::Exchanged {
        swapped,
        current: value.map(|value| Bytes::copy_from_slice(value.0)),
    })
}

fn refusal(error: InsertError) -> Refusal {
    match error {
        InsertError::KeyTooLong { .. } => Refusal::Key,
        InsertError::ValueTooLong { .. } => Refusal::Value,
    }
}

/// One map, to read.
#[derive(Clone, Debug)]
pub struct MapView<'a> {
    state: View<'a>,
    prefix: Vec<u8>,
}

impl<'a> MapView<'a> {
    /// Looks at the map called `name`; nothing if no map can have that name.
    pub fn new(state: View<'a>, name: &str) -> Option<Self> {
        prefix(Kind::Map, name).map(|prefix| Self { state, prefix })
    }

    /// Returns the value of `key`; O(log n).
    pub fn get(&self, key: &[u8]) -> Option<ValueRef<'a>> {
        self.state.get(&[&self.prefix, key].concat())
    }

    /// Returns the number of items; O(log n).
    pub fn len(&self) -> u64 {
        self.state.count(&self.prefix)
    }

    /// Tells whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over all items in the order of their keys' encodings.
    pub fn iter(&self) -> Items<'a> {
        self.prefix(b"")
    }

    /// Iterates over the items whose keys' encodings begin with `prefix`.
    pub fn prefix(&self, prefix: &[u8]) -> Items<'a> {
        self.state
            .prefix(&[&self.prefix, prefix].concat())
            .strip(self.prefix.len())
    }

    /// Iterates over the items whose keys' encodings are `from` or greater.
    pub fn from_key(&self, from: &[u8]) -> Items<'a> {
        self.state
            .prefix_from(&self.prefix, from)
            .strip(self.prefix.len())
    }
}

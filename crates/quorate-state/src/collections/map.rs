//! Maps: keys and values, ordered by the keys' encodings.

use bytes::Bytes;

use super::{
    Kind,
    command::{MapOp, MapOutcome, OpOutcome, Raw, Refusal},
    own, prefix,
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
    let (MapOp::Insert { key, .. } | MapOp::Remove { key } | MapOp::CompareExchange { key, .. }) =
        op;
    let own = own(Kind::Map, name, key.0).ok_or(Refusal::Name)?;
    match op {
        MapOp::Insert { value, .. } if !cx.is_heard() => {
            cx.put_own(own, value.0).map_err(refusal)?;
            Ok(Done::Previous(None))
        }
        MapOp::Insert { value, .. } => {
            let previous = cx.insert_own(own, value.0).map_err(refusal)?;
            Ok(Done::Previous(previous.map(Value::into_bytes)))
        }
        MapOp::Remove { .. } => Ok(Done::Previous(cx.remove_own(own).map(Value::into_bytes))),
        MapOp::CompareExchange { expect, value, .. } => exchange(cx, own, *expect, *value),
    }
}

fn exchange(
    cx: &mut ApplyContext<'_>,
    own: Vec<u8>,
    expect: Option<Raw<'_>>,
    value: Option<Raw<'_>>,
) -> Result<Done, Refusal> {
    let current = cx.get_own(&own);
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
            cx.put_own(own, value.0).map_err(refusal)?;
        }
        None => {
            cx.remove_own(own);
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

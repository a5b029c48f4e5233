//! The state under test: a user's machine, or, as the simulated clients use it, one map of the real
//! collections.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::Planted;
use quorate_state::{
    ClientLimits, Collections, Machine, Replica,
    collections::{Command, MapOp, MapOutcome, MapView, Op, OpOutcome, Outcome, Raw},
};

use crate::subject::Tested;

/// The name of the clients' map.
const MAP: &str = "simulated";

/// Makes a replica of the machine under test, with a client table of these limits.
pub(crate) fn replica(tested: Option<&Tested>, limits: ClientLimits, planted: Planted) -> Replica {
    let machine = tested.map_or_else(
        || -> Arc<dyn Machine> { Arc::new(Collections) },
        Tested::machine,
    );
    Replica::new(machine)
        .with_client_limits(limits)
        .with_planted(planted)
}

/// Encodes the write of a value.
pub(crate) fn insert(key: &[u8], value: &[u8]) -> Bytes {
    encode(MapOp::Insert {
        key: Raw(key),
        value: Raw(value),
    })
}

/// Encodes the removal of a key.
pub(crate) fn remove(key: &[u8]) -> Bytes {
    encode(MapOp::Remove { key: Raw(key) })
}

/// Encodes the write of a value where the present one must be as expected.
pub(crate) fn exchange(key: &[u8], expect: Option<&[u8]>, value: &[u8]) -> Bytes {
    encode(MapOp::CompareExchange {
        key: Raw(key),
        expect: expect.map(Raw),
        value: Some(Raw(value)),
    })
}

fn encode(op: MapOp<'_>) -> Bytes {
    Command::One(Op::Map { name: MAP, op }).encode()
}

/// What a command answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The value that was there.
    Previous(Option<Bytes>),
    /// Whether the expected value was there, and which is there now.
    Exchanged(bool, Option<Bytes>),
}

/// Decodes what a command answered.
pub(crate) fn answer(outcome: &[u8]) -> Option<Answer> {
    let owned = |value: Option<Raw<'_>>| value.map(|value| Bytes::copy_from_slice(value.0));
    match Outcome::decode(outcome).ok()? {
        Outcome::One(OpOutcome::Map(MapOutcome::Previous(value))) => {
            Some(Answer::Previous(owned(value)))
        }
        Outcome::One(OpOutcome::Map(MapOutcome::Exchanged { swapped, current })) => {
            Some(Answer::Exchanged(swapped, owned(current)))
        }
        _ => None,
    }
}

/// Reads a key.
pub(crate) fn read(replica: &Replica, key: &[u8]) -> Option<Bytes> {
    let map = MapView::new(replica.view(), MAP)?;
    map.get(key).map(|value| value.to_bytes())
}

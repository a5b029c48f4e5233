//! The state under test: a user's machine, or, as the simulated clients use it, one map of the real
//! collections.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use quorate_core::{Planted, Versions};
use quorate_state::{
    ApplyContext, ClientLimits, Collections, Machine, Replica,
    collections::{Command, MapOp, MapOutcome, MapView, Op, OpOutcome, Outcome, Raw},
};

use crate::subject::Tested;

/// The name of the clients' map.
const MAP: &str = "simulated";

/// The map in which the machine notes by which version it was run.
const VERSIONS: &str = "versions";

/// The real collections, which from version 2 on also note the version: a replica that runs a
/// command by another version than the others do has another digest.
struct Simulated;

impl Machine for Simulated {
    fn name(&self) -> &str {
        Collections.name()
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: &[u8]) -> Bytes {
        let version = cx.version();
        if version > Versions::BEGINNING {
            let note = MapOp::Insert {
                key: Raw(b"latest"),
                value: Raw(&version.to_be_bytes()),
            };
            let note = Op::Map {
                name: VERSIONS,
                op: note,
            };
            Collections.apply(cx, &Command::One(note).encode());
        }
        Collections.apply(cx, command)
    }
}

/// What a machine says that fails because a fault has it fail.
pub(crate) const FAILS: &str = "a fault has it fail";

/// How often a peer's machine still fails when it is given a command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures(Arc<AtomicU32>);

impl Failures {
    /// Has the machine fail with its next commands, so many times.
    pub(crate) fn add(&self, times: u32) {
        self.0.fetch_add(times, Ordering::Relaxed);
    }

    /// Has it fail no more.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Tells whether it will fail with its next command.
    pub(crate) fn are_due(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn take(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }
}

/// The machine of one peer, which fails when a fault has it fail.
struct Faulty {
    machine: Arc<dyn Machine>,
    failures: Failures,
}

impl Machine for Faulty {
    fn name(&self) -> &str {
        self.machine.name()
    }

    fn versions(&self) -> std::ops::RangeInclusive<u32> {
        self.machine.versions()
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: &[u8]) -> Bytes {
        let outcome = self.machine.apply(cx, command);
        if self.failures.take() {
            // Half way: the changes are made, and nobody must see them. No hook prints a panic that
            // is only passed on.
            std::panic::resume_unwind(Box::new(FAILS));
        }
        outcome
    }
}

/// Makes a replica of the machine under test, with a client table of these limits.
pub(crate) fn replica(tested: Option<&Tested>, limits: ClientLimits, planted: Planted) -> Replica {
    of(under_test(tested), limits, planted)
}

/// Makes a peer's replica, whose machine fails when a fault has it fail.
pub(crate) fn replica_of_peer(
    tested: Option<&Tested>,
    limits: ClientLimits,
    planted: Planted,
    failures: &Failures,
) -> Replica {
    let machine = Faulty {
        machine: under_test(tested),
        failures: failures.clone(),
    };
    of(Arc::new(machine), limits, planted)
}

fn under_test(tested: Option<&Tested>) -> Arc<dyn Machine> {
    tested.map_or_else(|| Arc::new(Simulated) as Arc<dyn Machine>, Tested::machine)
}

fn of(machine: Arc<dyn Machine>, limits: ClientLimits, planted: Planted) -> Replica {
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

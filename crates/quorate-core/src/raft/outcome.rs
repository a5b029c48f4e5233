//! What is said of a proposal: from what became of its entry, to what its client is told.
//!
//! The words are those of [`super::proposal`]; that file says when each of them is said.

use crate::{
    client::Reply,
    cursor::Cursor,
    state_op::{Applied, Recalled},
    wire::ForwardOutcome,
};

/// Says what came of the entry at `cursor`; `sent` tells whether another copy may stand in a log.
#[inline]
pub(super) fn of_entry(cursor: Cursor, sent: bool, applied: Applied) -> ForwardOutcome {
    let outcome = match applied {
        Applied::Outcome(outcome) => ForwardOutcome::Committed { cursor, outcome },
        Applied::Repeated(remembered) => ForwardOutcome::Committed {
            cursor: remembered.cursor,
            outcome: remembered.outcome,
        },
        Applied::Registered => ForwardOutcome::Registered { cursor },
        Applied::Expired => ForwardOutcome::Expired,
        Applied::Dropped => ForwardOutcome::Dropped,
        Applied::Full => ForwardOutcome::Busy,
        Applied::Superseded => ForwardOutcome::Superseded,
        Applied::Silent => ForwardOutcome::Unknown,
    };
    in_view_of(sent, outcome)
}

/// Takes back what cannot be said of a command of which another copy may stand in a log: that it
/// was surely not applied.
pub(super) fn in_view_of(sent: bool, outcome: ForwardOutcome) -> ForwardOutcome {
    match outcome {
        ForwardOutcome::Busy if sent => ForwardOutcome::Unknown,
        outcome => outcome,
    }
}

/// Returns what can be told of a command that the client table was asked for.
pub(super) fn known(recalled: &Recalled) -> Option<ForwardOutcome> {
    Some(match recalled {
        Recalled::Applied(remembered) => ForwardOutcome::Committed {
            cursor: remembered.cursor,
            outcome: remembered.outcome.clone(),
        },
        Recalled::Expired => ForwardOutcome::Expired,
        Recalled::Dropped => ForwardOutcome::Dropped,
        Recalled::NotSeen => return None,
    })
}

#[inline]
pub(super) fn reply(outcome: ForwardOutcome) -> Reply {
    match outcome {
        ForwardOutcome::Committed { cursor, outcome } => Reply::Committed { cursor, outcome },
        ForwardOutcome::Registered { cursor } => Reply::Registered { cursor },
        ForwardOutcome::Busy | ForwardOutcome::NotLeader => Reply::Busy,
        ForwardOutcome::Unknown => Reply::Unknown,
        ForwardOutcome::Superseded => Reply::Superseded,
        ForwardOutcome::Expired => Reply::Expired,
        ForwardOutcome::Dropped => Reply::Dropped,
    }
}

//! What the tests of this module share.

use std::time::Duration;

use super::{Leading, SyncOut};
use crate::{
    cursor::{Cursor, Index, Term},
    entry::{Marker, Requester},
    event::GroupEvent,
    id::{Digest, Incarnation, Member, PeerId, SessionId},
    state_op::StateOp,
    time::{Now, Time, Wall},
    wire::Message,
};

pub(super) fn member(n: u8) -> Member {
    Member {
        peer: PeerId([n; 32]),
        incarnation: Incarnation(u64::from(n)),
    }
}

pub(super) fn members(count: u8) -> Vec<Member> {
    (0..count).map(member).collect()
}

pub(super) fn at(index: u64) -> Cursor {
    Cursor::new(Term(2), Index(index))
}

pub(super) fn ms(ms: u64) -> Time {
    Time(0).after(Duration::from_millis(ms))
}

pub(super) fn now(time: Time) -> Now {
    Now {
        time,
        wall: Wall(77),
    }
}

pub(super) fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

pub(super) fn requester(n: u8, session: u64) -> Requester {
    Requester {
        member: member(n),
        session: SessionId(session),
        have: Cursor::ZERO,
    }
}

pub(super) fn marker_of(requesters: &[Requester]) -> Marker {
    Marker {
        requesters: requesters.to_vec(),
        requested_at: Wall(77),
    }
}

pub(super) fn leading(voters: &[Member]) -> Leading<'_> {
    Leading {
        term: Term(2),
        voters,
    }
}

/// Returns the messages pushed, with their receivers.
pub(super) fn sent(out: &[SyncOut]) -> Vec<(Member, &Message)> {
    out.iter()
        .filter_map(|out| match out {
            SyncOut::Send { to, message } => Some((*to, message)),
            _ => None,
        })
        .collect()
}

/// Returns the operations pushed.
pub(super) fn ops(out: &[SyncOut]) -> Vec<&StateOp> {
    out.iter()
        .filter_map(|out| match out {
            SyncOut::State(op) => Some(op),
            _ => None,
        })
        .collect()
}

/// Returns the events pushed.
pub(super) fn events(out: &[SyncOut]) -> Vec<&GroupEvent> {
    out.iter()
        .filter_map(|out| match out {
            SyncOut::Event(event) => Some(event),
            _ => None,
        })
        .collect()
}

/// Returns the markers proposed.
pub(super) fn proposed(out: &[SyncOut]) -> Vec<&Marker> {
    out.iter()
        .filter_map(|out| match out {
            SyncOut::Propose(marker) => Some(marker),
            _ => None,
        })
        .collect()
}

/// Tells whether a situation was reached.
pub(super) fn marked(out: &[SyncOut], name: &str) -> bool {
    out.iter()
        .any(|out| matches!(out, SyncOut::Mark(mark) if *mark == name))
}

//! What handles ask of the driver.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::{Event, Freshness, GroupId, OpenGroup, Reply, Time};
use tokio::sync::oneshot;

use crate::{
    changes::{Since, Subscribed},
    event::EventsTap,
    group::Seat,
    snapshot::Snapshot,
};

/// One request.
#[derive(Debug)]
pub(crate) enum Request {
    /// Replicate a command.
    Write {
        group: GroupId,
        command: Bytes,
        deadline: Time,
        reply: oneshot::Sender<Reply>,
    },
    /// Read the state.
    Read(ReadRequest),
    /// Open a group, or find it open.
    Open {
        group: GroupId,
        open: Box<OpenGroup>,
        reply: oneshot::Sender<Arc<Seat>>,
    },
    /// Subscribe to events: of one group, or of all.
    Events {
        group: Option<GroupId>,
        reply: oneshot::Sender<EventsTap>,
    },
    /// Subscribe to the changes of keys that begin with `prefix`.
    Changes {
        group: GroupId,
        prefix: Bytes,
        since: Since,
        reply: oneshot::Sender<Subscribed>,
    },
    /// Stop in good order.
    Stop { done: oneshot::Sender<()> },
}

/// A read of the state once it is fresh enough; at once if no freshness is asked for.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    pub(crate) group: GroupId,
    pub(crate) freshness: Option<Freshness>,
    pub(crate) deadline: Time,
    pub(crate) query: Query,
    pub(crate) reply: oneshot::Sender<Result<Answer, Reply>>,
}

/// What a read wants to know of the state.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// The value of one key of a map.
    Get { map: Arc<str>, key: Bytes },
    /// How many items a map has.
    Len { map: Arc<str> },
    /// The whole state, as it is; O(1).
    Snapshot,
}

/// What a read was told.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Value(Option<Bytes>),
    Len(u64),
    Snapshot(Snapshot),
}

impl Request {
    /// Bytes that the request keeps while it waits.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Write { command, .. } => command.len(),
            Self::Read(ReadRequest {
                query: Query::Get { key, .. },
                ..
            }) => key.len(),
            _ => 0,
        }
    }
}

/// An event goes to those who watch its group, or to everybody if it is about a peer.
pub(crate) fn concerns(event: &Event, group: GroupId) -> bool {
    match event {
        Event::Group { group: of, .. } => *of == group,
        _ => true,
    }
}

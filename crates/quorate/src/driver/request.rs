//! What handles ask of the driver.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use quorate_core::{ClientOp, Event, Freshness, GroupId, OpenGroup, Reply, Time};
use quorate_net::rendezvous::FounderLock;
use quorate_state::Machine;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    changes::{Since, Subscribed},
    event::EventsTap,
    group::Seat,
    name::RequestName,
    snapshot::Snapshot,
};

/// One request.
pub(crate) enum Request {
    /// Replicate a command.
    Write(WriteRequest),
    /// Replicate a command of which nobody wants to hear once this peer has taken it.
    Feed(FeedRequest),
    /// Read the state.
    Read(ReadRequest),
    /// Anything else that the core answers.
    Wish {
        group: GroupId,
        op: Box<ClientOp>,
        reply: oneshot::Sender<Reply>,
    },
    /// Open a group, or find it open.
    Open {
        group: GroupId,
        open: Box<OpenGroup>,
        machine: Arc<dyn Machine>,
        reply: oneshot::Sender<Arc<Seat>>,
    },
    /// This peer may found a group: it holds the lock.
    Founder { group: GroupId, lock: FounderLock },
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
    /// Give up this peer's seats in all groups; `done` is dropped when no more can be done.
    Leave {
        deadline: Time,
        done: oneshot::Sender<()>,
    },
    /// Do nothing more, and say so, until the other end of `until` is dropped; for tests.
    Pause {
        paused: oneshot::Sender<()>,
        until: oneshot::Receiver<()>,
    },
    /// Stop in good order.
    Stop { done: oneshot::Sender<()> },
}

/// A command to be replicated; at most once, if it has a name.
pub(crate) struct WriteRequest {
    pub(crate) group: GroupId,
    pub(crate) command: Bytes,
    pub(crate) name: Option<Box<RequestName>>,
    pub(crate) deadline: Time,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// A command that is handed over.
pub(crate) struct FeedRequest {
    pub(crate) group: GroupId,
    pub(crate) command: Bytes,
    pub(crate) deadline: Time,
    /// Given back once something is known of it.
    pub(crate) room: OwnedSemaphorePermit,
    pub(crate) taken: oneshot::Sender<Result<(), Reply>>,
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

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

impl Request {
    /// Bytes that the request keeps while it waits.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Write(write) => write.command.len(),
            Self::Feed(feed) => feed.command.len(),
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

//! Groups that run the application's own machine: commands, queries, and commands that are fed.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use quorate_core::{GroupId, Reply, Time};
use quorate_state::{
    StateMachine, View,
    collections::Refusal,
    typed::{TypedError, decode_outcome, encode_command},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    ask::{Ask, Draft, Unasked},
    driver::request::{FeedRequest, Request},
    group::Group,
    read::{Read, ReadError, Reading},
    snapshot::Snapshot,
    write::{Undecoded, Write, WriteError},
};

impl<M: StateMachine> Group<M> {
    /// Has a command applied by every peer, and waits until a quorum has it and this peer, or the
    /// leader, has applied it.
    ///
    /// Costs a round trip between the leader and a quorum, and one more to the leader if this peer
    /// does not lead. Errors: see [`WriteError`]; they give the command back where it may be tried
    /// again.
    pub fn execute(&self, command: M::Command) -> Write<M::Command, M::Outcome> {
        let encoded = encode_command(&command).map_err(|error| error.to_string());
        Write::new(&self.hall, self.seat.group, encoded, command, outcome)
    }

    /// Hands a command over without waiting for what becomes of it.
    ///
    /// Ends when this peer has taken the command: it stands in line for the log, here or on its way
    /// to the leader, after all that was fed through this peer before. It says nothing about
    /// whether the command will be committed: if the leader is lost, or there is none until the
    /// deadline, it is lost without a word. While [`crate::limits::FED_COMMANDS`] commands are fed
    /// and not yet heard of, or the group has no room, it waits: whoever feeds too fast is held
    /// back. Cancel-safe: a command whose future is dropped was taken or was not.
    ///
    /// # Errors
    /// [`WriteError::Busy`] if there was no room until the deadline, [`WriteError::TooLarge`],
    /// [`WriteError::Closed`], [`WriteError::Encoding`]: the command was not taken.
    pub fn feed(
        &self,
        command: M::Command,
    ) -> impl Future<Output = Result<(), WriteError<M::Command>>> + Send + use<M> {
        let (hall, group) = (Arc::clone(&self.hall), self.seat.group);
        let line = Arc::clone(&self.seat.feeding);
        async move {
            let encoded = match encode_command(&command) {
                Ok(encoded) => encoded,
                Err(error) => {
                    let reason = error.to_string();
                    return Err(WriteError::Encoding { reason });
                }
            };
            let until = Instant::now() + hall.timeout;
            loop {
                let Ok(Ok(room)) = timeout_at(until, Arc::clone(&line).acquire_owned()).await
                else {
                    return Err(WriteError::Busy { value: command });
                };
                let draft = FeedDraft {
                    group,
                    command: encoded.clone(),
                    room,
                };
                let again = Instant::now() + PAUSE;
                match Ask::new(&hall, draft).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(Reply::Busy)) if again < until => sleep_until(again).await,
                    Ok(Err(refused)) => return Err(untaken(refused, command)),
                    Err(Unasked::Busy) => return Err(WriteError::Busy { value: command }),
                    Err(Unasked::Closed) => return Err(WriteError::Closed { value: command }),
                    Err(Unasked::Gone) => return Err(WriteError::Unknown),
                }
            }
        }
    }

    /// Answers a query from the state here, once it is as fresh as `read` asks for.
    ///
    /// The machine answers from a snapshot in the task that polls this, so that a long answer does
    /// not hold up the group. Costs beyond that what [`Read`] says. Errors: see [`ReadError`].
    pub fn query(&self, query: M::Query, read: Read) -> Querying<M> {
        Querying {
            reading: Reading::snapshot(&self.hall, &self.seat, read),
            machine: Arc::clone(&self.machine),
            query: Some(query),
        }
    }
}

/// Before a command is fed again that found no room.
const PAUSE: Duration = Duration::from_millis(5);

/// What a refusal of a command means to whoever feeds it.
fn untaken<C>(refused: Reply, value: C) -> WriteError<C> {
    match refused {
        Reply::Busy => WriteError::Busy { value },
        Reply::TooLarge => WriteError::TooLarge,
        Reply::Unavailable => WriteError::Unavailable { value },
        Reply::Closed => WriteError::Closed { value },
        _ => WriteError::Unknown,
    }
}

fn outcome<O: DeserializeOwned>(outcome: &Bytes) -> Result<O, Undecoded> {
    decode_outcome(outcome).map_err(|error| match error {
        TypedError::Malformed => Undecoded::Refused(Refusal::Malformed),
        error => Undecoded::foreign(error),
    })
}

/// A command of whose outcome nobody wants to hear.
struct FeedDraft {
    group: GroupId,
    command: Bytes,
    room: OwnedSemaphorePermit,
}

impl Draft for FeedDraft {
    type Answer = Result<(), Reply>;

    fn request(self, deadline: Time, taken: oneshot::Sender<Self::Answer>) -> Request {
        Request::Feed(FeedRequest {
            group: self.group,
            command: self.command,
            deadline,
            room: self.room,
            taken,
        })
    }
}

/// A query under way, as a future.
///
/// It does nothing before it is first polled, and dropping it at any time is harmless. The
/// deadline counts from the first poll.
#[must_use = "a query does nothing unless it is awaited"]
pub struct Querying<M: StateMachine> {
    reading: Reading<Snapshot>,
    machine: Arc<M>,
    query: Option<M::Query>,
}

impl<M: StateMachine> Querying<M> {
    /// Sets how long it may take; see [`crate::NetworkBuilder::timeout`] for the default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.reading = self.reading.timeout(timeout);
        self
    }
}

impl<M: StateMachine> Unpin for Querying<M> {}

impl<M: StateMachine> Future for Querying<M> {
    type Output = Result<M::Answer, ReadError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let snapshot = ready!(Pin::new(&mut self.reading).poll(cx))?;
        let query = self.query.take().expect("an operation is over once");
        let state = View::new(snapshot.tree());
        Poll::Ready(Ok(self.machine.query(state, query)))
    }
}

impl<M: StateMachine> fmt::Debug for Querying<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Querying").finish_non_exhaustive()
    }
}

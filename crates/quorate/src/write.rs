//! Writes and what became of them.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use quorate_core::{Cursor, GroupId, Reply, Time};
use quorate_state::collections::Refusal;
use tokio::sync::oneshot;

use crate::{
    ask::{Ask, Draft, Unasked},
    driver::request::{Request, WriteRequest},
    hall::Hall,
    name::RequestName,
};

/// A write that a quorum has, and that was applied at its cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed<O> {
    /// Where the write stands in the log: [`crate::Read::AtLeast`] of it sees the write.
    pub cursor: Cursor,
    /// What the state answered, equal on every peer.
    pub outcome: O,
}

/// A write was not committed, or it is not known whether it was.
///
/// Where the write was surely not applied and may be tried again, its value comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError<I> {
    /// A limit was reached: too much is under way. Surely not applied; try again later.
    #[error("too much is under way: the write was not applied, try again later")]
    Busy {
        /// What was to be written.
        value: I,
    },
    /// There was no leader, or no quorum, until the deadline. Surely not applied.
    #[error("no leader or no quorum until the deadline: the write was not applied")]
    Unavailable {
        /// What was to be written.
        value: I,
    },
    /// The write lost its place to another leader's entries. Surely never applied.
    #[error("the write lost its place to another leader's entries and will never be applied")]
    Superseded {
        /// What was to be written.
        value: I,
    },
    /// The client is not known, or not any more. Not applied by this request; an earlier one of the
    /// same name may have been.
    #[error("the client is not known, or not any more: this request applied nothing")]
    Expired {
        /// What was to be written.
        value: I,
    },
    /// The write was answered before, and the answer is no longer kept; or the client has said
    /// that it would not repeat it. Not applied by this request.
    #[error("the write was answered before and its answer is gone: this request applied nothing")]
    Dropped {
        /// What was to be written.
        value: I,
    },
    /// The network was closed on this peer before, or its group takes no part any more. Surely not
    /// applied.
    #[error("the network or the group is closed on this peer: the write was not applied")]
    Closed {
        /// What was to be written.
        value: I,
    },
    /// The deadline came, or the network was closed here, while the write was under way: it may
    /// have been applied, may be later, or never. Read before writing again.
    #[error("it is not known whether the write was or will be applied")]
    Unknown,
    /// The write is larger than a command may be. Surely not applied.
    #[error("the write is larger than a command may be")]
    TooLarge,
    /// The state refused the write, on every peer alike. It changed nothing and never will.
    #[error("the write was refused: {0}")]
    Refused(Refusal),
    /// The write was applied, but what it answered does not decode as this handle's types: another
    /// peer uses other types.
    #[error("the write at cursor {cursor} was applied; its outcome does not decode: {reason}")]
    Decoding {
        /// Where the write stands in the log.
        cursor: Cursor,
        /// Why.
        reason: String,
    },
    /// The key or the value could not be encoded. Surely not applied.
    #[error("the key or value could not be encoded: {reason}")]
    Encoding {
        /// Why.
        reason: String,
    },
}

impl<I> WriteError<I> {
    /// Tells whether the write surely has changed nothing and never will.
    pub fn is_surely_not_applied(&self) -> bool {
        !matches!(
            self,
            Self::Unknown | Self::Expired { .. } | Self::Dropped { .. } | Self::Decoding { .. }
        )
    }
}

/// An outcome that is no answer to the write.
#[derive(Debug)]
pub(crate) enum Undecoded {
    /// The state refused the write.
    Refused(Refusal),
    /// The outcome is none of the expected type.
    Foreign(String),
}

impl Undecoded {
    pub(crate) fn foreign(reason: impl fmt::Display) -> Self {
        Self::Foreign(reason.to_string())
    }
}

/// A write under way, as a future.
///
/// It does nothing before it is first polled. Dropping it later does not take the write back: it
/// may or may not be applied. The deadline counts from the first poll. Nothing is sent again once
/// it may be in the log, unless it has a name: see [`Write::named`] and [`crate::Client`].
#[must_use = "a write does nothing unless it is awaited"]
pub struct Write<I, O> {
    ask: Result<Ask<WriteDraft>, String>,
    input: Option<I>,
    decode: fn(&Bytes) -> Result<O, Undecoded>,
}

/// A command for a group.
#[derive(Clone, Debug)]
pub(crate) struct WriteDraft {
    group: GroupId,
    command: Bytes,
    name: Option<Box<RequestName>>,
}

impl WriteDraft {
    /// Gives the command a name.
    pub(crate) fn name(&mut self, name: RequestName) {
        self.name = Some(Box::new(name));
    }
}

impl Draft for WriteDraft {
    type Answer = Reply;

    fn request(self, deadline: Time, reply: oneshot::Sender<Reply>) -> Request {
        Request::Write(WriteRequest {
            group: self.group,
            command: self.command,
            name: self.name,
            deadline,
            reply,
        })
    }
}

impl<I, O> Write<I, O> {
    /// Prepares to write `command`, which says `input`.
    pub(crate) fn new(
        hall: &Arc<Hall>,
        group: GroupId,
        command: Result<Bytes, String>,
        input: I,
        decode: fn(&Bytes) -> Result<O, Undecoded>,
    ) -> Self {
        let draft = |command| WriteDraft {
            group,
            command,
            name: None,
        };
        Self {
            ask: command.map(|command| Ask::new(hall, draft(command))),
            input: Some(input),
            decode,
        }
    }

    /// Sets how long the write may take; see [`crate::NetworkBuilder::timeout`] for the default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if let Ok(ask) = &mut self.ask {
            ask.set_timeout(timeout);
        }
        self
    }

    /// Gives the write a name, under which it is applied once however often it is sent, through
    /// whichever peers of the group.
    ///
    /// Whoever repeats it is told the cursor and the outcome of the one time it was applied. When a
    /// leader is lost, it is sent again by itself until the deadline. For those who keep names
    /// beyond this process; for others [`crate::Client`] does. Two different writes of one name are
    /// one write: the first to be applied. A name once polled stays.
    pub fn named(mut self, name: RequestName) -> Self {
        if let Ok(ask) = &mut self.ask
            && let Some(draft) = ask.draft_mut()
        {
            draft.name(name);
        }
        self
    }

    /// Returns what is asked and how long it may take; nothing if it cannot be, or has been.
    pub(crate) fn plan(&mut self) -> Option<(WriteDraft, Duration)> {
        let ask = self.ask.as_mut().ok()?;
        let timeout = ask.timeout();
        Some((ask.draft_mut()?.clone(), timeout))
    }

    /// Asks anew.
    pub(crate) fn ask_again(&mut self, hall: &Arc<Hall>, draft: WriteDraft, timeout: Duration) {
        let mut ask = Ask::new(hall, draft);
        ask.set_timeout(timeout);
        self.ask = Ok(ask);
    }

    /// Waits for an answer; ready with nothing if the write could not be encoded.
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Reply, Unasked>>> {
        match &mut self.ask {
            Ok(ask) => Pin::new(ask).poll(cx).map(Some),
            Err(_) => Poll::Ready(None),
        }
    }

    /// Says what an answer means to whoever waits for the write, and ends it.
    pub(crate) fn judge(
        &mut self,
        answer: Option<Result<Reply, Unasked>>,
    ) -> Result<Committed<O>, WriteError<I>> {
        let value = self.input.take().expect("an operation is over once");
        let Some(answer) = answer else {
            let reason = self.ask.as_mut().err().map(std::mem::take);
            let reason = reason.unwrap_or_default();
            return Err(WriteError::Encoding { reason });
        };
        Err(match answer {
            Ok(Reply::Committed { cursor, outcome }) => {
                return match (self.decode)(&outcome) {
                    Ok(outcome) => Ok(Committed { cursor, outcome }),
                    Err(Undecoded::Refused(refusal)) => Err(WriteError::Refused(refusal)),
                    Err(Undecoded::Foreign(reason)) => Err(WriteError::Decoding { cursor, reason }),
                };
            }
            Ok(Reply::Superseded) => WriteError::Superseded { value },
            Ok(Reply::Expired) => WriteError::Expired { value },
            Ok(Reply::Dropped) => WriteError::Dropped { value },
            Ok(Reply::Busy) | Err(Unasked::Busy) => WriteError::Busy { value },
            Ok(Reply::Unavailable) => WriteError::Unavailable { value },
            Ok(Reply::TooLarge) => WriteError::TooLarge,
            Ok(Reply::Closed) | Err(Unasked::Closed) => WriteError::Closed { value },
            Ok(_) | Err(Unasked::Gone) => WriteError::Unknown,
        })
    }
}

impl<I, O> Unpin for Write<I, O> {}

impl<I, O> Future for Write<I, O> {
    type Output = Result<Committed<O>, WriteError<I>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.poll_answer(cx));
        Poll::Ready(self.judge(answer))
    }
}

impl<I, O> fmt::Debug for Write<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").finish_non_exhaustive()
    }
}

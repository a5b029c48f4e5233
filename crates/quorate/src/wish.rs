//! Wishes: what is asked of a group that is neither a write nor a read.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use quorate_core::{ClientOp, GroupId, Reply, Time};
use tokio::sync::oneshot;

use crate::{
    ask::{Ask, Draft, Unasked},
    driver::request::Request,
    hall::Hall,
};

/// A wish under way, as a future: to hand leadership over, or to leave.
///
/// It does nothing before it is first polled. Dropping it later does not take the wish back: it
/// may or may not be fulfilled. The deadline counts from the first poll.
#[must_use = "a wish does nothing unless it is awaited"]
pub struct Wish<E> {
    ask: Ask<WishDraft>,
    judge: fn(Result<Reply, Unasked>) -> Result<(), E>,
}

/// Leadership was not handed over, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The peer that was to lead does not vote in the group.
    #[error("the peer that was to lead does not vote in the group: name one of its voters")]
    NotVoter,
    /// Nobody else votes.
    #[error("nobody else votes in the group: there is nobody to hand over to")]
    LastVoter,
    /// Too many wishes are under way; try again later.
    #[error("too much is under way: try again later")]
    Busy,
    /// It did not come about until the deadline: no leader, no quorum, or the peer that was to
    /// lead was not reached. It may still come about.
    #[error("leadership was not handed over until the deadline")]
    Unavailable,
    /// The network is closed on this peer.
    #[error("the network is closed on this peer")]
    Closed,
}

/// The seat was not given up, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// This peer is the last voter: the group would end with it.
    #[error("this peer is the group's last voter: the group ends with it, so dissolve it instead")]
    LastVoter,
    /// Too many wishes are under way; try again later.
    #[error("too much is under way: try again later")]
    Busy,
    /// It did not come about until the deadline: no leader or no quorum. It may still come about.
    #[error("the seat was not given up until the deadline: no leader or no quorum")]
    Unavailable,
    /// The network is closed on this peer.
    #[error("the network is closed on this peer")]
    Closed,
}

impl TransferError {
    pub(crate) fn judge(answer: Result<Reply, Unasked>) -> Result<(), Self> {
        Err(match answer {
            Ok(Reply::Done) => return Ok(()),
            Ok(Reply::NotVoter) => Self::NotVoter,
            Ok(Reply::LastVoter) => Self::LastVoter,
            Ok(Reply::Busy) | Err(Unasked::Busy) => Self::Busy,
            Ok(Reply::Closed) | Err(Unasked::Closed | Unasked::Gone) => Self::Closed,
            Ok(_) => Self::Unavailable,
        })
    }
}

impl LeaveError {
    pub(crate) fn judge(answer: Result<Reply, Unasked>) -> Result<(), Self> {
        Err(match answer {
            Ok(Reply::Done) => return Ok(()),
            Ok(Reply::LastVoter) => Self::LastVoter,
            Ok(Reply::Busy) | Err(Unasked::Busy) => Self::Busy,
            Ok(Reply::Closed) | Err(Unasked::Closed | Unasked::Gone) => Self::Closed,
            Ok(_) => Self::Unavailable,
        })
    }
}

/// Something for the core to do.
pub(crate) struct WishDraft {
    group: GroupId,
    make: Box<dyn FnOnce(Time) -> ClientOp + Send>,
}

impl WishDraft {
    /// Drafts what `make` makes once there is a deadline.
    pub(crate) fn new(
        group: GroupId,
        make: impl FnOnce(Time) -> ClientOp + Send + 'static,
    ) -> Self {
        Self {
            group,
            make: Box::new(make),
        }
    }
}

impl Draft for WishDraft {
    type Answer = Reply;

    fn request(self, deadline: Time, reply: oneshot::Sender<Reply>) -> Request {
        Request::Wish {
            group: self.group,
            op: Box::new((self.make)(deadline)),
            reply,
        }
    }
}

impl<E> Wish<E> {
    pub(crate) fn new(
        hall: &Arc<Hall>,
        group: GroupId,
        judge: fn(Result<Reply, Unasked>) -> Result<(), E>,
        make: impl FnOnce(Time) -> ClientOp + Send + 'static,
    ) -> Self {
        Self {
            ask: Ask::new(hall, WishDraft::new(group, make)),
            judge,
        }
    }

    /// Sets how long it may take; see [`crate::NetworkBuilder::timeout`] for the default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.ask.set_timeout(timeout);
        self
    }
}

impl<E> Future for Wish<E> {
    type Output = Result<(), E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.ask).poll(cx));
        Poll::Ready((self.judge)(answer))
    }
}

impl<E> fmt::Debug for Wish<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wish").finish_non_exhaustive()
    }
}

//! Reads: how fresh they are, and what became of them.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use quorate_core::{Cursor, Freshness, GroupId, Reply, Time};
use tokio::sync::oneshot;

use crate::{
    ask::{Ask, Draft, Unasked},
    driver::request::{Answer, Query, ReadRequest, Request},
    group::Seat,
    hall::Hall,
    snapshot::Snapshot,
};

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// What this peer has; may be behind, costs no message.
    Local,
    /// At least as fresh as this cursor, such as that of a write; waits until this peer has it.
    AtLeast(Cursor),
    /// As fresh as every write that was acknowledged anywhere before the read began; costs a
    /// round trip between the leader and a quorum, shared by all reads of that moment.
    Linearizable,
}

/// A read was not answered. Reads change nothing: any of them may be tried again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A limit was reached: too much is under way; try again later.
    #[error("too much is under way: try again later")]
    Busy,
    /// The state here did not become fresh enough until the deadline: no leader, no quorum, or
    /// this peer lags.
    #[error("the state here did not become fresh enough until the deadline")]
    Unavailable,
    /// The group runs a newer version of its state machine than this peer's program can read: see
    /// [`crate::GroupStatus::version`].
    #[error("the group runs a newer version of its state machine than this program can read")]
    TooOld,
    /// The network is closed on this peer.
    #[error("the network is closed on this peer")]
    Closed,
    /// What is stored is not what this handle's types expect: another peer uses other types.
    #[error("what is stored does not decode as this handle's types: {reason}")]
    Decoding {
        /// Why.
        reason: String,
    },
}

/// A read under way, as a future.
///
/// It does nothing before it is first polled, and dropping it at any time is harmless. The
/// deadline counts from the first poll.
#[must_use = "a read does nothing unless it is awaited"]
pub struct Reading<T> {
    stage: Stage,
    decode: fn(Answer) -> Result<T, ReadError>,
}

enum Stage {
    /// May be answered from what the driver has published.
    Local(Local),
    Asked(Ask<ReadDraft>),
}

struct Local {
    hall: Arc<Hall>,
    seat: Arc<Seat>,
    query: Query,
    timeout: Duration,
}

impl<T> Reading<T> {
    pub(crate) fn new(
        hall: &Arc<Hall>,
        seat: &Arc<Seat>,
        read: Read,
        query: Query,
        decode: fn(Answer) -> Result<T, ReadError>,
    ) -> Self {
        let stage = match read {
            Read::Local => Stage::Local(Local {
                hall: Arc::clone(hall),
                seat: Arc::clone(seat),
                query,
                timeout: hall.timeout,
            }),
            Read::AtLeast(cursor) => {
                Stage::Asked(ask(hall, seat, Some(Freshness::AtLeast(cursor)), query))
            }
            Read::Linearizable => {
                Stage::Asked(ask(hall, seat, Some(Freshness::Linearizable), query))
            }
        };
        Self { stage, decode }
    }

    /// Sets how long the read may take; see [`crate::NetworkBuilder::timeout`] for the default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        match &mut self.stage {
            Stage::Local(local) => local.timeout = timeout,
            Stage::Asked(ask) => ask.set_timeout(timeout),
        }
        self
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, ReadError>> {
        if let Stage::Local(local) = &self.stage {
            if let Some(snapshot) = local.seat.published.get() {
                return Poll::Ready(Ok(snapshot.answer(&local.query)));
            }
            let mut asked = ask(&local.hall, &local.seat, None, local.query.clone());
            asked.set_timeout(local.timeout);
            self.stage = Stage::Asked(asked);
        }
        let Stage::Asked(ask) = &mut self.stage else {
            unreachable!("it has just been asked");
        };
        Poll::Ready(match ready!(Pin::new(ask).poll(cx)) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Reply::Busy)) | Err(Unasked::Busy) => Err(ReadError::Busy),
            Ok(Err(Reply::Closed)) | Err(Unasked::Closed | Unasked::Gone) => Err(ReadError::Closed),
            Ok(Err(Reply::TooOld)) => Err(ReadError::TooOld),
            Ok(Err(_)) => Err(ReadError::Unavailable),
        })
    }
}

impl Reading<Snapshot> {
    pub(crate) fn snapshot(hall: &Arc<Hall>, seat: &Arc<Seat>, read: Read) -> Self {
        Self::new(hall, seat, read, Query::Snapshot, |answer| match answer {
            Answer::Snapshot(snapshot) => Ok(snapshot),
            other => Err(mismatch(&other)),
        })
    }
}

/// A question about a group's state.
struct ReadDraft {
    group: GroupId,
    freshness: Option<Freshness>,
    query: Query,
}

impl Draft for ReadDraft {
    type Answer = Result<Answer, Reply>;

    fn request(self, deadline: Time, reply: oneshot::Sender<Self::Answer>) -> Request {
        Request::Read(ReadRequest {
            group: self.group,
            freshness: self.freshness,
            deadline,
            query: self.query,
            reply,
        })
    }
}

fn ask(
    hall: &Arc<Hall>,
    seat: &Seat,
    freshness: Option<Freshness>,
    query: Query,
) -> Ask<ReadDraft> {
    let group = seat.group;
    let draft = ReadDraft {
        group,
        freshness,
        query,
    };
    Ask::new(hall, draft)
}

/// An answer of another kind than the question; cannot happen, and is an error rather than a
/// panic in an application's task.
pub(crate) fn mismatch(answer: &Answer) -> ReadError {
    ReadError::Decoding {
        reason: format!("the driver answered another question: {answer:?}"),
    }
}

impl<T> Future for Reading<T> {
    type Output = Result<T, ReadError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.poll_answer(cx));
        Poll::Ready(answer.and_then(self.decode))
    }
}

impl<T> fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

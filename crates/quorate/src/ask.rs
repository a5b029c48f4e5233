//! One request on its way to the driver and back, as a future.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use quorate_core::Time;
use tokio::{
    sync::{futures::OwnedNotified, oneshot},
    time::Sleep,
};

use crate::{
    driver::{door::Turned, request::Request},
    hall::Hall,
};

/// What a request is made of, before it has a deadline and somebody who waits for its answer.
///
/// Operations are kept small until they are polled: an application may have thousands of them.
pub(crate) trait Draft: Unpin {
    /// What the driver answers.
    type Answer;

    /// Makes the request.
    fn request(self, deadline: Time, reply: oneshot::Sender<Self::Answer>) -> Request;
}

/// A request and its answer.
///
/// Nothing happens before the first poll. Dropping it before the request is queued leaves nothing
/// behind; dropping it later does not take the request back.
pub(crate) struct Ask<D: Draft> {
    hall: Arc<Hall>,
    timeout: Duration,
    stage: Stage<D>,
}

enum Stage<D: Draft> {
    /// Not yet polled.
    New(D),
    /// No room at the door.
    Parked(Box<Parked<D::Answer>>),
    /// Queued.
    Sent(oneshot::Receiver<D::Answer>),
    /// Never to be polled again.
    Over,
}

struct Parked<A> {
    request: Request,
    answer: oneshot::Receiver<A>,
    room: Pin<Box<OwnedNotified>>,
    late: Pin<Box<Sleep>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unasked {
    /// There was no room until the deadline: surely not carried out.
    Busy,
    /// The driver had stopped before the request was queued: surely not carried out.
    Closed,
    /// The driver has stopped since.
    Gone,
}

impl<D: Draft> Ask<D> {
    /// Prepares a request.
    pub(crate) fn new(hall: &Arc<Hall>, draft: D) -> Self {
        Self {
            hall: Arc::clone(hall),
            timeout: hall.timeout,
            stage: Stage::New(draft),
        }
    }

    /// Sets how long the request may take; counts from the first poll.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Returns how long the request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns what is to be requested, if it has not been yet.
    pub(crate) fn draft_mut(&mut self) -> Option<&mut D> {
        match &mut self.stage {
            Stage::New(draft) => Some(draft),
            _ => None,
        }
    }

    /// Knocks; parks the request if there is no room.
    fn knock(
        &mut self,
        request: Request,
        answer: oneshot::Receiver<D::Answer>,
        late: Option<Pin<Box<Sleep>>>,
    ) -> Result<(), Unasked> {
        self.stage = match self.hall.door.knock(request) {
            Ok(()) => Stage::Sent(answer),
            Err(Turned::Closed) => return Err(Unasked::Closed),
            Err(Turned::Full(request, room)) => Stage::Parked(Box::new(Parked {
                request: *request,
                answer,
                room,
                late: late.unwrap_or_else(|| Box::pin(tokio::time::sleep(self.timeout))),
            })),
        };
        Ok(())
    }
}

impl<D: Draft> Future for Ask<D> {
    type Output = Result<D::Answer, Unasked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.stage, Stage::Over) {
                Stage::New(draft) => {
                    let (reply, answer) = oneshot::channel();
                    let deadline = this.hall.clock.time().after(this.timeout);
                    if let Err(why) = this.knock(draft.request(deadline, reply), answer, None) {
                        return Poll::Ready(Err(why));
                    }
                }
                Stage::Parked(mut parked) => {
                    if parked.room.as_mut().poll(cx).is_ready() {
                        let Parked {
                            request,
                            answer,
                            late,
                            ..
                        } = *parked;
                        if let Err(why) = this.knock(request, answer, Some(late)) {
                            return Poll::Ready(Err(why));
                        }
                    } else if parked.late.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(Unasked::Busy));
                    } else {
                        this.stage = Stage::Parked(parked);
                        return Poll::Pending;
                    }
                }
                Stage::Sent(mut answer) => {
                    let Poll::Ready(answered) = Pin::new(&mut answer).poll(cx) else {
                        this.stage = Stage::Sent(answer);
                        return Poll::Pending;
                    };
                    return Poll::Ready(answered.map_err(|_| Unasked::Gone));
                }
                Stage::Over => panic!("an operation was polled after it was over"),
            }
        }
    }
}

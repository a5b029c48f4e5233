//! One request on its way to the driver and back, as a future.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::{futures::OwnedNotified, oneshot},
    time::Sleep,
};

use crate::{
    driver::{door::Turned, request::Request},
    hall::Hall,
};

/// A request and its answer.
///
/// Nothing happens before the first poll. Dropping it before the request is queued leaves nothing
/// behind; dropping it later does not take the request back.
#[derive(Debug)]
pub(crate) struct Ask<R> {
    hall: Arc<Hall>,
    timeout: Duration,
    stage: Stage,
    answer: oneshot::Receiver<R>,
}

#[derive(Debug)]
enum Stage {
    /// Not yet polled.
    New(Request),
    /// No room at the door.
    Parked(Parked),
    /// Queued.
    Sent,
    /// Never to be polled again.
    Over,
}

#[derive(Debug)]
struct Parked {
    request: Box<Request>,
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

impl<R> Ask<R> {
    /// Prepares a request made from the sender of its answer.
    pub(crate) fn new(
        hall: &Arc<Hall>,
        request: impl FnOnce(oneshot::Sender<R>) -> Request,
    ) -> Self {
        let (sender, answer) = oneshot::channel();
        Self {
            hall: Arc::clone(hall),
            timeout: hall.timeout,
            stage: Stage::New(request(sender)),
            answer,
        }
    }

    /// Sets how long the request may take; counts from the first poll.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Knocks; parks the request if there is no room.
    fn knock(&mut self, request: Request, late: Option<Pin<Box<Sleep>>>) -> Result<(), Unasked> {
        self.stage = match self.hall.door.knock(request) {
            Ok(()) => Stage::Sent,
            Err(Turned::Closed) => return Err(Unasked::Closed),
            Err(Turned::Full(request, room)) => Stage::Parked(Parked {
                request,
                room,
                late: late.unwrap_or_else(|| Box::pin(tokio::time::sleep(self.timeout))),
            }),
        };
        Ok(())
    }
}

impl<R> Future for Ask<R> {
    type Output = Result<R, Unasked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.stage, Stage::Over) {
                Stage::New(mut request) => {
                    request.set_deadline(this.hall.clock.time().after(this.timeout));
                    if let Err(unasked) = this.knock(request, None) {
                        return Poll::Ready(Err(unasked));
                    }
                }
                Stage::Parked(mut parked) => {
                    if parked.room.as_mut().poll(cx).is_ready() {
                        if let Err(unasked) = this.knock(*parked.request, Some(parked.late)) {
                            return Poll::Ready(Err(unasked));
                        }
                    } else if parked.late.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(Unasked::Busy));
                    } else {
                        this.stage = Stage::Parked(parked);
                        return Poll::Pending;
                    }
                }
                Stage::Sent => {
                    this.stage = Stage::Sent;
                    let answer = ready!(Pin::new(&mut this.answer).poll(cx));
                    this.stage = Stage::Over;
                    return Poll::Ready(answer.map_err(|_| Unasked::Gone));
                }
                Stage::Over => panic!("an operation was polled after it was over"),
            }
        }
    }
}

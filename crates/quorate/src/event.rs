//! What happens, as a stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use quorate_core::Event;

use crate::feed::{Taken, Tap};

pub(crate) type EventsTap = Tap<Event, ()>;

/// What happens on this peer, in order, as a bounded stream; ends when the network is closed.
///
/// A subscriber that lets [`crate::limits::SUBSCRIBER_EVENTS`] events wait loses them, is told
/// [`EventsLagged`] in their place, and goes on with the present. Cancel-safe: an event is taken
/// only by returning it.
#[derive(Debug)]
pub struct Events {
    tap: EventsTap,
}

/// Events were lost here because the subscriber did not take them in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("events were lost: the subscriber did not take them in time")]
#[non_exhaustive]
pub struct EventsLagged;

/// There is nothing to subscribe to: the network is closed on this peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the network is closed on this peer")]
#[non_exhaustive]
pub struct EventsClosed;

impl Events {
    pub(crate) fn new(tap: EventsTap) -> Self {
        Self { tap }
    }
}

impl Stream for Events {
    type Item = Result<Event, EventsLagged>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.tap.poll_take(cx).map(|taken| match taken {
            Taken::Item(event) => Some(Ok(event)),
            Taken::Lagged(()) => Some(Err(EventsLagged)),
            Taken::End => None,
        })
    }
}

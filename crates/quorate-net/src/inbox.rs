//! From the links' readers to the driver: one queue of events, bounded in bytes per link.
//!
//! All links feed one driver, so the queue must not let one of them fill it: each link has a
//! budget of received bytes that the driver has not taken yet. A reader over its budget waits,
//! its stream's window fills, and QUIC holds that peer back, not the others.
//!
//! Control frames and the comings and goings of links pass before entries and bulk: a heartbeat
//! does not wait behind megabytes. What a link delivers is still in order per lane, begins with
//! its [`Event::LinkUp`] and ends with its [`Event::LinkDown`]: the former is queued with the
//! control frames, which pass first, the latter with the others, after all readers have ended.
//!
//! A link within the process has no reader: who sends queues here, and never waits ([`Charge`]).

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    vec,
};

use bytes::Bytes;
use quorate_core::{CloseCode, Lane, LinkId, PeerId};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, error::TrySendError},
};

use crate::{
    address::Address,
    limits::{CONTROL_STREAK, FRAME_OVERHEAD, INBOX_PARCELS},
};

/// What the transport tells its driver.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection to a peer stands; nothing is known of it but its key.
    LinkUp {
        /// The link's number, never re-used in a process.
        link: LinkId,
        /// Who is at the other end, as TLS says.
        peer: PeerId,
        /// Whether this side dialed.
        dialed: bool,
        /// Keying material of the TLS session, equal at both ends and known to nobody else.
        exporter: [u8; 32],
    },
    /// A frame came; frames of one lane come in order.
    Frame {
        /// Over which link.
        link: LinkId,
        /// On which lane.
        lane: Lane,
        /// The frame. It may be a slice of a larger received buffer: copy what is kept for long.
        bytes: Bytes,
    },
    /// A peer says where peers can be reached, itself among them; a hint and no more.
    Introduced {
        /// Over which link.
        link: LinkId,
        /// Who can be reached where.
        peers: Vec<(PeerId, Vec<Address>)>,
    },
    /// A link is gone; no event names it after this one.
    LinkDown {
        /// Which link.
        link: LinkId,
        /// Who was at the other end.
        peer: PeerId,
        /// Why, if one of the two sides closed it for a reason that the core knows.
        code: Option<CloseCode>,
        /// Why, for a person.
        reason: String,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Who was dialed.
        peer: PeerId,
        /// Why, for a person.
        error: String,
    },
}

/// The receiving end of a transport's events.
#[derive(Debug)]
pub struct Events {
    control: Class,
    data: Class,
    /// Control events taken in a row.
    streak: u32,
}

/// One of the two queues, and what is left of the parcel being unpacked.
#[derive(Debug)]
struct Class {
    queue: mpsc::Receiver<Parcel>,
    open: Option<Frames>,
}

#[derive(Debug)]
enum Parcel {
    Event(Event),
    /// An event that is charged to its link until it is taken.
    Charged {
        event: Event,
        _budget: Budget,
    },
    Frames(Frames),
}

/// The frames that one read brought; gives its bytes back to the link's budget when dropped.
#[derive(Debug)]
struct Frames {
    link: LinkId,
    lane: Lane,
    frames: vec::IntoIter<Bytes>,
    _budget: Budget,
}

/// What is given back once a parcel is taken.
#[derive(Debug)]
enum Budget {
    /// To a link's reader, which may wait for it.
    Read { _permit: OwnedSemaphorePermit },
    /// To a lane of a link within the process, which is closed if it has none.
    Sent { _charge: Charge },
}

/// Bytes that a lane keeps, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    kept: Arc<AtomicUsize>,
    bytes: usize,
}

/// Why something was not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Undelivered {
    /// The driver has gone away.
    Deaf,
    /// The driver takes nothing.
    Full,
}

/// The sending ends, shared by all links.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    control: mpsc::Sender<Parcel>,
    data: mpsc::Sender<Parcel>,
}

/// One link's way in for one class of lanes.
#[derive(Clone, Debug)]
pub(crate) struct Inlet {
    link: LinkId,
    queue: mpsc::Sender<Parcel>,
    budget: Arc<Semaphore>,
    /// The budget's size: what the largest parcel waits for.
    most: u32,
}

/// The driver has gone away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deaf;

impl Events {
    /// Waits for the next event; `None` once the transport and all its links are gone.
    ///
    /// Cancel-safe: an event is taken only by returning it.
    pub async fn recv(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Returns the next event if there is one now.
    pub fn try_recv(&mut self) -> Option<Event> {
        match self.poll_recv(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.streak >= CONTROL_STREAK {
            self.streak = 0;
            if let Poll::Ready(Some(event)) = self.data.poll_next(cx) {
                return Poll::Ready(Some(event));
            }
        }
        let control = self.control.poll_next(cx);
        if let Poll::Ready(Some(event)) = control {
            self.streak += 1;
            return Poll::Ready(Some(event));
        }
        self.streak = 0;
        match self.data.poll_next(cx) {
            // The other queue may still have something: gone only when both are.
            Poll::Ready(None) if control.is_pending() => Poll::Pending,
            data => data,
        }
    }
}

impl Class {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(open) = &mut self.open {
                let frame = open.frames.next();
                let event = frame.map(|bytes| Event::Frame {
                    link: open.link,
                    lane: open.lane,
                    bytes,
                });
                if open.frames.as_slice().is_empty() {
                    self.open = None;
                }
                if event.is_some() {
                    return Poll::Ready(event);
                }
            }
            match std::task::ready!(self.queue.poll_recv(cx)) {
                Some(Parcel::Frames(frames)) => self.open = Some(frames),
                Some(Parcel::Event(event) | Parcel::Charged { event, .. }) => {
                    return Poll::Ready(Some(event));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Inbox {
    /// Makes the two queues.
    pub(crate) fn new() -> (Self, Events) {
        let (control, control_queue) = mpsc::channel(INBOX_PARCELS);
        let (data, data_queue) = mpsc::channel(INBOX_PARCELS);
        let class = |queue| Class { queue, open: None };
        let events = Events {
            control: class(control_queue),
            data: class(data_queue),
            streak: 0,
        };
        (Self { control, data }, events)
    }

    /// Queues an event that begins something: it passes before all frames it announces.
    pub(crate) async fn begin(&self, event: Event) -> Result<(), Deaf> {
        self.control
            .send(Parcel::Event(event))
            .await
            .map_err(|_| Deaf)
    }

    /// Queues an event that ends something: it passes after all frames queued before it.
    pub(crate) async fn end(&self, event: Event) -> Result<(), Deaf> {
        self.data.send(Parcel::Event(event)).await.map_err(|_| Deaf)
    }

    /// Queues frames that are charged to their lane; never waits.
    pub(crate) fn pass_frames(
        &self,
        link: LinkId,
        lane: Lane,
        frames: Vec<Bytes>,
        charge: Charge,
    ) -> Result<(), Undelivered> {
        let queue = match lane {
            Lane::Control => &self.control,
            Lane::Entries(_) | Lane::Bulk => &self.data,
        };
        let frames = Frames {
            link,
            lane,
            frames: frames.into_iter(),
            _budget: Budget::Sent { _charge: charge },
        };
        Ok(queue.try_send(Parcel::Frames(frames))?)
    }

    /// Queues an event that is charged to its lane; never waits.
    pub(crate) fn pass_event(&self, event: Event, charge: Charge) -> Result<(), Undelivered> {
        let _budget = Budget::Sent { _charge: charge };
        Ok(self.data.try_send(Parcel::Charged { event, _budget })?)
    }

    /// Makes a link's way in for control frames, with a budget of `bytes`.
    pub(crate) fn control_inlet(&self, link: LinkId, bytes: usize) -> Inlet {
        Inlet::new(link, self.control.clone(), bytes)
    }

    /// Makes a link's way in for all other frames, with a budget of `bytes`.
    pub(crate) fn data_inlet(&self, link: LinkId, bytes: usize) -> Inlet {
        Inlet::new(link, self.data.clone(), bytes)
    }
}

impl Inlet {
    fn new(link: LinkId, queue: mpsc::Sender<Parcel>, bytes: usize) -> Self {
        let most = u32::try_from(bytes).expect("a link's budget is far below 4 GiB");
        Self {
            link,
            queue,
            budget: Arc::new(Semaphore::new(bytes)),
            most,
        }
    }

    /// Queues frames that were read together; waits while the link is over its budget.
    ///
    /// A parcel larger than the whole budget waits for all of it, so it passes alone.
    pub(crate) async fn deliver(&self, lane: Lane, frames: Vec<Bytes>) -> Result<(), Deaf> {
        let cost = frames
            .iter()
            .map(|frame| frame.len() + FRAME_OVERHEAD)
            .sum::<usize>();
        let budget = self.charge(cost).await?;
        let frames = Frames {
            link: self.link,
            lane,
            frames: frames.into_iter(),
            _budget: budget,
        };
        self.queue
            .send(Parcel::Frames(frames))
            .await
            .map_err(|_| Deaf)
    }

    /// Queues an introduction that came in `bytes` bytes; waits while the link is over its budget.
    pub(crate) async fn introduce(
        &self,
        peers: Vec<(PeerId, Vec<Address>)>,
        bytes: usize,
    ) -> Result<(), Deaf> {
        let _budget = self.charge(bytes + FRAME_OVERHEAD).await?;
        let link = self.link;
        let event = Event::Introduced { link, peers };
        let parcel = Parcel::Charged { event, _budget };
        self.queue.send(parcel).await.map_err(|_| Deaf)
    }

    /// Takes `bytes` of the budget, or all of it if it is less.
    async fn charge(&self, bytes: usize) -> Result<Budget, Deaf> {
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.most);
        let budget = Arc::clone(&self.budget);
        let permit = budget.acquire_many_owned(cost).await;
        permit
            .map(|_permit| Budget::Read { _permit })
            .map_err(|_| Deaf)
    }
}

impl Charge {
    /// Counts nothing yet.
    pub(crate) fn none(kept: &Arc<AtomicUsize>) -> Self {
        Self {
            kept: Arc::clone(kept),
            bytes: 0,
        }
    }

    /// Counts this many more bytes if the lane then keeps no more than `bound`.
    ///
    /// There is one who adds, under a lock, and one who takes away: so a look and an addition do
    /// not have to be one.
    pub(crate) fn grow(&mut self, bytes: usize, bound: usize) -> bool {
        if self.kept.load(Ordering::Relaxed) + bytes > bound {
            return false;
        }
        self.kept.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        true
    }

    /// Lets another charge count this many of the bytes.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        self.bytes -= bytes;
        Self {
            kept: Arc::clone(&self.kept),
            bytes,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<T> From<TrySendError<T>> for Undelivered {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Closed(_) => Self::Deaf,
            TrySendError::Full(_) => Self::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::Future, pin::pin};

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn frames(count: usize, size: usize) -> Vec<Bytes> {
        (0..count)
            .map(|i| Bytes::from(vec![i as u8; size]))
            .collect()
    }

    fn lane_of(event: Option<Event>) -> Option<Lane> {
        match event {
            Some(Event::Frame { lane, .. }) => Some(lane),
            _ => None,
        }
    }

    const LINK: LinkId = LinkId(1);

    #[test]
    fn control_passes_what_waits_but_not_for_ever() {
        let (inbox, mut events) = Inbox::new();
        let (control, data) = (
            inbox.control_inlet(LINK, 1 << 20),
            inbox.data_inlet(LINK, 1 << 20),
        );
        now(data.deliver(Lane::Bulk, frames(2, 9)))
            .unwrap()
            .unwrap();
        now(control.deliver(Lane::Control, frames(100, 9)))
            .unwrap()
            .unwrap();
        let order: Vec<_> = std::iter::from_fn(|| lane_of(events.try_recv())).collect();
        let first_bulk = order.iter().position(|lane| *lane == Lane::Bulk);
        assert_eq!(first_bulk, Some(CONTROL_STREAK as usize));
        assert_eq!(order.len(), 102);
    }

    #[test]
    fn a_link_over_its_budget_waits_until_the_driver_has_taken_and_others_do_not() {
        let (inbox, mut events) = Inbox::new();
        let full = inbox.data_inlet(LINK, 10 * (100 + FRAME_OVERHEAD));
        let other = inbox.data_inlet(LinkId(2), 1 << 20);
        now(full.deliver(Lane::Bulk, frames(10, 100)))
            .unwrap()
            .unwrap();
        assert_eq!(now(full.deliver(Lane::Bulk, frames(1, 1))), None);
        now(other.deliver(Lane::Bulk, frames(1, 1)))
            .unwrap()
            .unwrap();
        for _ in 0..9 {
            events.try_recv().unwrap();
            assert_eq!(now(full.deliver(Lane::Bulk, frames(1, 1))), None);
        }
        events.try_recv().unwrap();
        assert_eq!(now(full.deliver(Lane::Bulk, frames(1, 1))), Some(Ok(())));
    }

    #[test]
    fn a_parcel_larger_than_the_budget_passes_alone() {
        let (inbox, mut events) = Inbox::new();
        let small = inbox.data_inlet(LINK, 100);
        now(small.deliver(Lane::Bulk, frames(1, 1_000)))
            .unwrap()
            .unwrap();
        assert_eq!(now(small.deliver(Lane::Bulk, frames(1, 1_000))), None);
        events.try_recv().unwrap();
        now(small.deliver(Lane::Bulk, frames(1, 1_000)))
            .unwrap()
            .unwrap();
    }

    #[test]
    fn an_end_comes_after_everything_before_it() {
        let (inbox, mut events) = Inbox::new();
        let (control, data) = (
            inbox.control_inlet(LINK, 1 << 20),
            inbox.data_inlet(LINK, 1 << 20),
        );
        now(data.deliver(Lane::Bulk, frames(200, 1)))
            .unwrap()
            .unwrap();
        now(control.deliver(Lane::Control, frames(200, 1)))
            .unwrap()
            .unwrap();
        let end = Event::DialFailed {
            peer: PeerId([0; 32]),
            error: String::new(),
        };
        now(inbox.end(end.clone())).unwrap().unwrap();
        drop((inbox, control, data));
        let all: Vec<_> = std::iter::from_fn(|| now(events.recv()).flatten()).collect();
        assert_eq!(all.len(), 401);
        assert_eq!(all.last(), Some(&end));
        assert_eq!(now(events.recv()), Some(None), "both queues have ended");
    }
}

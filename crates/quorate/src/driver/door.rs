//! The way from the handles to the driver: one bounded queue, emptied in one go.
//!
//! A channel per request would cost a wake-up of the driver for each and a lock on both sides for
//! each; here a request is a push into a vector, the driver is woken once per batch, and it takes
//! the whole vector by a swap. Callers that find the queue full wait for room, not for the driver
//! to finish their request: back-pressure reaches whoever writes too fast, and what has not been
//! queued was surely not carried out.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{
    driver::request::Request,
    limits::{DOOR_BYTES, DOOR_REQUESTS},
};

/// A bounded queue of requests with one reader.
#[derive(Debug, Default)]
pub(crate) struct Door {
    queue: Mutex<Queue>,
    room: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    requests: Vec<Request>,
    bytes: usize,
    closed: bool,
    driver: Option<Waker>,
}

/// Why a request was not queued.
#[derive(Debug)]
pub(crate) enum Turned {
    /// The queue is full: the request, and the moment at which to try again.
    Full(Box<Request>, Pin<Box<OwnedNotified>>),
    /// The driver has stopped.
    Closed,
}

impl Door {
    /// Queues a request if there is room.
    pub(crate) fn knock(&self, request: Request) -> Result<(), Turned> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(Turned::Closed);
        }
        if !queue.has_room(&request) {
            // Made under the lock, so that room made right after it is not missed.
            let room = Arc::clone(&self.room).notified_owned();
            return Err(Turned::Full(Box::new(request), Box::pin(room)));
        }
        queue.push(request);
        Ok(())
    }

    /// Queues a request whether there is room or not; for the few that are not writes or reads.
    pub(crate) fn enter(&self, request: Request) -> Result<(), Turned> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(Turned::Closed);
        }
        queue.push(request);
        Ok(())
    }

    /// Moves everything that is queued into `batch`, which is empty; wakes those who wait.
    pub(crate) fn take(&self, batch: &mut Vec<Request>) {
        {
            let mut queue = self.lock();
            std::mem::swap(&mut queue.requests, batch);
            queue.bytes = 0;
        }
        self.room.notify_waiters();
    }

    /// Returns how many requests are queued, and how many bytes they keep.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.requests.len(), queue.bytes)
    }

    /// Is ready when something is queued; there is one driver.
    pub(crate) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.lock();
        if !queue.requests.is_empty() {
            return Poll::Ready(());
        }
        match &mut queue.driver {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Turns away everybody from now on; what is queued is dropped, and its callers are told.
    pub(crate) fn close(&self) {
        let requests = {
            let mut queue = self.lock();
            queue.closed = true;
            queue.bytes = 0;
            std::mem::take(&mut queue.requests)
        };
        drop(requests);
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("nothing panics while it holds the door")
    }
}

impl Queue {
    fn has_room(&self, request: &Request) -> bool {
        self.requests.len() < DOOR_REQUESTS
            && (self.bytes == 0 || self.bytes + request.bytes() <= DOOR_BYTES)
    }

    fn push(&mut self, request: Request) {
        self.bytes += request.bytes();
        self.requests.push(request);
        // Waking under the lock is cheap, and only the first request of a batch does it.
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::{GroupId, Reply, Time};
    use tokio::sync::oneshot;

    use super::*;
    use crate::driver::request::WriteRequest;

    fn write(bytes: usize) -> (Request, oneshot::Receiver<Reply>) {
        let (reply, answer) = oneshot::channel();
        let request = Request::Write(WriteRequest {
            group: GroupId([0; 16]),
            command: Bytes::from(vec![0; bytes]),
            name: None,
            deadline: Time::NEVER,
            reply,
        });
        (request, answer)
    }

    #[test]
    fn a_full_door_lets_in_when_it_has_been_emptied() {
        let door = Door::default();
        for _ in 0..DOOR_REQUESTS {
            door.knock(write(1).0).unwrap();
        }
        let Err(Turned::Full(request, mut room)) = door.knock(write(1).0) else {
            panic!("there is no room");
        };
        let mut cx = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut cx).is_pending());
        let mut batch = Vec::new();
        door.take(&mut batch);
        assert_eq!(batch.len(), DOOR_REQUESTS);
        assert!(room.as_mut().poll(&mut cx).is_ready());
        door.knock(*request).unwrap();
    }

    #[test]
    fn bytes_are_bounded_but_one_request_always_fits() {
        let door = Door::default();
        door.knock(write(DOOR_BYTES + 1).0).unwrap();
        assert!(matches!(door.knock(write(1).0), Err(Turned::Full(..))));
    }

    #[test]
    fn a_closed_door_turns_away_and_lets_go() {
        let door = Door::default();
        let (request, mut answer) = write(1);
        door.knock(request).unwrap();
        door.close();
        assert!(answer.try_recv().is_err());
        assert!(matches!(door.knock(write(1).0), Err(Turned::Closed)));
        assert!(matches!(door.enter(write(1).0), Err(Turned::Closed)));
    }

    #[test]
    fn the_driver_is_woken_by_the_first_request() {
        struct Count(std::sync::atomic::AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        let door = Door::default();
        assert!(door.poll_ready(&cx).is_pending());
        door.knock(write(1).0).unwrap();
        door.knock(write(1).0).unwrap();
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(door.poll_ready(&cx).is_ready());
    }
}

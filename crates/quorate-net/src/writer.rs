//! From the lanes' queues to QUIC.
//!
//! Each lane has a task that writes it, so that a lane whose stream the peer does not read waits
//! alone. But to wake a task for each frame costs more than the frame: mostly the stream has room,
//! and then the sender itself hands over what has gathered ([`StreamLane::flush`]), in one call
//! for a whole batch; the task takes over where the stream is full. There is no timer to gather
//! frames: under load they gather by themselves while QUIC is busy.
//!
//! Dropping a stream that was not finished would look to the peer like its proper end; every
//! frame has its length, so the peer sees a frame cut short, and by then the link is closed.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Mutex, MutexGuard, TryLockError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use iroh::endpoint::{Connection, SendStream, StoppedError, VarInt, WriteError};

use crate::{
    limits::WRITE_BATCH,
    link::{BULK_TAG, INTRODUCTION_TAG},
    outlet::{Framing, Outlet, Refused},
    reader::Fault,
};

/// Priorities of streams; a higher one is sent first, always.
const CONTROL_PRIORITY: i32 = 10;
const BULK_PRIORITY: i32 = -10;

/// A lane that is one stream of many frames.
#[derive(Debug)]
pub(crate) struct StreamLane {
    outlet: Outlet,
    wire: Mutex<Option<Wire>>,
}

/// The stream, and what was drained for it.
#[derive(Debug)]
struct Wire {
    stream: SendStream,
    blocks: Vec<Bytes>,
    /// How many of the blocks are written.
    done: usize,
    /// The stream is full and QUIC will wake the task; nobody else may poll the stream, or that
    /// wakeup is lost.
    blocked: bool,
    task: Waker,
}

impl StreamLane {
    pub(crate) fn new(bound: usize, header: &[u8]) -> Self {
        let outlet = Outlet::new(Framing::Prefixed, bound);
        outlet.push_header(header);
        Self {
            outlet,
            wire: Mutex::default(),
        }
    }

    /// Queues a frame. Says whether the caller has to [`Self::flush`] the lane, now or soon.
    pub(crate) fn push(&self, frame: Bytes) -> Result<bool, Refused> {
        self.outlet.push(frame)
    }

    /// Accepts no further frames; what is queued is still written.
    pub(crate) fn end(&self) {
        self.outlet.end();
    }

    /// Returns how many bytes are queued that QUIC has not taken.
    pub(crate) fn bytes(&self) -> usize {
        self.outlet.bytes()
    }

    /// Hands over what is queued, as far as the stream has room; the lane's task sees to the
    /// rest. Never waits.
    pub(crate) fn flush(&self) {
        let mut wire = match self.wire.try_lock() {
            Ok(wire) => wire,
            // Somebody is writing, and may have drained the queue before the last push.
            Err(TryLockError::WouldBlock) => return self.outlet.wake(),
            Err(TryLockError::Poisoned(_)) => return,
        };
        // Without a stream yet, or with a full one, the task will come to it.
        let Some(wire) = wire.as_mut().filter(|wire| !wire.blocked) else {
            return;
        };
        let polled = wire.poll_flush(&self.outlet, &mut Context::from_waker(Waker::noop()));
        if !matches!(polled, Poll::Ready(Ok(()))) {
            wire.blocked = true;
            wire.task.wake_by_ref();
        }
    }

    /// Writes the lane to `stream` until it ends; returns the stream.
    async fn write(&self, stream: SendStream) -> Result<SendStream, Fault> {
        let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let wire = Wire {
            stream,
            blocks: Vec::new(),
            done: 0,
            blocked: false,
            task,
        };
        *self.lock() = Some(wire);
        poll_fn(|cx| {
            let mut guard = self.lock();
            let wire = guard.as_mut().expect("only the task that set it takes it");
            wire.task.clone_from(cx.waker());
            loop {
                let polled = wire.poll_flush(&self.outlet, cx);
                wire.blocked = polled.is_pending();
                ready!(polled)?;
                if !ready!(self.outlet.poll_ready(cx)) {
                    return Poll::Ready(Ok::<_, Fault>(()));
                }
            }
        })
        .await?;
        Ok(self
            .lock()
            .take()
            .expect("only the task that set it takes it")
            .stream)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Wire>> {
        self.wire
            .lock()
            .expect("nothing panics while it holds a lane's stream")
    }
}

impl Wire {
    /// Writes until all is written, or the stream is full.
    fn poll_flush(
        &mut self,
        outlet: &Outlet,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            if self.done == self.blocks.len() {
                self.blocks.clear();
                self.done = 0;
                if outlet.drain(&mut self.blocks, WRITE_BATCH) == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            let mut rest = &mut self.blocks[self.done..];
            let before = rest.len();
            let written = ready!(pin!(self.stream.write_many_chunks(&mut rest)).poll(cx))?;
            self.done += before - rest.len();
            outlet.written(written);
        }
    }
}

/// Writes the control lane until it ends, and waits until the peer has acknowledged all of it.
pub(crate) async fn control(stream: SendStream, lane: &StreamLane) -> Result<(), Fault> {
    stream
        .set_priority(CONTROL_PRIORITY)
        .map_err(|_| Fault::Lost)?;
    let mut stream = lane.write(stream).await?;
    stream.finish().map_err(|_| Fault::Lost)?;
    received(stream.stopped()).await
}

/// Writes one group's entries lane until it ends.
pub(crate) async fn entries(connection: Connection, lane: &StreamLane) -> Result<(), Fault> {
    let stream = connection.open_uni().await?;
    lane.write(stream).await?;
    Ok(())
}

/// Writes bulk messages until the lane ends, each on a stream of its own.
///
/// One after the other, not side by side: they share the line anyway, and the first is whole
/// sooner. At most `in_flight` bytes (or one message) are unacknowledged at a time: what is on its
/// way cannot be overtaken, whatever its priority, so this is what bounds how long a control frame
/// waits; and it leaves room in the send window, without which control could not even be written.
pub(crate) async fn bulk(
    connection: Connection,
    outlet: &Outlet,
    in_flight: usize,
) -> Result<(), Fault> {
    let mut frames = Vec::new();
    let mut unacked = VecDeque::new();
    let mut unacked_bytes = 0;
    while poll_fn(|cx| outlet.poll_ready(cx)).await {
        let bytes = outlet.drain(&mut frames, 0);
        for frame in frames.drain(..) {
            let len = frame.len();
            while unacked_bytes + len > in_flight
                && let Some((acked, len)) = unacked.pop_front()
            {
                received(acked).await?;
                unacked_bytes -= len;
            }
            let written = write_message(&connection, BULK_TAG, frame).await?;
            unacked.push_back((written.stopped(), len));
            unacked_bytes += len;
        }
        outlet.written(bytes);
    }
    Ok(())
}

/// Writes introductions until the lane ends, each on a stream of its own.
pub(crate) async fn introductions(connection: Connection, outlet: &Outlet) -> Result<(), Fault> {
    let mut frames = Vec::new();
    while poll_fn(|cx| outlet.poll_ready(cx)).await {
        let bytes = outlet.drain(&mut frames, 0);
        for frame in frames.drain(..) {
            write_message(&connection, INTRODUCTION_TAG, frame).await?;
        }
        outlet.written(bytes);
    }
    Ok(())
}

async fn write_message(
    connection: &Connection,
    tag: u8,
    frame: Bytes,
) -> Result<SendStream, Fault> {
    let mut stream = connection.open_uni().await?;
    stream
        .set_priority(BULK_PRIORITY)
        .map_err(|_| Fault::Lost)?;
    let len = u32::try_from(frame.len()).expect("a lane's limit fits its length field");
    let mut head = BytesMut::with_capacity(5);
    head.put_u8(tag);
    head.put_u32_le(len);
    stream.write_all_chunks(&mut [head.freeze(), frame]).await?;
    stream.finish().map_err(|_| Fault::Lost)?;
    Ok(stream)
}

/// Waits until the peer has acknowledged all of a stream.
async fn received(
    acked: impl Future<Output = Result<Option<VarInt>, StoppedError>>,
) -> Result<(), Fault> {
    match acked.await {
        Ok(None) => Ok(()),
        Ok(Some(code)) => Err(WriteError::Stopped(code).into()),
        Err(_) => Err(Fault::Lost),
    }
}

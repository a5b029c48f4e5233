//! The queue of one lane's outgoing frames.
//!
//! Whoever sends must never wait: it takes decisions for all links, and one slow peer must not
//! slow the others. So a lane has a queue bounded in bytes, and a peer that lets it overflow
//! loses its link. Bytes count until QUIC has taken them.
//!
//! Small frames are copied together with their lengths while they wait: QUIC then sees one
//! segment of many frames, where a segment per frame would make it walk a list for each packet.
//! Large frames are passed on as they are.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{COALESCE_BLOCK, COALESCE_FRAME};

/// Whether frames carry their length (streams of many frames) or not (a stream per frame).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    Prefixed,
    Bare,
}

/// The lane's queue is over its bound, or the lane is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    Full,
    Ended,
}

/// A bounded queue between those who send and the lane's writer.
#[derive(Debug)]
pub(crate) struct Outlet {
    framing: Framing,
    bound: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    blocks: VecDeque<Bytes>,
    /// Small frames being put together; comes after all `blocks`.
    tail: BytesMut,
    /// Bytes queued, and bytes drained but not yet written.
    bytes: usize,
    /// Whether something was pushed since the last drain.
    fresh: bool,
    ended: bool,
    writer: Option<Waker>,
}

impl Outlet {
    /// Makes an empty queue that refuses frames once it would hold more than `bound` bytes.
    pub(crate) fn new(framing: Framing, bound: usize) -> Self {
        Self {
            framing,
            bound,
            queue: Mutex::default(),
        }
    }

    /// Appends a frame without waking the writer; never waits. Says whether it is the first since
    /// the last drain: whoever pushed that one sees to it that the lane is written.
    pub(crate) fn push(&self, frame: Bytes) -> Result<bool, Refused> {
        let mut queue = self.lock();
        if queue.ended {
            return Err(Refused::Ended);
        }
        if queue.bytes + frame.len() > self.bound {
            return Err(Refused::Full);
        }
        match self.framing {
            Framing::Bare => {
                queue.bytes += frame.len();
                queue.blocks.push_back(frame);
            }
            Framing::Prefixed => queue.append_prefixed(frame),
        }
        Ok(!std::mem::replace(&mut queue.fresh, true))
    }

    /// Appends bytes that are not a frame: a stream's header.
    pub(crate) fn push_header(&self, header: &[u8]) {
        let mut queue = self.lock();
        queue.bytes += header.len();
        queue.tail.put_slice(header);
    }

    /// Accepts no further frames; what is queued is still written.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.wake();
    }

    /// Wakes the writer if it waits for frames.
    pub(crate) fn wake(&self) {
        let writer = self.lock().writer.take();
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Moves whole blocks, at least one if there is any and about `most` bytes, to `blocks`;
    /// returns how many bytes that is.
    pub(crate) fn drain(&self, blocks: &mut Vec<Bytes>, most: usize) -> usize {
        self.lock().drain(blocks, most)
    }

    /// Waits until there is something to drain (`true`), or the lane has ended and all is drained
    /// (`false`). There is one writer per lane.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut queue = self.lock();
        if !queue.blocks.is_empty() || !queue.tail.is_empty() {
            return Poll::Ready(true);
        }
        if queue.ended {
            return Poll::Ready(false);
        }
        match &mut queue.writer {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Returns how many bytes are queued, or drained and not yet written.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Notes that `bytes` of what was drained are written.
    pub(crate) fn written(&self, bytes: usize) {
        self.lock().bytes -= bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("nothing panics while it holds a lane's queue")
    }
}

impl Queue {
    fn append_prefixed(&mut self, frame: Bytes) {
        let len = u32::try_from(frame.len()).expect("a lane's limit fits its length field");
        self.bytes += 4 + frame.len();
        self.tail.put_u32_le(len);
        if frame.len() <= COALESCE_FRAME {
            self.tail.put_slice(&frame);
            if self.tail.len() >= COALESCE_BLOCK {
                self.close_tail();
            }
        } else {
            self.close_tail();
            self.blocks.push_back(frame);
        }
    }

    fn drain(&mut self, blocks: &mut Vec<Bytes>, most: usize) -> usize {
        self.fresh = false;
        let mut taken = 0;
        while let Some(block) = self.blocks.front()
            && (taken == 0 || taken + block.len() <= most)
        {
            taken += block.len();
            blocks.extend(self.blocks.pop_front());
        }
        if self.blocks.is_empty() && !self.tail.is_empty() && taken < most.max(1) {
            taken += self.tail.len();
            blocks.push(self.tail.split().freeze());
        }
        taken
    }

    fn close_tail(&mut self) {
        self.blocks.push_back(self.tail.split().freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deframer::Deframer;
    use proptest::prelude::*;

    fn ready(outlet: &Outlet) -> Poll<bool> {
        outlet.poll_ready(&mut Context::from_waker(Waker::noop()))
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_was_pushed_in_order(
            sizes in prop::collection::vec(
                prop_oneof![1usize..40, 8_000usize..9_000, 70_000usize..70_010],
                0..60,
            ),
            take_after in prop::collection::vec(any::<bool>(), 60),
            most in prop_oneof![Just(0usize), 1usize..100_000],
        ) {
            let outlet = Outlet::new(Framing::Prefixed, usize::MAX);
            let (mut pushed, mut wire) = (Vec::new(), Vec::new());
            for (i, size) in sizes.iter().enumerate() {
                let frame = Bytes::from(vec![i as u8; *size]);
                outlet.push(frame.clone()).unwrap();
                pushed.push(frame);
                if take_after[i] {
                    outlet.written(outlet.drain(&mut wire, most));
                }
            }
            while ready(&outlet) == Poll::Ready(true) {
                outlet.written(outlet.drain(&mut wire, most));
            }
            prop_assert_eq!(outlet.lock().bytes, 0);
            let (mut deframer, mut out) = (Deframer::new(100_000), Vec::new());
            for block in wire {
                deframer.push(block, &mut out).unwrap();
            }
            prop_assert_eq!(out, pushed);
        }
    }

    #[test]
    fn bytes_count_until_they_are_written() {
        let outlet = Outlet::new(Framing::Bare, 10);
        outlet.push(Bytes::from_static(b"12345678")).unwrap();
        assert_eq!(outlet.push(Bytes::from_static(b"abc")), Err(Refused::Full));
        let mut blocks = Vec::new();
        assert_eq!(outlet.drain(&mut blocks, 0), 8);
        assert_eq!(outlet.push(Bytes::from_static(b"abc")), Err(Refused::Full));
        outlet.written(8);
        assert_eq!(outlet.push(Bytes::from_static(b"abc")), Ok(true));
    }

    #[test]
    fn an_ended_lane_gives_what_it_has_and_takes_nothing() {
        let outlet = Outlet::new(Framing::Prefixed, 100);
        outlet.push(Bytes::from_static(b"last")).unwrap();
        outlet.end();
        assert_eq!(
            outlet.push(Bytes::from_static(b"late")),
            Err(Refused::Ended)
        );
        let mut blocks = Vec::new();
        assert_eq!(ready(&outlet), Poll::Ready(true));
        assert_eq!(outlet.drain(&mut blocks, 100), 8);
        assert_eq!(ready(&outlet), Poll::Ready(false));
    }

    #[test]
    fn the_first_push_since_a_drain_says_so() {
        let outlet = Outlet::new(Framing::Prefixed, 100);
        let push = || outlet.push(Bytes::from_static(b"x")).unwrap();
        assert_eq!([push(), push(), push()], [true, false, false]);
        outlet.drain(&mut Vec::new(), 100);
        assert_eq!([push(), push()], [true, false]);
    }

    #[test]
    fn small_frames_share_a_block() {
        let outlet = Outlet::new(Framing::Prefixed, usize::MAX);
        for _ in 0..100 {
            outlet.push(Bytes::from_static(b"heartbeat")).unwrap();
        }
        let mut blocks = Vec::new();
        outlet.drain(&mut blocks, usize::MAX);
        assert_eq!(blocks.len(), 1);
    }
}

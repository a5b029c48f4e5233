//! Frames out of a stream's chunks.
//!
//! A frame is a length (u32, little-endian, never zero) and that many bytes. QUIC hands over
//! chunks cut where packets ended, so a frame may lie within one chunk, or span many, or share
//! one with a hundred others.
//!
//! A frame that lies within one chunk is a slice of it, no copy; it keeps the whole received
//! datagram alive, so whoever keeps a small part for long should copy it. A frame that spans
//! chunks is put together in a buffer of its own.
//!
//! Invariant: the length is checked against the lane's limit before anything is reserved, and a
//! frame's buffer never reserves more than what has come plus [`RESERVE_AHEAD`]: a peer that
//! announces a large frame and sends nothing costs us nothing. (Reserving the announced length at
//! once would be one allocation instead of a few, and a gift to whoever opens many streams.)

use bytes::{Buf, Bytes};

use crate::limits::RESERVE_AHEAD;

/// Bytes of a frame's length.
pub(crate) const HEAD: usize = 4;

/// Why a stream's bytes are not frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FrameFault {
    #[error("a frame without content")]
    Empty,
    #[error("a frame of {len} bytes where {limit} are allowed")]
    TooLarge { len: usize, limit: usize },
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// Puts the frames of one stream together.
#[derive(Debug)]
pub(crate) struct Deframer {
    limit: usize,
    head: [u8; HEAD],
    head_len: usize,
    /// Length of the frame being received; zero between frames.
    need: usize,
    body: Vec<u8>,
}

impl Deframer {
    /// Starts at the beginning of a frame; frames larger than `limit` are refused.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            head: [0; HEAD],
            head_len: 0,
            need: 0,
            body: Vec::new(),
        }
    }

    /// Takes the stream's next chunk and appends the frames that it completes.
    pub(crate) fn push(
        &mut self,
        mut chunk: Bytes,
        frames: &mut Vec<Bytes>,
    ) -> Result<(), FrameFault> {
        while !chunk.is_empty() {
            if self.need == 0 && !self.take_head(&mut chunk)? {
                return Ok(());
            }
            if self.body.is_empty() && chunk.len() >= self.need {
                frames.push(chunk.split_to(self.need));
                self.need = 0;
            } else if self.take_body(&mut chunk) {
                frames.push(Bytes::from(std::mem::take(&mut self.body)));
                self.need = 0;
            }
        }
        Ok(())
    }

    /// Says whether the stream may end here.
    pub(crate) fn finish(&self) -> Result<(), FrameFault> {
        if self.need == 0 && self.head_len == 0 {
            Ok(())
        } else {
            Err(FrameFault::Truncated)
        }
    }

    /// Reads the length, or as much of it as there is; true once a frame's length is known.
    fn take_head(&mut self, chunk: &mut Bytes) -> Result<bool, FrameFault> {
        let take = (HEAD - self.head_len).min(chunk.len());
        self.head[self.head_len..self.head_len + take].copy_from_slice(&chunk[..take]);
        chunk.advance(take);
        self.head_len += take;
        if self.head_len < HEAD {
            return Ok(false);
        }
        self.head_len = 0;
        self.need = checked_len(self.head, self.limit)?;
        Ok(true)
    }

    /// Copies what the chunk has of the frame; true once the frame is whole.
    fn take_body(&mut self, chunk: &mut Bytes) -> bool {
        let missing = self.need - self.body.len();
        let take = missing.min(chunk.len());
        if self.body.capacity() - self.body.len() < take {
            let ahead = take.max(self.body.len()).max(RESERVE_AHEAD);
            self.body.reserve_exact(missing.min(ahead));
        }
        self.body.extend_from_slice(&chunk[..take]);
        chunk.advance(take);
        self.body.len() == self.need
    }
}

/// Returns the length that a frame's head announces, if a lane with this limit allows it.
pub(crate) fn checked_len(head: [u8; HEAD], limit: usize) -> Result<usize, FrameFault> {
    let len = u32::from_le_bytes(head) as usize;
    match len {
        0 => Err(FrameFault::Empty),
        len if len > limit => Err(FrameFault::TooLarge { len, limit }),
        len => Ok(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for frame in frames {
            wire.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            wire.extend_from_slice(frame);
        }
        wire
    }

    /// Cuts `wire` at the given places (taken modulo its length).
    fn cut(wire: &[u8], cuts: &[usize]) -> Vec<Bytes> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).collect();
        places.push(wire.len());
        places.sort_unstable();
        let mut from = 0;
        let mut chunks = Vec::new();
        for place in places {
            chunks.push(Bytes::copy_from_slice(&wire[from..place]));
            from = place;
        }
        chunks
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_wherever_packets_end(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 0..20),
            cuts in prop::collection::vec(any::<usize>(), 0..60),
        ) {
            let wire = framed(&frames);
            let mut deframer = Deframer::new(600);
            let mut out = Vec::new();
            for chunk in cut(&wire, &cuts) {
                deframer.push(chunk, &mut out).unwrap();
            }
            prop_assert_eq!(deframer.finish(), Ok(()));
            prop_assert_eq!(out, frames);
        }

        #[test]
        fn a_prefix_is_truncated_unless_it_ends_between_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..6),
            at in any::<usize>(),
        ) {
            let wire = framed(&frames);
            let at = at % (wire.len() + 1);
            let mut deframer = Deframer::new(40);
            let mut out = Vec::new();
            deframer.push(Bytes::copy_from_slice(&wire[..at]), &mut out).unwrap();
            let between = framed(&frames[..out.len()]).len() == at;
            prop_assert_eq!(deframer.finish().is_ok(), between);
        }

        #[test]
        fn any_bytes_at_all_never_panic_nor_reserve_beyond_the_rule(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        ) {
            let mut deframer = Deframer::new(1 << 30);
            let mut out = Vec::new();
            let mut came = 0;
            for chunk in chunks {
                came += chunk.len();
                if deframer.push(Bytes::from(chunk), &mut out).is_err() {
                    break;
                }
                prop_assert!(deframer.body.capacity() <= 2 * came + RESERVE_AHEAD);
            }
        }
    }

    #[test]
    fn a_frame_within_a_chunk_is_not_copied() {
        let chunk = Bytes::from(framed(&[b"one".to_vec(), b"two".to_vec()]));
        let (start, end) = (
            chunk.as_ptr() as usize,
            chunk.as_ptr() as usize + chunk.len(),
        );
        let mut out = Vec::new();
        Deframer::new(8).push(chunk, &mut out).unwrap();
        assert_eq!(out, ["one", "two"]);
        assert!(
            out.iter()
                .all(|frame| (start..end).contains(&(frame.as_ptr() as usize)))
        );
    }

    #[test]
    fn a_large_announced_frame_reserves_nothing_before_it_comes() {
        let mut deframer = Deframer::new(1 << 30);
        let mut out = Vec::new();
        deframer
            .push(Bytes::from((1u32 << 30).to_le_bytes().to_vec()), &mut out)
            .unwrap();
        assert_eq!(deframer.body.capacity(), 0);
        deframer.push(Bytes::from_static(b"x"), &mut out).unwrap();
        assert!(deframer.body.capacity() <= RESERVE_AHEAD + 1);
    }

    #[test]
    fn limits_are_inclusive_and_empty_frames_are_refused() {
        let mut out = Vec::new();
        assert_eq!(
            Deframer::new(3).push(Bytes::from(framed(&[vec![1; 3]])), &mut out),
            Ok(())
        );
        assert_eq!(
            Deframer::new(3).push(Bytes::from(framed(&[vec![1; 4]])), &mut out),
            Err(FrameFault::TooLarge { len: 4, limit: 3 })
        );
        assert_eq!(
            Deframer::new(3).push(Bytes::from(framed(&[vec![]])), &mut out),
            Err(FrameFault::Empty)
        );
    }
}

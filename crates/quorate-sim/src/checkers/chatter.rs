//! Nobody talks without end: what a peer sends in a second is bounded.
//!
//! Two peers that answer each other's answers, or one that asks again at once, do no harm that any
//! other checker sees: everything stays correct, and a real network is full.

use super::Found;

/// Frames that a peer sends in a second, at most: an order above what the heaviest load drawn needs
/// (a few hundred operations a second, a few frames to each of a few peers for one).
const FRAMES_PER_SECOND: u64 = 20_000;

/// The frames of one start of a peer in the present second.
#[derive(Debug, Default)]
pub(crate) struct Chatter {
    second: u64,
    frames: u64,
}

impl Chatter {
    /// Counts a frame.
    pub(crate) fn count(&mut self, at: u64) -> Result<(), Found> {
        let second = at / 1_000_000_000;
        if second != self.second {
            *self = Self { second, frames: 0 };
        }
        self.frames += 1;
        if self.frames <= FRAMES_PER_SECOND {
            return Ok(());
        }
        Err(Found::new(
            "bounded-chatter",
            format!("more than {FRAMES_PER_SECOND} frames are sent in one second"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_share_and_the_next_one_a_new_share() {
        let mut chatter = Chatter::default();
        for second in 0..3 {
            for frame in 0..FRAMES_PER_SECOND {
                chatter.count(second * 1_000_000_000 + frame).unwrap();
            }
        }
        assert!(chatter.count(2_999_999_999).is_err());
    }
}

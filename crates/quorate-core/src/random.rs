//! Random numbers as a pure function of (seed, peer, purpose, counter).
//!
//! A stream of one generator would make every draw depend on all draws before it: leave one event
//! out of a failing run and every later number changes, so the failure cannot be shrunk. Here each
//! purpose has its own counter, and a draw depends on nothing else.

use crate::id::PeerId;

/// What a random number is for; each purpose counts for itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Purpose {
    /// How long until a follower campaigns.
    Election = 1,
    /// How long until a lost peer is dialed again.
    Dial = 2,
    /// The nonce of a genesis and the salt of its tree.
    Genesis = 3,
    /// The id of a conversation's run.
    Run = 4,
    /// The id of a catch-up session.
    Session = 5,
    /// Which provider gets the next range.
    Provider = 6,
}

/// The source of one peer's random numbers.
#[derive(Clone, Hash, Debug)]
pub struct Random {
    key: [u8; 32],
    counters: [u64; 8],
}

impl Random {
    /// Makes the source for `peer` in the run with `seed`.
    ///
    /// Drivers of real peers pass a seed from the operating system; it need not be secret.
    pub fn new(seed: u64, peer: PeerId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("quorate 2026 random numbers");
        hasher.update(&seed.to_le_bytes()).update(&peer.0);
        Self {
            key: *hasher.finalize().as_bytes(),
            counters: [0; 8],
        }
    }

    /// Draws the next 64 bits for `purpose`.
    pub fn draw(&mut self, purpose: Purpose) -> u64 {
        let counter = &mut self.counters[purpose as usize];
        *counter += 1;
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher
            .update(&[purpose as u8])
            .update(&counter.to_le_bytes());
        let mut word = [0; 8];
        word.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(word)
    }

    /// Draws a number in `low..high` for `purpose`; `low` if the range is empty.
    pub fn between(&mut self, purpose: Purpose, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low);
        let draw = self.draw(purpose);
        // The bias of a modulo by spans far below 2^64 is of no consequence for timers.
        if span == 0 { low } else { low + draw % span }
    }
}

//! The simulator's random numbers: each a pure function of (seed, purpose, number, counter).
//!
//! One generator for everything would tie every draw to all draws before it: leave one fault out
//! of a failing run and the rest of the run becomes another run, which cannot be shrunk. So each
//! purpose (the delay of frames from one peer to another, the time a disk takes, the order of
//! events at one instant) has its own dice. The key of a dice comes from the core's [`Random`]; a
//! draw mixes key and counter, because a run draws millions of numbers and a keyed hash for each
//! would take a third of its time.

use std::time::Duration;

use quorate_core::{PeerId, Purpose, Random};

/// A source of random numbers for one purpose, which a seed decides.
#[derive(Clone, Debug)]
pub struct Dice {
    key: u64,
    counter: u64,
}

/// One million: chances are counted in parts of it.
pub(crate) const MILLION: u32 = 1_000_000;

impl Dice {
    /// Makes the dice for the `number`th of those that use them for `purpose`.
    pub(crate) fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("quorate 2026 simulator dice");
        hasher
            .update(&number.to_le_bytes())
            .update(purpose.as_bytes());
        let name = PeerId(*hasher.finalize().as_bytes());
        Self {
            key: Random::new(seed, name).draw(Purpose::Run),
            counter: 0,
        }
    }

    /// Draws 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        // The finalizer of splitmix64 over a Weyl sequence that starts at the key.
        let mut word = self
            .key
            .wrapping_add(self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Draws a number in `0..bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let draw = self.draw();
        ((u128::from(draw) * u128::from(bound)) >> 64) as u64
    }

    /// Draws an index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Draws a number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Draws a number in `low..=high` on a log scale: each octave is as likely as any other.
    pub fn scaled(&mut self, low: u64, high: u64) -> u64 {
        if high <= low {
            return low;
        }
        let floor = low.max(1);
        // How often it can be doubled, without a division: most of a run's draws are spans.
        let octaves = high.ilog2() - floor.ilog2();
        let octaves = octaves - u32::from(floor << octaves > high);
        let start = floor << self.below(u64::from(octaves) + 1);
        let drawn = self.between(start, high.min(start.saturating_mul(2)));
        if low == 0 && self.draw() & 15 == 0 {
            0
        } else {
            drawn
        }
    }

    /// Decides with a chance of `parts` in a million.
    pub fn chance(&mut self, parts: u32) -> bool {
        parts > 0 && self.below(u64::from(MILLION)) < u64::from(parts)
    }

    /// Decides with equal chances.
    pub fn coin(&mut self) -> bool {
        self.draw() >> 63 == 1
    }

    /// Draws a duration of the span, on a log scale.
    pub fn span(&mut self, span: Span) -> Duration {
        Duration::from_nanos(self.nanos(span))
    }

    /// Draws a number of nanoseconds of the span, on a log scale.
    pub(crate) fn nanos(&mut self, span: Span) -> u64 {
        self.scaled(span.low, span.high)
    }

    /// Puts `list` in a random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = self.index(at + 1);
            list.swap(at, other);
        }
    }
}

/// A range of durations, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The shortest, in nanoseconds.
    pub low: u64,
    /// The longest, in nanoseconds.
    pub high: u64,
}

impl Span {
    /// Makes a span between two numbers of microseconds.
    pub const fn micros(low: u64, high: u64) -> Self {
        Self {
            low: low * 1_000,
            high: high * 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_purpose_number_and_counter_alone() {
        let draws = |seed, purpose: &str, number| {
            let mut dice = Dice::new(seed, purpose, number);
            (0..4).map(|_| dice.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1, "a", 0), draws(1, "a", 0));
        assert_ne!(draws(1, "a", 0), draws(2, "a", 0));
        assert_ne!(draws(1, "a", 0), draws(1, "b", 0));
        assert_ne!(draws(1, "a", 0), draws(1, "a", 1));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut dice = Dice::new(3, "range", 0);
        let mut seen = [false; 5];
        for _ in 0..200 {
            let drawn = dice.between(10, 14);
            seen[usize::try_from(drawn - 10).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.between(7, 7), 7);
    }

    #[test]
    fn octaves_are_counted_as_by_a_division() {
        let mut dice = Dice::new(3, "octaves", 0);
        for _ in 0..2_000 {
            let shift = dice.below(63);
            let low = (dice.draw() >> 1 >> shift).max(1);
            let high = low.saturating_add(dice.draw() >> dice.below(63));
            let mut other = dice.clone();
            let octaves = if high > low { (high / low).ilog2() } else { 0 };
            let drawn = dice.scaled(low, high);
            if high > low {
                let start = low << other.below(u64::from(octaves) + 1);
                assert_eq!(
                    drawn,
                    other.between(start, high.min(start.saturating_mul(2)))
                );
            }
        }
    }

    #[test]
    fn a_log_scale_gives_small_and_large_numbers_alike() {
        let mut dice = Dice::new(3, "scale", 0);
        let drawn: Vec<u64> = (0..2_000).map(|_| dice.scaled(10, 10_240)).collect();
        assert!(drawn.iter().all(|number| (10..=10_240).contains(number)));
        let small = drawn.iter().filter(|number| **number < 320).count();
        assert!(
            (700..1_300).contains(&small),
            "{small} of 2000 in the lower half"
        );
    }
}

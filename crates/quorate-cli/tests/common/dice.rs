//! Chance that can be had again: `QUORATE_TEST_SEED` replays what a failed test printed.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    /// The seed to replay, if it was not given by other dice.
    seed: Option<u64>,
    state: u64,
}

impl Dice {
    /// Takes the seed from the environment, or a new one.
    pub(crate) fn thrown() -> Self {
        let set = std::env::var("QUORATE_TEST_SEED").ok();
        let seed = set.map_or_else(
            || RandomState::new().hash_one("seed") >> 32,
            |text| text.parse().unwrap(),
        );
        Self {
            seed: Some(seed),
            state: seed,
        }
    }

    /// Takes the seed from other dice.
    pub(crate) fn of(other: &mut Self) -> Self {
        let state = other.below(usize::MAX) as u64;
        Self { seed: None, state }
    }

    /// Returns a number below `end` (splitmix64).
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// Returns a time shorter than `end`.
    pub(crate) fn time(&mut self, end: Duration) -> Duration {
        Duration::from_millis(self.below(end.as_millis() as usize) as u64)
    }

    /// Brings them into any order.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.below(at + 1));
        }
    }
}

impl Drop for Dice {
    #[expect(clippy::print_stderr, reason = "the report of a test that has failed")]
    fn drop(&mut self) {
        if let Some(seed) = self.seed.filter(|_| std::thread::panicking()) {
            eprintln!("--- replay with QUORATE_TEST_SEED={seed}");
        }
    }
}

//! A peer's clocks: a monotonic one that drifts, and a wall clock that is wrong.

use quorate_core::{Now, Time, Wall};

const MILLION: u64 = 1_000_000;

/// The wall clock of the simulated world at its start, in milliseconds since 1970.
const EPOCH: i64 = 1_800_000_000_000;

/// The clocks of one start of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What the monotonic clock showed at `since`.
    origin: u64,
    /// When the peer was started.
    since: u64,
    /// How many millionths of a second pass on it in a second.
    rate: u64,
    /// How far the wall clock is ahead, in milliseconds.
    skew: i64,
}

impl Clock {
    /// Starts the clocks at `since`, the monotonic one at `origin`.
    pub(crate) fn new(origin: u64, since: u64, drift: i32, skew: i64) -> Self {
        let rate = (1_000_000 + i64::from(drift)).max(1);
        Self {
            origin,
            since,
            rate: rate.unsigned_abs(),
            skew,
        }
    }

    /// Reads both clocks.
    pub(crate) fn now(&self, at: u64) -> Now {
        let passed = at.saturating_sub(self.since);
        let passed = match passed.checked_mul(self.rate) {
            // Of some hours, which any run stays within: a division of 128 bits costs more than
            // all else here.
            Some(product) => product / MILLION,
            None => (u128::from(passed) * u128::from(self.rate) / u128::from(MILLION)) as u64,
        };
        let wall = EPOCH + (at / 1_000_000) as i64 + self.skew;
        Now {
            time: Time(self.origin + passed),
            wall: Wall(wall.max(0).unsigned_abs()),
        }
    }

    /// Returns when the monotonic clock shows at least `time`; nothing if that is never.
    pub(crate) fn when(&self, time: Time) -> Option<u64> {
        if time == Time::NEVER {
            return None;
        }
        let passes = time.0.saturating_sub(self.origin);
        let real = match passes.checked_mul(MILLION) {
            Some(product) => product.div_ceil(self.rate),
            None => {
                let product = u128::from(passes) * u128::from(MILLION);
                u64::try_from(product.div_ceil(u128::from(self.rate))).ok()?
            }
        };
        real.checked_add(self.since)
    }

    /// Moves the wall clock.
    pub(crate) fn jump(&mut self, by: i64) {
        self.skew = self.skew.saturating_add(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_when_the_clock_says_so_and_not_a_moment_before() {
        for drift in [-50_000, -1, 0, 1, 333, 50_000] {
            let clock = Clock::new(5_000, 1_000_000, drift, -7);
            for time in [5_000, 5_001, 12_345, 1_000_000_007] {
                let at = clock.when(Time(time)).unwrap();
                assert!(clock.now(at).time >= Time(time));
                if at > 1_000_000 {
                    assert!(clock.now(at - 1).time < Time(time));
                }
            }
        }
        assert_eq!(Clock::new(0, 0, 0, 0).when(Time::NEVER), None);
    }
}

//! A peer's clocks: a monotonic one that drifts, and a wall clock that is wrong.

use quorate_core::{Now, Time, Wall};

const MILLION: u128 = 1_000_000;

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
    rate: u128,
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
            rate: rate.unsigned_abs().into(),
            skew,
        }
    }

    /// Reads both clocks.
    pub(crate) fn now(&self, at: u64) -> Now {
        let passed = u128::from(at.saturating_sub(self.since)) * self.rate / MILLION;
        let wall = EPOCH + (at / 1_000_000) as i64 + self.skew;
        Now {
            time: Time(self.origin + passed as u64),
            wall: Wall(wall.max(0).unsigned_abs()),
        }
    }

    /// Returns when the monotonic clock shows at least `time`; nothing if that is never.
    pub(crate) fn when(&self, time: Time) -> Option<u64> {
        if time == Time::NEVER {
            return None;
        }
        let passes = u128::from(time.0.saturating_sub(self.origin));
        let real = (passes * MILLION).div_ceil(self.rate);
        u64::try_from(real).ok()?.checked_add(self.since)
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

//! The driver's clocks: the only place of a peer where time is read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use quorate_core::{Now, Time, Wall};
use tokio::time::Instant;

/// A monotonic clock with an origin of its own, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts counting now.
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Reads both clocks.
    pub(crate) fn now(&self) -> Now {
        let wall = today().timestamp_millis();
        Now {
            time: self.time(),
            wall: Wall(u64::try_from(wall).unwrap_or(0)),
        }
    }

    /// Reads the monotonic clock.
    pub(crate) fn time(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns the wall-clock time of a reading, for people.
    pub(crate) fn date(now: Now) -> DateTime<Utc> {
        let millis = i64::try_from(now.wall.0).unwrap_or(i64::MAX);
        DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Returns when the monotonic clock shows `time`; nothing if that is beyond all clocks.
    pub(crate) fn instant(&self, time: Time) -> Option<Instant> {
        self.origin.checked_add(Duration::from_nanos(time.0))
    }
}

/// Reads the wall clock.
pub(crate) fn today() -> DateTime<Utc> {
    Utc::now()
}

//! Time as the core sees it: an input.
//!
//! [`Time`] is monotonic and counts from an origin of the driver's choosing; all timers, deadlines
//! and TTLs use it, and it is never sent to another peer. [`Wall`] is for people to read, and for
//! the client table, which adds up what passes between two stamps of one leader; two peers' wall
//! clocks are never compared.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A point of one peer's monotonic clock, in nanoseconds since its driver's origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The farthest point, which never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the point `by` later, or [`Time::NEVER`].
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns how long ago `earlier` was; zero if it is yet to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06}s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000 / 1_000
        )
    }
}

/// A wall-clock time in milliseconds since the Unix epoch, as a driver's clock shows it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Wall(pub u64);

/// What the driver's clocks show at a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Now {
    /// The monotonic clock; never goes back.
    pub time: Time,
    /// The wall clock; may jump, and decides nothing but when idle clients expire.
    pub wall: Wall,
}

//! Rounds and their median.
//!
//! A mean is what one hiccup of a shared machine makes of it; a median needs half of the rounds to
//! go wrong.

use std::time::Duration;

/// Returns the median of `values`; of an even number, the higher of the two in the middle.
///
/// # Panics
/// If there is no value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns a duration in microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Returns a duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

//! Durations as people write them: a whole number and a unit, exact to the nanosecond.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{dice::Span, limits};

/// The units, with their nanoseconds; longest first.
const UNITS: [(&str, u64); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Writes nanoseconds in the longest unit that holds them exactly.
pub(crate) fn write(nanos: u64) -> String {
    let fits = |unit: &&(&str, u64)| nanos.is_multiple_of(unit.1);
    let (name, size) = UNITS.iter().find(fits).unwrap_or(&("ns", 1));
    format!("{}{name}", nanos / size)
}

/// Reads what [`write`] writes, in any of the units; nothing if it is no duration, or too long.
pub(crate) fn read(text: &str) -> Option<u64> {
    let digits = text.find(|sign: char| !sign.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let nanos = number.parse::<u64>().ok()?.checked_mul(*size)?;
    (Duration::from_nanos(nanos) <= limits::LASTS).then_some(nanos)
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = format!("{}..{}", write(self.low), write(self.high));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ends = text.split_once("..");
        match ends.map(|(low, high)| (read(low), read(high))) {
            Some((Some(low), Some(high))) if low <= high => Ok(Self { low, high }),
            _ => Err(D::Error::custom(format!(
                "'{text}' is no range of durations such as \"50us..2ms\""
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_in_its_longest_exact_unit_and_read_back() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1500ns"),
            (2_000, "2us"),
            (1_500_000_000, "1500ms"),
            (60_000_000_000, "60s"),
        ] {
            assert_eq!(write(nanos), text);
            assert_eq!(read(text), Some(nanos));
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "1",
            "1 s",
            "-1s",
            "1m",
            "1.5s",
            "99999999999999999999s",
            "1000000000s",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let span: Span = serde_json::from_str("\"5ms..1s\"").unwrap();
        assert_eq!(span, Span::micros(5_000, 1_000_000));
        for text in ["\"1s..5ms\"", "\"1s\"", "3", "\"1s..\""] {
            assert!(serde_json::from_str::<Span>(text).is_err(), "{text}");
        }
    }
}

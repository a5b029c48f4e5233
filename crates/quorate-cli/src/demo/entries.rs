//! The entries that the demonstration loads: generated ones, or the lines of a file.

use std::{fmt, path::Path};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// Bytes of a generated entry.
const GENERATED: usize = 100;

/// Bytes of a line that fit a command, with room for what else is in it.
const LINE: usize = (1 << 20) - (1 << 10);

/// What is loaded; entry `i` has key `i`, counted from 1.
#[derive(Debug)]
pub(crate) enum Entries {
    /// As many entries, from a seed.
    Generated {
        /// How many.
        count: u64,
        /// The seed.
        seed: u64,
    },
    /// The lines of a file.
    Lines {
        /// The file.
        text: Vec<u8>,
        /// Where lines end, the line feed not included.
        ends: Vec<usize>,
    },
}

impl Entries {
    /// Prepares to generate entries.
    pub(crate) fn generated(count: u64, seed: u64) -> Self {
        Self::Generated { count, seed }
    }

    /// Reads the lines of a file, as bytes.
    ///
    /// # Errors
    /// Why the file cannot be the input, and what to do.
    pub(crate) fn lines_of(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read(path).map_err(|error| {
            format!("--input {name} cannot be read ({error}): name a file that can")
        })?;
        Self::lines(text).map_err(|problem| format!("--input {name} {problem}"))
    }

    fn lines(text: Vec<u8>) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: name a file with at least one line".to_owned());
        }
        let feeds = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let mut ends: Vec<usize> = feeds.map(|(at, _)| at).collect();
        if text.last() != Some(&b'\n') {
            ends.push(text.len());
        }
        let lines = Self::Lines { text, ends };
        let long = (1..=lines.count()).find(|i| lines.line_len(*i) > LINE);
        match long {
            Some(i) => Err(format!(
                "has {} bytes in line {i}: a line may have at most {LINE}, split it",
                lines.line_len(i)
            )),
            None => Ok(lines),
        }
    }

    /// Returns how many entries there are.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Generated { count, .. } => *count,
            Self::Lines { ends, .. } => ends.len() as u64,
        }
    }

    /// Returns the bytes of all values.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Generated { count, .. } => count * GENERATED as u64,
            Self::Lines { text, .. } => text.len() as u64,
        }
    }

    /// Makes entry `i`, counted from 1.
    pub(crate) fn entry(&self, i: u64) -> Line {
        match self {
            Self::Generated { seed, .. } => generate(*seed, i),
            Self::Lines { text, .. } => Line(text[self.line(i)].to_vec()),
        }
    }

    /// Tells whether `line` is entry `i`.
    pub(crate) fn is(&self, i: u64, line: &Line) -> bool {
        match self {
            _ if i == 0 || i > self.count() => false,
            Self::Generated { seed, .. } => *line == generate(*seed, i),
            Self::Lines { text, .. } => line.0 == text[self.line(i)],
        }
    }

    fn line(&self, i: u64) -> std::ops::Range<usize> {
        let Self::Lines { ends, .. } = self else {
            return 0..0;
        };
        let at = i as usize - 1;
        let start = at.checked_sub(1).map_or(0, |before| ends[before] + 1);
        start..ends[at]
    }

    fn line_len(&self, i: u64) -> usize {
        self.line(i).len()
    }
}

/// Makes 100 bytes of text from a seed and a number; the same ones everywhere.
pub(crate) fn generate(seed: u64, i: u64) -> Line {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
    let mut state = seed ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut line = Vec::with_capacity(GENERATED);
    while line.len() < GENERATED {
        // A step of splitmix64: twelve letters of five bits each.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        for letter in 0..12.min(GENERATED - line.len()) {
            line.push(LETTERS[(bits >> (5 * letter) & 31) as usize]);
        }
    }
    Line(line)
}

/// The bytes of one entry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Line(Vec<u8>);

impl Line {
    /// Returns how many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Line;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Line, E> {
                Ok(Line(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Line, E> {
                Ok(Line(bytes))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        let entries = Entries::lines(text.to_vec()).unwrap();
        (1..=entries.count())
            .map(|i| {
                let line = entries.entry(i);
                assert!(entries.is(i, &line));
                line.0
            })
            .collect()
    }

    #[test]
    fn every_line_is_an_entry_with_or_without_a_last_line_feed() {
        assert_eq!(lines(b"one\ntwo\n"), [b"one", b"two"]);
        assert_eq!(lines(b"one\ntwo"), [b"one", b"two"]);
        assert_eq!(lines(b"\n\nx"), [&b""[..], b"", b"x"]);
        assert_eq!(lines(b"\n"), [b""]);
        assert_eq!(lines(b"\xff\xfe\r\n"), [b"\xff\xfe\r"]);
    }

    #[test]
    fn empty_and_too_long_inputs_are_refused_by_name() {
        assert!(Entries::lines(Vec::new()).unwrap_err().contains("empty"));
        let mut long = b"short\n".to_vec();
        long.resize(long.len() + LINE + 1, b'x');
        assert!(Entries::lines(long).unwrap_err().contains("line 2"));
    }

    #[test]
    fn generated_entries_follow_from_the_seed() {
        let entries = Entries::generated(10, 7);
        assert_eq!(entries.entry(3), generate(7, 3));
        assert_ne!(entries.entry(3), entries.entry(4));
        assert_ne!(entries.entry(3), generate(8, 3));
        assert_eq!(entries.entry(3).0.len(), GENERATED);
        assert!(entries.is(10, &entries.entry(10)));
        assert!(!entries.is(11, &generate(7, 11)));
        assert!(!entries.is(2, &entries.entry(3)));
    }
}

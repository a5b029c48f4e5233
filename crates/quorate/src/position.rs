//! Positions: cursors that say in which history they stand.
//!
//! A cursor alone names an entry of the history that its reader has in mind. What leaves the
//! process (an HTTP header, a file) may come back when the group has another history, where the
//! same numbers name something else: there the genesis goes with it.

use std::{fmt, str::FromStr};

use quorate_core::{Cursor, GenesisId, Index, Term};

/// A cursor of one history.
///
/// Shown and read as `GENESIS/TERM/INDEX`, the genesis in lower-case hexadecimal:
///
/// ```
/// use quorate::Position;
///
/// let text = "00112233445566778899aabbccddeeff/2/17";
/// let position: Position = text.parse()?;
/// assert_eq!(position.cursor.index.0, 17);
/// assert_eq!(position.to_string(), text);
/// # Ok::<(), quorate::PositionError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// The history.
    pub genesis: GenesisId,
    /// The place in it.
    pub cursor: Cursor,
}

/// A text is no position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// It has not the three parts.
    #[error("a position is GENESIS/TERM/INDEX")]
    Parts,
    /// Its first part is no genesis.
    #[error("a position begins with a genesis: 32 lower-case hexadecimal digits")]
    Genesis,
    /// Its term or index is no number.
    #[error("a position ends in a term and an index: two decimal numbers below 2^64")]
    Number,
}

impl Position {
    /// Puts a cursor into the history that it belongs to.
    pub const fn new(genesis: GenesisId, cursor: Cursor) -> Self {
        Self { genesis, cursor }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cursor { term, index } = self.cursor;
        write!(f, "{}/{}/{}", self.genesis, term.0, index.0)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(PositionError::Parts);
        let (genesis, term, index) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(PositionError::Parts);
        }
        let genesis = parse_genesis(genesis).ok_or(PositionError::Genesis)?;
        let number = |text| parse_number(text).ok_or(PositionError::Number);
        let cursor = Cursor::new(Term(number(term)?), Index(number(index)?));
        Ok(Self::new(genesis, cursor))
    }
}

/// Reads a genesis as it is shown: one spelling only, so that texts can be compared.
pub(crate) fn parse_genesis(text: &str) -> Option<GenesisId> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut genesis = [0; 16];
    if text.len() != 2 * genesis.len() {
        return None;
    }
    for (byte, pair) in genesis.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(GenesisId(genesis))
}

/// Reads a decimal number as it is shown: digits alone, no sign.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_shown() {
        for (genesis, term, index) in [(0, 0, 0), (0xab, 7, 9_000), (0xff, u64::MAX, u64::MAX)] {
            let cursor = Cursor::new(Term(term), Index(index));
            let position = Position::new(GenesisId([genesis; 16]), cursor);
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn what_is_no_position_is_refused_for_a_reason() {
        let genesis = "00112233445566778899aabbccddeeff";
        let cases = [
            (String::new(), PositionError::Parts),
            (format!("{genesis}/1"), PositionError::Parts),
            (format!("{genesis}/1/2/3"), PositionError::Parts),
            (format!("{}/1/2", &genesis[1..]), PositionError::Genesis),
            (format!("{genesis}0/1/2"), PositionError::Genesis),
            (
                format!("{}/1/2", genesis.to_uppercase()),
                PositionError::Genesis,
            ),
            (format!("{genesis}/+1/2"), PositionError::Number),
            (format!("{genesis}/1/"), PositionError::Number),
            (
                format!("{genesis}/1/18446744073709551616"),
                PositionError::Number,
            ),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Position>(), Err(error), "{text}");
        }
    }
}

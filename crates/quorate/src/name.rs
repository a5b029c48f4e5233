//! Names of clients and of their requests, as they leave the process.
//!
//! A client is registered by an entry of the log; its id is that entry's index in that history. A
//! request's name is its client's id, the client's own number for the request, and the lowest
//! number that the client may still repeat. Whoever has a name may send its request again, through
//! any peer of the group: it is applied once.

use std::{fmt, str::FromStr};

use quorate_core::{ClientSequence, GenesisId, Index};

use crate::position::{parse_genesis, parse_number};

/// The id of a registered client: the history and the index of the entry that registered it.
///
/// Shown and read as `GENESIS/INDEX`, the genesis in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId {
    /// The history in which it is registered; no other one knows it.
    pub genesis: GenesisId,
    /// The index of the entry that registered it.
    pub index: Index,
}

/// A client's name for one of its requests, under which the request may be repeated.
///
/// Shown and read as `GENESIS/INDEX/SEQ/OPEN`; OPEN may be left out if it is SEQ, and is when it is
/// shown:
///
/// ```
/// use quorate::RequestName;
///
/// let text = "00112233445566778899aabbccddeeff/17/5/3";
/// let name: RequestName = text.parse()?;
/// assert_eq!((name.client.index.0, name.sequence, name.open), (17, 5, 3));
/// assert_eq!(name.to_string(), text);
/// # Ok::<(), quorate::NameError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestName {
    /// Whose request it is.
    pub client: ClientId,
    /// The client's number for it, from 1 on.
    pub sequence: u64,
    /// The lowest number that the client may still repeat: the group forgets what is below. At
    /// least 1 and at most `sequence`.
    pub open: u64,
}

/// A text is no name of a client or of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has too few or too many parts.
    #[error("a client is GENESIS/INDEX, and a request GENESIS/INDEX/SEQ or GENESIS/INDEX/SEQ/OPEN")]
    Parts,
    /// Its first part is no genesis.
    #[error("a name begins with a genesis: 32 lower-case hexadecimal digits")]
    Genesis,
    /// A part is no number.
    #[error("INDEX, SEQ and OPEN are decimal numbers from 1 on and below 2^64")]
    Number,
    /// The lowest number still open is above the request's own.
    #[error("OPEN is at most SEQ")]
    Open,
}

impl RequestName {
    /// Returns the name as the log has it; nothing if no request can have it.
    pub(crate) fn sequence(&self) -> Option<ClientSequence> {
        let possible =
            self.client.index != Index(0) && self.open != 0 && self.open <= self.sequence;
        possible.then_some(ClientSequence {
            client: self.client.index,
            sequence: self.sequence,
            open: self.open,
        })
    }
}

/// Reads a number from 1 on.
fn number(text: &str) -> Result<u64, NameError> {
    let number = parse_number(text).filter(|number| *number > 0);
    number.ok_or(NameError::Number)
}

fn client(genesis: &str, index: &str) -> Result<ClientId, NameError> {
    Ok(ClientId {
        genesis: parse_genesis(genesis).ok_or(NameError::Genesis)?,
        index: Index(number(index)?),
    })
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.genesis, self.index.0)
    }
}

impl FromStr for ClientId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split('/').collect::<Vec<_>>()[..] {
            [genesis, index] => client(genesis, index),
            _ => Err(NameError::Parts),
        }
    }
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.client, self.sequence)?;
        if self.open != self.sequence {
            write!(f, "/{}", self.open)?;
        }
        Ok(())
    }
}

impl FromStr for RequestName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // One more than there may be, so that what is too long is not gathered.
        let (genesis, index, sequence, open) = match text.splitn(5, '/').collect::<Vec<_>>()[..] {
            [genesis, index, sequence] => (genesis, index, sequence, sequence),
            [genesis, index, sequence, open] => (genesis, index, sequence, open),
            _ => return Err(NameError::Parts),
        };
        let name = Self {
            client: client(genesis, index)?,
            sequence: number(sequence)?,
            open: number(open)?,
        };
        if name.open > name.sequence {
            return Err(NameError::Open);
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_read_as_they_are_shown(
            genesis in any::<[u8; 16]>(),
            index in 1..=u64::MAX,
            sequence in 1..=u64::MAX,
            open in 1..=u64::MAX,
        ) {
            let client = ClientId { genesis: GenesisId(genesis), index: Index(index) };
            prop_assert_eq!(client.to_string().parse(), Ok(client));
            let open = open.min(sequence);
            let name = RequestName { client, sequence, open };
            prop_assert_eq!(name.to_string().parse(), Ok(name));
            let all = format!("{client}/{sequence}/{open}");
            prop_assert_eq!(all.parse(), Ok(name));
            prop_assert!(name.sequence().is_some());
        }

        #[test]
        fn any_text_is_a_name_or_an_error(text in "[0-9a-f/]{0,60}|\\PC{0,20}") {
            if let Ok(name) = text.parse::<RequestName>() {
                prop_assert!(name.sequence().is_some());
            }
            prop_assert_eq!(text.parse::<ClientId>().is_ok(), text.matches('/').count() == 1
                && format!("{text}/1").parse::<RequestName>().is_ok());
        }
    }

    #[test]
    fn what_is_no_name_is_refused_for_a_reason() {
        let genesis = "00112233445566778899aabbccddeeff";
        for (text, expected) in [
            (String::new(), NameError::Parts),
            (format!("{genesis}/1"), NameError::Parts),
            (format!("{genesis}/1/2/1/1"), NameError::Parts),
            (format!("{}/1/2", &genesis[1..]), NameError::Genesis),
            (
                format!("{}/1/2", genesis.to_uppercase()),
                NameError::Genesis,
            ),
            (format!("{genesis}/0/2"), NameError::Number),
            (format!("{genesis}/1/+2"), NameError::Number),
            (
                format!("{genesis}/1/18446744073709551616"),
                NameError::Number,
            ),
            (format!("{genesis}/1/2/0"), NameError::Number),
            (format!("{genesis}/1/2/3"), NameError::Open),
        ] {
            assert_eq!(text.parse::<RequestName>(), Err(expected), "{text}");
        }
        assert_eq!(
            format!("{genesis}/1/2").parse::<ClientId>(),
            Err(NameError::Parts)
        );
    }

    #[test]
    fn a_name_that_no_request_can_have_is_none() {
        let client = ClientId {
            genesis: GenesisId([1; 16]),
            index: Index(1),
        };
        let nobody = ClientId {
            index: Index(0),
            ..client
        };
        for (client, sequence, open) in [(nobody, 1, 1), (client, 1, 2), (client, 1, 0)] {
            assert_eq!(
                RequestName {
                    client,
                    sequence,
                    open
                }
                .sequence(),
                None
            );
        }
    }
}

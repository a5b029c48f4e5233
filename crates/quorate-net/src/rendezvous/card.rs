//! What a peer says of itself in the rendezvous directory: a few lines of text.
//!
//! ```text
//! quorate-peer 1
//! pid 4711
//! started 1763650000
//! address 127.0.0.1:41234
//! http 127.0.0.1:8080
//! ```
//!
//! The first line is the format's version: readers refuse another. Lines they do not know they
//! keep as notes, so that a newer peer can say more to those who understand.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::address::Address;

const VERSION: &str = "quorate-peer 1";

/// What a peer says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Card {
    /// Its process, for people.
    pub pid: u32,
    /// When it started, in seconds since 1970, for people.
    pub started: u64,
    /// Where it can be dialed.
    pub addresses: Vec<Address>,
    /// Anything else, as one word and a text without line breaks: where it serves HTTP, say.
    pub notes: BTreeMap<String, String>,
}

/// A text is not a card of a version this reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a card that begins with {VERSION:?}")]
pub struct CardError;

impl Card {
    /// Makes the card of this process, with the time now.
    pub fn here(addresses: Vec<Address>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            pid: std::process::id(),
            started: now.map_or(0, |now| now.as_secs()),
            addresses,
            notes: BTreeMap::new(),
        }
    }

    /// Tells whether a note may have this name: one word, and none of the card's own.
    pub fn is_note(name: &str) -> bool {
        let own = ["pid", "started", "address"];
        !name.is_empty() && !name.contains(char::is_whitespace) && !own.contains(&name)
    }

    /// Adds a note; line breaks in it become spaces. A note whose name is none is not read back.
    #[must_use]
    pub fn note(mut self, name: &str, text: &str) -> Self {
        let name = name.split_whitespace().collect::<Vec<_>>().join("-");
        self.notes
            .insert(name, text.lines().collect::<Vec<_>>().join(" "));
        self
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")?;
        writeln!(f, "pid {}", self.pid)?;
        writeln!(f, "started {}", self.started)?;
        for address in &self.addresses {
            writeln!(f, "address {address}")?;
        }
        for (name, text) in &self.notes {
            writeln!(f, "{name} {text}")?;
        }
        Ok(())
    }
}

impl FromStr for Card {
    type Err = CardError;

    /// Passes over lines that it cannot read: an address of a newer kind must not hide the others.
    fn from_str(text: &str) -> Result<Self, CardError> {
        let mut lines = text.lines();
        if lines.next() != Some(VERSION) {
            return Err(CardError);
        }
        let mut card = Self::default();
        for line in lines {
            let Some((name, value)) = line.split_once(' ') else {
                continue;
            };
            match name {
                "pid" => card.pid = value.parse().unwrap_or_default(),
                "started" => card.started = value.parse().unwrap_or_default(),
                "address" => card.addresses.extend(value.parse::<Address>()),
                _ => {
                    card.notes.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        Ok(card)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_card_survives_its_text_form(
            pid in any::<u32>(),
            started in any::<u64>(),
            ports in prop::collection::vec(any::<u16>(), 0..5),
            notes in prop::collection::btree_map("x-[a-z]{1,8}", "[!-~][ -~]{0,20}", 0..4),
        ) {
            let addresses =
                ports.iter().map(|port| Address::Ip(([127, 0, 0, 1], *port).into())).collect();
            let card = Card { pid, started, addresses, notes };
            prop_assert_eq!(card.to_string().parse(), Ok(card));
        }

        #[test]
        fn any_text_is_a_card_or_an_error(text in "\\PC{0,200}") {
            let whole = format!("{VERSION}\n{text}");
            prop_assert!(whole.parse::<Card>().is_ok());
            prop_assert_eq!(text.parse::<Card>().is_ok(), text.lines().next() == Some(VERSION));
        }
    }

    #[test]
    fn an_address_of_a_newer_kind_hides_nothing() {
        let card: Card = format!("{VERSION}\naddress tor:abc\naddress 127.0.0.1:5\n")
            .parse()
            .unwrap();
        assert_eq!(card.addresses, [Address::Ip(([127, 0, 0, 1], 5).into())]);
    }

    #[test]
    fn a_note_stays_one_line() {
        let card = Card::default().note("motto of\nday", "one\npid 7");
        assert_eq!(card.to_string().parse::<Card>().unwrap(), card);
        assert_eq!(card.pid, 0);
    }
}

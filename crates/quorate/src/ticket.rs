//! Tickets: one text that lets a peer beyond this machine in.
//!
//! A peer elsewhere needs the network's name, the secret its groups' keys follow from, and one
//! peer that it can dial; whoever it reaches tells it of the others. A ticket is all of that in one
//! word, which is pasted, mailed and cut short by people and programs. So it says itself how long
//! it is and carries a checksum, and what is wrong with it is said apart:
//!
//! ```text
//! quorate  base32( version:1  length:4  body:length  checksum:4 )
//!
//! body, version 1     name  secret:32  peer:32  count:1  address...
//! name, address       length:2  text
//! ```
//!
//! The frame (version, length, checksum over all before it) stays in later versions, so that a
//! ticket of a newer release is told from a damaged one. Numbers are big-endian. An address of a
//! kind that is not known here is passed over: another may be.
//!
//! A checksum is no proof: whoever can write a ticket can write a good one. Decoding therefore
//! reserves nothing by what a ticket says of itself.

mod base32;

use std::{fmt, str::FromStr};

use quorate_core::{GroupKey, PeerId};
use quorate_net::Address;

use crate::limits::{TICKET_ADDRESSES, TICKET_TEXT};

/// What a peer elsewhere needs to join: where somebody of the network is, and the secret.
///
/// Its text is one word; whoever has it is let in, so it is to be kept like a password.
///
/// ```
/// use quorate::{Address, PeerId, Ticket};
///
/// let ticket = Ticket {
///     network: "shop".to_owned(),
///     secret: [7; 32],
///     peer: PeerId([1; 32]),
///     addresses: vec![Address::Ip(([192, 0, 2, 1], 4433).into())],
/// };
/// let text = ticket.to_string();
/// assert_eq!(text.parse(), Ok(ticket));
/// let error = text[..40].parse::<Ticket>().unwrap_err();
/// assert_eq!(error.to_string(), "the ticket was cut short: copy all of it");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The network's name.
    pub network: String,
    /// The secret from which the keys of the network's groups follow: see [`Ticket::group_key`].
    pub secret: [u8; 32],
    /// A peer of the network.
    pub peer: PeerId,
    /// Where it can be reached.
    pub addresses: Vec<Address>,
}

/// A text is no ticket that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It is something else.
    #[error("not a ticket: a ticket begins with {PREFIX:?}")]
    NotATicket,
    /// Its end is missing.
    #[error("the ticket was cut short: copy all of it")]
    CutShort,
    /// It was changed on its way.
    #[error("the ticket is damaged: copy it again")]
    Damaged,
    /// A newer release made it.
    #[error("the ticket is of version {version}, which this release does not read: update it")]
    Newer {
        /// The ticket's version.
        version: u8,
    },
}

const PREFIX: &str = "quorate";
const VERSION: u8 = 1;
/// Version and length.
const HEAD: usize = 5;
const CHECKSUM: usize = 4;

impl Ticket {
    /// Returns the key of the network's group called `group`: the same from every ticket of the
    /// network, another for each group.
    pub fn group_key(&self, group: &str) -> GroupKey {
        let mut hasher = blake3::Hasher::new_derive_key("quorate 2026 group secret of a network");
        hasher
            .update(&self.secret)
            .update(&(self.network.len() as u64).to_le_bytes())
            .update(self.network.as_bytes())
            .update(group.as_bytes());
        GroupKey::secret(group, *hasher.finalize().as_bytes())
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put(&mut body, &self.network);
        body.extend_from_slice(&self.secret);
        body.extend_from_slice(&self.peer.0);
        let addresses = &self.addresses[..self.addresses.len().min(TICKET_ADDRESSES)];
        body.push(addresses.len() as u8);
        for address in addresses {
            put(&mut body, &address.to_string());
        }
        body
    }

    fn from_body(mut body: &[u8]) -> Option<Self> {
        let body = &mut body;
        let network = take_text(body)?.to_owned();
        let secret = take(body)?;
        let peer = PeerId(take(body)?);
        let [count] = take(body)?;
        let mut addresses = Vec::new();
        for _ in 0..count {
            // An address of a kind that is not known here is no reason to refuse the others.
            addresses.extend(take_text(body)?.parse::<Address>());
        }
        body.is_empty().then_some(Self {
            network,
            secret,
            peer,
            addresses,
        })
    }
}

/// Writes a text, as much of it as a ticket can hold: names are far shorter, see
/// [`crate::limits::NETWORK_NAME`].
fn put(body: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(u16::MAX.into())];
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text);
}

fn take<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = body.split_first_chunk()?;
    *body = rest;
    Some(*taken)
}

fn take_text<'a>(body: &mut &'a [u8]) -> Option<&'a str> {
    let len = u16::from_be_bytes(take(body)?);
    let (text, rest) = body.split_at_checked(len.into())?;
    *body = rest;
    std::str::from_utf8(text).ok()
}

fn checksum(framed: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new_derive_key("quorate 2026 ticket checksum");
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&hasher.update(framed).finalize().as_bytes()[..CHECKSUM]);
    sum
}

fn frame(version: u8, body: &[u8]) -> String {
    let mut bytes = vec![version];
    let len = u32::try_from(body.len()).expect("a few texts of at most 64 KiB");
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&checksum(&bytes));
    format!("{PREFIX}{}", base32::encode(&bytes))
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&frame(VERSION, &self.body()))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads a ticket; white space around it does not matter.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        let Some(word) = text.strip_prefix(PREFIX) else {
            let begins = !text.is_empty() && PREFIX.starts_with(text);
            return Err(if begins {
                TicketError::CutShort
            } else {
                TicketError::NotATicket
            });
        };
        if text.len() > TICKET_TEXT {
            return Err(TicketError::NotATicket);
        }
        let (bytes, whole) = base32::decode(word).map_err(|_| TicketError::Damaged)?;
        let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(TicketError::CutShort);
        };
        let [version, a, b, c, d] = *head;
        let len = u32::from_be_bytes([a, b, c, d]);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let end = len.saturating_add(HEAD);
        if bytes.len() < end.saturating_add(CHECKSUM) {
            return Err(TicketError::CutShort);
        }
        let (framed, sum) = bytes.split_at(end);
        if sum != checksum(framed) || !whole || version == 0 {
            return Err(TicketError::Damaged);
        }
        if version > VERSION {
            return Err(TicketError::Newer { version });
        }
        Self::from_body(&framed[HEAD..]).ok_or(TicketError::Damaged)
    }
}

impl fmt::Debug for Ticket {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("network", &self.network)
            .field("peer", &self.peer)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tickets() -> impl Strategy<Value = Ticket> {
        let addresses = prop::collection::vec(any::<([u8; 4], u16)>(), 0..4);
        (
            "\\PC{0,12}",
            any::<[u8; 32]>(),
            any::<[u8; 32]>(),
            addresses,
        )
            .prop_map(|(network, secret, peer, addresses)| Ticket {
                network,
                secret,
                peer: PeerId(peer),
                addresses: addresses
                    .into_iter()
                    .map(|at| Address::Ip(at.into()))
                    .collect(),
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_ticket_survives_its_text_form(ticket in tickets()) {
            let text = ticket.to_string();
            prop_assert!(text.len() <= TICKET_TEXT);
            prop_assert_eq!(text.parse(), Ok(ticket.clone()));
            prop_assert_eq!(format!(" {text}\n").parse(), Ok(ticket));
        }

        #[test]
        fn every_beginning_is_known_for_one(ticket in tickets()) {
            let text = ticket.to_string();
            for end in 1..text.len() {
                prop_assert_eq!(text[..end].parse::<Ticket>(), Err(TicketError::CutShort));
            }
            for more in ["a", "q", "aa", "aaaaaaaa"] {
                let longer = format!("{text}{more}").parse::<Ticket>();
                prop_assert_eq!(longer, Err(TicketError::Damaged));
            }
        }

        #[test]
        fn every_flipped_bit_is_noticed(ticket in tickets()) {
            let text = ticket.to_string();
            for at in 0..text.len() {
                for bit in 0..7 {
                    let mut bytes = text.clone().into_bytes();
                    bytes[at] ^= 1 << bit;
                    let flipped = String::from_utf8(bytes).unwrap();
                    prop_assert!(flipped.parse::<Ticket>().is_err(), "{flipped:?}");
                }
            }
        }

        #[test]
        fn any_text_is_refused_quietly(text in "(quorate)?[a-z2-7\\PC]{0,80}") {
            prop_assert!(text.parse::<Ticket>().is_err());
        }

        #[test]
        fn any_body_that_decodes_decodes_to_its_own(
            body in prop::collection::vec(any::<u8>(), 0..100)
        ) {
            if let Ok(ticket) = frame(VERSION, &body).parse::<Ticket>() {
                prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
            }
        }
    }

    fn ticket() -> Ticket {
        Ticket {
            network: "shop".to_owned(),
            secret: [7; 32],
            peer: PeerId([1; 32]),
            addresses: vec![Address::Ip(([127, 0, 0, 1], 9).into())],
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let newer = frame(2, b"who knows");
        assert_eq!(
            newer.parse::<Ticket>(),
            Err(TicketError::Newer { version: 2 })
        );
        for garbage in ["", "127.0.0.1:4433", "Quorate", "qx"] {
            assert_eq!(
                garbage.parse::<Ticket>(),
                Err(TicketError::NotATicket),
                "{garbage}"
            );
        }
        let endless = format!("{PREFIX}{}", "a".repeat(TICKET_TEXT));
        assert_eq!(endless.parse::<Ticket>(), Err(TicketError::NotATicket));
        let mut body = ticket().body();
        body.push(0);
        assert_eq!(
            frame(VERSION, &body).parse::<Ticket>(),
            Err(TicketError::Damaged)
        );
    }

    #[test]
    fn an_address_of_a_newer_kind_hides_nothing() {
        let mut body = ticket().body();
        let count = body.len() - "127.0.0.1:9".len() - 3;
        body[count] += 1;
        put(&mut body, "tor:abc");
        assert_eq!(frame(VERSION, &body).parse(), Ok(ticket()));
    }

    #[test]
    fn the_secret_does_not_show_and_groups_have_keys_of_their_own() {
        let shown = format!("{:?}", ticket());
        assert!(shown.contains("shop") && !shown.contains("7, 7"), "{shown}");
        let id = |ticket: &Ticket, group| ticket.group_key(group).group_id("m");
        let other = Ticket {
            network: "bar".to_owned(),
            ..ticket()
        };
        assert_eq!(
            id(&ticket(), "kv"),
            id(
                &Ticket {
                    peer: PeerId([2; 32]),
                    ..ticket()
                },
                "kv"
            )
        );
        assert_ne!(id(&ticket(), "kv"), id(&ticket(), "chat"));
        assert_ne!(id(&ticket(), "kv"), id(&other, "kv"));
    }
}

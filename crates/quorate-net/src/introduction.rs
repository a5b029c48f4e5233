//! Introductions: where peers that a peer knows can be reached.
//!
//! Whoever came by a ticket knows one address. It is told where it finds the others, and they where
//! it is, by a message on a stream of its own; what to say to whom is the driver's. A message is a
//! list of peers with their addresses:
//!
//! ```text
//! peer (32 bytes)  count:1  address...
//! address          length:2  text
//! ```
//!
//! It is a hint: whoever is dialed proves who it is. An address of a kind that is not known here
//! is passed over. Messages wait in the link's budget like anything else that it brings.

use quorate_core::PeerId;

use crate::{address::Address, limits::INTRODUCTION_ADDRESSES};

/// Encodes a list of peers, with as many addresses of each as may be told.
pub(crate) fn encode(peers: &[(PeerId, Vec<Address>)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (peer, addresses) in peers {
        list.extend_from_slice(&peer.0);
        let addresses: Vec<String> = addresses
            .iter()
            .map(ToString::to_string)
            .filter(|text| text.len() <= usize::from(u16::MAX))
            .take(INTRODUCTION_ADDRESSES)
            .collect();
        list.push(addresses.len() as u8);
        for text in addresses {
            list.extend_from_slice(&(text.len() as u16).to_be_bytes());
            list.extend_from_slice(text.as_bytes());
        }
    }
    list
}

/// Decodes a list of peers; nothing if it is none.
pub(crate) fn decode(mut list: &[u8]) -> Option<Vec<(PeerId, Vec<Address>)>> {
    let mut peers = Vec::new();
    while !list.is_empty() {
        let (peer, rest) = list.split_first_chunk()?;
        let (&count, mut rest) = rest.split_first()?;
        if usize::from(count) > INTRODUCTION_ADDRESSES {
            return None;
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            let (len, after) = rest.split_first_chunk()?;
            let (text, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
            addresses.extend(std::str::from_utf8(text).ok()?.parse::<Address>());
            rest = after;
        }
        peers.push((PeerId(*peer), addresses));
        list = rest;
    }
    Some(peers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_list_survives_its_encoding(
            peers in prop::collection::vec(
                (any::<[u8; 32]>(), prop::collection::vec(any::<([u8; 4], u16)>(), 0..4)),
                0..5,
            )
        ) {
            let peers: Vec<_> = peers
                .into_iter()
                .map(|(peer, at)| {
                    let addresses = at.into_iter().map(|at| Address::Ip(at.into())).collect();
                    (PeerId(peer), addresses)
                })
                .collect();
            let list = encode(&peers);
            prop_assert_eq!(decode(&list), Some(peers.clone()));
            // Cut anywhere but between two peers, it is none.
            let ends: Vec<usize> = (0..=peers.len()).map(|n| encode(&peers[..n]).len()).collect();
            for end in 0..list.len() {
                prop_assert_eq!(decode(&list[..end]).is_some(), ends.contains(&end));
            }
        }

        #[test]
        fn any_bytes_are_a_list_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let peers = decode(&bytes).unwrap_or_default();
            prop_assert!(peers.len() <= bytes.len() / 33);
        }
    }

    #[test]
    fn more_addresses_than_may_be_are_left_out_and_refused() {
        let addresses: Vec<Address> = (0..40)
            .map(|port| Address::Ip(([127, 0, 0, 1], port).into()))
            .collect();
        let list = encode(&[(PeerId([1; 32]), addresses)]);
        let peers = decode(&list).unwrap();
        assert_eq!(peers[0].1.len(), INTRODUCTION_ADDRESSES);
        let mut more = list;
        more[32] += 1;
        assert_eq!(decode(&more), None);
    }
}

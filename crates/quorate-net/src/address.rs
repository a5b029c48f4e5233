//! Where a peer can be reached.

use std::{fmt, net::SocketAddr, str::FromStr};

use iroh::{EndpointAddr, RelayUrl, TransportAddr};

/// One way to reach a peer; its text form is what tickets and the rendezvous directory carry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Address {
    /// Directly, over UDP.
    Ip(SocketAddr),
    /// Through a relay.
    Relay(RelayUrl),
}

/// A text is neither a socket address nor a relay's URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is no address: expected IP:PORT or a relay's https URL")]
pub struct AddressError {
    text: String,
}

impl Address {
    /// Returns every address that this crate can name.
    pub(crate) fn of(addr: &EndpointAddr) -> Vec<Self> {
        addr.addrs
            .iter()
            .filter_map(|addr| match addr {
                TransportAddr::Ip(ip) => Some(Self::Ip(*ip)),
                TransportAddr::Relay(url) => Some(Self::Relay(url.clone())),
                _ => None,
            })
            .collect()
    }
}

impl From<Address> for TransportAddr {
    fn from(address: Address) -> Self {
        match address {
            Address::Ip(ip) => Self::Ip(ip),
            Address::Relay(url) => Self::Relay(url),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(ip: SocketAddr) -> Self {
        Self::Ip(ip)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Relay(url) => url.fmt(f),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        match text.parse() {
            Ok(url) if text.starts_with("https://") || text.starts_with("http://") => {
                Ok(Self::Relay(url))
            }
            _ => Err(AddressError {
                text: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_text_form() {
        for text in ["127.0.0.1:4433", "[::1]:9", "https://relay.example./"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn other_texts_are_refused_by_name() {
        for text in [
            "",
            "127.0.0.1",
            "relay.example",
            "ftp://relay.example",
            "4433",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}

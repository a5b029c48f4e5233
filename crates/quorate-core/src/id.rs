//! Names of things: networks, groups, histories, peers, lives, links.
//!
//! A peer is its public key. One key can have several lives: a data directory (or, for a memory
//! peer, a process) mints an [`Incarnation`] when it is first started, and a voter is always the
//! pair [`Member`]. Counting a peer that lost its memory as the peer that gave its word is how a
//! re-used node id breaks other systems, so nothing in the log or on the wire names a bare peer
//! where a promise is meant.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

/// Defines a fixed-size byte identifier with a short hexadecimal `Debug` and a full `Display`.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        // The order of the bytes, by words: what is looked up by an id, which is most of what a
        // step does, would call `memcmp` for each key on the way.
        impl Ord for $name {
            #[inline]
            fn cmp(&self, other: &Self) -> Ordering {
                const { assert!($len % 8 == 0, "made of words") };
                let (mine, _) = self.0.as_chunks::<8>();
                let (theirs, _) = other.0.as_chunks::<8>();
                for (mine, theirs) in mine.iter().zip(theirs) {
                    if mine != theirs {
                        return u64::from_be_bytes(*mine).cmp(&u64::from_be_bytes(*theirs));
                    }
                }
                Ordering::Equal
            }
        }

        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// Returns the first five bytes in hexadecimal, for people.
            pub fn short(&self) -> String {
                hex(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }
    };
}

byte_id!(
    /// A peer: a process, named by its ed25519 public key.
    PeerId, 32
);
byte_id!(
    /// All peers that share a network name.
    NetworkId, 16
);
byte_id!(
    /// A group: peers that replicate one log. Derived from the group's key and machine name.
    GroupId, 16
);
byte_id!(
    /// One history of a group: the digest of its first committed configuration.
    GenesisId, 16
);
byte_id!(
    /// The BLAKE3 root digest of a snapshot.
    Digest, 32
);

impl NetworkId {
    /// Derives the id of the network called `name`.
    pub fn from_name(name: &str) -> Self {
        Self(derive("quorate 2026 network id", &[name.as_bytes()]))
    }
}

/// The secret that a group's members share: proof of it opens a link for the group.
///
/// It never leaves the process and never shows in `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GroupKey {
    secret: [u8; 32],
    label: String,
}

impl GroupKey {
    /// Makes a key that anybody who knows the name can make too.
    pub fn named(name: &str) -> Self {
        Self {
            secret: blake3::derive_key(
                "quorate 2026 group key from a public name",
                name.as_bytes(),
            ),
            label: name.to_owned(),
        }
    }

    /// Makes a key from 32 secret bytes; `label` is what status and errors call the group.
    pub fn secret(label: &str, secret: [u8; 32]) -> Self {
        Self {
            secret: blake3::derive_key("quorate 2026 group key from a secret", &secret),
            label: label.to_owned(),
        }
    }

    /// Returns what people call the group.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the id of the group that runs the machine called `machine` under this key.
    pub fn group_id(&self, machine: &str) -> GroupId {
        GroupId(derive(
            "quorate 2026 group id",
            &[&self.secret, machine.as_bytes()],
        ))
    }

    /// Returns the proof of this key by one side of one TLS session.
    ///
    /// Bound to the session by its exporter, so a recorded proof is worth nothing elsewhere, and
    /// to the side, so it cannot be reflected.
    pub fn proof(&self, group: GroupId, exporter: &[u8; 32], dialer: bool) -> [u8; 32] {
        let key = blake3::derive_key("quorate 2026 group proof", &self.secret);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher
            .update(&group.0)
            .update(exporter)
            .update(&[u8::from(dialer)]);
        *hasher.finalize().as_bytes()
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupKey")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Which life of a data directory (or of a memory peer's process) a peer is in.
///
/// Minted at random at the first start. Only equality means anything: an order would need clocks
/// that agree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0 & 0xffff)
    }
}

/// A member: one life of one peer, as named in configurations and on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Whose life it is.
    pub peer: PeerId,
    /// Which life of the peer it is.
    pub incarnation: Incarnation,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{:?}", self.peer, self.incarnation)
    }
}

/// One QUIC connection to a peer, as the driver numbers them; never re-used in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// One catch-up on the lagging side; unique among the sessions of one incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// Hashes `parts`, each with its length, under `context` into a 16-byte id.
pub(crate) fn derive(context: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher
            .update(&(part.len() as u64).to_le_bytes())
            .update(part);
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}

fn hex(bytes: &[u8]) -> String {
    let digit = |bits: u8| char::from(b"0123456789abcdef"[usize::from(bits)]);
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(digits));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_in_the_order_of_their_bytes(
            mut left in any::<[u8; 32]>(),
            right in any::<[u8; 32]>(),
            same in 0_usize..=32,
        ) {
            left[..same].copy_from_slice(&right[..same]);
            prop_assert_eq!(PeerId(left).cmp(&PeerId(right)), left.cmp(&right));
        }
    }
}

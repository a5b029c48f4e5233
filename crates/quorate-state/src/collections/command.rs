//! Commands and what they answer, as bytes: a version, then postcard.
//!
//! All types borrow from the bytes they were decoded from, so decoding allocates at most a list of
//! operations. What does not decode is refused by an outcome, the same on every peer.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;

/// The version of these encodings.
const VERSION: u8 = 1;

/// A write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command<'a> {
    /// One operation.
    #[serde(borrow)]
    One(Op<'a>),
    /// All of these operations, in order, or none of them: a compare that does not hold or an
    /// operation that is refused undoes those before it.
    All(#[serde(deserialize_with = "bounded")] Vec<Op<'a>>),
}

/// An operation on one collection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Op<'a> {
    /// On the map of this name.
    Map {
        /// The collection's name.
        name: &'a str,
        /// What to do.
        op: MapOp<'a>,
    },
}

/// An operation on a map.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MapOp<'a> {
    /// Puts a value in the place of the key's.
    Insert {
        /// The key's encoding.
        #[serde(borrow)]
        key: Raw<'a>,
        /// The value's encoding.
        value: Raw<'a>,
    },
    /// Removes a key.
    Remove {
        /// The key's encoding.
        key: Raw<'a>,
    },
    /// Puts a value in the place of the key's, if that is the expected one.
    CompareExchange {
        /// The key's encoding.
        key: Raw<'a>,
        /// The value that must be there; nothing if the key must be absent.
        expect: Option<Raw<'a>>,
        /// The value to put there; nothing to remove the key.
        value: Option<Raw<'a>>,
    },
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// The outcome of the one operation.
    #[serde(borrow)]
    One(OpOutcome<'a>),
    /// The outcomes of all operations, in order.
    All(Vec<OpOutcome<'a>>),
    /// Nothing was changed.
    Refused(Refusal),
}

/// What an operation on a collection did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OpOutcome<'a> {
    /// On a map.
    #[serde(borrow)]
    Map(MapOutcome<'a>),
}

/// What an operation on a map did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MapOutcome<'a> {
    /// Of an insert or a remove: the value that was there.
    Previous(#[serde(borrow)] Option<Raw<'a>>),
    /// Of a compare and exchange.
    Exchanged {
        /// Whether the expected value was there.
        swapped: bool,
        /// The value that is there now.
        current: Option<Raw<'a>>,
    },
}

/// Why a command changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The bytes are not a command of this version.
    #[error("the command is malformed")]
    Malformed,
    /// The version is unknown.
    #[error("the command has an unknown version")]
    Version,
    /// The collection's name is longer than [`limits::NAME`].
    #[error("the collection's name is too long (at most {} bytes)", limits::NAME)]
    Name,
    /// The key, with the collection's name, is longer than [`limits::KEY`].
    #[error("the key is too long")]
    Key,
    /// The value is longer than [`limits::VALUE`].
    #[error("the value is too long")]
    Value,
    /// There are more operations than [`limits::TRANSACTION`].
    #[error("the transaction has too many operations")]
    TooMany,
    /// A compare within a transaction did not hold.
    #[error("operation {at} of the transaction found another value than expected")]
    Mismatch {
        /// The position of the operation.
        at: u32,
    },
}

/// The bytes are not an outcome that this version knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the outcome is of another version or another machine")]
pub struct OutcomeError;

impl<'a> Command<'a> {
    /// Encodes the command.
    pub fn encode(&self) -> Bytes {
        let content = match self {
            Self::One(op) => op.content(),
            Self::All(ops) => ops.iter().map(Op::content).sum(),
        };
        encode(self, content)
    }

    /// Decodes a command; allocates at most in proportion to its operations.
    ///
    /// # Errors
    ///
    /// Refuses unknown versions, malformed bytes and too many operations.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let command = decode(bytes)?;
        match &command {
            Self::All(ops) if ops.len() > limits::TRANSACTION => Err(Refusal::TooMany),
            _ => Ok(command),
        }
    }
}

impl<'a> Outcome<'a> {
    /// Encodes the outcome.
    pub fn encode(&self) -> Bytes {
        let content = match self {
            Self::One(outcome) => outcome.content(),
            Self::All(outcomes) => outcomes.iter().map(OpOutcome::content).sum(),
            Self::Refused(_) => 0,
        };
        encode(self, content)
    }

    /// Decodes an outcome.
    ///
    /// # Errors
    ///
    /// Refuses bytes that no known version writes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, OutcomeError> {
        decode(bytes).map_err(|_| OutcomeError)
    }
}

impl Op<'_> {
    /// Bytes that the operation carries, roughly what its encoding takes.
    fn content(&self) -> usize {
        let Self::Map { name, op } = self;
        let optional = |value: &Option<Raw<'_>>| value.map_or(0, |value| value.0.len());
        HEAD + name.len()
            + match op {
                MapOp::Insert { key, value } => key.0.len() + value.0.len(),
                MapOp::Remove { key } => key.0.len(),
                MapOp::CompareExchange { key, expect, value } => {
                    key.0.len() + optional(expect) + optional(value)
                }
            }
    }
}

impl OpOutcome<'_> {
    /// Bytes that the outcome carries, roughly what its encoding takes.
    fn content(&self) -> usize {
        let Self::Map(MapOutcome::Previous(value) | MapOutcome::Exchanged { current: value, .. }) =
            self;
        HEAD + value.map_or(0, |value| value.0.len())
    }
}

/// Bytes of an operation's tags and lengths, at most but for the largest.
const HEAD: usize = 16;

/// Encodes a message that carries about `content` bytes, which saves growing the buffer.
fn encode(message: &impl Serialize, content: usize) -> Bytes {
    let mut buffer = Vec::with_capacity(HEAD + content);
    buffer.push(VERSION);
    postcard::to_extend(message, buffer)
        .expect("lists, texts and bytes always encode")
        .into()
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((message, [])) => Ok(message),
            _ => Err(Refusal::Malformed),
        },
        Some(_) => Err(Refusal::Version),
        None => Err(Refusal::Malformed),
    }
}

/// Decodes a list of operations, keeping one more than may be in it at most.
fn bounded<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Op<'a>>, D::Error> {
    struct Ops<'a>(std::marker::PhantomData<Op<'a>>);

    impl<'de: 'a, 'a> de::Visitor<'de> for Ops<'a> {
        type Value = Vec<Op<'a>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("operations")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut ops = Vec::new();
            while let Some(op) = seq.next_element()? {
                if ops.len() <= limits::TRANSACTION {
                    ops.push(op);
                }
            }
            Ok(ops)
        }
    }

    deserializer.deserialize_seq(Ops(std::marker::PhantomData))
}

/// Bytes, encoded and decoded as such and not one by one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Raw<'a>(pub &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;

        impl<'de> de::Visitor<'de> for Borrowed {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Raw<'de>, E> {
                Ok(Raw(bytes))
            }
        }

        deserializer.deserialize_bytes(Borrowed)
    }
}

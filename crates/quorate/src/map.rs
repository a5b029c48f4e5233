//! Handles to typed maps.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use quorate_core::GroupId;
use quorate_state::collections::{
    self, Command, Key, Kind, Lookup, MapOp, MapOutcome, Op, OpOutcome, Outcome, Raw, decode_value,
    encode_key, encode_lookup, encode_value,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::{
    changes::{Changes, Since},
    driver::request::{Answer, Query, Request},
    group::Seat,
    hall::Hall,
    read::{Read, ReadError, Reading, mismatch},
    snapshot::MapIter,
    write::{Undecoded, Write},
};

/// A handle to one of a group's maps, from `K` to `V`; clones are handles to the same map.
///
/// Keys are ordered as their type orders them, for all types that this crate makes [`Key`]s.
/// Values are encoded with postcard. A handle knows only the map's name: whether others use the
/// same types is up to the application, and shows as [`ReadError::Decoding`] if not.
pub struct Map<K, V> {
    hall: Arc<Hall>,
    seat: Arc<Seat>,
    name: Arc<str>,
    types: PhantomData<fn() -> (K, V)>,
}

/// What a compare and exchange did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exchange<V> {
    /// Whether the expected value was there, and was replaced.
    pub swapped: bool,
    /// The value that is there now.
    pub current: Option<V>,
}

impl<K, V> Map<K, V>
where
    K: Key,
    V: Serialize + DeserializeOwned,
{
    pub(crate) fn new(hall: Arc<Hall>, seat: Arc<Seat>, name: &str) -> Self {
        Self {
            hall,
            seat,
            name: name.into(),
            types: PhantomData,
        }
    }

    /// Returns the map's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts `value` in the place of `key`'s; the outcome is the value that was there.
    ///
    /// Costs a round trip between the leader and a quorum, and one more to the leader if this
    /// peer does not lead. Errors: see [`crate::WriteError`].
    pub fn insert(&self, key: K, value: V) -> Write<(K, V), Option<V>> {
        let encoded = encode(&value).map(|value| {
            self.command(MapOp::Insert {
                key: Raw(&encode_key(&key)),
                value: Raw(&value),
            })
        });
        self.write(encoded, (key, value), previous)
    }

    /// Removes `key`; the outcome is the value that was there. Costs and errors as of
    /// [`Self::insert`].
    pub fn remove(&self, key: K) -> Write<K, Option<V>> {
        let encoded = self.command(MapOp::Remove {
            key: Raw(&encode_key(&key)),
        });
        self.write(Ok(encoded), key, previous)
    }

    /// Replaces the value of `key` by `value` if it is `expect`; nothing stands for no value on
    /// either side. Costs and errors as of [`Self::insert`].
    ///
    /// Values are compared by their encodings.
    pub fn compare_exchange(
        &self,
        key: K,
        expect: Option<V>,
        value: Option<V>,
    ) -> Write<(K, Option<V>, Option<V>), Exchange<V>> {
        let encoded = expect.as_ref().map(encode).transpose().and_then(|expect| {
            let value = value.as_ref().map(encode).transpose()?;
            Ok(self.command(MapOp::CompareExchange {
                key: Raw(&encode_key(&key)),
                expect: expect.as_deref().map(Raw),
                value: value.as_deref().map(Raw),
            }))
        });
        self.write(encoded, (key, expect, value), exchanged)
    }

    /// Returns the value of `key`, as fresh as `read` asks for.
    ///
    /// Costs O(log n) on this peer beyond what [`Read`] says. Errors: see [`ReadError`].
    pub fn get<Q: Lookup<K> + ?Sized>(&self, key: &Q, read: Read) -> Reading<Option<V>> {
        let query = Query::Get {
            map: Arc::clone(&self.name),
            key: encode_lookup(key).into(),
        };
        Reading::new(&self.hall, &self.seat, read, query, |answer| match answer {
            Answer::Value(value) => value
                .map(|value| decode_value(&value))
                .transpose()
                .map_err(undecodable),
            other => Err(mismatch(&other)),
        })
    }

    /// Returns how many items the map has; O(log n).
    pub fn len(&self, read: Read) -> Reading<u64> {
        let query = Query::Len {
            map: Arc::clone(&self.name),
        };
        Reading::new(&self.hall, &self.seat, read, query, |answer| match answer {
            Answer::Len(len) => Ok(len),
            other => Err(mismatch(&other)),
        })
    }

    /// Iterates over all items, in the order of their keys, of one consistent snapshot.
    ///
    /// The snapshot is O(1) to take and stays as it is while writes go on. Cancel-safe.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn iter(
        &self,
        read: Read,
    ) -> impl Future<Output = Result<MapIter<K, V>, ReadError>> + Send + use<K, V> {
        let (name, taking) = (
            Arc::clone(&self.name),
            Reading::snapshot(&self.hall, &self.seat, read),
        );
        async move { Ok(taking.await?.iter(&name)) }
    }

    /// Subscribes to the map's changes as this peer applies them.
    ///
    /// Begins at once, whether the stream is polled or not. A group remembers the last
    /// [`crate::limits::REMEMBERED_CHANGES`] changes for those who resume from a cursor. What may
    /// come in the place of changes: see [`crate::ChangesError`].
    pub fn changes(&self, since: Since) -> Changes<K, V> {
        self.subscribe(&[], since)
    }

    /// Subscribes to the changes of keys that begin with `prefix`: of texts and byte strings those
    /// that begin with these characters or bytes. Otherwise as [`Self::changes`].
    pub fn changes_under<Q: Lookup<K> + ?Sized>(&self, prefix: &Q, since: Since) -> Changes<K, V> {
        self.subscribe(&encode_lookup(prefix), since)
    }

    fn subscribe(&self, prefix: &[u8], since: Since) -> Changes<K, V> {
        let (reply, asked) = oneshot::channel();
        // No map has such a long name, so it has no changes: the dropped sender ends the stream,
        // as it does if the network is closed.
        let Some(mut keys) = collections::prefix(Kind::Map, &self.name) else {
            return Changes::new(asked, Bytes::new(), since);
        };
        keys.extend_from_slice(prefix);
        let prefix = Bytes::from(keys);
        let request = Request::Changes {
            group: self.seat.group,
            prefix: prefix.clone(),
            since,
            reply,
        };
        drop(self.hall.door.enter(request));
        Changes::new(asked, prefix, since)
    }

    fn command(&self, op: MapOp<'_>) -> Bytes {
        Command::One(Op::Map {
            name: &self.name,
            op,
        })
        .encode()
    }

    fn write<I, O>(
        &self,
        command: Result<Bytes, String>,
        input: I,
        decode: fn(&Bytes) -> Result<O, Undecoded>,
    ) -> Write<I, O> {
        Write::new(&self.hall, self.seat.group, command, input, decode)
    }

    /// Returns the group that the map belongs to.
    pub fn group(&self) -> GroupId {
        self.seat.group
    }
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self {
            hall: Arc::clone(&self.hall),
            seat: Arc::clone(&self.seat),
            name: Arc::clone(&self.name),
            types: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What is stored does not decode as the handle's types.
pub(crate) fn undecodable(reason: impl fmt::Display) -> ReadError {
    ReadError::Decoding {
        reason: reason.to_string(),
    }
}

fn encode<V: Serialize>(value: &V) -> Result<Vec<u8>, String> {
    encode_value(value).map_err(|error| error.to_string())
}

fn previous<V: DeserializeOwned>(outcome: &Bytes) -> Result<Option<V>, Undecoded> {
    match single(outcome)? {
        MapOutcome::Previous(value) => optional(value),
        _ => Err(Undecoded::foreign("of another operation")),
    }
}

fn exchanged<V: DeserializeOwned>(outcome: &Bytes) -> Result<Exchange<V>, Undecoded> {
    match single(outcome)? {
        MapOutcome::Exchanged { swapped, current } => Ok(Exchange {
            swapped,
            current: optional(current)?,
        }),
        _ => Err(Undecoded::foreign("of another operation")),
    }
}

fn single(outcome: &Bytes) -> Result<MapOutcome<'_>, Undecoded> {
    match Outcome::decode(outcome) {
        Ok(Outcome::One(OpOutcome::Map(outcome))) => Ok(outcome),
        Ok(Outcome::Refused(refusal)) => Err(Undecoded::Refused(refusal)),
        Ok(_) => Err(Undecoded::foreign("of another command")),
        Err(error) => Err(Undecoded::foreign(error)),
    }
}

fn optional<V: DeserializeOwned>(value: Option<Raw<'_>>) -> Result<Option<V>, Undecoded> {
    value
        .map(|value| decode_value(value.0))
        .transpose()
        .map_err(Undecoded::foreign)
}

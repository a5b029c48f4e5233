//! Changes of a collection, as an ordered stream that can be resumed from a cursor.
//!
//! A peer that lags behind may be handed a snapshot in the place of entries, and a subscriber may
//! be slower than the group. Neither may be passed over in silence, and neither may make the
//! driver keep everything: so a stream has a bounded queue, a group remembers a bounded past for
//! those who resume, and whatever is missing is said in its place, with the cursor up to which a
//! reader must look at the state itself.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::Stream;
use quorate_core::{Cursor, Index};
use quorate_state::{
    Change as RawChange,
    collections::{Key, decode_key, decode_value, split_key},
};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::feed::{Taken, Tap};

/// The changes that one entry made to one collection.
pub(crate) type Batch = Arc<[RawChange]>;

/// A subscriber's end of a collection's changes.
pub(crate) type ChangesTap = Tap<Batch, Cursor>;

/// Where a stream of changes begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// Right after this cursor, such as that of a write or of a snapshot.
    Cursor(Cursor),
    /// With what this peer applies next.
    Now,
}

/// One change of one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change<K, V> {
    /// The entry that made it.
    pub cursor: Cursor,
    /// The item's key.
    pub key: K,
    /// Its new value; nothing if it was removed.
    pub value: Option<V>,
}

/// A stream of changes has no change to give here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// Changes up to and including this cursor are missing: the subscriber was too slow, this
    /// peer was handed a snapshot, or the past is no longer remembered. Read the state at this
    /// cursor or later; the stream goes on right after it.
    #[error("changes up to cursor {0} are missing: read the state at this cursor or later")]
    Lagged(Cursor),
    /// A change does not decode as this handle's types: another peer uses other types.
    #[error("the change at cursor {cursor} does not decode as this handle's types: {reason}")]
    Decoding {
        /// The entry that made it.
        cursor: Cursor,
        /// Why.
        reason: String,
    },
}

/// The changes of one map in the order of the log, as a bounded stream; ends when the network is
/// closed on this peer.
///
/// Each comes once and after it was applied here. Cancel-safe: a change is taken only by returning
/// it. To resume, remember the cursor of the last change *of which the next one has come*: the
/// changes of one entry share its cursor.
pub struct Changes<K, V> {
    source: Source,
    /// Changes up to here are not wanted.
    after: Index,
    batch: Batch,
    at: usize,
    types: PhantomData<fn() -> (K, V)>,
}

enum Source {
    /// The driver has been asked.
    Asked(oneshot::Receiver<ChangesTap>),
    Tapped(ChangesTap),
    End,
}

impl<K, V> Changes<K, V> {
    pub(crate) fn new(asked: oneshot::Receiver<ChangesTap>, since: Since) -> Self {
        Self {
            source: Source::Asked(asked),
            after: match since {
                Since::Cursor(cursor) => cursor.index,
                Since::Now => Index(0),
            },
            batch: Arc::new([]),
            at: 0,
            types: PhantomData,
        }
    }

    /// Takes the next batch, or what is said in its place.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Taken<Batch, Cursor>> {
        loop {
            match &mut self.source {
                Source::Asked(asked) => {
                    self.source = match ready!(Pin::new(asked).poll(cx)) {
                        Ok(tap) => Source::Tapped(tap),
                        Err(_) => Source::End,
                    };
                }
                Source::Tapped(tap) => return tap.poll_take(cx),
                Source::End => return Poll::Ready(Taken::End),
            }
        }
    }
}

impl<K: Key, V: DeserializeOwned> Stream for Changes<K, V> {
    type Item = Result<Change<K, V>, ChangesError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(change) = self.batch.get(self.at) {
                let change = typed(change);
                self.at += 1;
                return Poll::Ready(Some(change));
            }
            match ready!(self.poll_batch(cx)) {
                Taken::Item(batch) => {
                    let wanted = batch.first().is_some_and(|c| c.cursor.index > self.after);
                    (self.at, self.batch) = (if wanted { 0 } else { batch.len() }, batch);
                }
                Taken::Lagged(cursor) => {
                    return Poll::Ready(Some(Err(ChangesError::Lagged(cursor))));
                }
                Taken::End => return Poll::Ready(None),
            }
        }
    }
}

impl<K, V> Unpin for Changes<K, V> {}

impl<K, V> fmt::Debug for Changes<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

fn typed<K, V>(change: &RawChange) -> Result<Change<K, V>, ChangesError>
where
    K: Key,
    V: DeserializeOwned,
{
    let cursor = change.cursor;
    let failed = |reason: String| ChangesError::Decoding { cursor, reason };
    let (_, _, key) = split_key(&change.key).ok_or_else(|| failed("no collection".to_owned()))?;
    Ok(Change {
        cursor,
        key: decode_key(key).ok_or_else(|| failed("the key is none of this type".to_owned()))?,
        value: change
            .value
            .as_ref()
            .map(|value| decode_value(value))
            .transpose()
            .map_err(|error| failed(error.to_string()))?,
    })
}

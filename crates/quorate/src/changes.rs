//! Changes of a collection, as an ordered stream that can be resumed from a cursor.
//!
//! A peer that lags behind may be handed a snapshot in the place of entries, a subscriber may be
//! slower than the group, and one that comes back may ask for what is long forgotten. None of this
//! may be passed over in silence, and none may make the driver keep everything. So a stream has a
//! bounded queue, a group remembers a bounded past, and what is missing is said in its place:
//!
//! ```text
//! live ... live, Lagged(anchor), differences at the anchor, live ...   a snapshot was installed
//! live ... live, Missed(cursor), live ...                              the subscriber was slow
//! Forgotten or OtherHistory, end                                       it cannot begin there
//! ```
//!
//! After an install nothing is lost: what the subscriber had seen is the state before, which is
//! kept for it (two trees at most, shared by all subscribers), and it is told in what the new one
//! differs. A queue that ran over has no such state; there the reader must look for itself. Keeping
//! a state for each subscriber in case it becomes slow would make every write copy what it touches.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use quorate_core::{Cursor, GenesisId, Index};
use quorate_state::{
    Change as RawChange,
    collections::{Key, decode_key, decode_value, split_key},
};
use serde::de::DeserializeOwned;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    feed::{Taken, Tap},
    position::Position,
    replacement::{Replacement, Slice},
};

/// The changes that one entry made to one collection.
pub(crate) type Batch = Arc<[RawChange]>;

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// An entry changed this.
    Changes(Batch),
    /// Another state took the place of the one that it has followed.
    Replaced(Arc<Replacement>),
}

/// A subscriber's end of a collection's changes.
pub(crate) type ChangesTap = Tap<Told, Cursor>;

/// What the driver answers who wants to subscribe.
pub(crate) type Subscribed = Result<ChangesTap, ChangesError>;

/// Where a stream of changes begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// Right after this cursor of the present history, such as that of a write or of a snapshot.
    Cursor(Cursor),
    /// Right after this cursor, if the group still has that history.
    Position(Position),
    /// With what this peer applies next.
    Now,
}

/// One change of one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change<K, V> {
    /// The entry that made it, or the anchor of the snapshot that brought it.
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
    /// This peer was handed a snapshot in the place of entries, at this anchor. Nothing is lost:
    /// the differences between the state before and the snapshot follow, as changes at the anchor,
    /// then what was changed after it.
    #[error("a snapshot at cursor {0} took the place of entries: the differences follow")]
    Lagged(Cursor),
    /// Changes up to and including this cursor are missing, because the subscriber was too slow.
    /// Read the state at this cursor or later; the stream goes on right after it.
    #[error("changes up to cursor {0} are missing: read the state at this cursor or later")]
    Missed(Cursor),
    /// The changes after the cursor that was asked for are not remembered any more; the stream
    /// ends. Read the state at `first` or later, and subscribe from there.
    #[error(
        "the changes after cursor {asked} are forgotten here, those after {first} are not: \
         read the state and go on from its cursor"
    )]
    Forgotten {
        /// What was asked for.
        asked: Cursor,
        /// The first cursor from which a stream can begin.
        first: Cursor,
    },
    /// The position that was asked for is of another history than the group has here, or this
    /// peer has none yet; the stream ends. Read the state, and go on from its cursor.
    #[error("the position is of history {asked}, which is not the group's{}", present(.here))]
    OtherHistory {
        /// The history that was asked for.
        asked: GenesisId,
        /// The history that the group has here, if any.
        here: Option<GenesisId>,
    },
    /// A change does not decode as this handle's types: another peer uses other types.
    #[error("the change at cursor {cursor} does not decode as this handle's types: {reason}")]
    Decoding {
        /// The entry that made it.
        cursor: Cursor,
        /// Why.
        reason: String,
    },
}

fn present(here: &Option<GenesisId>) -> String {
    match here {
        Some(here) => format!(" ({here}): read the state and go on from its cursor"),
        None => " (none yet): wait until this peer has caught up".to_owned(),
    }
}

/// The changes of one map in the order of the log, as a bounded stream; ends when the network is
/// closed on this peer.
///
/// Each comes once and after it was applied here. Cancel-safe: a change is taken only by returning
/// it. To resume, remember the cursor of the last change *of which the next one has come*: the
/// changes of one entry share its cursor, and so do the differences after a snapshot. Between
/// these, the states before and after are kept in memory for as long as the stream is not polled.
pub struct Changes<K, V> {
    source: Source,
    /// What the keys begin with.
    prefix: Bytes,
    /// Changes up to here are not wanted.
    after: Index,
    batch: Batch,
    at: usize,
    types: PhantomData<fn() -> (K, V)>,
}

enum Source {
    /// The driver has been asked.
    Asked(oneshot::Receiver<Subscribed>),
    Tapped(ChangesTap),
    /// Differences come before what the tap has.
    Comparing(ChangesTap, Comparing),
    End,
}

struct Comparing {
    replacement: Arc<Replacement>,
    slice: JoinHandle<Slice>,
}

impl<K, V> Changes<K, V> {
    /// Waits for the driver's answer to a subscription to the keys that begin with `prefix`.
    pub(crate) fn new(asked: oneshot::Receiver<Subscribed>, prefix: Bytes, since: Since) -> Self {
        Self {
            source: Source::Asked(asked),
            prefix,
            after: match since {
                Since::Cursor(cursor) | Since::Position(Position { cursor, .. }) => cursor.index,
                Since::Now => Index(0),
            },
            batch: Arc::new([]),
            at: 0,
            types: PhantomData,
        }
    }

    /// Fills the batch, perhaps with nothing, or says what there is in its place.
    fn poll_refill(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), ChangesError>>> {
        loop {
            match std::mem::replace(&mut self.source, Source::End) {
                Source::Asked(mut asked) => match Pin::new(&mut asked).poll(cx) {
                    Poll::Pending => {
                        self.source = Source::Asked(asked);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Ok(tap))) => self.source = Source::Tapped(tap),
                    Poll::Ready(Ok(Err(refused))) => return Poll::Ready(Some(Err(refused))),
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                },
                Source::Tapped(tap) => return self.poll_tap(cx, tap),
                Source::Comparing(tap, comparing) => return self.poll_slice(cx, tap, comparing),
                Source::End => return Poll::Ready(None),
            }
        }
    }

    fn poll_tap(
        &mut self,
        cx: &Context<'_>,
        tap: ChangesTap,
    ) -> Poll<Option<Result<(), ChangesError>>> {
        let taken = tap.poll_take(cx);
        self.source = Source::Tapped(tap);
        Poll::Ready(match ready!(taken) {
            Taken::Item(Told::Changes(batch)) => {
                let wanted = batch.first().is_some_and(|c| c.cursor.index > self.after);
                (self.at, self.batch) = (if wanted { 0 } else { batch.len() }, batch);
                Some(Ok(()))
            }
            Taken::Item(Told::Replaced(replacement)) => self.replaced(replacement),
            Taken::Lagged(cursor) => {
                // What was lost may have been the news of another history, with lower cursors.
                self.after = self.after.min(cursor.index);
                Some(Err(ChangesError::Missed(cursor)))
            }
            Taken::End => {
                self.source = Source::End;
                None
            }
        })
    }

    /// Begins to compare, unless what the subscriber has seen is not the state before.
    fn replaced(&mut self, replacement: Arc<Replacement>) -> Option<Result<(), ChangesError>> {
        let anchor = replacement.anchor();
        if anchor.index <= self.after && !replacement.is_new_history() {
            return Some(Ok(()));
        }
        let seen = replacement.from().index >= self.after;
        self.after = Index(0);
        if !seen {
            return Some(Err(ChangesError::Missed(anchor)));
        }
        if let Source::Tapped(tap) = std::mem::replace(&mut self.source, Source::End) {
            let slice = replacement.compare(self.prefix.clone(), self.prefix.to_vec());
            self.source = Source::Comparing(tap, Comparing { replacement, slice });
        }
        Some(Err(ChangesError::Lagged(anchor)))
    }

    fn poll_slice(
        &mut self,
        cx: &mut Context<'_>,
        tap: ChangesTap,
        mut comparing: Comparing,
    ) -> Poll<Option<Result<(), ChangesError>>> {
        let Poll::Ready(slice) = Pin::new(&mut comparing.slice).poll(cx) else {
            self.source = Source::Comparing(tap, comparing);
            return Poll::Pending;
        };
        // The runtime is being shut down, and with it the network.
        let Ok(slice) = slice else {
            return Poll::Ready(None);
        };
        (self.at, self.batch) = (0, slice.changes.into());
        self.source = match slice.next {
            Some(from) => {
                comparing.slice = comparing.replacement.compare(self.prefix.clone(), from);
                Source::Comparing(tap, comparing)
            }
            None => Source::Tapped(tap),
        };
        Poll::Ready(Some(Ok(())))
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
            match ready!(self.poll_refill(cx)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
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

//! Consistent snapshots of a group's state.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Mutex, MutexGuard},
    vec,
};

use quorate_core::Cursor;
use quorate_state::{
    View,
    collections::{Key, Lookup, MapView, decode_key, decode_value, encode_lookup},
    tree::Tree,
};
use serde::de::DeserializeOwned;

use crate::{
    driver::request::{Answer, Query},
    map::undecodable,
    read::ReadError,
};

/// A group's whole state at one cursor; clones are O(1), and none ever changes.
///
/// It shares memory with the live state: keeping one for long costs what is written meanwhile.
#[derive(Clone, Debug)]
pub struct Snapshot {
    cursor: Cursor,
    tree: Tree,
}

/// The items of a map in a snapshot, in the order of their keys.
pub struct MapIter<K, V> {
    snapshot: Snapshot,
    map: String,
    /// The items that were looked up together.
    batch: vec::IntoIter<Result<(K, V), ReadError>>,
    /// Where the next batch begins; nothing after the last.
    from: Option<Vec<u8>>,
    types: PhantomData<fn() -> (K, V)>,
}

/// Items looked up together: finding the first costs as much as walking over a few.
const BATCH: usize = 256;

/// The snapshot that the driver has published for readers who need nothing fresher.
///
/// Taken back before the state changes, so that the state is changed in place and not copied for
/// a snapshot nobody reads; published again when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Published {
    snapshot: Mutex<Option<Snapshot>>,
}

impl Snapshot {
    pub(crate) fn new(cursor: Cursor, tree: Tree) -> Self {
        Self { cursor, tree }
    }

    /// Returns the last cursor that the state had applied.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Returns the value of a key of the map called `map`; O(log n).
    ///
    /// # Errors
    /// [`ReadError::Decoding`] if what is stored is no `V`.
    pub fn get<K, V>(
        &self,
        map: &str,
        key: &(impl Lookup<K> + ?Sized),
    ) -> Result<Option<V>, ReadError>
    where
        K: Key,
        V: DeserializeOwned,
    {
        self.map(map)
            .and_then(|map| map.get(&encode_lookup(key)))
            .map(|value| decode_value(&value.to_bytes()))
            .transpose()
            .map_err(undecodable)
    }

    /// Returns how many items the map called `map` has; O(log n).
    pub fn len(&self, map: &str) -> u64 {
        self.map(map).map_or(0, |map| map.len())
    }

    /// Iterates over the map called `map`, in the order of its keys.
    pub fn iter<K, V>(&self, map: &str) -> MapIter<K, V> {
        MapIter {
            snapshot: self.clone(),
            map: map.to_owned(),
            batch: Vec::new().into_iter(),
            from: Some(Vec::new()),
            types: PhantomData,
        }
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(crate) fn answer(&self, query: &Query) -> Answer {
        match query {
            Query::Get { map, key } => {
                let value = self.map(map).and_then(|map| map.get(key));
                Answer::Value(value.map(|value| value.to_bytes()))
            }
            Query::Len { map } => Answer::Len(self.len(map)),
            Query::Snapshot => Answer::Snapshot(self.clone()),
        }
    }

    /// Looks at a map; nothing if no map can have that name.
    fn map(&self, name: &str) -> Option<MapView<'_>> {
        MapView::new(View::new(&self.tree), name)
    }
}

impl<K: Key, V: DeserializeOwned> MapIter<K, V> {
    /// Looks up the next items; leaves the batch empty at the end.
    fn refill(&mut self) {
        let (Some(from), Some(map)) = (self.from.take(), self.snapshot.map(&self.map)) else {
            return;
        };
        let mut items = map.from_key(&from);
        let mut batch = Vec::with_capacity(BATCH);
        for (key, value) in items.by_ref().take(BATCH) {
            batch.push(typed(key, &value.to_bytes()));
            if batch.len() == BATCH {
                // The smallest key after this one.
                self.from = Some([key, &[0]].concat());
            }
        }
        self.batch = batch.into_iter();
    }
}

impl<K: Key, V: DeserializeOwned> Iterator for MapIter<K, V> {
    type Item = Result<(K, V), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.len() == 0 {
            self.refill();
        }
        self.batch.next()
    }
}

impl<K, V> MapIter<K, V> {
    /// Returns the cursor of the snapshot that is iterated over.
    pub fn cursor(&self) -> Cursor {
        self.snapshot.cursor
    }
}

impl<K, V> fmt::Debug for MapIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapIter")
            .field("map", &self.map)
            .field("cursor", &self.snapshot.cursor)
            .finish_non_exhaustive()
    }
}

impl Published {
    pub(crate) fn get(&self) -> Option<Snapshot> {
        self.lock().clone()
    }

    pub(crate) fn put(&self, snapshot: Snapshot) {
        let old = self.lock().replace(snapshot);
        drop(old);
    }

    pub(crate) fn take_back(&self) {
        let old = self.lock().take();
        drop(old);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Snapshot>> {
        self.snapshot
            .lock()
            .expect("nothing panics while it holds the published snapshot")
    }
}

fn typed<K: Key, V: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<(K, V), ReadError> {
    let key = decode_key(key).ok_or_else(|| undecodable("the key is none of this type"))?;
    Ok((key, decode_value(value).map_err(undecodable)?))
}

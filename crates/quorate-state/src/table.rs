//! Typed items of a machine: tables of keys and values.
//!
//! A machine's memory is bytes by bytes; most machines want a few maps of their own types. A table
//! is a number, which begins all its keys, and two types. It holds nothing: it can be a constant.
//!
//! ```text
//! number  key      (within the machine's own keys)
//! ```
//!
//! An item that does not decode is taken for absent: `apply` must go on, and do the same on every
//! peer. It comes about only when a table's types were changed under its number, so a table of
//! other types gets another number.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    collections::{Key, Lookup, decode_key, decode_value, encode_lookup_after, encode_value},
    machine::{ApplyContext, View},
    space::MACHINE,
    tree::InsertError,
};

/// Bytes that most keys fit into with what stands before them: growing costs more than they do.
const KEY_ROOM: usize = 32;

/// A map from `K` to `V` within a machine's items.
///
/// ```
/// use quorate_state::{ApplyContext, ItemError, Table};
///
/// const SEATS: Table<String, u32> = Table::new(1);
///
/// fn take(cx: &mut ApplyContext<'_>, hall: &str) -> Result<u32, ItemError> {
///     let taken = SEATS.get(cx.view(), hall).unwrap_or(0) + 1;
///     SEATS.insert(cx, hall, &taken)?;
///     Ok(taken)
/// }
/// ```
pub struct Table<K, V> {
    number: u8,
    types: PhantomData<fn() -> (K, V)>,
}

/// An item cannot be stored; every peer refuses the same, and nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The key is longer than [`crate::limits::KEY`].
    #[error("the key is too long")]
    Key,
    /// The value is longer than [`crate::limits::VALUE`].
    #[error("the value is too long")]
    Value,
    /// The value cannot be encoded: it does not know its length.
    #[error("the value cannot be encoded")]
    Encoding,
}

impl<K, V> Table<K, V> {
    /// Names the table with this number; a machine gives each of its tables another.
    pub const fn new(number: u8) -> Self {
        Self {
            number,
            types: PhantomData,
        }
    }

    /// Returns how many items there are; O(log n).
    pub fn len(&self, state: View<'_>) -> u64 {
        state.count(&[self.number])
    }

    /// Tells whether there is no item.
    pub fn is_empty(&self, state: View<'_>) -> bool {
        self.len(state) == 0
    }

    /// The tree's own key of an item.
    fn own(&self, key: &(impl Lookup<K> + ?Sized)) -> Vec<u8> {
        let mut own = Vec::with_capacity(KEY_ROOM);
        own.extend_from_slice(&[MACHINE, self.number]);
        encode_lookup_after(own, key)
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// Returns the value of `key`; O(log n).
    pub fn get(&self, state: View<'_>, key: &(impl Lookup<K> + ?Sized)) -> Option<V> {
        let value = state.get_own(&self.own(key))?;
        decode_value(&value.in_one_piece()).ok()
    }

    /// Puts `value` in the place of `key`'s; O(log n).
    ///
    /// # Errors
    /// See [`ItemError`].
    pub fn insert(
        &self,
        cx: &mut ApplyContext<'_>,
        key: &(impl Lookup<K> + ?Sized),
        value: &V,
    ) -> Result<(), ItemError> {
        let value = encode_value(value).map_err(|_| ItemError::Encoding)?;
        match cx.put_own(self.own(key), &value) {
            Ok(()) => Ok(()),
            Err(InsertError::KeyTooLong { .. }) => Err(ItemError::Key),
            Err(InsertError::ValueTooLong { .. }) => Err(ItemError::Value),
        }
    }

    /// Removes `key`; returns its value. O(log n).
    pub fn remove(&self, cx: &mut ApplyContext<'_>, key: &(impl Lookup<K> + ?Sized)) -> Option<V> {
        let value = cx.remove_own(self.own(key))?;
        decode_value(&value.into_bytes()).ok()
    }

    /// Iterates over all items in the order of their keys.
    pub fn iter<'a>(&self, state: View<'a>) -> impl Iterator<Item = (K, V)> + use<'a, K, V> {
        state.prefix(&[self.number]).filter_map(|(key, value)| {
            let key = decode_key(key.get(1..)?)?;
            Some((key, decode_value(&value.in_one_piece()).ok()?))
        })
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.number).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use quorate_core::{Cursor, Index, Term};

    use super::*;
    use crate::{
        limits,
        tree::{Salt, Tree},
    };

    const NAMES: Table<String, u16> = Table::new(1);
    const COUNTS: Table<u16, String> = Table::new(2);

    fn with<T>(tree: &mut Tree, work: impl FnOnce(&mut ApplyContext<'_>) -> T) -> T {
        work(&mut ApplyContext::new(
            tree,
            Cursor::new(Term(2), Index(2)),
            1,
            None,
        ))
    }

    proptest! {
        #[test]
        fn tables_are_maps_that_do_not_see_each_other(
            steps in prop::collection::vec(("[a\0]{0,3}", any::<Option<u16>>()), 0..40)
        ) {
            let mut tree = Tree::new(Salt([3; 32]));
            let (mut names, mut counts) = (BTreeMap::new(), BTreeMap::new());
            with(&mut tree, |cx| {
                for (name, count) in steps {
                    match count {
                        Some(count) => {
                            NAMES.insert(cx, &name, &count).unwrap();
                            COUNTS.insert(cx, &count, &name).unwrap();
                            counts.insert(count, name.clone());
                            names.insert(name, count);
                        }
                        None => assert_eq!(NAMES.remove(cx, &name), names.remove(&name)),
                    }
                }
                for name in names.keys() {
                    assert_eq!(NAMES.get(cx.view(), name.as_str()), names.get(name).copied());
                }
            });
            let state = View::new(&tree);
            prop_assert_eq!(NAMES.len(state), names.len() as u64);
            prop_assert_eq!(NAMES.is_empty(state), names.is_empty());
            prop_assert!(NAMES.iter(state).eq(names));
            prop_assert!(COUNTS.iter(state).eq(counts));
        }
    }

    #[test]
    fn what_cannot_be_stored_is_refused_and_what_does_not_decode_is_absent() {
        let mut tree = Tree::new(Salt([3; 32]));
        with(&mut tree, |cx| {
            let long = "k".repeat(limits::KEY);
            assert_eq!(NAMES.insert(cx, &long, &1), Err(ItemError::Key));
            NAMES.insert(cx, "apple", &300).unwrap();
        });
        let other: Table<String, bool> = Table::new(1);
        let state = View::new(&tree);
        assert_eq!(other.get(state, "apple"), None);
        assert_eq!(other.iter(state).count(), 0);
        assert_eq!(other.len(state), 1);
    }
}

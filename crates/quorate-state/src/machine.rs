//! Machines: what commands do, in bytes.
//!
//! This is the machine as a group's replica runs it; applications write a typed
//! [`crate::StateMachine`]. A machine has no data of its own. Everything it remembers is items of
//! the group's tree, reached through the context of one command, and `apply` takes the machine by
//! shared reference. So snapshot, fork, digest and transfer come from the tree, and two peers that
//! applied the same commands cannot differ in something the digest does not see. A machine that
//! kept its data to itself would have to serialize all of it under the group's writes for every
//! snapshot.

use std::ops::RangeInclusive;

use bytes::{Buf as _, Bytes};
use quorate_core::Cursor;

use crate::{
    space::MACHINE,
    tree::{Difference, InsertError, Iter, Tree, Value, ValueRef},
};

/// What a group's commands do.
///
/// Implementations MUST be deterministic: outcome and changes follow from the context and the
/// command alone, on every platform and in every version that says it supports the active one.
/// They MUST NOT panic, whatever the command's bytes: what cannot be decoded or done is an outcome.
/// One that does costs its peer the state, which is made anew; a second time meanwhile, its part in
/// the group, until the next start.
pub trait Machine: Send + Sync + 'static {
    /// Returns the stable name that is part of the group's identity.
    fn name(&self) -> &str;

    /// Returns the versions of the machine that this implementation can run.
    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    /// Does what `command` says and returns its outcome.
    fn apply(&self, cx: &mut ApplyContext<'_>, command: &[u8]) -> Bytes;
}

/// One change of one item, as reported to whoever watches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The entry that made it.
    pub cursor: Cursor,
    /// The machine's key; of a collection's item, see [`crate::collections::split_key`].
    pub key: Bytes,
    /// The new value; nothing if the item was removed.
    pub value: Option<Bytes>,
}

/// The machine's items, to read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    tree: &'a Tree,
}

impl<'a> View<'a> {
    /// Looks at the machine's items in a group's tree.
    pub fn new(tree: &'a Tree) -> Self {
        Self { tree }
    }

    /// Returns the value of `key`; O(log n).
    pub fn get(&self, key: &[u8]) -> Option<ValueRef<'a>> {
        self.get_own(&own(key))
    }

    /// As [`Self::get`], with the tree's own key.
    pub(crate) fn get_own(&self, own: &[u8]) -> Option<ValueRef<'a>> {
        self.tree.get(own)
    }

    /// Returns how many items have keys that begin with `prefix`; O(log n).
    pub fn count(&self, prefix: &[u8]) -> u64 {
        let ranks = self.tree.prefix_ranks(&own(prefix));
        ranks.end - ranks.start
    }

    /// Iterates over the items whose keys begin with `prefix`, in key order.
    pub fn prefix(&self, prefix: &[u8]) -> Items<'a> {
        Items {
            iter: self.tree.prefix(&own(prefix)),
            skip: 1,
        }
    }

    /// Iterates over the items whose keys begin with `prefix`, from the first that is `from` or
    /// greater on. `from` is what follows the prefix.
    pub fn prefix_from(&self, prefix: &[u8], from: &[u8]) -> Items<'a> {
        let mut start = own(prefix);
        let mut ranks = self.tree.prefix_ranks(&start);
        start.extend_from_slice(from);
        ranks.start = self.tree.rank(&start);
        Items {
            iter: self.tree.range(ranks),
            skip: 1,
        }
    }
}

impl<'a> View<'a> {
    /// Iterates over the items in which `newer` differs from this state, in key order.
    ///
    /// For whoever watched when a restored state took the place of this one: a clone of the tree,
    /// taken before, is O(1), and so is each step over what both share.
    pub fn differences(&self, newer: Self) -> impl Iterator<Item = Difference<'a>> + use<'a> {
        self.differences_from(newer, &[])
    }

    /// As [`Self::differences`], from the first key on that is `from` or greater.
    pub fn differences_from(
        &self,
        newer: Self,
        from: &[u8],
    ) -> impl Iterator<Item = Difference<'a>> + use<'a> {
        let differences = self.tree.differences_from(newer.tree, &own(from));
        differences.filter_map(|difference| match difference.key.split_first() {
            Some((&MACHINE, key)) => Some(Difference { key, ..difference }),
            _ => None,
        })
    }
}

/// Items of a machine in key order.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    iter: Iter<'a>,
    /// How many bytes of each key its owner does not see.
    skip: usize,
}

impl Items<'_> {
    /// Leaves out `prefix` more bytes of each key.
    pub(crate) fn strip(mut self, prefix: usize) -> Self {
        self.skip += prefix;
        self
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = (&'a [u8], ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.iter.next()?;
        Some((key.get(self.skip..).unwrap_or_default(), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.iter.size_hint()
    }
}

impl ExactSizeIterator for Items<'_> {}

/// What one command may look at and change.
#[derive(Debug)]
pub struct ApplyContext<'a> {
    tree: &'a mut Tree,
    cursor: Cursor,
    version: u32,
    /// Where changes are reported, if anybody watches.
    feed: Option<&'a mut Vec<Change>>,
    unheard: bool,
}

impl<'a> ApplyContext<'a> {
    /// Makes the context of the command at `cursor`, applied by `version` of the machine.
    ///
    /// Changes are added to `feed` in the order in which they are made.
    pub fn new(
        tree: &'a mut Tree,
        cursor: Cursor,
        version: u32,
        feed: Option<&'a mut Vec<Change>>,
    ) -> Self {
        Self {
            tree,
            cursor,
            version,
            feed,
            unheard: false,
        }
    }

    /// Says that nobody is told the command's outcome.
    pub(crate) fn unheard(self) -> Self {
        Self {
            unheard: true,
            ..self
        }
    }

    /// Tells whether the outcome goes to somebody or is remembered; else it may be left empty.
    ///
    /// Every peer applies a command, and one of them answers for it. Not for machines of
    /// applications: it differs from peer to peer, and what is done to the items must not.
    pub(crate) fn is_heard(&self) -> bool {
        !self.unheard
    }

    /// Returns the command's place in the log.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Returns the version of the machine that the group has agreed on.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the machine's items as this command has left them so far.
    pub fn view(&self) -> View<'_> {
        View::new(self.tree)
    }

    /// Puts `value` in the place of `key`'s; returns what was there.
    ///
    /// # Errors
    ///
    /// Refuses what is beyond the limits of the tree; every peer refuses the same.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Value>, InsertError> {
        self.insert_own(own(key), value)
    }

    /// Puts `value` in the place of `key`'s, which is not copied.
    ///
    /// # Errors
    ///
    /// As [`Self::insert`].
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), InsertError> {
        self.put_own(own(key), value)
    }

    /// Removes `key`; returns its value.
    pub fn remove(&mut self, key: &[u8]) -> Option<Value> {
        self.remove_own(own(key))
    }

    /// As [`Self::insert`], with the tree's own key.
    pub(crate) fn insert_own(
        &mut self,
        own: Vec<u8>,
        value: &[u8],
    ) -> Result<Option<Value>, InsertError> {
        let old = self.tree.insert(&own, value)?;
        self.report(own, Some(value));
        Ok(old)
    }

    /// As [`Self::put`], with the tree's own key.
    pub(crate) fn put_own(&mut self, own: Vec<u8>, value: &[u8]) -> Result<(), InsertError> {
        self.tree.put(&own, value, &mut |_| {})?;
        self.report(own, Some(value));
        Ok(())
    }

    /// As [`Self::remove`], with the tree's own key.
    pub(crate) fn remove_own(&mut self, own: Vec<u8>) -> Option<Value> {
        let old = self.tree.remove(&own)?;
        self.report(own, None);
        Some(old)
    }

    /// Returns the value of the tree's own key.
    pub(crate) fn get_own(&self, own: &[u8]) -> Option<ValueRef<'_>> {
        self.tree.get(own)
    }

    /// Does all of `work` or, if it fails, nothing.
    ///
    /// # Errors
    ///
    /// Returns the error of `work`; then its changes are undone and not reported.
    pub fn transaction<T, E>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.tree.clone();
        let reported = self.feed.as_ref().map_or(0, |feed| feed.len());
        let result = work(self);
        if result.is_err() {
            *self.tree = before;
            if let Some(feed) = &mut self.feed {
                feed.truncate(reported);
            }
        }
        result
    }

    /// Reports the change of a key, as the tree has it.
    fn report(&mut self, own: Vec<u8>, value: Option<&[u8]>) {
        if let Some(feed) = &mut self.feed {
            // Room that is left over would cost one allocation more, and stay with the change.
            let mut key = if own.capacity() == own.len() {
                Bytes::from(own)
            } else {
                Bytes::copy_from_slice(&own)
            };
            key.advance(1);
            feed.push(Change {
                cursor: self.cursor,
                key,
                value: value.map(Bytes::copy_from_slice),
            });
        }
    }
}

/// The tree's key of a machine's key.
fn own(key: &[u8]) -> Vec<u8> {
    let mut own = Vec::with_capacity(key.len() + 1);
    own.push(MACHINE);
    own.extend_from_slice(key);
    own
}

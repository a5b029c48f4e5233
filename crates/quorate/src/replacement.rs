//! A state that took the place of another, for subscribers who watched the one before.
//!
//! The driver only clones two trees, which is O(1). What differs between them is looked up when a
//! subscriber comes to it, slice by slice and on a thread for long work: neither the driver nor
//! the subscriber's task waits for it. Nor does either free a state that nobody else has any more.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use quorate_core::Cursor;
use quorate_state::{Change, View, tree::Tree};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::limits::{SLICE_BYTES, SLICE_DIFFERENCES};

/// A state that took the place of another.
pub(crate) struct Replacement {
    /// The state before, and the one that stands at `anchor`.
    trees: Option<(Tree, Tree)>,
    from: Cursor,
    anchor: Cursor,
    /// Whether the state now is of another history than the one before.
    new_history: bool,
    runtime: Handle,
}

/// Some of the differences, in key order.
#[derive(Debug)]
pub(crate) struct Slice {
    /// The differences, as changes made at the anchor.
    pub(crate) changes: Vec<Change>,
    /// The key to go on from; nothing after the last.
    pub(crate) next: Option<Vec<u8>>,
}

impl Replacement {
    /// Notes that the state `before`, which had applied `from`, was replaced by `after`, which
    /// stands at `anchor`. Frees what it keeps on `runtime`.
    pub(crate) fn new(
        (before, from): (Tree, Cursor),
        (after, anchor): (Tree, Cursor),
        runtime: Handle,
    ) -> Self {
        Self {
            trees: Some((before, after)),
            from,
            anchor,
            new_history: false,
            runtime,
        }
    }

    /// Notes that another history began with it.
    pub(crate) fn in_new_history(mut self) -> Self {
        self.new_history = true;
        self
    }

    /// Makes one of this replacement and the one that came after it.
    pub(crate) fn then(&self, later: &Self) -> Self {
        let trees = self.trees.as_ref().zip(later.trees.as_ref());
        Self {
            trees: trees.map(|((before, _), (_, after))| (before.clone(), after.clone())),
            from: self.from,
            anchor: later.anchor,
            new_history: self.new_history || later.new_history,
            runtime: later.runtime.clone(),
        }
    }

    /// The last cursor that the state before had applied.
    pub(crate) fn from(&self) -> Cursor {
        self.from
    }

    /// The cursor of the state that stands now.
    pub(crate) fn anchor(&self) -> Cursor {
        self.anchor
    }

    /// Tells whether cursors of the state before say nothing of the state now.
    pub(crate) fn is_new_history(&self) -> bool {
        self.new_history
    }

    /// Starts to look up the differences under `prefix`, from the key `from` on.
    pub(crate) fn compare(self: &Arc<Self>, prefix: Bytes, from: Vec<u8>) -> JoinHandle<Slice> {
        let this = Arc::clone(self);
        self.runtime
            .spawn_blocking(move || this.slice(&prefix, &from))
    }

    fn slice(&self, prefix: &[u8], from: &[u8]) -> Slice {
        let mut slice = Slice {
            changes: Vec::new(),
            next: None,
        };
        let Some((before, after)) = &self.trees else {
            return slice;
        };
        let mut bytes = 0;
        let differences = View::new(before).differences_from(View::new(after), from);
        for difference in differences.take_while(|item| item.key.starts_with(prefix)) {
            let value = difference.new.map(|value| value.to_bytes());
            bytes += difference.key.len() + value.as_ref().map_or(0, Bytes::len);
            slice.changes.push(Change {
                cursor: self.anchor,
                key: Bytes::copy_from_slice(difference.key),
                value,
            });
            if slice.changes.len() >= SLICE_DIFFERENCES || bytes >= SLICE_BYTES {
                // The smallest key after this one.
                slice.next = Some([difference.key, &[0]].concat());
                break;
            }
        }
        slice
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        let trees = self.trees.take();
        // Freeing a state takes long if nobody else has it; nobody waits for the end of it.
        drop(self.runtime.spawn_blocking(move || drop(trees)));
    }
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement")
            .field("from", &self.from)
            .field("anchor", &self.anchor)
            .finish_non_exhaustive()
    }
}

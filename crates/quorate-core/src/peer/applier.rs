//! Hands committed entries to the state, in order, cut at markers.
//!
//! Invariant: a batch never crosses a marker, so that a snapshot is cut exactly at the marker's
//! index on every peer, however each of them batches; and entries are handed over once, from the
//! last applied one on.

use crate::{
    canary::{Canary, Planted},
    cursor::{Cursor, Index},
    entry::{Body, Marker},
    limits,
    out::Out,
    raft::Raft,
    state_op::StateOp,
    sync::one_batch,
};

/// How far the state is.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Applier {
    /// The last cursor the state has applied.
    pub(crate) applied: Cursor,
    /// The last cursor that was handed to it.
    handed: Cursor,
    /// Batches handed over and not answered.
    under_way: usize,
    /// Items in the state.
    pub(crate) items: u64,
    /// Bytes of keys and values in the state.
    pub(crate) bytes: u64,
    planted: Planted,
}

/// Batches the state may have before it has answered one: one to work on, one to go on with.
const AHEAD: usize = 2;

impl Applier {
    /// Starts at the beginning of a history.
    pub(crate) fn new(planted: Planted) -> Self {
        Self {
            planted,
            ..Self::default()
        }
    }

    /// Hands over the next batch; returns false if there is none, or the state is busy.
    ///
    /// A marker at the end of the batch is returned with its cursor.
    pub(crate) fn hand_over(
        &mut self,
        raft: &Raft,
        out: &mut Out,
    ) -> Option<Option<(Cursor, Marker)>> {
        if self.under_way >= AHEAD
            || self.handed.index >= raft.commit()
            || self.handed.index < raft.log().base().index
        {
            return None;
        }
        let first = self.handed.index.next();
        let committed = usize::try_from(raft.commit().since(self.handed.index)).ok()?;
        let entries = raft.log().slice(
            first,
            committed.min(limits::APPLY_ENTRIES),
            limits::APPLY_BYTES,
        );
        let past = self.planted.has(Canary::CutPastTheMarker);
        let marked = one_batch(&entries);
        let whole = entries.len();
        let entries = entries.slice(0..if past { whole } else { marked });
        let last = entries.last()?;
        let last_index = Index(self.handed.index.0 + entries.len() as u64);
        let cursor = Cursor::new(last.term, last_index);
        let marker = match &entries[marked - 1].body {
            Body::Marker(marker) => {
                let at = Index(self.handed.index.0 + marked as u64);
                Some((
                    Cursor::new(entries[marked - 1].term, at),
                    (**marker).clone(),
                ))
            }
            _ => None,
        };
        let first = Cursor::new(entries.first()?.term, first);
        let outcomes = raft.awaits(last_index);
        self.handed = cursor;
        self.under_way += 1;
        out.state.push(StateOp::Apply {
            first,
            entries,
            outcomes,
        });
        Some(marker)
    }

    /// Takes note of an applied batch.
    pub(crate) fn applied(&mut self, last: Cursor, items: u64, bytes: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        self.applied = last;
        self.items = items;
        self.bytes = bytes;
    }

    /// Takes note of a snapshot that replaced the state.
    pub(crate) fn installed(&mut self, anchor: Cursor, items: u64, bytes: u64) {
        *self = Self {
            applied: anchor,
            handed: anchor,
            under_way: 0,
            items,
            bytes,
            planted: self.planted,
        };
    }

    /// Returns the last cursor that was handed over.
    pub(crate) fn handed(&self) -> Cursor {
        self.handed
    }
}

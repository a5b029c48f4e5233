//! A group's changes: the recent past for those who resume, and the present for those who listen.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use quorate_core::Cursor;
use quorate_state::Change;

use crate::{
    changes::{Batch, ChangesTap, Since},
    feed::{Feed, Limit},
    limits::{REMEMBERED_BYTES, REMEMBERED_CHANGES, SUBSCRIBER_BYTES, SUBSCRIBER_CHANGES},
};

/// What one change costs beyond its key and value.
const OVERHEAD: usize = 64;

/// A group's changes.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Everything after this cursor is in `past`.
    from: Cursor,
    past: VecDeque<Change>,
    bytes: usize,
    /// Subscribers by the prefix of the keys they listen to.
    feeds: BTreeMap<Bytes, Feed<Batch, Cursor>>,
}

impl History {
    /// Takes the changes that the state has just made, in order.
    pub(super) fn record(&mut self, changes: Vec<Change>) {
        self.feeds.retain(|_, feed| !feed.is_idle());
        if !self.feeds.is_empty() {
            for entry in changes.chunk_by(|a, b| a.cursor == b.cursor) {
                self.publish(entry);
            }
        }
        for change in changes {
            self.bytes += cost(&change);
            self.past.push_back(change);
        }
        while self.past.len() > REMEMBERED_CHANGES || self.bytes > REMEMBERED_BYTES {
            self.forget_oldest();
        }
    }

    /// The state was replaced by the one at `anchor`: what led there is not known.
    pub(super) fn replace(&mut self, anchor: Cursor) {
        self.past.clear();
        self.bytes = 0;
        self.from = anchor;
        for feed in self.feeds.values_mut() {
            feed.lag(&anchor);
        }
    }

    /// Subscribes to the changes of keys that begin with `prefix`; `applied` is where the state
    /// stands.
    pub(super) fn subscribe(&mut self, prefix: Bytes, since: Since, applied: Cursor) -> ChangesTap {
        let limit = Limit {
            items: SUBSCRIBER_CHANGES,
            bytes: SUBSCRIBER_BYTES,
        };
        let feed = self.feeds.entry(prefix.clone());
        let tap = feed.or_insert_with(|| Feed::new(limit)).subscribe();
        match since {
            Since::Now => {}
            Since::Cursor(cursor) if cursor.index < self.from.index => tap.preload_lag(applied),
            Since::Cursor(cursor) => {
                let first = self
                    .past
                    .partition_point(|change| change.cursor.index <= cursor.index);
                let (front, back) = self.past.as_slices();
                let late: Vec<Change> = front
                    .iter()
                    .chain(back)
                    .skip(first)
                    .filter(|change| change.key.starts_with(&prefix))
                    .cloned()
                    .collect();
                tap.preload(
                    late.chunk_by(|a, b| a.cursor == b.cursor)
                        .map(|entry| (Batch::from(entry), entry.iter().map(cost).sum())),
                );
            }
        }
        tap
    }

    /// Gives the changes of one entry to those who listen.
    fn publish(&mut self, entry: &[Change]) {
        for (prefix, feed) in &mut self.feeds {
            let theirs = |change: &&Change| change.key.starts_with(prefix);
            let batch: Batch = entry.iter().filter(theirs).cloned().collect();
            if let Some(last) = batch.last() {
                let bytes = batch.iter().map(cost).sum();
                feed.push(&Arc::clone(&batch), bytes, &last.cursor);
            }
        }
    }

    /// Forgets the oldest entry, all its changes at once.
    fn forget_oldest(&mut self) {
        let Some(oldest) = self.past.front().map(|change| change.cursor) else {
            return;
        };
        while self.past.front().map(|change| change.cursor) == Some(oldest) {
            if let Some(change) = self.past.pop_front() {
                self.bytes -= cost(&change);
            }
        }
        self.from = oldest;
    }
}

fn cost(change: &Change) -> usize {
    change.key.len() + change.value.as_ref().map_or(0, Bytes::len) + OVERHEAD
}

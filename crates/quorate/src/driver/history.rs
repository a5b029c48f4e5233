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

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use quorate_core::{Index, Term};

    use super::*;
    use crate::feed::Taken;

    fn cursor(index: u64) -> Cursor {
        Cursor::new(Term(2), Index(index))
    }

    fn change(index: u64, key: &'static str) -> Change {
        Change {
            cursor: cursor(index),
            key: Bytes::from_static(key.as_bytes()),
            value: Some(Bytes::from(index.to_string())),
        }
    }

    /// Takes all that is there: the batches as (index, keys), or what is missing up to.
    fn drain(tap: &ChangesTap) -> Vec<Result<(u64, usize), u64>> {
        let mut taken = Vec::new();
        while let Poll::Ready(next) = tap.poll_take(&Context::from_waker(Waker::noop())) {
            taken.push(match next {
                Taken::Item(batch) => Ok((batch[0].cursor.index.0, batch.len())),
                Taken::Lagged(cursor) => Err(cursor.index.0),
                Taken::End => return taken,
            });
        }
        taken
    }

    fn subscribe(history: &mut History, since: Since) -> ChangesTap {
        history.subscribe(Bytes::from_static(b"a"), since, cursor(100))
    }

    #[test]
    fn whoever_resumes_gets_the_rest_once_and_then_the_present() {
        for from in 0..=5 {
            let mut history = History::default();
            for index in 1..=5 {
                history.record(vec![
                    change(index, "a1"),
                    change(index, "a2"),
                    change(index, "b"),
                ]);
            }
            let tap = subscribe(&mut history, Since::Cursor(cursor(from)));
            history.record(vec![change(6, "b"), change(7, "a1")]);
            let late = (from + 1..=5).map(|index| Ok((index, 2)));
            assert_eq!(drain(&tap), late.chain([Ok((7, 1))]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn whoever_begins_now_gets_nothing_old() {
        let mut history = History::default();
        history.record(vec![change(1, "a1")]);
        let tap = subscribe(&mut history, Since::Now);
        history.record(vec![change(2, "a1")]);
        assert_eq!(drain(&tap), [Ok((2, 1))]);
    }

    #[test]
    fn what_is_forgotten_is_said() {
        let mut history = History::default();
        let many = REMEMBERED_CHANGES as u64 + 10;
        for index in 1..=many {
            history.record(vec![change(index, "a1")]);
        }
        let tap = subscribe(&mut history, Since::Cursor(cursor(9)));
        assert_eq!(drain(&tap), [Err(100)]);
        let tap = subscribe(&mut history, Since::Cursor(cursor(10)));
        assert_eq!(drain(&tap).len(), REMEMBERED_CHANGES);
    }

    #[test]
    fn an_entry_is_remembered_whole_or_not_at_all() {
        let mut history = History::default();
        history.record(vec![change(1, "a1"); REMEMBERED_CHANGES]);
        history.record(vec![change(2, "a1")]);
        let tap = subscribe(&mut history, Since::Cursor(cursor(1)));
        assert_eq!(drain(&tap), [Ok((2, 1))]);
        let tap = subscribe(&mut history, Since::Cursor(cursor(0)));
        assert_eq!(drain(&tap), [Err(100)]);
    }

    #[test]
    fn a_state_that_was_replaced_leaves_a_gap_for_all() {
        let mut history = History::default();
        history.record(vec![change(1, "a1")]);
        let open = subscribe(&mut history, Since::Now);
        history.record(vec![change(2, "a1")]);
        history.replace(cursor(50));
        history.record(vec![change(51, "a1")]);
        assert_eq!(drain(&open), [Err(50), Ok((51, 1))]);
        let late = subscribe(&mut history, Since::Cursor(cursor(2)));
        assert_eq!(drain(&late), [Err(100)]);
        let exact = subscribe(&mut history, Since::Cursor(cursor(50)));
        assert_eq!(drain(&exact), [Ok((51, 1))]);
    }
}

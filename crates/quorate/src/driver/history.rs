//! A group's changes: the recent past for those who resume, and the present for those who listen.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use quorate_core::{Cursor, GenesisId};
use quorate_state::Change;

use crate::{
    changes::{Batch, ChangesError, ChangesTap, Since, Subscribed, Told},
    feed::{Feed, Limit},
    limits::{REMEMBERED_BYTES, REMEMBERED_CHANGES, SUBSCRIBER_BYTES, SUBSCRIBER_CHANGES},
    replacement::Replacement,
};

/// What one change costs beyond its key and value.
const OVERHEAD: usize = 64;

/// A group's changes.
#[derive(Debug, Default)]
pub(super) struct History {
    genesis: Option<GenesisId>,
    /// Everything after this cursor is in `past`.
    from: Cursor,
    past: VecDeque<Change>,
    bytes: usize,
    /// Up to where those who listen know all, while a state that was lost is made anew.
    known: Option<Cursor>,
    /// Subscribers by the prefix of the keys they listen to.
    feeds: BTreeMap<Bytes, Feed<Told, Cursor>>,
}

impl History {
    /// Tells whether anybody listens; then they must be told what a state is replaced by.
    pub(super) fn is_watched(&self) -> bool {
        self.feeds.values().any(|feed| !feed.is_idle())
    }

    /// Takes the changes that the state has just made, in order.
    pub(super) fn record(&mut self, mut changes: Vec<Change>) {
        if let Some(known) = self.known
            && let Some(last) = changes.last()
        {
            if last.cursor.index > known.index {
                self.known = None;
            }
            changes.retain(|change| change.cursor.index > known.index);
        }
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

    /// The machine failed when all up to `known` was recorded: what leads there again is not told.
    pub(super) fn lost_state(&mut self, known: Cursor) {
        self.known.get_or_insert(known);
    }

    /// A history begins, from the empty state; `replaced` is what stood before.
    pub(super) fn begin(&mut self, genesis: GenesisId, replaced: Option<Replacement>) {
        if self.known.is_some() && self.genesis == Some(genesis) {
            // No new history: its state is made anew.
            return;
        }
        let first = self.genesis.replace(genesis).is_none();
        // Whoever listened before there was any history has missed nothing.
        let replaced = replaced.filter(|_| !first);
        self.replace(Cursor::ZERO, replaced.map(Replacement::in_new_history));
    }

    /// The state was replaced by the one at `anchor`: what led there is not known. `replaced` is
    /// for those who listen; nothing if nobody does.
    pub(super) fn replace(&mut self, anchor: Cursor, replaced: Option<Replacement>) {
        self.past.clear();
        self.bytes = 0;
        self.from = anchor;
        if self.known.take().is_some() {
            // The state that they know is gone: nobody can tell how this one differs.
            for feed in self.feeds.values_mut() {
                feed.break_off(&anchor);
            }
            return;
        }
        let Some(replaced) = replaced.map(Arc::new) else {
            return;
        };
        // One that still waits becomes one with it, so that a queue never holds more than two
        // states.
        let merge = |waiting: &Told| match waiting {
            Told::Replaced(before) => Some(Told::Replaced(Arc::new(before.then(&replaced)))),
            Told::Changes(_) => None,
        };
        for feed in self.feeds.values_mut() {
            feed.push_over(&Told::Replaced(Arc::clone(&replaced)), merge);
        }
    }

    /// Subscribes to the changes of keys that begin with `prefix`.
    pub(super) fn subscribe(&mut self, prefix: Bytes, since: Since) -> Subscribed {
        let after = self.begins(since)?;
        let limit = Limit {
            items: SUBSCRIBER_CHANGES,
            bytes: SUBSCRIBER_BYTES,
        };
        let feed = self.feeds.entry(prefix.clone());
        let tap = feed.or_insert_with(|| Feed::new(limit)).subscribe();
        if let Some(after) = after {
            self.preload(&tap, &prefix, after);
        }
        Ok(tap)
    }

    /// Returns the cursor after which a stream is to begin, unless it is the present, if it can.
    fn begins(&self, since: Since) -> Result<Option<Cursor>, ChangesError> {
        let asked = match since {
            Since::Now => return Ok(None),
            Since::Cursor(cursor) => cursor,
            Since::Position(position) if Some(position.genesis) == self.genesis => position.cursor,
            Since::Position(position) => {
                return Err(ChangesError::OtherHistory {
                    asked: position.genesis,
                    here: self.genesis,
                });
            }
        };
        if asked.index < self.from.index {
            let first = self.from;
            return Err(ChangesError::Forgotten { asked, first });
        }
        Ok(Some(asked))
    }

    /// Gives a new subscriber what is remembered after a cursor.
    fn preload(&self, tap: &ChangesTap, prefix: &Bytes, after: Cursor) {
        let old = |change: &Change| change.cursor.index <= after.index;
        let first = self.past.partition_point(old);
        let (front, back) = self.past.as_slices();
        let late: Vec<Change> = front
            .iter()
            .chain(back)
            .skip(first)
            .filter(|change| change.key.starts_with(prefix))
            .cloned()
            .collect();
        tap.preload(late.chunk_by(|a, b| a.cursor == b.cursor).map(|entry| {
            let bytes = entry.iter().map(cost).sum();
            (Told::Changes(Batch::from(entry)), bytes)
        }));
    }

    /// Gives the changes of one entry to those who listen.
    fn publish(&mut self, entry: &[Change]) {
        for (prefix, feed) in &mut self.feeds {
            let theirs = |change: &&Change| change.key.starts_with(prefix);
            let batch: Batch = entry.iter().filter(theirs).cloned().collect();
            if let Some(last) = batch.last() {
                let (bytes, cursor) = (batch.iter().map(cost).sum(), last.cursor);
                feed.push(&Told::Changes(batch), bytes, &cursor);
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
    use std::{
        future::poll_fn,
        task::{Context, Poll, Waker},
    };

    use quorate_core::{Index, Term};
    use quorate_state::{
        ApplyContext,
        collections::{encode_key, encode_value},
        tree::{Salt, Tree},
    };
    use tokio::{runtime::Handle, sync::oneshot};

    use super::*;
    use crate::{changes::Changes, feed::Taken, limits::SLICE_DIFFERENCES, position::Position};

    const GENESIS: GenesisId = GenesisId([1; 16]);
    const PREFIX: &[u8] = b"\x01\x01a";

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
                Taken::Item(Told::Changes(batch)) => Ok((batch[0].cursor.index.0, batch.len())),
                Taken::Item(Told::Replaced(with)) => Err(with.anchor().index.0),
                Taken::Lagged(cursor) => Err(cursor.index.0),
                Taken::End => return taken,
            });
        }
        taken
    }

    fn subscribe(history: &mut History, since: Since) -> ChangesTap {
        let subscribed = history.subscribe(Bytes::from_static(b"a"), since);
        subscribed.expect("the past is remembered")
    }

    fn refused(history: &mut History, since: Since) -> ChangesError {
        let subscribed = history.subscribe(Bytes::from_static(b"a"), since);
        subscribed.map(|_| ()).expect_err("the past is forgotten")
    }

    fn forgotten(asked: u64, first: u64) -> ChangesError {
        let (asked, first) = (cursor(asked), cursor(first));
        ChangesError::Forgotten { asked, first }
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
    fn what_is_forgotten_is_refused_and_said_where_to_begin() {
        let mut history = History::default();
        let many = REMEMBERED_CHANGES as u64 + 10;
        for index in 1..=many {
            history.record(vec![change(index, "a1")]);
        }
        let refused = refused(&mut history, Since::Cursor(cursor(9)));
        assert_eq!(refused, forgotten(9, 10));
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
        let refused = refused(&mut history, Since::Cursor(cursor(0)));
        assert_eq!(refused, forgotten(0, 1));
    }

    #[test]
    fn a_state_that_is_made_anew_from_the_log_is_no_news() {
        let mut history = History::default();
        history.begin(GENESIS, None);
        let tap = subscribe(&mut history, Since::Now);
        history.record(vec![change(1, "a1"), change(2, "a1")]);
        history.lost_state(cursor(3));
        history.begin(GENESIS, None);
        history.record(vec![change(1, "a1")]);
        history.record(vec![change(2, "a1"), change(4, "a1")]);
        history.record(vec![change(5, "a1")]);
        assert_eq!(drain(&tap), [1, 2, 4, 5].map(|index| Ok((index, 1))));
        let tap = subscribe(&mut history, Since::Cursor(cursor(0)));
        assert_eq!(drain(&tap), [1, 2, 4, 5].map(|index| Ok((index, 1))));
    }

    #[test]
    fn where_a_snapshot_takes_the_place_of_a_lost_state_changes_are_missing() {
        let mut history = History::default();
        history.begin(GENESIS, None);
        let tap = subscribe(&mut history, Since::Now);
        history.lost_state(cursor(3));
        history.begin(GENESIS, None);
        history.replace(cursor(9), None);
        history.record(vec![change(10, "a1")]);
        assert_eq!(drain(&tap), [Err(9), Ok((10, 1))]);
    }

    #[test]
    fn a_position_of_another_history_is_refused() {
        let mut history = History::default();
        let position = |genesis| Since::Position(Position::new(genesis, cursor(0)));
        let other = |here| ChangesError::OtherHistory {
            asked: GENESIS,
            here,
        };
        assert_eq!(refused(&mut history, position(GENESIS)), other(None));
        let later = GenesisId([2; 16]);
        history.begin(later, None);
        assert_eq!(refused(&mut history, position(GENESIS)), other(Some(later)));
        history.record(vec![change(1, "a1")]);
        assert_eq!(
            drain(&subscribe(&mut history, position(later))),
            [Ok((1, 1))]
        );
    }

    /// A state of this many items of a map called `a`, and one of another map.
    fn state(items: std::ops::Range<u64>) -> Tree {
        let mut tree = Tree::new(Salt([7; 32]));
        let mut cx = ApplyContext::new(&mut tree, cursor(1), 1, None);
        for item in items {
            let key = [PREFIX, &encode_key(&item)].concat();
            cx.insert(&key, &encode_value(&item).unwrap()).unwrap();
        }
        cx.insert(b"\x01\x01b", &[1]).unwrap();
        tree
    }

    fn replacement(before: (Tree, u64), after: (Tree, u64)) -> Option<Replacement> {
        let at = |(tree, index)| (tree, cursor(index));
        Some(Replacement::new(at(before), at(after), Handle::current()))
    }

    /// A subscriber to the map called `a`.
    fn watch(history: &mut History, since: Since) -> Changes<u64, u64> {
        let prefix = Bytes::from_static(PREFIX);
        let (reply, asked) = oneshot::channel();
        let subscribed = history.subscribe(prefix.clone(), since);
        reply.send(subscribed).unwrap();
        Changes::new(asked, prefix, since)
    }

    /// Takes `n` items, as (index, key, whether there is a value) or the error.
    async fn take(
        changes: &mut Changes<u64, u64>,
        n: usize,
    ) -> Vec<Result<(u64, u64, bool), ChangesError>> {
        let mut taken = Vec::new();
        while taken.len() < n {
            let next = poll_fn(|cx| futures::Stream::poll_next(std::pin::pin!(&mut *changes), cx));
            let next = next.await.expect("the stream goes on");
            taken.push(next.map(|c| (c.cursor.index.0, c.key, c.value.is_some())));
        }
        taken
    }

    fn live(index: u64, key: u64) -> Change {
        Change {
            cursor: cursor(index),
            key: [PREFIX, &encode_key(&key)].concat().into(),
            value: Some(encode_value(&index).unwrap().into()),
        }
    }

    #[tokio::test]
    async fn after_an_install_come_the_differences_and_then_the_present() {
        let mut history = History::default();
        let many = 2 * SLICE_DIFFERENCES as u64 + 3;
        let mut changes = watch(&mut history, Since::Now);
        history.record(vec![live(5, 1)]);
        let (before, after) = ((state(0..10), 5), (state(8..10 + many), 50));
        history.replace(cursor(50), replacement(before, after));
        history.record(vec![live(51, 9)]);
        let gone = (0..8).map(|key| Ok((50, key, false)));
        let come = (10..10 + many).map(|key| Ok((50, key, true)));
        let expected: Vec<_> = [Ok((5, 1, true)), Err(ChangesError::Lagged(cursor(50)))]
            .into_iter()
            .chain(gone)
            .chain(come)
            .chain([Ok((51, 9, true))])
            .collect();
        assert_eq!(take(&mut changes, expected.len()).await, expected);
        // What came before the anchor is not remembered, what comes after it is.
        assert_eq!(
            refused(&mut history, Since::Cursor(cursor(5))),
            forgotten(5, 50)
        );
        let mut late = watch(&mut history, Since::Cursor(cursor(50)));
        assert_eq!(take(&mut late, 1).await, [Ok((51, 9, true))]);
    }

    #[tokio::test]
    async fn two_installs_that_were_not_looked_at_are_one() {
        let mut history = History::default();
        let mut changes = watch(&mut history, Since::Now);
        history.replace(cursor(50), replacement((state(0..2), 5), (state(0..9), 50)));
        history.record(vec![live(51, 7)]);
        history.replace(
            cursor(90),
            replacement((state(0..9), 51), (state(1..3), 90)),
        );
        history.record(vec![live(91, 1)]);
        let expected = [
            Err(ChangesError::Lagged(cursor(90))),
            Ok((90, 0, false)),
            Ok((90, 2, true)),
            Ok((91, 1, true)),
        ];
        assert_eq!(take(&mut changes, 4).await, expected);
    }

    #[tokio::test]
    async fn whoever_is_ahead_of_the_state_is_not_told_differences_from_before() {
        let install = |history: &mut History| {
            history.replace(cursor(50), replacement((state(0..2), 5), (state(0..9), 50)));
            history.record(vec![live(51, 7)]);
        };
        let mut history = History::default();
        let mut ahead = watch(&mut history, Since::Cursor(cursor(30)));
        let mut far_ahead = watch(&mut history, Since::Cursor(cursor(50)));
        install(&mut history);
        let missed = Err(ChangesError::Missed(cursor(50)));
        assert_eq!(take(&mut ahead, 2).await, [missed, Ok((51, 7, true))]);
        assert_eq!(take(&mut far_ahead, 1).await, [Ok((51, 7, true))]);
    }

    #[tokio::test]
    async fn a_history_that_takes_the_place_of_another_removes_what_was_there() {
        let mut history = History::default();
        let mut first = watch(&mut history, Since::Now);
        let empty = || Tree::new(Salt([7; 32]));
        let begin = |before| replacement(before, (empty(), 0));
        history.begin(GENESIS, begin((empty(), 0)));
        history.record(vec![live(1, 0)]);
        assert_eq!(take(&mut first, 1).await, [Ok((1, 0, true))]);
        let mut ahead = watch(&mut history, Since::Cursor(cursor(9)));
        let replaced = Replacement::new(
            (state(0..1), cursor(1)),
            (empty(), Cursor::ZERO),
            Handle::current(),
        );
        history.begin(GenesisId([2; 16]), Some(replaced));
        history.record(vec![live(1, 4)]);
        let lagged = Err(ChangesError::Lagged(Cursor::ZERO));
        let expected = [lagged, Ok((0, 0, false)), Ok((1, 4, true))];
        assert_eq!(take(&mut first, 3).await, expected);
        let missed = Err(ChangesError::Missed(Cursor::ZERO));
        assert_eq!(take(&mut ahead, 2).await, [missed, Ok((1, 4, true))]);
    }

    #[tokio::test]
    async fn cursors_of_the_history_before_hold_nothing_back() {
        let mut history = History::default();
        history.begin(GENESIS, None);
        let mut installed = watch(&mut history, Since::Cursor(cursor(60)));
        let mut overrun = watch(&mut history, Since::Cursor(cursor(60)));
        history.record(vec![live(60, 0)]);
        let empty = || Tree::new(Salt([7; 32]));
        let replaced = replacement((state(0..1), 60), (empty(), 0));
        history.begin(GenesisId([2; 16]), replaced);
        history.replace(cursor(50), replacement((empty(), 0), (state(1..2), 50)));
        let expected = [
            Err(ChangesError::Lagged(cursor(50))),
            Ok((50, 0, false)),
            Ok((50, 1, true)),
        ];
        assert_eq!(take(&mut installed, 3).await, expected);
        // One that lost all this with what else had waited for it goes on all the same.
        let many = SUBSCRIBER_CHANGES as u64 + 1;
        history.record((0..many).map(|i| live(51 + i, 2)).collect());
        let mut seen = take(&mut overrun, 1).await;
        let Some(Err(ChangesError::Missed(missed))) = seen.pop() else {
            panic!("a queue that ran over says so");
        };
        history.record(vec![live(51 + many, 3)]);
        let mut next = take(&mut overrun, 1).await;
        while next != [Ok((51 + many, 3, true))] {
            assert!(next[0].clone().unwrap().0 > missed.index.0);
            next = take(&mut overrun, 1).await;
        }
    }
}

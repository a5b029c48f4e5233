//! Bounded queues from the driver to subscribers who may be slow, or never look.
//!
//! The driver must not wait for a subscriber and must not gather without end for one, so a queue
//! that is full is emptied and its subscriber told, in the place of what it missed. Dropping the
//! newest instead would leave a subscriber with the beginning of a story whose end it never
//! hears; here it goes on with the present.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Context, Poll, Waker},
};

/// What a subscriber finds at the head of its queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Taken<T, L> {
    /// The next item.
    Item(T),
    /// Items are missing here; what the driver said about them.
    Lagged(L),
    /// There will be no more.
    End,
}

/// The subscriber's end.
#[derive(Debug)]
pub(crate) struct Tap<T, L> {
    queue: Arc<Mutex<Queue<T, L>>>,
}

/// The driver's ends of all subscribers of one thing.
#[derive(Debug)]
pub(crate) struct Feed<T, L> {
    taps: Vec<Weak<Mutex<Queue<T, L>>>>,
    limit: Limit,
}

/// How much may wait for one subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Items.
    pub(crate) items: usize,
    /// Bytes, as the driver counts them.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Queue<T, L> {
    lagged: Option<L>,
    items: VecDeque<(T, usize)>,
    bytes: usize,
    ended: bool,
    subscriber: Option<Waker>,
}

impl<T: Clone, L: Clone> Feed<T, L> {
    /// Makes a feed without subscribers.
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            taps: Vec::new(),
            limit,
        }
    }

    /// Tells whether nobody listens; then items need not be made.
    pub(crate) fn is_idle(&self) -> bool {
        self.taps.iter().all(|tap| tap.strong_count() == 0)
    }

    /// Adds a subscriber that gets everything from now on.
    pub(crate) fn subscribe(&mut self) -> Tap<T, L> {
        let queue = Arc::new(Mutex::new(Queue {
            lagged: None,
            items: VecDeque::new(),
            bytes: 0,
            ended: false,
            subscriber: None,
        }));
        self.taps.push(Arc::downgrade(&queue));
        Tap { queue }
    }

    /// Gives an item of `bytes` to every subscriber; one that has no room loses what waits for it
    /// and is told `lag`.
    pub(crate) fn push(&mut self, item: &T, bytes: usize, lag: &L) {
        let limit = self.limit;
        self.for_each(|queue| {
            let full =
                queue.items.len() >= limit.items || queue.bytes.saturating_add(bytes) > limit.bytes;
            if full && !queue.items.is_empty() {
                queue.lose(lag.clone());
            } else {
                queue.bytes = queue.bytes.saturating_add(bytes);
                queue.items.push_back((item.clone(), bytes));
            }
        });
    }

    /// Takes what waits for them from all subscribers, and tells them `lag`.
    pub(crate) fn break_off(&mut self, lag: &L) {
        self.for_each(|queue| queue.lose(lag.clone()));
    }

    /// Gives an item that costs nothing to every subscriber; where `merge` makes one of it and of
    /// an item that waits, that one takes the place of all that waits from there on.
    pub(crate) fn push_over(&mut self, item: &T, merge: impl Fn(&T) -> Option<T>) {
        self.for_each(|queue| {
            let mut waiting = queue.items.iter().enumerate();
            let merged = waiting.find_map(|(at, (waiting, _))| Some((at, merge(waiting)?)));
            let (at, item) = merged.unwrap_or_else(|| (queue.items.len(), item.clone()));
            for (_, bytes) in queue.items.drain(at..) {
                queue.bytes -= bytes;
            }
            queue.items.push_back((item, 0));
        });
    }

    fn for_each(&mut self, mut act: impl FnMut(&mut Queue<T, L>)) {
        self.taps.retain(|tap| {
            let Some(tap) = tap.upgrade() else {
                return false;
            };
            let mut queue = lock(&tap);
            act(&mut queue);
            let subscriber = queue.subscriber.take();
            drop(queue);
            if let Some(subscriber) = subscriber {
                subscriber.wake();
            }
            true
        });
    }
}

impl<T, L> Drop for Feed<T, L> {
    fn drop(&mut self) {
        for tap in self.taps.drain(..).filter_map(|tap| tap.upgrade()) {
            let mut queue = lock(&tap);
            queue.ended = true;
            let subscriber = queue.subscriber.take();
            drop(queue);
            if let Some(subscriber) = subscriber {
                subscriber.wake();
            }
        }
    }
}

impl<T, L> Tap<T, L> {
    /// Takes the head of the queue; the end stays the end.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Poll<Taken<T, L>> {
        let mut queue = lock(&self.queue);
        if let Some(lag) = queue.lagged.take() {
            return Poll::Ready(Taken::Lagged(lag));
        }
        if let Some((item, bytes)) = queue.items.pop_front() {
            queue.bytes -= bytes;
            return Poll::Ready(Taken::Item(item));
        }
        if queue.ended {
            return Poll::Ready(Taken::End);
        }
        match &mut queue.subscriber {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Puts an item in front of everything, as if it had been given first; for the past that a
    /// new subscriber asked for.
    pub(crate) fn preload(&self, items: impl IntoIterator<Item = (T, usize)>) {
        let mut queue = lock(&self.queue);
        for (item, bytes) in items {
            queue.bytes = queue.bytes.saturating_add(bytes);
            queue.items.push_back((item, bytes));
        }
    }
}

impl<T, L> Queue<T, L> {
    fn lose(&mut self, lag: L) {
        self.items.clear();
        self.bytes = 0;
        self.lagged = Some(lag);
    }
}

fn lock<T, L>(queue: &Mutex<Queue<T, L>>) -> MutexGuard<'_, Queue<T, L>> {
    queue
        .lock()
        .expect("nothing panics while it holds a subscriber's queue")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        items: 3,
        bytes: 100,
    };

    fn take(tap: &Tap<u32, u32>) -> Option<Taken<u32, u32>> {
        match tap.poll_take(&Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    #[test]
    fn items_come_in_order_and_then_the_end() {
        let mut feed = Feed::new(LIMIT);
        let tap = feed.subscribe();
        for item in 0..3 {
            feed.push(&item, 1, &item);
        }
        drop(feed);
        for item in 0..3 {
            assert_eq!(take(&tap), Some(Taken::Item(item)));
        }
        assert_eq!(take(&tap), Some(Taken::End));
        assert_eq!(take(&tap), Some(Taken::End));
    }

    #[test]
    fn a_full_queue_is_emptied_and_says_so_once() {
        let mut feed = Feed::new(LIMIT);
        let (slow, quick) = (feed.subscribe(), feed.subscribe());
        for item in 0..4 {
            feed.push(&item, 1, &item);
            assert_eq!(take(&quick), Some(Taken::Item(item)));
        }
        feed.push(&4, 1, &4);
        // The queue was emptied at item 3, which is told as what was missed last.
        assert_eq!(take(&slow), Some(Taken::Lagged(3)));
        assert_eq!(take(&slow), Some(Taken::Item(4)));
        assert_eq!(take(&slow), None);
    }

    #[test]
    fn bytes_count_too_but_one_item_always_fits() {
        let mut feed = Feed::new(LIMIT);
        let tap = feed.subscribe();
        feed.push(&1, 1_000, &1);
        assert_eq!(take(&tap), Some(Taken::Item(1)));
        feed.push(&2, 60, &2);
        feed.push(&3, 60, &3);
        assert_eq!(take(&tap), Some(Taken::Lagged(3)));
        assert_eq!(take(&tap), None);
    }

    #[test]
    fn an_item_takes_the_place_of_all_from_the_one_it_merges_with() {
        let mut feed = Feed::new(LIMIT);
        let (one, other) = (feed.subscribe(), feed.subscribe());
        feed.push(&1, 10, &0);
        feed.push(&2, 10, &0);
        feed.push(&3, 10, &0);
        assert_eq!(take(&other), Some(Taken::Item(1)));
        assert_eq!(take(&other), Some(Taken::Item(2)));
        feed.push_over(&100, |waiting| (*waiting == 2).then_some(102));
        // The bytes of what was displaced are free again.
        feed.push(&5, 90, &0);
        for (tap, items) in [(one, vec![1, 102, 5]), (other, vec![3, 100, 5])] {
            let taken = items.into_iter().map(|item| Some(Taken::Item(item)));
            assert!(taken.eq(std::iter::repeat_with(|| take(&tap)).take(3)));
            assert_eq!(take(&tap), None);
        }
    }

    #[test]
    fn a_subscriber_that_left_costs_nothing() {
        let mut feed = Feed::<u32, u32>::new(LIMIT);
        drop(feed.subscribe());
        feed.push(&1, 1, &1);
        assert!(feed.is_idle());
    }
}

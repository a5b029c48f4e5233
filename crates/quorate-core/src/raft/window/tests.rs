//! How much may be on its way, for how long, and what answers do to both.

use super::*;

const PATIENCE: Duration = Duration::from_millis(200);

fn empty() -> Window {
    Window::new(Time(1))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn no_more_frames_are_on_their_way_than_may_be() {
    let mut one = empty();
    let mut sent = 0;
    while one.has_room() {
        sent += 1;
        one.sent(Index(sent), 10, Time(1), PATIENCE);
    }
    assert_eq!(sent as usize, limits::INFLIGHT_FRAMES);
    one.answered(Index(1), Time(2), PATIENCE);
    assert!(one.has_room());
}

#[test]
fn no_more_bytes_are_on_their_way_than_may_be_but_for_the_last_frame() {
    let mut one = empty();
    let (mut last, mut bytes) = (0, 0);
    while one.has_room() {
        last += 1;
        bytes += limits::WINDOW_LEAST - 1;
        one.sent(Index(last), limits::WINDOW_LEAST - 1, Time(1), PATIENCE);
    }
    assert!((limits::WINDOW_FIRST..limits::WINDOW_FIRST + limits::WINDOW_LEAST).contains(&bytes));
    one.answered(Index(last - 1), Time(2), PATIENCE);
    assert_eq!(one.bytes, limits::WINDOW_LEAST - 1);
    one.answered(Index(last), Time(3), PATIENCE);
    assert!(one.is_empty() && one.bytes == 0);
}

#[test]
fn a_slow_link_is_given_as_long_as_it_was_seen_to_take() {
    let mut one = empty();
    let slow = PATIENCE * 3;
    let mut now = Time(1);
    one.sent(Index(9), 10, now, PATIENCE);
    one.sent(Index(20), 10, now, PATIENCE);
    // Sent again or not, the answer has taken from the first time on.
    assert!(one.timed_out(now.after(PATIENCE)));
    now = now.after(slow);
    one.answered(Index(9), now, PATIENCE);
    assert!(!one.timed_out(Time(now.after(slow * 2).0 - 1)));
    assert!(one.timed_out(now.after(slow * 2)));
    // Quick answers make it quick again.
    for index in 20..30 {
        one.answered(Index(index), now, PATIENCE);
        one.sent(Index(index + 1), 10, now, PATIENCE);
    }
    assert!(one.timed_out(now.after(PATIENCE)));
}

/// A way that carries `rate` bytes a second, `delay` there and back, to a follower that answers at
/// once; a leader that always has more to send.
struct Way {
    window: Window,
    now: Time,
    rate: u64,
    delay: Duration,
    last: u64,
    /// When the way is free.
    free: Time,
    /// Answers on their way.
    answers: VecDeque<(Time, Index)>,
    /// The longest that something sent has waited for the way.
    queue: Duration,
}

impl Way {
    fn new(rate: u64, delay: Duration) -> Self {
        Self {
            window: empty(),
            now: Time(1),
            rate,
            delay,
            last: 0,
            free: Time(1),
            answers: VecDeque::new(),
            queue: Duration::ZERO,
        }
    }

    /// Sends for as long as that; returns how many bytes were answered.
    fn run(&mut self, time: Duration) -> u64 {
        let end = self.now.after(time);
        let mut answered = 0;
        self.queue = Duration::ZERO;
        loop {
            while self.window.has_room() {
                let bytes = self.window.append();
                self.last += 1;
                self.window
                    .sent(Index(self.last), bytes, self.now, PATIENCE);
                self.queue = self.queue.max(self.free.since(self.now));
                let busy = bytes as u64 * 1_000_000_000 / self.rate;
                self.free = self.free.max(self.now).after(Duration::from_nanos(busy));
                let answer = self.free.after(self.delay);
                self.answers.push_back((answer, Index(self.last)));
            }
            let (at, upto) = self.answers.pop_front().expect("something is on its way");
            if at > end {
                self.answers.push_front((at, upto));
                return answered;
            }
            let before = self.window.bytes;
            self.now = at;
            // Nothing is lost here, but that is not known at once.
            let early = self.window.timed_out(at) && at.since(Time(1)) > Duration::from_secs(1);
            assert!(!early, "taken for lost after {at:?}");
            self.window.answered(upto, at, PATIENCE);
            answered += (before - self.window.bytes) as u64;
        }
    }
}

#[test]
fn a_slow_way_is_kept_busy_and_what_comes_last_does_not_wait_for_long() {
    for (rate, delay) in [(1 << 20, 1), (1 << 20, 80), (10 << 20, 1), (10 << 20, 100)] {
        let mut way = Way::new(rate, millis(delay));
        way.run(Duration::from_secs(2));
        // Also when the quickest answer has been learnt anew.
        for _ in 0..5 {
            let seconds = 9;
            let answered = way.run(Duration::from_secs(seconds));
            assert!(
                answered > rate * seconds * 8 / 10,
                "{rate} {delay}: {answered}"
            );
            assert!(way.queue < millis(320), "{rate} {delay}: {:?}", way.queue);
        }
    }
}

#[test]
fn a_fast_way_is_given_all_there_may_be() {
    let mut way = Way::new(1 << 30, millis(20));
    way.run(millis(500));
    assert_eq!(way.window.size, limits::INFLIGHT_BYTES);
    let answered = way.run(Duration::from_secs(20));
    let full = limits::INFLIGHT_BYTES as u64 * 20 * 1_000 / 20;
    assert!(answered > full * 8 / 10, "{answered} of {full}");
}

#[test]
fn an_answer_to_what_was_sent_twice_tells_no_delay() {
    let mut one = empty();
    one.sent(Index(1), 10, Time(1), PATIENCE);
    one.answered(Index(1), Time(1).after(millis(50)), PATIENCE);
    one.clear();
    let again = Time(1).after(millis(60));
    one.sent(Index(1), 10, again, PATIENCE);
    one.answered(Index(1), again.after(millis(1)), PATIENCE);
    assert_eq!(one.quickest[0], millis(50));
}

/// A window that has grown as far as it goes.
fn large() -> (Window, Time) {
    let mut way = Way::new(1 << 30, millis(20));
    way.run(millis(500));
    way.window.clear();
    (way.window, way.now)
}

#[test]
fn one_queue_halves_the_window_once() {
    let (mut one, now) = large();
    let first = one.highest.0;
    for index in 1..5 {
        one.sent(Index(first + index), 10, now, PATIENCE);
    }
    let late = now.after(millis(150));
    for index in 1..5 {
        one.answered(Index(first + index), late, PATIENCE);
    }
    assert_eq!(one.size, limits::INFLIGHT_BYTES / 2);
}

#[test]
fn who_is_gone_for_long_has_its_window_halved_once_and_the_next_link_begins_anew() {
    let (mut one, mut now) = large();
    let next = Index(one.highest.0 + 1);
    for _ in 0..10 {
        one.sent(next, 10, now, PATIENCE);
        now = now.after(PATIENCE * 100);
        assert!(one.timed_out(now));
        one.clear();
    }
    assert_eq!(one.size, limits::INFLIGHT_BYTES / 2);
    one.relink(now);
    assert_eq!(
        (one.size, one.calm),
        (limits::WINDOW_FIRST, limits::INFLIGHT_BYTES)
    );
    // What it has lost is sent once more, and is judged like anything else.
    one.sent(Index(1), limits::WINDOW_FIRST, now, PATIENCE);
    one.answered(Index(1), now.after(millis(1)), PATIENCE);
    assert_eq!(one.size, 2 * limits::WINDOW_FIRST);
}

#[test]
fn a_way_that_became_longer_is_known_once_the_window_is_least() {
    let (mut one, mut now) = large();
    for _ in 0..200 {
        let next = Index(one.highest.0 + 1);
        let bytes = one.size;
        one.sent(next, bytes, now, PATIENCE);
        now = now.after(millis(170));
        one.answered(next, now, PATIENCE);
    }
    assert_eq!(one.size, limits::INFLIGHT_BYTES);
}

/// Writes little for some time; returns when that ends.
fn write(one: &mut Window, mut now: Time, count: u32) -> Time {
    for _ in 0..count {
        let next = Index(one.highest.0 + 1);
        one.sent(next, 1_000, now, PATIENCE);
        now = now.after(millis(20));
        one.answered(next, now, PATIENCE);
        now = now.after(millis(200));
    }
    now
}

#[test]
fn few_small_writes_say_nothing_of_what_a_window_may_be() {
    let (mut one, now) = large();
    write(&mut one, now, 500);
    assert_eq!(one.calm, limits::INFLIGHT_BYTES);
    let mut new = empty();
    write(&mut new, Time(1), 40);
    assert_eq!(new.size, limits::WINDOW_FIRST);
}

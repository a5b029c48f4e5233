//! The window of one replication stream: what is on its way, how much may be, and for how long.
//!
//! **Size.** QUIC bounds what is on the wire, not what waits in front of it, and a queue in front
//! of a slow link serves nobody: heartbeats, and so the reads that they confirm, and whatever is
//! sent once more wait behind it. So the window follows the delay, as TCP Vegas does
//! (Brakmo, O'Malley and Peterson, SIGCOMM 1994): the quickest answer of late is what the way takes
//! with nothing in front of it. An answer that took longer by more than half the patience stood in
//! a queue: the window is halved, once for what was on its way then. Any other answer makes it
//! larger if it was used, by what the answer covers up to where it was halved, and by a part of
//! that from there on. As the quickest answer of long ago may belong to a better path, it is learnt
//! anew every few seconds, with a window so small that no queue of its own hides it; and with such
//! a window, an answer that takes long says what the way takes.
//!
//! An answer to what was sent twice says nothing of the delay: nobody knows to which of the two it
//! is (Karn and Partridge, SIGCOMM 1987).
//!
//! **Patience.** How long an answer may take is learnt: twice the longest pause between two answers
//! of late, and twice as long after each timeout. A link that carries a window in seconds would
//! otherwise be given every window again, several times over, in front of anything new.

use std::{collections::VecDeque, time::Duration};

use crate::{cursor::Index, limits, time::Time};

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long the quickest answer counts, at least.
const EPOCH: Duration = Duration::from_secs(10);

/// The window of one replication stream.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Window {
    flights: VecDeque<Flight>,
    bytes: usize,
    /// How many bytes may be on their way.
    size: usize,
    /// From where on it grows slowly.
    calm: usize,
    /// The highest index that was ever sent.
    highest: Index,
    /// Up to where answers say no more than that the window was too large, which is known.
    judged: Index,
    /// The quickest answer of this epoch and of the one before.
    quickest: [Duration; 2],
    epoch: Time,
    /// When what is on its way counts as lost.
    resend_at: Time,
    /// How long the next wait for an answer is.
    patience: Duration,
    /// Since when the next answer is waited for, sent again or not.
    waiting_since: Option<Time>,
}

/// One append on its way.
#[derive(Clone, Copy, Hash, Debug)]
struct Flight {
    last: Index,
    bytes: usize,
    /// When it was sent; nothing if its entries were sent before.
    sent: Option<Time>,
}

impl Window {
    /// Starts with nothing on its way, and little room.
    pub(crate) fn new(now: Time) -> Self {
        Self {
            flights: VecDeque::new(),
            bytes: 0,
            size: limits::WINDOW_FIRST,
            calm: limits::INFLIGHT_BYTES,
            highest: Index(0),
            judged: Index(0),
            quickest: [Duration::MAX; 2],
            epoch: now,
            resend_at: Time::NEVER,
            patience: Duration::ZERO,
            waiting_since: None,
        }
    }

    /// Begins anew on another link: what was learnt of the old one says nothing of this one, and
    /// its late answers are known as such.
    pub(crate) fn relink(&mut self, now: Time) {
        let mut flights = std::mem::take(&mut self.flights);
        for flight in &mut flights {
            flight.sent = None;
        }
        *self = Self {
            flights,
            bytes: self.bytes,
            resend_at: self.resend_at,
            patience: self.patience,
            waiting_since: self.waiting_since,
            ..Self::new(now)
        };
    }

    /// Tells whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Tells whether another append may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.flights.len() < limits::INFLIGHT_FRAMES && self.bytes < self.size
    }

    /// Returns how many bytes of entries an append may have: a part of the window, so that answers
    /// come while it is used.
    pub(crate) fn append(&self) -> usize {
        (self.size / 4).min(limits::APPEND_BYTES)
    }

    /// Notes that entries up to `last` were sent.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize, now: Time, least: Duration) {
        let sent = (last > self.highest).then_some(now);
        self.highest = self.highest.max(last);
        self.flights.push_back(Flight { last, bytes, sent });
        self.bytes += bytes;
        self.waiting_since.get_or_insert(now);
        if self.resend_at == Time::NEVER {
            self.patience = self.patience.max(least);
            self.resend_at = now.after(self.patience);
        }
    }

    /// Notes an answer that covers everything up to `upto`.
    pub(crate) fn answered(&mut self, upto: Index, now: Time, least: Duration) {
        let (mut bytes, mut newest) = (0, None);
        while self
            .flights
            .front()
            .is_some_and(|flight| flight.last <= upto)
        {
            newest = self.flights.pop_front();
            bytes += newest.map_or(0, |flight| flight.bytes);
        }
        if let Some(newest) = newest {
            self.judge(newest, bytes, now, least);
            self.bytes -= bytes;
            self.learn(now, least);
            self.resend_at = now.after(self.patience);
        }
        if self.flights.is_empty() {
            self.resend_at = Time::NEVER;
            self.waiting_since = None;
        }
    }

    /// Notes that a probe was answered, and forgets it.
    pub(crate) fn proven(&mut self, now: Time, least: Duration) {
        self.learn(now, least);
        self.waiting_since = None;
        self.clear();
    }

    /// Forgets what is on its way.
    pub(crate) fn clear(&mut self) {
        self.flights.clear();
        self.bytes = 0;
        self.resend_at = Time::NEVER;
    }

    /// Forgets that an answer is waited for.
    pub(crate) fn wait_no_more(&mut self) {
        self.waiting_since = None;
    }

    /// Tells whether what is on its way counts as lost; waits twice as long the next time.
    pub(crate) fn timed_out(&mut self, now: Time) -> bool {
        if now < self.resend_at {
            return false;
        }
        self.patience = (self.patience * 2).min(PATIENCE);
        if self.highest > self.judged {
            self.shrink();
        }
        true
    }

    /// Makes the window larger or smaller after an answer to `bytes` of what is on its way, which
    /// took as long as `newest` did.
    fn judge(&mut self, newest: Flight, bytes: usize, now: Time, least: Duration) {
        let Some(sent) = newest.sent else {
            return;
        };
        let took = now.since(sent);
        if now.since(self.epoch) > EPOCH {
            self.epoch = now;
            self.quickest = [took, self.quickest[0]];
            self.calm = self.calm.max(self.size);
            self.size = limits::WINDOW_LEAST;
            self.judged = self.highest;
        }
        self.quickest[0] = self.quickest[0].min(took);
        let quickest = self.quickest[0].min(self.quickest[1]);
        if newest.last <= self.judged {
            return;
        }
        if took - quickest <= least / 2 {
            let used = self.bytes >= self.size / 2;
            let grow = if self.size < self.calm {
                bytes
            } else {
                bytes / 8
            };
            self.size += if used { grow } else { 0 };
            self.size = self.size.min(limits::INFLIGHT_BYTES);
        } else if self.size > limits::WINDOW_LEAST {
            self.shrink();
        } else {
            self.quickest = [took; 2];
        }
    }

    fn shrink(&mut self) {
        self.size = (self.size / 2).max(limits::WINDOW_LEAST);
        self.calm = self.size;
        self.judged = self.highest;
    }

    /// Learns from an answer how long the next one may take; never less than `least`.
    fn learn(&mut self, now: Time, least: Duration) {
        let took = self.waiting_since.map(|since| now.since(since));
        let twice = took.unwrap_or_default() * 2;
        self.patience = (self.patience / 2).max(twice).min(PATIENCE).max(least);
        self.waiting_since = Some(now);
    }
}

#[cfg(test)]
mod tests;

//! The leader's side of one replication stream: what a follower has, and what is on its way.
//!
//! Modes and what moves between them:
//!
//! | mode | sends | leaves it |
//! |---|---|---|
//! | probe | one append at a time, again after a timeout | ack: replicate; reject: probe |
//! | replicate | appends as long as the window allows | reject or timeout: probe |
//! | behind | only "you are behind" | stage-from: stage |
//! | stage | appends after the anchor, staged, not acked | ack: replicate; timeout: stage |
//!
//! Each conversation has a run id that comes back in whatever the follower answers; a follower that
//! lost its memory or a conversation that started anew never has a late answer of an older one
//! counted (<https://github.com/tikv/raft-rs/issues/571>).
//!
//! How much is on its way, and for how long, is the [`Window`]'s.

use std::time::Duration;

use crate::{
    cursor::{Cursor, Index},
    time::Time,
    versions::Versions,
};

use super::window::Window;

/// What a leader knows of one follower.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Conversation {
    /// Names this conversation in answers.
    pub(crate) run: u64,
    /// How entries are sent.
    pub(crate) mode: Mode,
    /// The next index to send.
    pub(crate) next: Index,
    /// Up to where the follower's log equals the leader's, durably.
    pub(crate) matched: Index,
    /// The highest read sequence the follower has confirmed.
    pub(crate) read: u64,
    /// Whether it said that it never wants to vote.
    pub(crate) reader: bool,
    /// Whether it said last that only a snapshot can bring its state on.
    pub(crate) stateless: bool,
    /// Which versions of the state machine it runs, once it has said so in this conversation.
    pub(crate) versions: Option<Versions>,
    /// When the follower was last heard; at first, when the conversation began.
    pub(crate) heard: Time,
    /// Whether it was ever heard: a new leader has heard nobody yet.
    pub(crate) spoke: bool,
    /// Since when it has been heard without a pause; for judging whether it is stable.
    pub(crate) stable_since: Time,
    /// The commit index it was last told.
    pub(crate) told_commit: Index,
    /// The cursor that the last append was to follow.
    pub(crate) probed: Cursor,
    /// Up to where it has staged entries behind its anchor.
    staged: Index,
    /// When it was last told that it is behind.
    told_behind: Time,
    /// Up to where it matched when it fell behind.
    behind_at: Index,
    /// The leader's last index when it was last told that it is behind; for a planted bug.
    pub(crate) requested: Index,
    /// What is on its way.
    window: Window,
}

/// Bytes of entries sent along with a probe, which may be sent in vain.
const PROBE_BYTES: usize = 16 << 10;

/// How entries are sent to a follower.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Mode {
    /// Looking for the last common entry.
    Probe,
    /// Streaming.
    Replicate,
    /// The entries it needs are gone here; it must restore.
    Behind,
    /// It restores from the anchor; what follows is streamed to be staged.
    Stage(Cursor),
}

impl Conversation {
    /// Starts a conversation that probes before `next`.
    pub(crate) fn new(run: u64, next: Index, now: Time) -> Self {
        Self {
            run,
            mode: Mode::Probe,
            next,
            matched: Index(0),
            read: 0,
            reader: false,
            stateless: false,
            versions: None,
            heard: now,
            spoke: false,
            stable_since: now,
            told_commit: Index(0),
            probed: Cursor::ZERO,
            staged: Index(0),
            told_behind: Time(0),
            behind_at: Index(0),
            requested: Index(0),
            window: Window::new(now),
        }
    }

    /// Tells whether an append is to be sent now, by a leader whose log ends at `last`.
    pub(crate) fn is_due(&self, last: Index) -> bool {
        (self.next <= last || self.mode == Mode::Probe) && self.has_room()
    }

    /// Tells whether another append may be sent now.
    pub(crate) fn has_room(&self) -> bool {
        match self.mode {
            Mode::Probe => self.window.is_empty(),
            Mode::Replicate | Mode::Stage(_) => self.window.has_room(),
            Mode::Behind => false,
        }
    }

    /// Tells whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    /// Returns how many bytes of entries the next append may have.
    pub(crate) fn append(&self) -> usize {
        match self.mode {
            Mode::Probe => PROBE_BYTES,
            _ => self.window.append(),
        }
    }

    /// Notes that entries up to `last` were sent.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize, now: Time, patience: Duration) {
        self.next = last.next();
        self.window.sent(last, bytes, now, patience);
    }

    /// Begins anew, as `run`, on another link.
    pub(crate) fn relink(&mut self, run: u64, now: Time) {
        self.run = run;
        self.read = 0;
        self.versions = None;
        self.window.relink(now);
    }

    /// Forgets what is on its way and goes on from `next` in `mode`.
    pub(crate) fn restart(&mut self, mode: Mode, next: Index) {
        self.mode = mode;
        self.next = next;
        self.window.clear();
    }

    /// Tells whether what is on its way counts as lost; waits twice as long the next time.
    pub(crate) fn timed_out(&mut self, now: Time) -> bool {
        self.window.timed_out(now)
    }

    /// Notes that the follower was heard; a pause longer than `pause` ends its stability.
    pub(crate) fn heard(&mut self, now: Time, pause: Duration) {
        if now.since(self.heard) > pause {
            self.stable_since = now;
        }
        self.heard = now;
        self.spoke = true;
    }

    /// Takes an ack: moves the match forward, and on to streaming where that proves a match; tells
    /// whether that was after a restore.
    pub(crate) fn acked(
        &mut self,
        matched: Index,
        base: Index,
        now: Time,
        patience: Duration,
    ) -> bool {
        self.matched = self.matched.max(matched);
        let proven = match self.mode {
            Mode::Replicate => {
                self.window.answered(matched, now, patience);
                return false;
            }
            Mode::Probe => !self.is_idle() && matched >= self.probed.index,
            Mode::Stage(anchor) => matched >= anchor.index,
            // It restored without having been streamed to.
            Mode::Behind => matched >= base && matched > self.behind_at,
        };
        let restored = proven && self.mode != Mode::Probe;
        if proven {
            self.window.proven(now, patience);
            self.restart(Mode::Replicate, self.matched.next());
        }
        restored
    }

    /// Streams what follows `anchor`, to be staged.
    pub(crate) fn stage(&mut self, anchor: Cursor) {
        self.staged = anchor.index;
        self.restart(Mode::Stage(anchor), anchor.index.next());
    }

    /// Returns up to where it has staged, if nothing is on its way of what follows an anchor.
    pub(crate) fn silent_stage(&self, last: Index) -> Option<Index> {
        let silent = matches!(self.mode, Mode::Stage(_)) && self.is_idle() && self.next > last;
        silent.then_some(self.staged)
    }

    /// Takes note of what is staged.
    pub(crate) fn staged(&mut self, upto: Index, now: Time, patience: Duration) {
        if matches!(self.mode, Mode::Stage(_)) {
            self.staged = self.staged.max(upto);
            self.window.answered(upto, now, patience);
        }
    }

    /// Stops sending: the entries it needs are gone.
    pub(crate) fn fall_behind(&mut self, last: Index) {
        self.behind_at = self.matched;
        self.requested = last;
        self.window.wait_no_more();
        self.restart(Mode::Behind, self.next);
    }

    /// Goes back to the first entry without an answer.
    pub(crate) fn resend(&mut self) {
        match self.mode {
            Mode::Probe | Mode::Behind => self.restart(self.mode, self.probed.index.next()),
            Mode::Replicate => self.restart(Mode::Probe, self.matched.next()),
            Mode::Stage(_) => self.restart(self.mode, self.staged.next()),
        }
    }

    /// Tells whether it should be told again that it is behind.
    pub(crate) fn behind_due(&mut self, now: Time, every: Duration) -> bool {
        let due = now.since(self.told_behind) >= every;
        if due {
            self.told_behind = now;
        }
        due
    }

    /// Returns the first index that this conversation still needs from the log.
    pub(crate) fn needs(&self) -> Option<Index> {
        match self.mode {
            Mode::Replicate => Some(self.matched.next()),
            Mode::Stage(_) => Some(self.staged.next()),
            Mode::Probe | Mode::Behind => None,
        }
    }
}

#[cfg(test)]
mod tests;

//! How far a catch-up is, for people who wait for it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use quorate_core::{Cursor, GroupEvent, PeerId, SessionId, Time};

/// How far the catch-up of a peer is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SessionProgress {
    /// Which catch-up.
    pub session: SessionId,
    /// What it is about now.
    pub phase: SessionPhase,
    /// When it began.
    pub since: DateTime<Utc>,
    /// Where the snapshot was cut, once one is chosen.
    pub anchor: Option<Cursor>,
    /// Items that are verified.
    pub items: u64,
    /// Items that the snapshot has.
    pub items_total: u64,
    /// Bytes of keys and values that were fetched; what an earlier snapshot left is not.
    pub bytes: u64,
    /// Bytes of keys and values that the snapshot has.
    pub bytes_total: u64,
    /// What each provider brought, in the order of their ids.
    pub sources: Vec<SourceProgress>,
    /// Bytes per second since the snapshot was chosen.
    pub rate: u64,
    /// How long the rest will take at the pace so far; nothing if there is none yet.
    pub left: Option<Duration>,
}

/// What a catch-up is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SessionPhase {
    /// It asks who has a snapshot, and waits until the digest is confirmed.
    Asking,
    /// It fetches the snapshot.
    Restoring,
    /// The snapshot is in place: it applies what was committed since.
    Replaying,
}

/// What one provider brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SourceProgress {
    /// Who.
    pub peer: PeerId,
    /// Items that it brought.
    pub items: u64,
    /// Bytes of keys and values that it brought.
    pub bytes: u64,
}

/// Follows a group's catch-ups by their events.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    now: Option<Following>,
}

#[derive(Debug)]
struct Following {
    progress: SessionProgress,
    /// When the snapshot was chosen.
    chosen: Time,
    /// How many of its items were there already, once the first chunk tells.
    before: Option<u64>,
}

impl Sessions {
    /// Takes note of what happened.
    pub(crate) fn on_event(&mut self, event: &GroupEvent, time: Time, wall: DateTime<Utc>) {
        if let GroupEvent::SessionStarted { session } = event {
            self.now = Some(Following {
                progress: SessionProgress::new(*session, wall),
                chosen: time,
                before: None,
            });
        }
        let Some(following) = &mut self.now else {
            return;
        };
        let Following {
            progress,
            chosen,
            before,
        } = following;
        match event {
            GroupEvent::RestoreStarted {
                anchor,
                items,
                bytes,
                ..
            } => {
                progress.phase = SessionPhase::Restoring;
                progress.anchor = Some(*anchor);
                (progress.items_total, progress.bytes_total) = (*items, *bytes);
                (progress.items, progress.bytes) = (0, 0);
                (progress.rate, progress.left) = (0, None);
                progress.sources.clear();
                (*chosen, *before) = (time, None);
            }
            GroupEvent::RestoreProgress {
                from,
                items,
                bytes,
                verified,
                ..
            } => {
                progress.brought(*from, *items, *bytes);
                progress.items = *verified;
                let before = before.get_or_insert(verified.saturating_sub(*items));
                progress.pace(time.since(*chosen), *before);
            }
            GroupEvent::Restored { .. } => {
                progress.phase = SessionPhase::Replaying;
                progress.items = progress.items_total;
                progress.left = None;
            }
            GroupEvent::CaughtUp { .. } => self.now = None,
            _ => {}
        }
    }

    /// The core has no catch-up under way, however it ended.
    pub(crate) fn none_under_way(&mut self) {
        self.now = None;
    }

    /// Returns how far the catch-up under way is.
    pub(crate) fn progress(&self) -> Option<&SessionProgress> {
        self.now.as_ref().map(|following| &following.progress)
    }
}

impl SessionProgress {
    fn new(session: SessionId, since: DateTime<Utc>) -> Self {
        Self {
            session,
            phase: SessionPhase::Asking,
            since,
            anchor: None,
            items: 0,
            items_total: 0,
            bytes: 0,
            bytes_total: 0,
            sources: Vec::new(),
            rate: 0,
            left: None,
        }
    }

    fn brought(&mut self, peer: PeerId, items: u64, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let at = self.sources.binary_search_by_key(&peer, |it| it.peer);
        let at = at.unwrap_or_else(|at| {
            let none = SourceProgress {
                peer,
                items: 0,
                bytes: 0,
            };
            self.sources.insert(at, none);
            at
        });
        let source = &mut self.sources[at];
        source.items = source.items.saturating_add(items);
        source.bytes = source.bytes.saturating_add(bytes);
    }

    /// Computes rate and rest from what was done in `taken`, beginning with `before` items.
    fn pace(&mut self, taken: Duration, before: u64) {
        let nanos = taken.as_nanos().max(1);
        let per_second = u128::from(self.bytes) * 1_000_000_000 / nanos;
        self.rate = u64::try_from(per_second).unwrap_or(u64::MAX);
        // Large values come in pieces after their items, so bytes say more; but how many of them
        // an earlier snapshot has left is not known.
        let (done, rest) = if before == 0 {
            (self.bytes, self.bytes_total.saturating_sub(self.bytes))
        } else {
            let rest = self.items_total.saturating_sub(self.items);
            (self.items.saturating_sub(before), rest)
        };
        self.left = (u128::from(rest) * nanos)
            .checked_div(done.into())
            .map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Index, Term};

    use super::*;

    const SESSION: SessionId = SessionId(7);

    fn started(items: u64) -> GroupEvent {
        GroupEvent::RestoreStarted {
            session: SESSION,
            anchor: Cursor::new(Term(2), Index(50)),
            items,
            bytes: items * 10,
            providers: 2,
            confirmed: true,
        }
    }

    fn brought(from: u8, items: u64, verified: u64) -> GroupEvent {
        GroupEvent::RestoreProgress {
            session: SESSION,
            from: PeerId([from; 32]),
            items,
            bytes: items * 10,
            verified,
            total: 1_000,
        }
    }

    fn follow(events: &[(u64, GroupEvent)]) -> Sessions {
        let mut sessions = Sessions::default();
        let start = GroupEvent::SessionStarted { session: SESSION };
        sessions.on_event(&start, Time(0), DateTime::UNIX_EPOCH);
        for (seconds, event) in events {
            let time = Time(seconds * 1_000_000_000);
            sessions.on_event(event, time, DateTime::UNIX_EPOCH);
        }
        sessions
    }

    #[test]
    fn a_restore_is_followed_with_pace_and_sources() {
        let sessions = follow(&[
            (1, started(1_000)),
            // 200 items were there from an earlier snapshot.
            (2, brought(2, 100, 300)),
            (3, brought(1, 100, 400)),
            (5, brought(2, 200, 600)),
        ]);
        let progress = sessions.progress().unwrap();
        assert_eq!(progress.phase, SessionPhase::Restoring);
        assert_eq!((progress.items, progress.bytes), (600, 4_000));
        assert_eq!(progress.rate, 1_000);
        // 400 items took 4 seconds, and as many are missing.
        assert_eq!(progress.left, Some(Duration::from_secs(4)));
        let sources = progress.sources.iter().map(|it| (it.peer.0[0], it.items));
        assert_eq!(sources.collect::<Vec<_>>(), [(1, 100), (2, 300)]);
    }

    #[test]
    fn what_is_left_counts_large_values_that_come_after_their_items() {
        let sessions = follow(&[(1, started(1_000)), (2, brought(1, 250, 250))]);
        let left = |of: &Sessions| of.progress().unwrap().left;
        assert_eq!(left(&sessions), Some(Duration::from_secs(3)));
        let mut piece = brought(1, 250, 1_000);
        if let GroupEvent::RestoreProgress { items, .. } = &mut piece {
            *items = 0;
        }
        let all_items = brought(1, 0, 1_000);
        let events = [
            (1, started(1_000)),
            (2, brought(1, 250, 250)),
            (2, all_items),
            (3, piece),
        ];
        let sessions = follow(&events);
        assert_eq!(left(&sessions), Some(Duration::from_secs(2)));
    }

    #[test]
    fn another_snapshot_begins_anew_and_the_end_is_the_end() {
        let sessions = follow(&[(1, started(500)), (2, brought(1, 9, 9)), (3, started(700))]);
        let progress = sessions.progress().unwrap();
        assert_eq!((progress.items, progress.items_total), (0, 700));
        assert!(progress.sources.is_empty() && progress.left.is_none());
        let restored = GroupEvent::Restored {
            session: SESSION,
            anchor: Cursor::new(Term(2), Index(50)),
        };
        let sessions = follow(&[(1, started(500)), (2, restored.clone())]);
        let progress = sessions.progress().unwrap();
        assert_eq!(
            (progress.phase, progress.items),
            (SessionPhase::Replaying, 500)
        );
        let over = GroupEvent::CaughtUp {
            session: SESSION,
            applied: Cursor::ZERO,
        };
        let sessions = follow(&[(1, started(500)), (2, restored), (3, over)]);
        assert!(sessions.progress().is_none());
    }
}

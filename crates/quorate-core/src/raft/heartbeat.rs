//! What a leader says to keep the lead, and when it gives it up (Raft, section 5.2).
//!
//! A heartbeat is a message of its own and not an append without entries: it carries the term, the
//! run, the commit index and the read sequence, never a place in the log, so it needs no match and
//! is always answered. All groups of a peer beat at the same multiples of their period, so that
//! what they say to one other peer shares frames.
//!
//! *Check-quorum* (dissertation, section 6.2): a leader that has not heard a quorum for an election
//! timeout steps down. It could not commit, and says so rather than letting its clients wait.

use std::time::Duration;

use crate::{
    canary::Canary,
    cursor::Cursor,
    entries::Entries,
    out::Out,
    time::Time,
    wire::{Append, Message, Replication},
};

use super::{Raft, conversation::Mode, role::RoleState};

impl Raft {
    pub(super) fn hears_quorum(&self, now: Time) -> bool {
        let RoleState::Leader(leader) = &self.role else {
            return false;
        };
        self.planted.has(Canary::VisibleQuorum)
            || self.configurations.latest().1.quorum(|voter| {
                voter == self.me
                    || leader
                        .conversations
                        .get(&voter)
                        .is_some_and(|conversation| {
                            now.since(conversation.heard) < self.profile.election_max
                        })
            })
    }

    /// Sends heartbeats to all, or only to those that do not know of the latest commit.
    pub(super) fn beat(&mut self, now: Time, only_uninformed: bool, out: &mut Out) {
        let (term, commit, read) = (self.ballot.term, self.commit, self.reads.sequence());
        let behind_every = self.profile.heartbeat * 4;
        let (first, last) = (self.log.first(), self.log.last().index);
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        for (member, conversation) in &mut leader.conversations {
            if only_uninformed && conversation.told_commit >= commit {
                continue;
            }
            conversation.told_commit = commit;
            let run = conversation.run;
            out.send(
                *member,
                Message::Heartbeat {
                    term,
                    run,
                    commit,
                    read,
                },
            );
            // Who stages nothing any more says so when it is sent something.
            if let Some(staged) = conversation.silent_stage(last)
                && conversation.behind_due(now, behind_every)
                && let Some(before) = self.log.term_at(staged)
            {
                let previous = Cursor::new(before, staged);
                let entries = Entries::default();
                out.frame(
                    *member,
                    Replication::Append(Append {
                        term,
                        run,
                        previous,
                        commit,
                        read,
                        entries,
                    }),
                );
            }
            if conversation.mode == Mode::Behind && conversation.behind_due(now, behind_every) {
                conversation.requested = last;
                out.send(
                    *member,
                    Message::Behind {
                        term,
                        run,
                        first,
                        commit,
                    },
                );
            }
        }
    }
}

/// Returns the next multiple of `every` after `now`: groups of one peer beat together and share
/// frames.
pub(super) fn aligned(now: Time, every: Duration) -> Time {
    let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    Time((now.0 / every).saturating_add(1).saturating_mul(every))
}

//! What the state answers; and what becomes of a group whose own durable state contradicts itself.
//!
//! | what fails | what is still whole | what happens here, and nowhere else |
//! |---|---|---|
//! | the durable log, or the ballot | nothing is proven | poisoned |
//! | the machine, at an entry | log and ballot | the state begins anew |
//! | the machine, again before it is beyond that entry | log and ballot | poisoned |
//!
//! **Poisoned**: the group stops voting, acknowledging and serving here, keeps its files and says
//! why, until the process starts again. Then recovery proves log and ballot whole, or ends the
//! incarnation: the peer comes back as a new one, a learner.
//!
//! **The state begins anew.** A machine that panics leaves a state that nobody may see. It is gone
//! at once; the log that made it is not, nor what this peer has promised, so it goes on voting and
//! acknowledging and only leads no more. From the empty state the log is applied once more, if it
//! goes back that far; else the state is fetched from the others like that of any peer that is
//! behind. What this peer served to others is forgotten; they ask elsewhere.
//!
//! **What can go wrong.** The entry stops the machine each time: a bug, which all members meet at
//! the same entry. Trying on would be a loop, and skipping the entry would make states differ, so
//! the second failure before the state is beyond that entry poisons the group, and whoever runs it
//! must bring another binary. A crash
//! meanwhile: the next start begins with no state anyhow. The others lost their states too, and
//! their logs do not go back far enough: nobody has it, and nothing brings it back.

use crate::{
    cursor::Cursor,
    event::GroupEvent,
    out::Out,
    state_op::{StateDone, StateOp},
    time::Now,
};

use super::group::Group;

/// Why a group is poisoned whose log is in doubt.
const LOG: &str = "the durable log failed: what it holds is in doubt";

/// Why a group is poisoned whose machine fails time and again.
const MACHINE: &str = "the machine failed, and again before the state was beyond that entry";

impl Group {
    /// Takes an answer of the state.
    pub(crate) fn on_state(&mut self, now: Now, done: StateDone, out: &mut Out) {
        match done {
            StateDone::Begun { genesis } => self.begun |= self.genesis == Some(genesis),
            _ if !self.begun => out.mark("group.answer_of_another_history"),
            StateDone::Applied {
                last,
                outcomes,
                fate,
                items,
                bytes,
            } => {
                self.applier.applied(last, items, bytes);
                if let Some(raft) = &mut self.raft {
                    raft.note_state(bytes);
                    raft.applied(last, outcomes, out);
                }
                self.on_fate(now, fate, out);
                self.prune(out);
            }
            StateDone::Recalled { recalled } => {
                if let Some(raft) = &mut self.raft {
                    raft.recalled(&recalled, out);
                }
            }
            StateDone::Failed { at, text } => self.on_state_failed(now, at, text, out),
            other => self.on_sync_done(now, other, out),
        }
        self.follow_up(now, out);
    }

    /// Stops taking part: what the durable log holds is in doubt.
    pub(crate) fn on_disk_lost(&mut self, out: &mut Out) {
        if let Some(raft) = &mut self.raft {
            raft.poison(LOG, out);
        }
    }

    /// Tells whether what is durable here is in doubt: this peer takes no part any more.
    pub(super) fn is_poisoned(&self) -> bool {
        let raft = self.raft.as_ref();
        raft.is_some_and(|raft| raft.poisoned().is_some())
    }

    /// Takes the news that the machine failed at the entry after `at`.
    fn on_state_failed(&mut self, now: Now, at: Cursor, text: String, out: &mut Out) {
        let (Some(genesis), Some(raft)) = (self.genesis, &mut self.raft) else {
            return;
        };
        out.event(GroupEvent::StateLost { at, text });
        if self.state_lost.is_some_and(|lost| at.index <= lost.index) {
            out.mark("state.failed_again");
            raft.poison(MACHINE, out);
            return;
        }
        out.mark("state.begins_anew");
        raft.lose_state(now.time, out);
        let commit = raft.commit();
        self.forget_history();
        self.syncing.started_at(commit);
        self.state_lost = Some(at);
        out.state.push(StateOp::Begin { genesis });
    }

    /// Returns the entry after which the machine failed, until the state here is beyond it.
    pub(super) fn state_lost_at(&self) -> Option<Cursor> {
        let applied = self.applier.applied.index;
        self.state_lost.filter(|at| applied <= at.index)
    }
}

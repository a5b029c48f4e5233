//! What a leader commits: entries of its own term, durable on a quorum of the effective
//! configuration (Raft, sections 5.3 and 5.4.2, figure 8; joint: section 6).
//!
//! Judged when a leader's commit index advances, against what the disks hold for sure: a life that
//! has died since its ack counts, because it kept its word as long as it could. An entry of an
//! earlier term may be on a majority and still be replaced; it is committed only together with one
//! of the leader's own term, so the index that a leader moves to names one of those.
//!
//! Whoever has buried the history has dropped its log, after the entry that gives it up was
//! committed. What it acknowledged behind that entry it holds no more, and need not: nothing there
//! has an effect.

use quorate_core::{Cursor, GroupId, GroupView, Index, Member, Role, Term};

use super::{Found, synced::Synced};

/// What one start of a peer had committed when it was last judged.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    judged: Index,
    /// The term it led then.
    led: Option<Term>,
}

impl Copies {
    /// Looks at one peer.
    pub(crate) fn observe<'a>(
        &mut self,
        group: GroupId,
        view: &GroupView<'_>,
        book: impl Fn(Member) -> Option<&'a Synced>,
    ) -> Result<(), Found> {
        let leads = (view.role == Role::Leader).then_some(view.ballot.term);
        let before = std::mem::replace(&mut self.led, leads);
        if view.commit == self.judged {
            return Ok(());
        }
        self.judged = view.commit;
        let (Some(leads), Some(term)) = (leads, view.term_at(view.commit)) else {
            return Ok(());
        };
        let cursor = Cursor::new(term, view.commit);
        if before == Some(leads) && term != leads {
            return Err(Found::new(
                "commits-its-own-term",
                format!("the leader of {leads:?} moves its commit index to {cursor:?}"),
            ));
        }
        let holds = |member: Member| {
            book(member)
                .and_then(|synced| synced.log(group))
                .is_some_and(|log| {
                    let buried = |genesis| log.tombstones.contains(&genesis);
                    log.covers(cursor) || view.genesis.is_some_and(buried)
                })
        };
        if view.configuration.quorum(holds) {
            return Ok(());
        }
        let copies: Vec<Member> = view
            .configuration
            .all_voters()
            .into_iter()
            .filter(|member| holds(*member))
            .collect();
        Err(Found::new(
            "committed-on-a-quorum",
            format!(
                "{cursor:?} is committed by its leader and durable only on {copies:?} of {:?}",
                view.configuration
            ),
        ))
    }
}

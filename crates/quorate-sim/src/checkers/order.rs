//! What a peer's cursors never do: run backwards, or overtake each other.
//!
//! Within one start of a peer, term, commit index and applied index never go back, and a vote once
//! given in a term stays; a state that its machine has spoilt begins anew. After a restart the
//! commit index may start again (it is not durable) but the ballot may not: what was durable of it
//! is compared with what was recovered elsewhere.
//! Always: base <= applied <= commit <= last, durable <= last.

use quorate_core::{Ballot, Cursor, GroupView, Index};

use super::Found;

/// What one start of a peer looked like when it was last looked at.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Cursors {
    ballot: Ballot,
    commit: Index,
    applied: Cursor,
    /// After which entry its machine failed last.
    state_lost: Option<Cursor>,
}

impl Cursors {
    /// Looks at the peer.
    pub(crate) fn observe(&mut self, view: &GroupView<'_>) -> Result<(), Found> {
        let backwards = |what: &str, before: String, after: String| {
            Err(Found::new(
                "monotone",
                format!("the {what} went from {before} to {after}"),
            ))
        };
        let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
        if view.ballot.term < self.ballot.term {
            return backwards("term", text(&self.ballot.term), text(&view.ballot.term));
        }
        if view.ballot.term == self.ballot.term
            && self.ballot.voted_for.is_some()
            && view.ballot.voted_for != self.ballot.voted_for
        {
            return backwards("vote", text(&self.ballot), text(&view.ballot));
        }
        if view.commit < self.commit {
            return backwards("commit index", text(&self.commit), text(&view.commit));
        }
        if view.state_lost != self.state_lost {
            self.state_lost = view.state_lost;
            if view.state_lost.is_some() {
                self.applied = Cursor::ZERO;
            }
        }
        if view.applied.index < self.applied.index {
            return backwards("applied cursor", text(&self.applied), text(&view.applied));
        }
        self.ballot = view.ballot;
        self.commit = view.commit;
        self.applied = view.applied;
        in_order(view)
    }
}

fn in_order(view: &GroupView<'_>) -> Result<(), Found> {
    let last = Index(view.base.index.0 + view.entries.len() as u64);
    // A peer that was started from a log whose beginning a snapshot replaced has no state until
    // it has restored one.
    let stateless = view.applied == Cursor::ZERO;
    let sound = (view.base.index <= view.applied.index || stateless)
        && view.applied.index <= view.commit
        && view.commit <= last
        && view.durable <= last
        && view.last.index == last;
    if sound {
        return Ok(());
    }
    Err(Found::new(
        "cursors-in-order",
        format!(
            "base {:?}, applied {:?}, commit {:?}, durable {:?}, last {:?}, {} entries",
            view.base,
            view.applied,
            view.commit,
            view.durable,
            view.last,
            view.entries.len()
        ),
    ))
}

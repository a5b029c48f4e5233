//! At most one leader per term, and every one has what was committed before (Raft, figure 3:
//! Election Safety, Leader Completeness).
//!
//! Which term an entry was committed in is what its leader's commit index says: so each term's
//! leader is asked how far it has committed, and whoever is first seen to lead a later term must
//! have that in its log. Whether it is the same entry is for the checker of logs to say.

use std::collections::BTreeMap;

use quorate_core::{GroupView, Index, Member, Role, Term};

use super::Found;

/// Who led each term.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    leaders: BTreeMap<Term, Member>,
    /// How far each term's leader has committed.
    committed: BTreeMap<Term, Index>,
}

impl Elections {
    /// Looks at one peer.
    pub(crate) fn observe(&mut self, view: &GroupView<'_>) -> Result<(), Found> {
        if view.role != Role::Leader {
            return Ok(());
        }
        let term = view.ballot.term;
        let first = match self.leaders.get(&term) {
            Some(first) => *first,
            None => {
                self.leaders.insert(term, view.me);
                self.is_complete(term, view.last.index, view.me)?;
                view.me
            }
        };
        if first != view.me {
            return Err(Found::new(
                "one-leader-per-term",
                format!("{:?} leads {term:?}, which {first:?} has led", view.me),
            ));
        }
        let committed = self.committed.entry(term).or_default();
        *committed = view.commit.max(*committed);
        Ok(())
    }

    /// Compares where the log of a new leader ends with what was committed in earlier terms.
    fn is_complete(&self, term: Term, last: Index, leader: Member) -> Result<(), Found> {
        let earlier = self.committed.range(..term);
        let Some((by, committed)) = earlier.max_by_key(|(_, committed)| **committed) else {
            return Ok(());
        };
        if last >= *committed {
            return Ok(());
        }
        Err(Found::new(
            "leader-complete",
            format!(
                "{leader:?} leads {term:?} with a log up to {last:?}; in {by:?} {committed:?} was \
                 committed"
            ),
        ))
    }
}

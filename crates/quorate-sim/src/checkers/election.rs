//! At most one leader per term (Raft, figure 3: Election Safety).

use std::collections::BTreeMap;

use quorate_core::{GroupView, Member, Role, Term};

use super::Found;

/// Who led each term.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    leaders: BTreeMap<Term, Member>,
}

impl Elections {
    /// Looks at one peer.
    pub(crate) fn observe(&mut self, view: &GroupView<'_>) -> Result<(), Found> {
        if view.role != Role::Leader {
            return Ok(());
        }
        let first = *self.leaders.entry(view.ballot.term).or_insert(view.me);
        if first == view.me {
            return Ok(());
        }
        Err(Found::new(
            "one-leader-per-term",
            format!(
                "{:?} leads {:?}, which {first:?} has led",
                view.me, view.ballot.term
            ),
        ))
    }
}

//! A committed entry is durable on a quorum of the effective configuration.
//!
//! Judged when a leader's commit index advances, against what the disks hold for sure: a life that
//! has died since its ack counts, because it kept its word as long as it could.

use std::collections::BTreeMap;

use quorate_core::{Cursor, GroupId, GroupView, Index, Member, Role};

use super::{Found, synced::Synced};

/// The commit index of one start of a peer when it was last judged.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    judged: Index,
}

impl Copies {
    /// Looks at one peer.
    pub(crate) fn observe(
        &mut self,
        group: GroupId,
        view: &GroupView<'_>,
        synced: &BTreeMap<Member, Synced>,
    ) -> Result<(), Found> {
        if view.commit == self.judged {
            return Ok(());
        }
        self.judged = view.commit;
        if view.role != Role::Leader {
            return Ok(());
        }
        let Some(term) = view.term_at(view.commit) else {
            return Ok(());
        };
        let cursor = Cursor::new(term, view.commit);
        let holds = |member: Member| {
            synced
                .get(&member)
                .and_then(|synced| synced.log(group))
                .is_some_and(|log| log.covers(cursor))
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

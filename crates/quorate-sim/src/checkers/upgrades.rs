//! Upgrades: only to what every member can run, and nobody runs what it cannot.
//!
//! What a member can run is known here from its starts, whatever it has said to whom. A start that
//! is over counts too: a leader may have heard of it and not yet of its end.

use std::collections::BTreeMap;

use quorate_core::{Body, Cursor, Entry, Member, StateOp, Versions};
use quorate_state::{Replica, space};

use super::{Found, fold::Fold};

/// What the binary of each start of a peer could run.
#[derive(Debug, Default)]
pub(super) struct Upgrades {
    starts: BTreeMap<Member, Vec<Versions>>,
}

impl Upgrades {
    /// Takes the start of a peer.
    pub(super) fn started(&mut self, member: Member, versions: Versions) {
        let starts = self.starts.entry(member).or_default();
        if !starts.contains(&versions) {
            starts.push(versions);
        }
    }

    /// Looks at a committed entry; the fold has taken it in.
    pub(super) fn commit(&self, cursor: Cursor, entry: &Entry, fold: &Fold) -> Result<(), Found> {
        let Body::Upgrade { version } = entry.body else {
            return Ok(());
        };
        let members = fold.configuration_at(cursor.index);
        let members = members
            .map(|(_, known)| known.members())
            .unwrap_or_default();
        let could = |member: &Member| {
            let starts = self.starts.get(member);
            starts.is_some_and(|starts| starts.iter().any(|one| one.contains(version)))
        };
        match members.iter().find(|member| !could(member)) {
            None => Ok(()),
            Some(member) => Err(Found::new(
                "all-members-run-an-upgrade",
                format!("{member:?} never could run version {version}, which {cursor:?} begins"),
            )),
        }
    }
}

/// Looks at an operation before a replica carries it out.
pub(super) fn judge(versions: Versions, replica: &Replica, op: &StateOp) -> Result<(), Found> {
    let StateOp::Apply { entries, first, .. } = op else {
        return Ok(());
    };
    let mut version = space::machine_version(replica.tree());
    for entry in entries.iter() {
        version = entry.body.version_after(version);
        if entry.body.is_command() && !versions.contains(version) {
            return Err(Found::new(
                "nobody-runs-what-it-cannot",
                format!("{versions} applies version {version} at or after {first:?}"),
            ));
        }
    }
    Ok(())
}

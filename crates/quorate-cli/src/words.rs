//! How things are called when people read them.

use quorate::{GroupStatus, Role};

/// What an acknowledged write survives.
pub(crate) const DURABILITY: &str = "memory: survives while a majority keeps running";

/// Returns what a peer is in its group, in one word.
pub(crate) fn role(status: &GroupStatus) -> &'static str {
    if status.is_learner() {
        return "learner";
    }
    if !status.is_voter() {
        return "joiner";
    }
    match status.role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// Says why a group cannot decide, if it cannot.
pub(crate) fn standstill(_status: &GroupStatus) -> Option<String> {
    None
}

/// Shortens a peer's id for people, unless they want all of it.
pub(crate) fn id(id: &str, full: bool) -> &str {
    if full { id } else { id.get(..10).unwrap_or(id) }
}

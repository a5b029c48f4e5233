//! What a peer keeps is bounded.

use quorate_core::{GroupProfile, GroupView, limits};

use super::Found;

/// Looks at one peer.
pub(crate) fn observe(view: &GroupView<'_>) -> Result<(), Found> {
    let one = [
        (
            "bytes of uncommitted entries",
            view.uncommitted_bytes,
            // The entry that reaches the limit may be the largest one.
            limits::UNCOMMITTED_BYTES + limits::COMMAND + 64,
        ),
        ("waiting requests", view.waiting, limits::WAITING),
        ("snapshots", view.snapshots.len(), limits::SNAPSHOTS),
        (
            "learners",
            view.configuration.learners.len(),
            limits::LEARNERS,
        ),
        (
            "voters of a half",
            view.configuration
                .voters
                .len()
                .max(view.configuration.outgoing.len()),
            limits::VOTERS,
        ),
    ];
    for (what, has, limit) in one {
        if has > limit {
            return Err(Found::new(
                "bounded",
                format!("{has} {what}, where {limit} is the limit"),
            ));
        }
    }
    Ok(())
}

/// Looks at one peer that has had nothing to do for longer than any snapshot lives.
pub(crate) fn observe_idle(view: &GroupView<'_>, profile: &GroupProfile) -> Result<(), Found> {
    let applied = view.applied.index.since(view.base.index);
    // Pruning in strides is fine; keeping a whole reserve too much is not.
    let most = profile.reserve_entries.saturating_mul(2) + 64;
    if !profile.keep_log && applied > most {
        return Err(Found::new(
            "bounded",
            format!(
                "{applied} applied entries in an idle log, with a reserve of {}",
                profile.reserve_entries
            ),
        ));
    }
    if view.waiting > 0 {
        return Err(Found::new(
            "bounded",
            format!("{} requests still wait", view.waiting),
        ));
    }
    Ok(())
}

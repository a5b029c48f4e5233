//! What a peer keeps is bounded.

use quorate_core::{GroupProfile, GroupView, limits};

use super::Found;

/// Looks at one peer.
pub(crate) fn observe(view: &GroupView<'_>) -> Result<(), Found> {
    let configuration = view.configuration;
    let half = configuration.voters.len().max(configuration.outgoing.len());
    // The entry that reaches the limit may be the largest one.
    let uncommitted = limits::UNCOMMITTED_BYTES + limits::COMMAND + 64;
    let snapshots = view.snapshots().len();
    let sound = view.uncommitted_bytes <= uncommitted
        && view.waiting <= limits::WAITING
        && snapshots <= limits::SNAPSHOTS
        && configuration.learners.len() <= limits::LEARNERS
        && half <= limits::VOTERS;
    if sound {
        return Ok(());
    }
    let all = [
        (
            "bytes of uncommitted entries",
            view.uncommitted_bytes,
            uncommitted,
        ),
        ("waiting requests", view.waiting, limits::WAITING),
        ("snapshots", snapshots, limits::SNAPSHOTS),
        ("learners", configuration.learners.len(), limits::LEARNERS),
        ("voters of a half", half, limits::VOTERS),
    ];
    let beyond = all.into_iter().find(|(_, has, limit)| has > limit);
    let (what, has, limit) = beyond.expect("one of them was beyond its limit");
    let detail = format!("{has} {what}, where {limit} is the limit");
    Err(Found::new("bounded", detail))
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

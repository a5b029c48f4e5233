//! What a peer keeps is bounded.

use quorate_core::{GroupProfile, GroupView, Role, Term, limits};

use super::Found;

/// What one start of a peer began to lead with.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    /// The term that it leads in, and the bytes of entries without a commit that it began with.
    led: Option<(Term, usize)>,
}

impl Bounds {
    /// Looks at one peer.
    pub(crate) fn observe(&mut self, view: &GroupView<'_>) -> Result<(), Found> {
        let term = view.ballot.term;
        self.led = (view.role == Role::Leader).then(|| {
            let begun = self.led.filter(|(led, _)| *led == term);
            begun.unwrap_or((term, view.uncommitted_bytes))
        });
        // How far a log is committed is not in it: a leader that has not heard of a commit since
        // it was started counts all that its log held.
        let has_heard = view.commit > view.base.index;
        let recovered = self.led.map_or(0, |(_, bytes)| bytes);
        judge(view, if has_heard { 0 } else { recovered })
    }
}

/// Looks at one peer that began to lead with so many bytes of which it knows no commit.
pub(crate) fn judge(view: &GroupView<'_>, recovered: usize) -> Result<(), Found> {
    let configuration = view.configuration;
    let half = configuration.voters.len().max(configuration.outgoing.len());
    // The entry that reaches the limit may be the largest one.
    let uncommitted = limits::UNCOMMITTED_BYTES.max(recovered) + limits::COMMAND + 64;
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

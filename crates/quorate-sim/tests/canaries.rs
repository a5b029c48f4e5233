//! Planted bugs: the simulator finds them, and the book tells all of them.
#![allow(clippy::unwrap_used)] // All of it is tests.

use quorate_sim::{Canary, Family, family_of, hunt, planted};

/// Peers and simulated seconds of a short seed.
const SHORT: (usize, u64) = (5, 20);

#[test]
fn a_planted_bug_is_found_by_the_invariant_that_it_breaks() {
    for (canary, invariant) in [
        (Canary::AckBeforeSync, "promise-after-sync"),
        (Canary::TermNotWritten, "promise-after-sync"),
        (Canary::FigureEight, "commits-its-own-term"),
        (Canary::QuorumOffByOne, "committed-on-a-quorum"),
        (Canary::DamageIsTornTail, "synced-is-recovered"),
        (
            Canary::InstallKeepsConfiguration,
            "configuration-is-the-logs-latest",
        ),
        (Canary::NatsLazyFsync, "synced-is-recovered"),
    ] {
        let hunt = hunt(canary, family_of(canary), 0, 20, SHORT);
        let report = hunt.caught.unwrap();
        assert_eq!(report.violations[0].invariant, invariant, "{canary:?}");
        assert_eq!(report.bug, Some(canary));
        assert!(report.replay.ends_with(canary.name()));
    }
}

#[test]
fn a_scenario_differs_from_one_without_the_bug_only_by_the_bug() {
    let with = planted(Canary::Etcd20418, Family::PauseReads, 7, SHORT);
    let mut without = planted(Canary::Etcd20418, Family::PauseReads, 7, SHORT);
    assert_eq!(with, without);
    without.bug = None;
    assert_eq!(without, Family::PauseReads.draw(7, SHORT.0, SHORT.1));
}

#[test]
fn the_book_tells_each_story_once() {
    let book = include_str!("../../../book/src/canaries.md");
    let flat = book.split_whitespace().collect::<Vec<_>>().join(" ");
    for canary in Canary::ALL {
        let name = match canary.link() {
            Some(link) => format!("[`{}`]({link})", canary.name()),
            None => format!("`{}`", canary.name()),
        };
        let row = format!("| {name} | {} |", canary.story());
        assert_eq!(flat.matches(&row).count(), 1, "{row}");
    }
}

//! Planted bugs of the explored parts, and the exploration that finds each.
//!
//! The explorer is measured as the simulator is: a bug that it does not find says that an invariant
//! or a bound is missing. Each is planted within bounds in which nothing is found without it.
//!
//! Others are out of its reach, and left to the simulator: what needs a frame that outlives its
//! link (`raft-rs-571`), a tree of many chunks (`mixed-anchors`), or more peers that restore than
//! one (`cockroach-87581`, `cut-past-the-marker`).

use quorate_core::canary::Canary;

use super::{
    action::Bounds,
    explorations::{ORDERLY, one_crash, wakes},
};

/// A planted bug, and where it is found.
#[derive(Clone, Copy, Debug)]
pub struct Planting {
    /// The bug.
    pub bug: Canary,
    /// The name of the exploration.
    pub exploration: &'static str,
    /// The bounds within which it is found.
    pub bounds: Bounds,
    /// Which invariant it breaks there first.
    pub invariant: &'static str,
}

const fn planting(
    bug: Canary,
    exploration: &'static str,
    bounds: Bounds,
    invariant: &'static str,
) -> Planting {
    Planting {
        bug,
        exploration,
        bounds,
        invariant,
    }
}

const WRITES: Bounds = Bounds {
    writes: 1,
    ..wakes([0, 0, 1])
};

const CRASHES: Bounds = one_crash([0, 0, 1]);

const LEADER_CRASHES: Bounds = one_crash([1, 0, 0]);

const WIPES: Bounds = Bounds {
    wipes: 1,
    ..ORDERLY
};

const TWO_LIVES_LOST: Bounds = Bounds {
    wipes: 1,
    ..wakes([1, 0, 0])
};

/// In the order of the parts: formation, joint changes, replacing a voter, leaving, install,
/// dissolve.
pub(super) const PLANTINGS: [Planting; 16] = {
    use Canary::*;
    let quorum = "committed-on-a-quorum";
    let ended = "dissolved-by-its-own-log";
    [
        planting(FounderBySight, "unasked", wakes([3, 3, 0]), "one-history"),
        planting(
            FollowedGenesisDropped,
            "replacement",
            TWO_LIVES_LOST,
            "followed-stays",
        ),
        planting(VoteBeforeSync, "formation", ORDERLY, "promise-after-sync"),
        planting(TermNotWritten, "rivals", ORDERLY, "promise-after-sync"),
        planting(JointAsUnion, "rivals", ORDERLY, quorum),
        planting(VisibleQuorum, "rivals", ORDERLY, quorum),
        planting(RaftSingleServer2015, "rivals", ORDERLY, "changes-overlap"),
        planting(LearnersCount, "replacement", wakes([1, 0, 0]), quorum),
        planting(RemovedIsSilent, "departure", LEADER_CRASHES, "comes-back"),
        planting(KeyIsIdentity, "formation", WIPES, "comes-back"),
        planting(
            InstallKeepsConfiguration,
            "install",
            WIPES,
            "configuration-is-the-logs-latest",
        ),
        planting(StagedIsAcked, "install", WIPES, "promise-after-sync"),
        planting(ClientTableDropped, "install", ORDERLY, "state-machine"),
        planting(UsedDissolves, "refuge", WRITES, ended),
        planting(DissolvedWhenProposed, "refuge", WRITES, ended),
        planting(TombstoneForgotten, "refuge", CRASHES, "buried-for-good"),
    ]
};

//! The hunt for planted bugs: which family of scenarios leads to each, and what it cost to find.
//!
//! This measures the simulator, not the code under test. A canary that is not caught within its
//! budget says that a checker, a fault or a draw is missing; the bug is never made cruder for it.
//! A seed in which something is wrong without the bug too shows nothing of it, and does not count.

use quorate_core::Canary;

use crate::{
    families::Family,
    run::{Report, run_scenario},
    scenario::Scenario,
    trace::Keep,
};

/// What became of the hunt for one canary from one starting seed.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The canary.
    pub canary: Canary,
    /// How the scenarios were drawn.
    pub family: Family,
    /// How many seeds were run.
    pub seeds: u64,
    /// The run that found it; nothing if the budget was spent.
    pub caught: Option<Report>,
}

/// Returns the family of scenarios that leads to a canary.
pub fn family_of(canary: Canary) -> Family {
    match canary {
        Canary::RaftRs571 => Family::Rejoin,
        Canary::Etcd20418 => Family::PauseReads,
        Canary::RaftSingleServer2015 => Family::Churn,
        Canary::RemovedIsSilent => Family::OneSeat,
        Canary::Cockroach87581 | Canary::MixedAnchors => Family::Lagging,
        Canary::Openraft1960 => Family::LossyDisk,
        Canary::UsedDissolves => Family::Meeting,
        _ => Family::General,
    }
}

/// Peers and simulated seconds of a short seed.
pub const SHORT: (usize, u64) = (5, 20);

/// Short seeds that a hunt may take.
pub const BUDGET: u64 = 2_000;

/// Draws the scenario of `seed` for a canary, with the canary planted in every peer.
pub fn planted(canary: Canary, family: Family, seed: u64, size: (usize, u64)) -> Scenario {
    Scenario {
        bug: Some(canary),
        ..family.draw(seed, size.0, size.1)
    }
}

/// Runs seeds from `from` on with `canary` planted, at most `budget`, until one finds it.
///
/// `size` is the number of peers, and of simulated seconds of each seed.
pub fn hunt(canary: Canary, family: Family, from: u64, budget: u64, size: (usize, u64)) -> Hunt {
    let mut hunt = Hunt {
        canary,
        family,
        seeds: 0,
        caught: None,
    };
    while hunt.seeds < budget && hunt.caught.is_none() {
        let seed = from + hunt.seeds;
        let report = run_scenario(planted(canary, family, seed, size), size.1, Keep::Nothing);
        hunt.seeds += 1;
        let shows = !report.violations.is_empty() && is_clean(family, seed, size);
        hunt.caught = Some(report).filter(|_| shows);
    }
    hunt
}

/// Tells whether nothing is wrong in a scenario with nothing planted.
fn is_clean(family: Family, seed: u64, (nodes, seconds): (usize, u64)) -> bool {
    let report = run_scenario(family.draw(seed, nodes, seconds), seconds, Keep::Nothing);
    report.violations.is_empty()
}

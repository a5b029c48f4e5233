//! Families: named ways of drawing a scenario from a seed.
//!
//! Most bugs are found by the wide draw of [`Scenario::draw`]. A few need a course of events that
//! it reaches once in many thousand seeds; for those a family narrows the draw to what leads there
//! and leaves the rest to the seed. A family knows nothing of the bug: it is a kind of weather, and
//! every invariant holds in it.

use std::time::Duration;

use quorate_core::Form;

use crate::{
    apart::Apart,
    dice::{Dice, Span},
    fault::{Fault, FaultKind},
    network::Weather,
    operation::OperationPlan,
    scenario::{Scenario, Storage},
    swarm::Features,
};

/// A way of drawing scenarios.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Everything, as [`Scenario::draw`] does.
    General,
    /// Peers without memory die and are back at once, as others, while what their former selves
    /// sent is still held up on cut ways.
    Rejoin,
    /// Leaders stand still for about an election timeout while many read, and answers are late.
    PauseReads,
    /// Voters come and go while ways are cut: the membership changes under changing leaders.
    Churn,
    /// One voter alone, and its seat goes on and on to somebody else, while ways are cut.
    OneSeat,
    /// Followers fall behind a short log again and again, and restore while leaders change.
    Lagging,
    /// Disks that report what is done out of order and late, and crashes.
    LossyDisk,
    /// Two parts that found apart, and meet about when clients begin.
    Meeting,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::General,
        Self::Rejoin,
        Self::PauseReads,
        Self::Churn,
        Self::OneSeat,
        Self::Lagging,
        Self::LossyDisk,
        Self::Meeting,
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Rejoin => "rejoin",
            Self::PauseReads => "pause-reads",
            Self::Churn => "churn",
            Self::OneSeat => "one-seat",
            Self::Lagging => "lagging",
            Self::LossyDisk => "lossy-disk",
            Self::Meeting => "meeting",
        }
    }

    /// Draws the scenario of `seed` for `nodes` peers and `seconds` simulated seconds.
    pub fn draw(self, seed: u64, nodes: usize, seconds: u64) -> Scenario {
        let mut scenario = Scenario::draw(seed, nodes, seconds);
        let mut dice = Dice::new(seed, self.name(), 0);
        match self {
            Self::General => return scenario,
            Self::Rejoin => rejoin(&mut scenario, &mut dice),
            Self::PauseReads => pause_reads(&mut scenario, &mut dice),
            Self::Churn => churn(&mut scenario, &mut dice),
            Self::OneSeat => one_seat(&mut scenario, &mut dice),
            Self::Lagging => lagging(&mut scenario, &mut dice),
            Self::LossyDisk => lossy_disk(&mut scenario, &mut dice),
            Self::Meeting => meeting(&mut scenario, &mut dice),
        }
        scenario.faults.sort_by_key(|fault| fault.at);
        scenario
    }
}

fn millis(dice: &mut Dice, low: u64, high: u64) -> Duration {
    Duration::from_millis(dice.scaled(low, high))
}

/// Adds faults of one kind from `from` on: each `draw` makes one, every `every` on average.
fn add(
    scenario: &mut Scenario,
    dice: &mut Dice,
    every: Duration,
    mut draw: impl FnMut(&mut Dice, Duration) -> Vec<(Duration, FaultKind)>,
) {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut at = Duration::from_millis(dice.below(2 * every));
    while at < scenario.safety {
        let drawn = draw(dice, at).into_iter();
        let within = drawn.filter(|(at, _)| *at < scenario.safety);
        scenario
            .faults
            .extend(within.map(|(at, kind)| Fault { at, kind }));
        at += Duration::from_millis(dice.between(1, 2 * every));
    }
}

/// Adds faults of the kind called `name` as they are drawn anywhere, every `every` on average.
fn add_named(scenario: &mut Scenario, dice: &mut Dice, name: &str, every: Duration) {
    let peers = scenario.peers.len();
    add(scenario, dice, every, |dice, at| {
        vec![(at, FaultKind::draw(name, peers, dice))]
    });
}

/// Peers that find each other fast, on links that outlast a short cut.
fn brisk(scenario: &mut Scenario, dice: &mut Dice) {
    let network = &mut scenario.network;
    network.discovery = Span::micros(500, dice.scaled(1_000, 20_000));
    network.dial_timeout = Span::micros(20_000, 100_000);
    network.idle = Span::micros(1_500_000, 3_000_000);
}

/// Single frames that are late by up to a second or two, as if they had waited somewhere.
fn late_frames(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.network.weather = Weather {
        loss: 0,
        duplication: dice.scaled(10_000, 400_000) as u32,
        reordering: dice.scaled(50_000, 500_000) as u32,
        lateness: Span::micros(20_000, dice.scaled(100_000, 1_500_000)),
    };
}

/// The first `founders` peers found together, the others join, all at once.
fn found_together(scenario: &mut Scenario, founders: usize) {
    for (number, peer) in scenario.peers.iter_mut().enumerate() {
        let form = match number {
            number if number < founders => Form::Expect(founders),
            _ => Form::Join,
        };
        (peer.form, peer.again) = (form, form);
        peer.start = Duration::from_millis(number as u64);
    }
    scenario.profile.voters = scenario.profile.voters.max(founders);
}

fn rejoin(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.storage = Storage::Memory;
    scenario.profile.keep_log = false;
    scenario.faults.clear();
    brisk(scenario, dice);
    found_together(scenario, 3);
    scenario.profile.voters = 3;
    late_frames(scenario, dice);
    let peers = scenario.peers.len();
    let every = millis(dice, 200, 1_000);
    add(scenario, dice, every, |dice, at| {
        let one = dice.index(peers);
        let other = (one + 1 + dice.index(peers.saturating_sub(1).max(1))) % peers;
        let lasts = millis(dice, 200, 1_200);
        let dies = at + millis(dice, 1, 20);
        let away = millis(dice, 1, 50);
        vec![
            (at, FaultKind::Apart { one, other, lasts }),
            (dies, FaultKind::Crash { peer: one, away }),
        ]
    });
}

fn pause_reads(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.faults.clear();
    brisk(scenario, dice);
    let founders = if dice.coin() { 3 } else { 5 };
    found_together(scenario, founders.min(scenario.peers.len()));
    late_frames(scenario, dice);
    let peers = scenario.peers.len();
    scenario.operations =
        OperationPlan::reading(dice).operations(peers, scenario.safety, scenario.seed);
    let every = millis(dice, 500, 2_000);
    add(scenario, dice, every, |dice, at| {
        let (peer, lasts) = (dice.index(peers), millis(dice, 100, 1_000));
        vec![(at, FaultKind::Pause { peer, lasts })]
    });
    let every = millis(dice, 500, 1_500);
    add(scenario, dice, every, |dice, at| {
        let (side, lasts) = (vec![dice.index(peers)], millis(dice, 300, 1_500));
        vec![(at, FaultKind::Partition { side, lasts })]
    });
}

fn churn(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.faults.clear();
    brisk(scenario, dice);
    let founders = [3, 4, 5][dice.index(3)];
    found_together(scenario, founders.min(scenario.peers.len()));
    scenario.profile.voters = 5;
    scenario.profile.replace_after = millis(dice, 300, 2_000);
    let peers = scenario.peers.len();
    let every = millis(dice, 300, 2_000);
    add(scenario, dice, every, |dice, at| {
        let (peer, away) = (dice.index(peers), millis(dice, 1, 300));
        let patience = millis(dice, 200, 2_000);
        vec![(
            at,
            FaultKind::Leave {
                peer,
                away,
                patience,
            },
        )]
    });
    for name in ["partition", "apart", "deaf"] {
        let every = millis(dice, 200, 2_000);
        add(scenario, dice, every, |dice, at| {
            let mut kind = FaultKind::draw(name, peers, dice);
            if let FaultKind::Partition { lasts, .. }
            | FaultKind::Apart { lasts, .. }
            | FaultKind::Deaf { lasts, .. } = &mut kind
            {
                *lasts = millis(dice, 50, 2_000);
            }
            vec![(at, kind)]
        });
    }
    if dice.coin() {
        let every = millis(dice, 500, 3_000);
        add(scenario, dice, every, |dice, at| {
            let (peer, away) = (dice.index(peers), millis(dice, 1, 500));
            vec![(at, FaultKind::Crash { peer, away })]
        });
    }
}

fn one_seat(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.faults.clear();
    brisk(scenario, dice);
    found_together(scenario, 1);
    scenario.profile.voters = 1;
    let peers = scenario.peers.len();
    let every = millis(dice, 1_000, 3_000);
    add(scenario, dice, every, |dice, at| {
        let leave = |dice: &mut Dice, at, peer| {
            let (away, patience) = (millis(dice, 1, 300), millis(dice, 500, 4_000));
            let kind = FaultKind::Leave {
                peer,
                away,
                patience,
            };
            (at, kind)
        };
        let first = dice.index(peers);
        let mut faults = vec![leave(dice, at, first)];
        // Those whom the seat may go to want to go, too, a little later.
        let then = at + millis(dice, 20, 500);
        let others = (0..peers).filter(|peer| *peer != first);
        faults.extend(others.map(|peer| leave(dice, then, peer)));
        let cut = then + millis(dice, 200, 1_600);
        let (side, lasts) = (vec![first], millis(dice, 300, 2_000));
        faults.push((cut, FaultKind::Partition { side, lasts }));
        faults
    });
}

fn lagging(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.storage = Storage::Memory;
    scenario.faults.clear();
    brisk(scenario, dice);
    found_together(scenario, 3);
    let profile = &mut scenario.profile;
    profile.keep_log = false;
    profile.reserve_entries = dice.scaled(4, 32);
    profile.reserve_bytes = dice.scaled(1 << 10, 16 << 10);
    profile.replace_after = Duration::from_secs(10);
    let peers = scenario.peers.len();
    let every = millis(dice, 200, 1_500);
    add(scenario, dice, every, |dice, at| {
        let side = vec![dice.index(peers)];
        let lasts = millis(dice, 100, 1_500);
        vec![(at, FaultKind::Partition { side, lasts })]
    });
    for name in ["transfer", "apart"] {
        let every = millis(dice, 300, 3_000);
        add_named(scenario, dice, name, every);
    }
    if dice.coin() {
        let every = millis(dice, 500, 5_000);
        add_named(scenario, dice, "narrow", every);
    }
}

fn lossy_disk(scenario: &mut Scenario, dice: &mut Dice) {
    scenario.storage = Storage::Disk;
    scenario.profile.keep_log = true;
    let peers = scenario.peers.len();
    let every = millis(dice, 300, 3_000);
    add(scenario, dice, every, |dice, at| {
        vec![(at, FaultKind::draw("late-reports", peers, dice))]
    });
    let every = millis(dice, 1_000, 5_000);
    add_named(scenario, dice, "crash", every);
}

fn meeting(scenario: &mut Scenario, dice: &mut Dice) {
    let nodes = scenario.peers.len();
    if nodes < 2 {
        return;
    }
    scenario.faults.clear();
    scenario.apart = true;
    brisk(scenario, dice);
    let apart = Apart::draw_meeting(nodes, scenario.storage, scenario.safety, dice);
    let forms = apart.forms.iter().zip(&apart.again);
    for (peer, (form, again)) in scenario.peers.iter_mut().zip(forms) {
        (peer.form, peer.again) = (*form, *again);
        peer.start = millis(dice, 1, 300);
    }
    scenario.operations = OperationPlan::draw(&Features::all(), dice).operations(
        nodes,
        scenario.safety,
        scenario.seed,
    );
    apart.change(scenario);
    for name in ["apart", "crash"] {
        let every = millis(dice, 1_000, 10_000);
        add_named(scenario, dice, name, every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_draws_one_scenario_of_a_seed_and_faults_within_it_in_order() {
        for family in Family::ALL {
            for seed in 0..20 {
                let scenario = family.draw(seed, 5, 20);
                assert_eq!(scenario, family.draw(seed, 5, 20));
                assert!(scenario.faults.is_sorted_by_key(|fault| fault.at));
                let within = |fault: &Fault| fault.at < scenario.safety;
                assert!(scenario.faults.iter().all(within), "{}", family.name());
                assert_eq!(scenario.safety, Duration::from_secs(20));
                assert_eq!(scenario.bug, None);
            }
        }
    }
}

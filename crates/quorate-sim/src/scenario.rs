//! A scenario: everything that will be done to a cluster, as plain data drawn before the run.
//!
//! The run adds nothing of its own but the draws of [`crate::dice`], so a scenario can be changed
//! by hand (fewer peers, one fault less) and is still a scenario. Drawing is done in the swarm
//! style: each seed switches about half of the kinds of faults off and draws magnitudes on a log
//! scale, because a run with a little of everything reaches less than many runs with a lot of
//! something (Groce and others, *Swarm Testing*, 2012). One seed in ten has everything on, one in
//! ten nothing.

use std::time::Duration;

use quorate_core::{Canary, Form, GroupProfile};
use quorate_state::ClientLimits;
use serde::{Deserialize, Serialize};

use crate::{
    apart::Apart,
    dice::{Dice, Span},
    fault::{Fault, FaultKind},
    network::{NetworkPlan, Weather},
    operation::{Operation, OperationPlan},
};

/// What the peers of a cluster keep across a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// Nothing: a peer that comes back is another life.
    Memory,
    /// What was synced; what was not may be there, be torn, or be gone.
    Disk,
}

/// One peer of a scenario.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerPlan {
    /// When it is started, since the start of the run.
    pub start: Duration,
    /// How it opens the group when it is started for the first time.
    pub form: Form,
    /// How it opens the group when it is started again.
    pub again: Form,
    /// How much faster its monotonic clock runs, in parts of a million.
    pub drift: i32,
    /// How far its wall clock is ahead, in milliseconds.
    pub skew: i64,
    /// How long a step waits for the processor.
    pub step_delay: Span,
    /// How long a disk operation takes.
    pub disk_delay: Span,
    /// How long an operation on the state takes.
    pub state_delay: Span,
    /// Bytes of one segment file of its log.
    pub segment_bytes: u64,
}

/// Everything that will be done to a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The seed that it was drawn from, and from which the run draws.
    pub seed: u64,
    /// What peers keep across a crash.
    pub storage: Storage,
    /// How long the safety phase lasts.
    pub safety: Duration,
    /// The peers, by number.
    pub peers: Vec<PeerPlan>,
    /// Whether peers may found the group that do not see each other.
    #[serde(default)]
    pub apart: bool,
    /// The operational parameters of every peer.
    pub profile: GroupProfile,
    /// The limits of the client table, equal at all peers.
    pub client_limits: ClientLimits,
    /// The network.
    pub network: NetworkPlan,
    /// What goes wrong, in order of time.
    pub faults: Vec<Fault>,
    /// What the clients do, in order of time.
    pub operations: Vec<Operation>,
    /// The bug that is planted in every peer, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<Canary>,
}

impl Scenario {
    /// Draws the scenario of `seed` for `nodes` peers and `seconds` simulated seconds.
    pub fn draw(seed: u64, nodes: usize, seconds: u64) -> Self {
        let mut dice = Dice::new(seed, "scenario", 0);
        let nodes = nodes.max(1);
        let safety = Duration::from_secs(seconds);
        let storage = if dice.coin() {
            Storage::Memory
        } else {
            Storage::Disk
        };
        let mood = dice.below(10);
        let (forms, again) = draw_forms(nodes, storage, &mut Dice::new(seed, "forms", 0));
        let apart = Apart::draw(nodes, storage, safety, &mut Dice::new(seed, "apart", 0));
        let (forms, again) = match &apart {
            Some(apart) => (apart.forms.clone(), apart.again.clone()),
            None => (forms, again),
        };
        let peers = forms
            .into_iter()
            .zip(again)
            .enumerate()
            .map(|(number, (form, again))| {
                let mut dice = Dice::new(seed, "peer", number as u64);
                draw_peer(form, again, safety, &mut dice)
            })
            .collect();
        let network = draw_network(mood, &mut Dice::new(seed, "network", 0));
        let mut scenario = Self {
            seed,
            storage,
            safety,
            peers,
            apart: apart.is_some(),
            profile: draw_profile(storage, nodes, &mut Dice::new(seed, "profile", 0)),
            client_limits: draw_client_limits(&mut Dice::new(seed, "client limits", 0)),
            network,
            faults: draw_faults(mood, nodes, safety, seed),
            operations: OperationPlan::draw(&mut Dice::new(seed, "load", 0))
                .operations(nodes, safety, seed),
            bug: None,
        };
        if let Some(apart) = apart {
            apart.change(&mut scenario);
        }
        scenario
    }

    /// Makes a scenario without faults and operations, for tests that direct a run themselves:
    /// peers of `storage` with these forms, all started at once, on a good network.
    pub fn calm(seed: u64, storage: Storage, forms: &[Form]) -> Self {
        let peers = forms.iter().map(|form| PeerPlan::calm(*form)).collect();
        Self {
            seed,
            storage,
            safety: Duration::ZERO,
            peers,
            apart: false,
            profile: GroupProfile {
                keep_log: storage == Storage::Disk,
                ..quick_profile()
            },
            client_limits: ClientLimits::default(),
            network: NetworkPlan::calm(),
            faults: Vec::new(),
            operations: Vec::new(),
            bug: None,
        }
    }
}

impl PeerPlan {
    /// A peer with good clocks and a fast disk, started at once.
    pub fn calm(form: Form) -> Self {
        Self {
            start: Duration::ZERO,
            form,
            again: if form == Form::Alone {
                Form::Join
            } else {
                form
            },
            drift: 0,
            skew: 0,
            step_delay: Span::micros(1, 20),
            disk_delay: Span::micros(50, 500),
            state_delay: Span::micros(1, 50),
            segment_bytes: 4 << 20,
        }
    }
}

impl NetworkPlan {
    /// A network in which nothing goes wrong.
    pub fn calm() -> Self {
        Self {
            delay: Span::micros(50, 500),
            rate: 100 << 20,
            idle: Span::micros(1_000_000, 2_000_000),
            dial_timeout: Span::micros(100_000, 500_000),
            discovery: Span::micros(1_000, 50_000),
            weather: Weather::FAIR,
        }
    }
}

/// The profile for one machine, with the waits of state sync cut down: simulated time is not free.
fn quick_profile() -> GroupProfile {
    GroupProfile {
        replace_after: Duration::from_secs(3),
        snapshot_ttl: Duration::from_secs(3),
        request_timeout: Duration::from_secs(3),
        fetch_timeout: Duration::from_secs(1),
        ..GroupProfile::lan()
    }
}

fn draw_profile(storage: Storage, nodes: usize, dice: &mut Dice) -> GroupProfile {
    let millis = |dice: &mut Dice, low, high| Duration::from_millis(dice.scaled(low, high));
    let voters = [1, 3, 5, 5];
    let mut profile = GroupProfile {
        voters: voters[dice.index(voters.len())],
        replace_after: millis(dice, 1_000, 10_000),
        reserve_entries: dice.scaled(8, 8_192),
        reserve_bytes: dice.scaled(4 << 10, 8 << 20),
        snapshot_ttl: millis(dice, 300, 10_000),
        batch_items: dice.scaled(4, 2_000),
        batch_bytes: dice.scaled(1 << 10, 1 << 20),
        request_timeout: millis(dice, 1_000, 5_000),
        fetch_timeout: millis(dice, 200, 2_000),
        keep_log: storage == Storage::Disk,
        ..GroupProfile::lan()
    };
    if nodes > 2 && profile.voters == 1 && dice.coin() {
        profile.voters = 3;
    }
    profile
}

/// Draws the limits of the client table: in half of the runs those of real groups, which a short
/// run hardly reaches, else small ones.
fn draw_client_limits(dice: &mut Dice) -> ClientLimits {
    if dice.coin() {
        return ClientLimits::default();
    }
    let window = dice.scaled(1, 64);
    let bytes = dice.scaled(32, 16 << 10);
    let idle_time = dice.scaled(50, 5_000);
    ClientLimits {
        clients: dice.scaled(1, 8),
        window,
        numbers: window * dice.between(1, 4),
        bytes,
        client_bytes: bytes / dice.between(1, 3),
        idle_entries: dice.scaled(4, 400),
        idle_time,
        step: (idle_time / dice.between(2, 16)).max(1),
        sweep: dice.scaled(1, 64),
    }
}

fn draw_network(mood: u64, dice: &mut Dice) -> NetworkPlan {
    let quickest = dice.scaled(20, 5_000);
    let idle = dice.scaled(300_000, 3_000_000);
    let dial = dice.scaled(50_000, 2_000_000);
    let found = dice.scaled(1_000, 1_000_000);
    // A third of the runs has links that do what QUIC's do; the others lose single frames all the
    // time.
    let weather = if mood == 1 || dice.below(3) == 0 {
        Weather::FAIR
    } else {
        let mild = Weather::draw(dice);
        Weather {
            loss: mild.loss / 4,
            duplication: mild.duplication / 4,
            reordering: mild.reordering / 4,
            lateness: Span {
                low: mild.lateness.low,
                high: mild.lateness.high.min(500_000_000),
            },
        }
    };
    NetworkPlan {
        delay: Span::micros(quickest, quickest * dice.between(1, 5)),
        rate: dice.scaled(1 << 20, 1 << 30),
        idle: Span::micros(idle, idle + idle / 2),
        dial_timeout: Span::micros(dial / 2, dial),
        discovery: Span::micros(found / 10, found),
        weather,
    }
}

/// Draws who founds the group, and how each peer opens it at later starts.
fn draw_forms(nodes: usize, storage: Storage, dice: &mut Dice) -> (Vec<Form>, Vec<Form>) {
    let founders = [1, 2, 3, 5][dice.index(4)].min(nodes);
    let alone = founders == 1 || dice.below(4) == 0;
    if dice.below(5) == 0 {
        // Nobody says anything: a lock picks the founder, at the first start and at every other.
        let forms = vec![Form::Auto { locked: true }; nodes];
        return (forms.clone(), forms);
    }
    let first: Vec<Form> = (0..nodes)
        .map(|number| match number {
            0 if alone => Form::Alone,
            number if !alone && number < founders => Form::Expect(founders),
            _ => Form::Join,
        })
        .collect();
    // A memory peer that is started again has forgotten that it founded the group; told to found
    // it alone once more, it would.
    let again = first
        .iter()
        .map(|form| match form {
            Form::Alone if storage == Storage::Memory => Form::Join,
            form => *form,
        })
        .collect();
    (first, again)
}

fn draw_peer(form: Form, again: Form, safety: Duration, dice: &mut Dice) -> PeerPlan {
    let latest = match form {
        // Founders at any time and in any order; joiners also in the middle of the run.
        Form::Alone => 0,
        Form::Expect(_) | Form::Auto { .. } => 2_000,
        Form::Join => u64::try_from(safety.as_millis() / 2).unwrap_or(u64::MAX),
    };
    let slowest = dice.scaled(10, 500);
    let sync = dice.scaled(20, 20_000);
    PeerPlan {
        start: Duration::from_millis(dice.below(latest + 1)),
        form,
        again,
        drift: dice.scaled(0, 50_000) as i32 * if dice.coin() { 1 } else { -1 },
        skew: dice.scaled(0, 100_000_000) as i64 * if dice.coin() { 1 } else { -1 },
        step_delay: Span::micros(1, slowest),
        disk_delay: Span::micros(sync / 4, sync),
        state_delay: Span::micros(1, dice.scaled(2, 2_000)),
        segment_bytes: dice.scaled(4 << 10, 4 << 20),
    }
}

fn draw_faults(mood: u64, nodes: usize, safety: Duration, seed: u64) -> Vec<Fault> {
    if mood == 1 || safety.is_zero() {
        return Vec::new();
    }
    let mut which = Dice::new(seed, "fault kinds", 0);
    let mut faults = Vec::new();
    for (number, name) in FaultKind::NAMES.into_iter().enumerate() {
        // Drawn whether used or not, so that the kinds do not depend on each other.
        let on = which.coin() || mood == 0;
        let mut dice = Dice::new(seed, "faults", number as u64);
        // On average one of a kind in 0.7 to 60 seconds.
        let every = dice.scaled(700, 60_000);
        if !on {
            continue;
        }
        let whole = u64::try_from(safety.as_millis()).unwrap_or(u64::MAX);
        let mut at = dice.below(2 * every);
        while at < whole {
            faults.push(Fault {
                at: Duration::from_millis(at),
                kind: FaultKind::draw(name, nodes, &mut dice),
            });
            at += dice.between(1, 2 * every);
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_scenario() {
        let scenario = Scenario::draw(7, 5, 20);
        assert_eq!(scenario, Scenario::draw(7, 5, 20));
        assert_ne!(scenario.faults, Scenario::draw(8, 5, 20).faults);
    }

    #[test]
    fn scenarios_differ_in_what_they_do() {
        let scenarios: Vec<Scenario> = (0..100).map(|seed| Scenario::draw(seed, 5, 30)).collect();
        let count = |wanted: &dyn Fn(&Scenario) -> bool| {
            scenarios.iter().filter(|scenario| wanted(scenario)).count()
        };
        let quiet = count(&|scenario| scenario.faults.is_empty());
        assert!((1..40).contains(&quiet), "{quiet} of 100 without faults");
        for name in FaultKind::NAMES {
            let with = count(&|scenario| {
                scenario
                    .faults
                    .iter()
                    .any(|fault| fault.kind.name() == name)
            });
            assert!((15..90).contains(&with), "{with} of 100 with {name}");
        }
        let memory = count(&|scenario| scenario.storage == Storage::Memory);
        assert!((30..70).contains(&memory), "{memory} of 100 in memory");
        assert!(count(&|scenario| scenario.peers[0].form == Form::Alone) > 10);
        assert!(count(&|scenario| scenario.peers[0].form == Form::Expect(3)) > 10);
        let auto = Form::Auto { locked: true };
        assert!(count(&|scenario| scenario.peers[0].form == auto) > 10);
    }

    #[test]
    fn every_peer_and_fault_starts_within_the_run() {
        for seed in 0..50 {
            for nodes in 1..8 {
                let scenario = Scenario::draw(seed, nodes, 10);
                assert_eq!(scenario.peers.len(), nodes);
                let within = |at: Duration| at < scenario.safety + Duration::from_secs(1);
                assert!(scenario.peers.iter().all(|peer| within(peer.start)));
                assert!(scenario.faults.iter().all(|fault| within(fault.at)));
                assert!(scenario.faults.is_sorted_by_key(|fault| fault.at));
            }
        }
    }
}

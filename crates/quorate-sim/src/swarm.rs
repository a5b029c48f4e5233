//! Draws scenarios from seeds, in the swarm style.
//!
//! Each seed switches about half of the kinds of faults and half of the features off and draws
//! magnitudes on a log scale: a run with a little of everything reaches less than many runs with a
//! lot of something (Groce and others, *Swarm Testing*, 2012), because one kind hides what another
//! would show. One seed in ten has everything on, one in ten no faults, so that what is slow or
//! stuck by itself shows; one in ten is *lite*: links as QUIC's are, real limits, and a single kind
//! of fault.
//!
//! Every draw has its own dice, by what it is for, and is made whether it is used or not: a switch
//! that goes off does not re-roll anything else.

use std::{collections::BTreeSet, time::Duration};

use quorate_core::{Canary, Form, GroupProfile, Versions};
use quorate_state::ClientLimits;

use crate::{
    apart::Apart,
    broken::{self, StaysBroken},
    canaries::{family_of, planted},
    dice::{Dice, Span},
    fault::{Fault, FaultKind},
    network::{NetworkPlan, Weather},
    operation::OperationPlan,
    scenario::{PeerPlan, Scenario, Storage},
};

/// What seeds are drawn for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drawing {
    /// How many peers there are.
    pub nodes: usize,
    /// How many simulated seconds the safety phase lasts.
    pub seconds: u64,
    /// Which kinds of faults there are.
    pub faults: Kinds,
    /// The bug that is planted; it selects the family of scenarios that leads to it.
    pub bug: Option<Canary>,
}

/// Which kinds of faults a scenario has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Kinds {
    /// Those that the seed switches on, of all.
    #[default]
    Swarm,
    /// These, by name, whatever the seed says; they do what they would do among all.
    Only(BTreeSet<&'static str>),
}

impl Drawing {
    /// Draws from all kinds of faults.
    pub fn new(nodes: usize, seconds: u64) -> Self {
        Self {
            nodes,
            seconds,
            faults: Kinds::Swarm,
            bug: None,
        }
    }
}

impl Kinds {
    /// No kind of fault.
    pub fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// The kinds of these names, of [`FaultKind::NAMES`].
    pub fn only(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self::Only(names.into_iter().collect())
    }
}

/// What a seed is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Everything,
    NoFaults,
    Lite,
    Swarm,
}

/// Everything beside faults that a seed switches on or off.
pub(crate) const FEATURES: [&str; 15] = [
    "named-clients",
    "linearizable-reads",
    "local-reads",
    "exchanges",
    "removes",
    "large-values",
    "bursts",
    "short-logs",
    "small-batches",
    "small-client-table",
    "weather",
    "clock-drift",
    "slow-disks",
    "late-joiners",
    "upgrades",
];

/// What a lite run still has: something to read, and clients that repeat.
const LITE: [&str; 3] = ["named-clients", "linearizable-reads", "local-reads"];

/// When a joiner starts at the latest, where none comes late.
const EARLY: Duration = Duration::from_secs(1);

/// The features that are on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Features(BTreeSet<&'static str>);

impl Features {
    fn draw(mood: Mood, seed: u64) -> Self {
        let on = |(number, name): (usize, &&'static str)| {
            let coin = Dice::new(seed, "features", number as u64).coin();
            match mood {
                Mood::Everything => true,
                Mood::Lite => LITE.contains(name),
                Mood::NoFaults => coin && *name != "weather",
                Mood::Swarm => coin,
            }
        };
        let names = FEATURES.iter().enumerate().filter(|one| on(*one));
        Self(names.map(|(_, name)| *name).collect())
    }

    /// Turns everything on.
    pub(crate) fn all() -> Self {
        Self(FEATURES.into_iter().collect())
    }

    /// Tells whether one is on.
    pub(crate) fn has(&self, name: &'static str) -> bool {
        self.0.contains(name)
    }
}

impl Scenario {
    /// Draws the scenario of `seed` for `nodes` peers and `seconds` simulated seconds.
    pub fn draw(seed: u64, nodes: usize, seconds: u64) -> Self {
        Self::draw_for(seed, &Drawing::new(nodes, seconds))
    }

    /// Draws the scenario of `seed` for a drawing.
    pub fn draw_for(seed: u64, drawing: &Drawing) -> Self {
        if let Some(bug) = drawing.bug {
            let size = (drawing.nodes, drawing.seconds);
            let mut scenario = planted(bug, family_of(bug), seed, size);
            if let Kinds::Only(names) = &drawing.faults {
                let listed = |fault: &Fault| names.contains(fault.kind.name());
                scenario.faults.retain(listed);
            }
            return scenario;
        }
        let mut dice = Dice::new(seed, "scenario", 0);
        let nodes = drawing.nodes.max(1);
        let safety = Duration::from_secs(drawing.seconds);
        let storage = if dice.coin() {
            Storage::Memory
        } else {
            Storage::Disk
        };
        let mood = match dice.below(10) {
            0 => Mood::Everything,
            1 => Mood::NoFaults,
            2 => Mood::Lite,
            _ => Mood::Swarm,
        };
        let on = Features::draw(mood, seed);
        let (forms, again) = draw_forms(nodes, storage, &mut Dice::new(seed, "forms", 0));
        let parted = match &drawing.faults {
            Kinds::Only(names) => names.contains("partition"),
            Kinds::Swarm => matches!(mood, Mood::Everything | Mood::Swarm),
        };
        let apart = Apart::draw(nodes, storage, safety, &mut Dice::new(seed, "apart", 0));
        let apart = apart.filter(|_| parted);
        let (forms, again) = match &apart {
            Some(apart) => (apart.forms.clone(), apart.again.clone()),
            None => (forms, again),
        };
        let peers = forms
            .into_iter()
            .zip(again)
            .zip(0..)
            .map(|(forms, number)| {
                let mut dice = Dice::new(seed, "peer", number);
                PeerPlan {
                    reads: draw_reads(seed, number, &on),
                    ..draw_peer(forms, safety, &on, &mut dice)
                }
            })
            .collect();
        let mut scenario = Self {
            seed,
            storage,
            safety,
            peers,
            apart: apart.is_some(),
            profile: draw_profile(storage, nodes, &on, &mut Dice::new(seed, "profile", 0)),
            client_limits: draw_client_limits(&on, &mut Dice::new(seed, "client limits", 0)),
            network: draw_network(&on, &mut Dice::new(seed, "network", 0)),
            faults: draw_faults(drawing, mood, safety, seed),
            operations: OperationPlan::draw(&on, &mut Dice::new(seed, "load", 0))
                .operations(nodes, safety, seed),
            broken: draw_broken(drawing, mood, seed),
            subject: None,
            bug: None,
        };
        if let Some(apart) = apart {
            apart.change(&mut scenario);
        }
        scenario
    }
}

fn draw_profile(storage: Storage, nodes: usize, on: &Features, dice: &mut Dice) -> GroupProfile {
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
    let calm = GroupProfile::lan();
    if !on.has("short-logs") {
        profile.reserve_entries = calm.reserve_entries;
        profile.reserve_bytes = calm.reserve_bytes;
    }
    if !on.has("small-batches") {
        profile.batch_items = calm.batch_items;
        profile.batch_bytes = calm.batch_bytes;
    }
    if nodes > 2 && profile.voters == 1 && dice.coin() {
        profile.voters = 3;
    }
    profile
}

/// Draws the limits of the client table: small ones, or those of real groups, which a short run
/// hardly reaches.
fn draw_client_limits(on: &Features, dice: &mut Dice) -> ClientLimits {
    if !on.has("small-client-table") {
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

fn draw_network(on: &Features, dice: &mut Dice) -> NetworkPlan {
    let quickest = dice.scaled(20, 5_000);
    let idle = dice.scaled(300_000, 3_000_000);
    let dial = dice.scaled(50_000, 2_000_000);
    let found = dice.scaled(1_000, 1_000_000);
    // Links do what QUIC's do, or they lose single frames all the time.
    let weather = if !on.has("weather") {
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

fn draw_peer(
    (form, again): (Form, Form),
    safety: Duration,
    on: &Features,
    dice: &mut Dice,
) -> PeerPlan {
    let latest = match form {
        // Founders at any time and in any order; joiners also in the middle of the run.
        Form::Alone => 0,
        Form::Expect(_) | Form::Auto { .. } => 2_000,
        Form::Join => u64::try_from(safety.as_millis() / 2).unwrap_or(u64::MAX),
    };
    let slowest = dice.scaled(10, 500);
    let sync = dice.scaled(20, 20_000);
    let mut plan = PeerPlan {
        machine: None,
        start: Duration::from_millis(dice.below(latest + 1)),
        form,
        again,
        reads: Vec::new(),
        drift: dice.scaled(0, 50_000) as i32 * if dice.coin() { 1 } else { -1 },
        skew: dice.scaled(0, 100_000_000) as i64 * if dice.coin() { 1 } else { -1 },
        step_delay: Span::micros(1, slowest),
        disk_delay: Span::micros(sync / 4, sync),
        state_delay: Span::micros(1, dice.scaled(2, 2_000)),
        segment_bytes: dice.scaled(4 << 10, 4 << 20),
    };
    if !on.has("clock-drift") {
        (plan.drift, plan.skew) = (0, 0);
    }
    if !on.has("slow-disks") {
        plan.disk_delay = PeerPlan::calm(form).disk_delay;
    }
    if !on.has("late-joiners") && form == Form::Join {
        plan.start = plan.start.min(EARLY);
    }
    plan
}

/// Draws what the binary of a peer reads at each of its first starts: all begin with the same, most
/// starts bring a newer one, and now and then somebody takes an older one.
///
/// Each reads the first version too: a log that is kept begins with its commands.
fn draw_reads(seed: u64, peer: u64, on: &Features) -> Vec<Versions> {
    let mut dice = Dice::new(seed, "first binary", 0);
    let mut last = dice.between(1, 2);
    let mut dice = Dice::new(seed, "binaries", peer);
    let mut reads = Vec::new();
    for _ in 0..6 {
        let range = Versions::new(1..=last as u32);
        reads.extend(range.filter(|_| on.has("upgrades")));
        last = match dice.below(6) {
            0 => last.saturating_sub(1).max(1),
            1 | 2 => last,
            _ => (last + 1).min(4),
        };
    }
    reads
}

/// Draws who stays broken at the end, where anything may be.
fn draw_broken(drawing: &Drawing, mood: Mood, seed: u64) -> Vec<StaysBroken> {
    match &drawing.faults {
        Kinds::Swarm if mood != Mood::NoFaults => broken::draw(seed, drawing.nodes.max(1)),
        _ => Vec::new(),
    }
}

/// Draws what goes wrong.
///
/// Each kind has its own dice, so which kinds are on does not re-roll what another one does.
fn draw_faults(drawing: &Drawing, mood: Mood, safety: Duration, seed: u64) -> Vec<Fault> {
    let mut which = Dice::new(seed, "fault kinds", 0);
    let mut lite = Dice::new(seed, "lite", 0);
    let only = lite.index(FaultKind::NAMES.len());
    let mut faults = Vec::new();
    for (number, name) in FaultKind::NAMES.into_iter().enumerate() {
        // Drawn whether used or not, so that the kinds do not depend on each other.
        let coin = which.coin();
        let mut dice = Dice::new(seed, "faults", number as u64);
        // On average one of a kind in 0.7 to 60 seconds.
        let every = dice.scaled(700, 60_000);
        let on = match &drawing.faults {
            Kinds::Only(names) => names.contains(name),
            Kinds::Swarm => match mood {
                Mood::Everything => true,
                Mood::NoFaults => false,
                Mood::Lite => number == only,
                Mood::Swarm => coin,
            },
        };
        if !on {
            continue;
        }
        let whole = u64::try_from(safety.as_millis()).unwrap_or(u64::MAX);
        let mut at = dice.below(2 * every);
        while at < whole {
            faults.push(Fault {
                at: Duration::from_millis(at),
                kind: FaultKind::draw(name, drawing.nodes.max(1), &mut dice),
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
        for name in FEATURES {
            let on = (0..100).filter(|seed| {
                let mood = Mood::Swarm;
                Features::draw(mood, *seed).has(name)
            });
            let on = on.count();
            assert!((30..70).contains(&on), "{on} of 100 with {name}");
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

    #[test]
    fn kinds_that_are_named_are_there_and_do_what_they_would_do_among_all() {
        let only = |name: &'static str| Drawing {
            faults: Kinds::Only([name].into()),
            ..Drawing::new(5, 120)
        };
        for seed in 0..20 {
            let all = Scenario::draw(seed, 5, 120).faults;
            for name in ["crash", "storm", "leave"] {
                let some = Scenario::draw_for(seed, &only(name)).faults;
                assert!(!some.is_empty(), "seed {seed} has no {name}");
                assert!(some.iter().all(|fault| fault.kind.name() == name));
                let among: Vec<&Fault> = all.iter().filter(|one| one.kind.name() == name).collect();
                assert!(among.is_empty() || among == some.iter().collect::<Vec<_>>());
            }
        }
        let none = Drawing {
            faults: Kinds::Only(BTreeSet::new()),
            ..Drawing::new(5, 120)
        };
        assert!(Scenario::draw_for(3, &none).faults.is_empty());
    }

    #[test]
    fn a_switch_re_rolls_nothing_else() {
        let all = Features::all();
        let mut fewer = all.clone();
        fewer.0.remove("exchanges");
        fewer.0.remove("named-clients");
        let operations = |on: &Features| {
            let plan = OperationPlan::draw(on, &mut Dice::new(5, "load", 0));
            plan.operations(5, Duration::from_secs(5), 5)
        };
        let (one, other) = (operations(&all), operations(&fewer));
        assert_eq!(one.len(), other.len());
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(
                (one.at, one.peer, one.patience),
                (other.at, other.peer, other.patience)
            );
            assert_eq!(other.client, None);
        }
        assert_ne!(one, other);
    }
}

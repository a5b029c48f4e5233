//! A scenario: everything that will be done to a cluster, as plain data drawn before the run.
//!
//! The run adds nothing of its own but the draws of [`crate::dice`], so a scenario can be changed
//! by hand (fewer peers, one fault less) and is still a scenario. [`crate::swarm`] draws them.

use std::time::Duration;

use quorate_core::{Canary, Form, GroupProfile, Versions};
use quorate_state::ClientLimits;
use serde::{Deserialize, Serialize};

use crate::{
    broken::StaysBroken,
    dice::Span,
    fault::Fault,
    network::{NetworkPlan, Weather},
    operation::Operation,
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
    /// Which machine it runs on: what its key and its draws come from. Its place in the list if
    /// nothing; said so that it stays when other peers are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<u64>,
    /// When it is started, since the start of the run.
    pub start: Duration,
    /// How it opens the group when it is started for the first time.
    pub form: Form,
    /// How it opens the group when it is started again.
    pub again: Form,
    /// The versions of the state machine that its binary reads at each start, first and last; at
    /// later starts the last of these. The first version and no other if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Versions>,
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
    /// Who stays broken when a quorum is healed, as far as the others can do without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<StaysBroken>,
    /// The name of the user's state machine that the peers run; a map, if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The bug that is planted in every peer, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<Canary>,
}

/// The machine on which the copy of a directory is started.
const BESIDE: u64 = 1 << 32;

impl Scenario {
    /// Returns the machine that a peer runs on; after the last, the one beside all others.
    pub(crate) fn machine(&self, peer: usize) -> u64 {
        let plan = self.peers.get(peer);
        plan.map_or(BESIDE, |plan| plan.machine.unwrap_or(peer as u64))
    }

    /// Returns what the binary of a peer reads that is started for the `start`th time: of a cluster
    /// that is mended, everything that any binary does.
    pub(crate) fn versions(&self, peer: usize, start: u64, mended: bool) -> Versions {
        if mended {
            return self.all_versions();
        }
        let reads = self.peers.get(peer).map_or(&[][..], |plan| &plan.reads);
        let place = usize::try_from(start.saturating_sub(1)).unwrap_or(usize::MAX);
        let reads = reads.get(place.min(reads.len().saturating_sub(1)));
        reads.copied().unwrap_or(Versions::ONLY_THE_FIRST)
    }

    /// Returns the range from the lowest to the highest version that any binary reads.
    pub(crate) fn all_versions(&self) -> Versions {
        let all = self.peers.iter().flat_map(|plan| &plan.reads);
        all.fold(Versions::ONLY_THE_FIRST, |all, one| {
            let widest = all.first().min(one.first())..=all.last().max(one.last());
            Versions::new(widest).unwrap_or(all)
        })
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
            broken: Vec::new(),
            subject: None,
            bug: None,
        }
    }
}

impl PeerPlan {
    /// A peer with good clocks and a fast disk, started at once.
    pub fn calm(form: Form) -> Self {
        Self {
            machine: None,
            start: Duration::ZERO,
            form,
            again: if form == Form::Alone {
                Form::Join
            } else {
                form
            },
            reads: Vec::new(),
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

//! Metrics of one peer: numbers for graphs and alarms, in OpenMetrics.
//!
//! Each network has a registry of its own, so that several peers of one process stay apart. The
//! driver updates what is its own once per turn, from what the turn has looked at anyway, and
//! counts latencies in a plain array; what links and queues know is looked up when somebody asks.
//! So a write costs a few additions and no lock. Counting per entry in shared atomics instead
//! would put a cache line under every write that a scraper reads once in fifteen seconds.

use std::{collections::BTreeMap, fmt, sync::Arc};

use iroh_metrics::{
    Counter, EncodeLabelSet, Family, Gauge, Histogram, MetricsGroup, MetricsSource, Registry,
};
use quorate_core::PeerId;
use quorate_net::Carrier;

use crate::{hall::Hall, meter::BUCKETS};

/// The metrics of one peer; clones show the same.
///
/// | Metric | Labels | What |
/// |---|---|---|
/// | `quorate_group_role` | group, role | 1 for the role that this peer is in, else 0 |
/// | `quorate_group_voter` | group | 1 if this peer counts for quorums |
/// | `quorate_group_term` | group | the latest term |
/// | `quorate_group_commit_index`, `_applied_index` | group | how far log and state are |
/// | `quorate_group_last_index`, `_base_index` | group | the end of the log, and before its start |
/// | `quorate_group_items`, `_state_bytes` | group | what the state holds |
/// | `quorate_group_leader_changes_total` | group | how often the leader changed, or was lost |
/// | `quorate_group_follower_lag_entries` | group, peer | on the leader: entries a member lacks |
/// | `quorate_group_commit_seconds` | group | from a write's arrival here to its outcome |
/// | `quorate_group_apply_seconds` | group | what applying one batch of entries took |
/// | `quorate_group_uncommitted_bytes`, `_waiting_requests` | group | what waits in the core |
/// | `quorate_sync_sessions_total`, `_session_active` | group | catch-ups of this peer |
/// | `quorate_sync_fetched_bytes_total` | group, provider | bytes that it brought |
/// | `quorate_sync_fetched_items_total` | group, provider | items that it brought |
/// | `quorate_sync_snapshots_held`, `_snapshots_cut_total` | group | snapshots kept for others |
/// | `quorate_sync_served_chunks_total`, `_served_bytes_total` | group | parts of them sent |
/// | `quorate_link_up` | | links that stand |
/// | `quorate_link_round_trip_microseconds` | peer | as QUIC estimates it |
/// | `quorate_link_queue_bytes` | peer | frames that QUIC has not taken |
/// | `quorate_driver_turns_total` | | turns of the driver |
/// | `quorate_driver_door_requests`, `_door_bytes` | | requests that wait for the driver |
/// | `endpoint_...` | | the endpoint's own |
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    meters: Arc<Meters>,
    hall: Arc<Hall>,
    carrier: Carrier,
}

/// What is counted, by subject.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) group: Arc<GroupMetrics>,
    pub(crate) sync: Arc<SyncMetrics>,
    pub(crate) driver: Arc<DriverMetrics>,
    link: Arc<LinkMetrics>,
}

/// Of which group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, EncodeLabelSet)]
pub(crate) struct OfGroup {
    pub(crate) group: String,
}

/// Of which group, and as what.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, EncodeLabelSet)]
pub(crate) struct OfRole {
    pub(crate) group: String,
    pub(crate) role: &'static str,
}

/// Of which group, about which peer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, EncodeLabelSet)]
pub(crate) struct OfPeer {
    pub(crate) group: String,
    pub(crate) peer: String,
}

/// Of which group, from which provider.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, EncodeLabelSet)]
pub(crate) struct OfProvider {
    pub(crate) group: String,
    pub(crate) provider: String,
}

/// Of the link to which peer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, EncodeLabelSet)]
struct OfLink {
    peer: String,
}

/// How groups stand here.
#[derive(Debug, MetricsGroup)]
#[metrics(default, name = "group")]
pub(crate) struct GroupMetrics {
    /// Whether the peer is in this role
    pub(crate) role: Family<OfRole, Gauge>,
    /// Whether the peer counts for quorums
    pub(crate) voter: Family<OfGroup, Gauge>,
    /// The latest term
    pub(crate) term: Family<OfGroup, Gauge>,
    /// The last index known to be committed
    pub(crate) commit_index: Family<OfGroup, Gauge>,
    /// The last index that the state has applied
    pub(crate) applied_index: Family<OfGroup, Gauge>,
    /// The last index of the log
    pub(crate) last_index: Family<OfGroup, Gauge>,
    /// The last index that the log does not hold any more
    pub(crate) base_index: Family<OfGroup, Gauge>,
    /// Items in the state
    pub(crate) items: Family<OfGroup, Gauge>,
    /// Bytes of keys and values in the state
    pub(crate) state_bytes: Family<OfGroup, Gauge>,
    /// How often the leader changed or was lost
    pub(crate) leader_changes: Family<OfGroup, Counter>,
    /// On the leader, entries that a member lacks
    pub(crate) follower_lag_entries: Family<OfPeer, Gauge>,
    /// From the arrival of a write at this peer to its outcome
    #[default(Family::with_constructor(histogram))]
    pub(crate) commit_seconds: Family<OfGroup, Histogram>,
    /// What it took to apply one batch of entries
    #[default(Family::with_constructor(histogram))]
    pub(crate) apply_seconds: Family<OfGroup, Histogram>,
    /// Bytes of proposed entries that are not committed
    pub(crate) uncommitted_bytes: Family<OfGroup, Gauge>,
    /// Requests that wait for a leader or a commit
    pub(crate) waiting_requests: Family<OfGroup, Gauge>,
}

/// What state sync does here.
#[derive(Debug, Default, MetricsGroup)]
#[metrics(name = "sync")]
pub(crate) struct SyncMetrics {
    /// Catch-ups that this peer has begun
    pub(crate) sessions: Family<OfGroup, Counter>,
    /// Whether this peer is catching up
    pub(crate) session_active: Family<OfGroup, Gauge>,
    /// Bytes of keys and values that a provider brought
    pub(crate) fetched_bytes: Family<OfProvider, Counter>,
    /// Items that a provider brought
    pub(crate) fetched_items: Family<OfProvider, Counter>,
    /// Snapshots that are kept for others
    pub(crate) snapshots_held: Family<OfGroup, Gauge>,
    /// Snapshots that were cut for others
    pub(crate) snapshots_cut: Family<OfGroup, Counter>,
    /// Parts of snapshots that were read for others
    pub(crate) served_chunks: Family<OfGroup, Counter>,
    /// Bytes of these parts
    pub(crate) served_bytes: Family<OfGroup, Counter>,
}

/// How the links do.
#[derive(Debug, Default, MetricsGroup)]
#[metrics(name = "link")]
struct LinkMetrics {
    /// Links that stand
    up: Gauge,
    /// The round trip as QUIC estimates it
    round_trip_microseconds: Family<OfLink, Gauge>,
    /// Bytes of frames that QUIC has not taken yet
    queue_bytes: Family<OfLink, Gauge>,
}

/// How the driver does.
#[derive(Debug, Default, MetricsGroup)]
#[metrics(name = "driver")]
pub(crate) struct DriverMetrics {
    /// Turns of the driver
    pub(crate) turns: Counter,
    /// Requests that wait for the driver
    door_requests: Gauge,
    /// Bytes of commands and keys that wait for the driver
    door_bytes: Gauge,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS.map(|bound| bound.as_secs_f64()).to_vec())
}

impl Metrics {
    pub(crate) fn new(meters: &Arc<Meters>, hall: &Arc<Hall>, carrier: &Carrier) -> Self {
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix("quorate");
        ours.register(meters.group.clone());
        ours.register(meters.sync.clone());
        ours.register(meters.link.clone());
        ours.register(meters.driver.clone());
        if let Some(transport) = carrier.transport() {
            registry.register_all_prefixed(transport.endpoint().metrics());
        }
        Self {
            inner: Arc::new(Inner {
                registry,
                meters: Arc::clone(meters),
                hall: Arc::clone(hall),
                carrier: carrier.clone(),
            }),
        }
    }

    /// Writes all metrics in the OpenMetrics text format, `# EOF` included.
    ///
    /// Looks at every link and queue; what the driver counts is as of its last turn.
    pub fn openmetrics(&self) -> String {
        self.look();
        let text = self.inner.registry.encode_openmetrics_to_string();
        text.expect("writing to a String cannot fail")
    }

    /// Looks at links and queues.
    fn look(&self) {
        let Inner {
            meters,
            hall,
            carrier,
            ..
        } = &*self.inner;
        let (requests, bytes) = hall.door.waiting();
        meters.driver.door_requests.set(number(requests));
        meters.driver.door_bytes.set(number(bytes));
        // Two links to one peer stand until one of them has won.
        let mut links = BTreeMap::<PeerId, (Option<u64>, usize)>::new();
        for link in carrier.figures().iter().filter(|link| link.proven) {
            let micros = link.round_trip.map(|it| it.as_micros());
            let micros = micros.map(|it| u64::try_from(it).unwrap_or(u64::MAX));
            let of_peer = links.entry(link.peer).or_default();
            of_peer.0 = of_peer.0.into_iter().chain(micros).min();
            of_peer.1 += link.queued;
        }
        meters.link.up.set(number(links.len()));
        meters.link.round_trip_microseconds.clear();
        meters.link.queue_bytes.clear();
        for (peer, (micros, queued)) in links {
            let peer = OfLink { peer: peer.short() };
            let queue = meters.link.queue_bytes.get_or_create(&peer);
            queue.set(number(queued));
            if let Some(micros) = micros {
                let round_trip = meters.link.round_trip_microseconds.get_or_create(&peer);
                round_trip.set(number(micros));
            }
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A number as gauges take it.
pub(crate) fn number(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

//! What the driver counts of one group, on its way into the metrics.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use iroh_metrics::{Counter, Gauge, Histogram, Metric, MetricValue};
use quorate_core::{GroupEvent, GroupView, MemberView, PeerId, Role};

use crate::{
    limits::METERED_PROVIDERS,
    metrics::{Meters, OfGroup, OfPeer, OfProvider, OfRole, number},
};

/// Upper bounds of the latencies that are told apart: from what memory takes to what a deadline
/// allows, two or three to a power of ten.
pub(crate) const BUCKETS: [Duration; 17] = [
    Duration::from_micros(20),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

const ROLES: [(Role, &str); 4] = [
    (Role::Follower, "follower"),
    (Role::PreCandidate, "pre_candidate"),
    (Role::Candidate, "candidate"),
    (Role::Leader, "leader"),
];

/// The label of providers beyond those that are told apart.
const OTHERS: &str = "others";

/// Counts for one group.
#[derive(Debug)]
pub(crate) struct Meter {
    meters: Arc<Meters>,
    group: String,
    gauges: Gauges,
    counters: Counters,
    roles: [Arc<Gauge>; 4],
    /// On a leader, how far each member is behind.
    lags: BTreeMap<PeerId, Arc<Gauge>>,
    /// What each provider brought; those beyond a number are one.
    providers: BTreeMap<Option<PeerId>, Fetched>,
    commit: Latency,
    apply: Latency,
}

#[derive(Debug)]
struct Gauges {
    voter: Arc<Gauge>,
    term: Arc<Gauge>,
    commit: Arc<Gauge>,
    applied: Arc<Gauge>,
    last: Arc<Gauge>,
    base: Arc<Gauge>,
    items: Arc<Gauge>,
    bytes: Arc<Gauge>,
    uncommitted: Arc<Gauge>,
    waiting: Arc<Gauge>,
    session: Arc<Gauge>,
    snapshots: Arc<Gauge>,
}

#[derive(Debug)]
struct Counters {
    leader_changes: Arc<Counter>,
    sessions: Arc<Counter>,
    snapshots_cut: Arc<Counter>,
    served_chunks: Arc<Counter>,
    served_bytes: Arc<Counter>,
}

#[derive(Clone, Debug)]
struct Fetched {
    items: Arc<Counter>,
    bytes: Arc<Counter>,
}

/// Latencies since the last flush, and the histogram that they go into.
#[derive(Debug)]
struct Latency {
    histogram: Arc<Histogram>,
    /// How many were within each bound; the last are beyond all.
    counts: [u64; BUCKETS.len() + 1],
    sum: Duration,
    fresh: bool,
}

impl Meter {
    /// Counts for the group called `label`.
    pub(crate) fn new(meters: &Arc<Meters>, label: &str) -> Self {
        let of = OfGroup {
            group: label.to_owned(),
        };
        let (group, sync) = (&meters.group, &meters.sync);
        let role = |(_, role)| {
            let group = label.to_owned();
            meters.group.role.get_or_create(&OfRole { group, role })
        };
        Self {
            gauges: Gauges {
                voter: group.voter.get_or_create(&of),
                term: group.term.get_or_create(&of),
                commit: group.commit_index.get_or_create(&of),
                applied: group.applied_index.get_or_create(&of),
                last: group.last_index.get_or_create(&of),
                base: group.base_index.get_or_create(&of),
                items: group.items.get_or_create(&of),
                bytes: group.state_bytes.get_or_create(&of),
                uncommitted: group.uncommitted_bytes.get_or_create(&of),
                waiting: group.waiting_requests.get_or_create(&of),
                session: sync.session_active.get_or_create(&of),
                snapshots: sync.snapshots_held.get_or_create(&of),
            },
            counters: Counters {
                leader_changes: group.leader_changes.get_or_create(&of),
                sessions: sync.sessions.get_or_create(&of),
                snapshots_cut: sync.snapshots_cut.get_or_create(&of),
                served_chunks: sync.served_chunks.get_or_create(&of),
                served_bytes: sync.served_bytes.get_or_create(&of),
            },
            roles: ROLES.map(role),
            lags: BTreeMap::new(),
            providers: BTreeMap::new(),
            commit: Latency::new(group.commit_seconds.get_or_create(&of)),
            apply: Latency::new(group.apply_seconds.get_or_create(&of)),
            group: of.group,
            meters: Arc::clone(meters),
        }
    }

    /// A write that came in here was committed.
    pub(crate) fn committed(&mut self, after: Duration) {
        self.commit.count(after);
    }

    /// A batch of entries was applied.
    pub(crate) fn applied(&mut self, within: Duration) {
        self.apply.count(within);
    }

    /// A part of a snapshot was read for somebody.
    pub(crate) fn served(&self, bytes: usize) {
        self.counters.served_chunks.inc();
        self.counters.served_bytes.inc_by(bytes as u64);
    }

    /// Takes note of what happened.
    pub(crate) fn on_event(&mut self, event: &GroupEvent) {
        match event {
            GroupEvent::LeaderChanged { .. } => {
                self.counters.leader_changes.inc();
            }
            GroupEvent::SessionStarted { .. } => {
                self.counters.sessions.inc();
            }
            GroupEvent::SnapshotCut { .. } => {
                self.counters.snapshots_cut.inc();
            }
            GroupEvent::RestoreProgress {
                from, items, bytes, ..
            } => {
                let provider = self.provider(*from);
                provider.items.inc_by(*items);
                provider.bytes.inc_by(*bytes);
            }
            _ => {}
        }
    }

    /// Shows how the group stands at the end of a turn.
    pub(crate) fn show(
        &mut self,
        view: &GroupView<'_>,
        members: &[MemberView],
        items: u64,
        bytes: u64,
    ) {
        let gauges = &self.gauges;
        let voter = view.configuration.is_voter(view.me);
        gauges.voter.set(i64::from(voter));
        gauges.term.set(number(view.ballot.term.0));
        gauges.commit.set(number(view.commit.0));
        gauges.applied.set(number(view.applied.index.0));
        gauges.last.set(number(view.last.index.0));
        gauges.base.set(number(view.base.index.0));
        gauges.items.set(number(items));
        gauges.bytes.set(number(bytes));
        gauges.uncommitted.set(number(view.uncommitted_bytes));
        gauges.waiting.set(number(view.waiting));
        gauges.session.set(i64::from(view.session().is_some()));
        gauges.snapshots.set(number(view.snapshots().len()));
        for ((role, _), gauge) in ROLES.iter().zip(&self.roles) {
            gauge.set(i64::from(*role == view.role));
        }
        self.show_lags(view, members);
        self.commit.flush();
        self.apply.flush();
    }

    fn show_lags(&mut self, view: &GroupView<'_>, members: &[MemberView]) {
        let (meters, group) = (&self.meters, &self.group);
        let of = |peer: PeerId| OfPeer {
            group: group.clone(),
            peer: peer.short(),
        };
        let followers = || {
            let members = members.iter();
            members.filter_map(|it| Some((it.member.peer, it.followed.as_ref()?.matched)))
        };
        for (peer, matched) in followers() {
            let lag = self.lags.entry(peer);
            let lag = lag.or_insert_with(|| {
                let lags = &meters.group.follower_lag_entries;
                lags.get_or_create(&of(peer))
            });
            lag.set(number(view.last.index.since(matched)));
        }
        if self.lags.len() > followers().count() {
            self.lags.retain(|peer, _| {
                let follows = followers().any(|(follower, _)| follower == *peer);
                if !follows {
                    drop(meters.group.follower_lag_entries.remove(&of(*peer)));
                }
                follows
            });
        }
    }

    fn provider(&mut self, peer: PeerId) -> &Fetched {
        let (sync, group) = (&self.meters.sync, &self.group);
        let full = self.providers.len() >= METERED_PROVIDERS;
        let others = full && !self.providers.contains_key(&Some(peer));
        let key = if others { None } else { Some(peer) };
        match self.providers.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let of = OfProvider {
                    group: group.clone(),
                    provider: key.map_or_else(|| OTHERS.to_owned(), |peer| peer.short()),
                };
                new.insert(Fetched {
                    items: sync.fetched_items.get_or_create(&of),
                    bytes: sync.fetched_bytes.get_or_create(&of),
                })
            }
        }
    }
}

impl Latency {
    fn new(histogram: Arc<Histogram>) -> Self {
        Self {
            histogram,
            counts: [0; BUCKETS.len() + 1],
            sum: Duration::ZERO,
            fresh: false,
        }
    }

    fn count(&mut self, latency: Duration) {
        let at = BUCKETS.partition_point(|bound| *bound < latency);
        self.counts[at] += 1;
        self.sum = self.sum.saturating_add(latency);
        self.fresh = true;
    }

    /// Shows what was counted, if anything was.
    fn flush(&mut self) {
        if !std::mem::take(&mut self.fresh) {
            return;
        }
        let bounds = BUCKETS.iter().map(Duration::as_secs_f64);
        let mut count = 0;
        let buckets = bounds.chain([f64::INFINITY]).zip(self.counts);
        let buckets = buckets.map(|(bound, counted)| {
            count += counted;
            (bound, count)
        });
        let buckets = buckets.collect();
        self.histogram.set_value(MetricValue::Histogram {
            buckets,
            sum: self.sum.as_secs_f64(),
            count,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_counted_within_their_bounds() {
        let mut latency = Latency::new(Arc::new(Histogram::new(
            BUCKETS.map(|bound| bound.as_secs_f64()).to_vec(),
        )));
        let fastest = BUCKETS[0];
        let beyond = BUCKETS[BUCKETS.len() - 1] + Duration::from_nanos(1);
        for time in [
            Duration::ZERO,
            fastest,
            fastest + Duration::from_nanos(1),
            beyond,
        ] {
            latency.count(time);
        }
        assert_eq!(latency.histogram.count(), 0, "nothing shows before a flush");
        latency.flush();
        let shown: Vec<u64> = latency.histogram.buckets().iter().map(|it| it.1).collect();
        assert_eq!(shown[..2], [2, 3]);
        assert_eq!(shown[shown.len() - 2..], [3, 4]);
        assert_eq!(latency.histogram.count(), 4);
        let sum = fastest * 2 + beyond + Duration::from_nanos(1);
        assert!((latency.histogram.sum() - sum.as_secs_f64()).abs() < 1e-9);
    }

    #[test]
    fn providers_are_told_apart_up_to_a_number() {
        let meters = Arc::<Meters>::default();
        let mut meter = Meter::new(&meters, "orders");
        let many = METERED_PROVIDERS as u16 + 9;
        for number in 0..many {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            meter.on_event(&GroupEvent::RestoreProgress {
                session: quorate_core::SessionId(1),
                from: PeerId(id),
                items: 1,
                bytes: 10,
                verified: 1,
                total: 1,
            });
        }
        let fetched = &meters.sync.fetched_bytes;
        assert_eq!(fetched.len(), METERED_PROVIDERS + 1);
        assert_eq!(meter.providers.len(), METERED_PROVIDERS + 1);
        let others = OfProvider {
            group: "orders".to_owned(),
            provider: OTHERS.to_owned(),
        };
        assert_eq!(fetched.get(&others).unwrap().get(), 90);
    }
}

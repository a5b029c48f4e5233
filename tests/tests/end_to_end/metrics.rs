//! Metrics are there, in a form that can be read, and move when something happens.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{assert_equal, fill, small_reserve, soon};
use quorate::{GroupStatus, testing::Cluster};

/// What a scraper reads: values by name and labels, and the type of each family.
#[derive(Debug, Default)]
struct Scraped {
    values: BTreeMap<(String, BTreeMap<String, String>), f64>,
    types: BTreeMap<String, String>,
}

impl Scraped {
    /// Reads a text as the format's grammar has it; panics at what is none.
    fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the text has its end");
        let mut scraped = Self::default();
        let mut helped = BTreeSet::new();
        for line in body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let name = help.split(' ').next().unwrap();
                assert!(helped.insert(name.to_owned()), "{name} is described twice");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                let twice = scraped.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name} has two types");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.strip_suffix('}').expect("labels are closed");
                let labels = labels.split(',').filter(|label| !label.is_empty());
                let labels = labels.map(|label| {
                    let (name, value) = label.split_once('=').unwrap();
                    let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
                    (name.to_owned(), value.to_owned())
                });
                let series = (name.to_owned(), labels.collect());
                let value = value.parse().expect("a value is a number");
                let twice = scraped.values.insert(series, value);
                assert_eq!(twice, None, "{line} comes twice");
            }
        }
        scraped.check_types();
        scraped
    }

    /// Checks that every series belongs to a family and ends as its type wants.
    fn check_types(&self) {
        for (name, _) in self.values.keys() {
            let family = |ends: &[&str], kind: &str| {
                let stems = ends.iter().filter_map(|end| name.strip_suffix(end));
                stems.into_iter().any(|stem| {
                    let whole = [stem, name].into_iter();
                    whole
                        .into_iter()
                        .any(|it| self.types.get(it).is_some_and(|it| it == kind))
                })
            };
            let fits = family(&[""], "gauge")
                || family(&["_total"], "counter")
                || family(&["_bucket", "_sum", "_count"], "histogram");
            assert!(fits, "{name} is of no type");
        }
    }

    /// Returns the value of the one series with this name and at least these labels.
    fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.all(name, labels);
        assert_eq!(found.len(), 1, "{name} with {labels:?}: {found:?}");
        found[0].1
    }

    fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(&BTreeMap<String, String>, f64)> {
        let wanted = |had: &BTreeMap<String, String>| {
            let has = |(name, value): &(&str, &str)| had.get(*name).is_some_and(|it| it == value);
            labels.iter().all(has)
        };
        let named = self.values.iter().filter(|((it, _), _)| it == name);
        named
            .filter(|((_, had), _)| wanted(had))
            .map(|((_, had), value)| (had, *value))
            .collect()
    }
}

fn scrape(cluster: &Cluster, peer: usize) -> Scraped {
    Scraped::read(&cluster.peer(peer).net.metrics().openmetrics())
}

const GROUP: &[(&str, &str)] = &[("group", "cluster")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_does_shows_in_its_metrics() {
    let cluster = soon(Cluster::local(3)).await.unwrap();
    let (leader, term) = soon(cluster.leader()).await.unwrap();
    let before = scrape(&cluster, leader);
    fill(&cluster.peer(leader).group.map("n"), 0..1_000).await;
    assert_equal(&cluster).await;
    let status = cluster.peer(leader).group.status();
    let caught_up = |status: &GroupStatus| status.commit == status.last.index;
    soon(cluster.peer(leader).group.when().holds(caught_up))
        .await
        .unwrap();
    let after = scrape(&cluster, leader);

    let role = |of: &Scraped, role| of.one("quorate_group_role", &[GROUP[0], ("role", role)]);
    assert_eq!(
        (role(&after, "leader"), role(&after, "follower")),
        (1.0, 0.0)
    );
    assert_eq!(after.one("quorate_group_voter", GROUP), 1.0);
    assert_eq!(after.one("quorate_group_term", GROUP), term.0 as f64);
    for name in ["commit_index", "applied_index", "last_index"] {
        let name = format!("quorate_group_{name}");
        let (old, new) = (before.one(&name, GROUP), after.one(&name, GROUP));
        assert!(new >= old + 1_000.0, "{name}: {old}, {new}");
    }
    assert_eq!(after.one("quorate_group_items", GROUP), status.items as f64);
    assert!(after.one("quorate_group_state_bytes", GROUP) > 0.0);
    assert!(after.one("quorate_group_leader_changes_total", GROUP) >= 1.0);
    assert_eq!(
        after.one("quorate_group_commit_seconds_count", GROUP),
        1_000.0
    );
    let slowest = after.all("quorate_group_commit_seconds_bucket", GROUP);
    let all = slowest.iter().find(|(labels, _)| labels["le"] == "+Inf");
    assert_eq!(all.unwrap().1, 1_000.0);
    assert!(after.one("quorate_group_commit_seconds_sum", GROUP) > 0.0);
    assert!(after.one("quorate_group_apply_seconds_count", GROUP) >= 1.0);
    let lags = after.all("quorate_group_follower_lag_entries", GROUP);
    assert_eq!(lags.len(), 2);
    for name in ["uncommitted_bytes", "waiting_requests", "base_index"] {
        after.one(&format!("quorate_group_{name}"), GROUP);
    }

    let linked = after.all("quorate_link_round_trip_microseconds", &[]);
    assert_eq!((linked.len(), after.one("quorate_link_up", &[])), (2, 2.0));
    assert!(
        linked
            .iter()
            .all(|(_, micros)| *micros > 0.0 && *micros < 1e6)
    );
    assert_eq!(after.all("quorate_link_queue_bytes", &[]).len(), 2);
    let turns = |of: &Scraped| of.one("quorate_driver_turns_total", &[]);
    assert!(turns(&after) > turns(&before));
    after.one("quorate_driver_door_requests", &[]);
    after.one("quorate_driver_door_bytes", &[]);
    // The endpoint's own stand beside ours.
    let sent = "endpoint_socket_send_ipv4_total";
    assert!(after.one(sent, &[]) > before.one(sent, &[]), "{after:?}");

    // A follower of the same process has its own.
    let follower = (leader + 1) % 3;
    let other = scrape(&cluster, follower);
    assert_eq!(
        (role(&other, "leader"), role(&other, "follower")),
        (0.0, 1.0)
    );
    assert!(
        other
            .all("quorate_group_follower_lag_entries", GROUP)
            .is_empty()
    );
    assert!(other.all("quorate_group_commit_seconds_count", GROUP)[0].1 == 0.0);
    assert!(other.one("quorate_group_apply_seconds_count", GROUP) >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_shows_who_served_what() {
    let cluster = Cluster::builder(3).profile(small_reserve()).start();
    let mut cluster = soon(cluster).await.unwrap();
    fill(&cluster.peer(0).group.map("n"), 0..20_000).await;
    let late = cluster.add().await.unwrap();
    soon(cluster.peer(late).group.when().caught_up())
        .await
        .unwrap();
    assert_equal(&cluster).await;
    let scraped = scrape(&cluster, late);
    assert!(scraped.one("quorate_sync_sessions_total", GROUP) >= 1.0);
    assert_eq!(scraped.one("quorate_sync_session_active", GROUP), 0.0);
    let providers = scraped.all("quorate_sync_fetched_bytes_total", GROUP);
    let known: BTreeSet<String> = (0..3).map(|i| cluster.peer(i).net.peer().short()).collect();
    assert!(!providers.is_empty());
    for (labels, bytes) in providers {
        assert!(
            known.contains(&labels["provider"]) && bytes > 0.0,
            "{labels:?}"
        );
    }
    let items = scraped.all("quorate_sync_fetched_items_total", GROUP);
    let items: f64 = items.iter().map(|(_, items)| items).sum();
    assert!(items >= 20_000.0, "{items}");
    let (mut held, mut served) = (0.0, 0.0);
    for i in 0..3 {
        let scraped = scrape(&cluster, i);
        assert!(scraped.one("quorate_sync_snapshots_cut_total", GROUP) >= 1.0);
        held += scraped.one("quorate_sync_snapshots_held", GROUP);
        let chunks = scraped.one("quorate_sync_served_chunks_total", GROUP);
        let bytes = scraped.one("quorate_sync_served_bytes_total", GROUP);
        assert_eq!(chunks > 0.0, bytes > 0.0);
        served += bytes;
    }
    assert!(
        held >= 1.0 && served > 0.0,
        "{held} held, {served} bytes served"
    );
}

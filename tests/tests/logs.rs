//! What a peer says through `tracing`: under the targets that are documented, and quietly.
//!
//! One test, since a process has one global subscriber.
#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use common::{fill, small_reserve, soon};
use quorate::{GroupKey, GroupStatus, LinkState, Network, testing::Cluster};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Keeps what our own crates say.
#[derive(Clone, Default)]
struct Capture {
    said: Arc<Mutex<Vec<Said>>>,
}

#[derive(Clone, Debug)]
struct Said {
    level: Level,
    target: String,
    fields: BTreeMap<String, String>,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").unwrap();
        self.fields.insert(field.name().to_owned(), text);
    }
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("quorate") && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            fields: BTreeMap::new(),
        };
        event.record(&mut said);
        self.said.lock().unwrap().push(said);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Capture {
    /// Takes what was said so far.
    fn take(&self) -> Vec<Said> {
        std::mem::take(&mut self.said.lock().unwrap())
    }
}

/// Counts what was said under a target with a message, at a level or above.
fn count(said: &[Said], target: &str, level: Level, message: &str) -> usize {
    let this = |it: &&Said| {
        let words = it.fields.get("message");
        it.target == target && it.level <= level && words.is_some_and(|it| it == message)
    };
    said.iter().filter(this).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_says_what_matters_and_no_more() {
    let capture = Capture::default();
    tracing::subscriber::set_global_default(capture.clone()).unwrap();

    let cluster = Cluster::builder(3).profile(small_reserve()).start();
    let mut cluster = soon(cluster).await.unwrap();
    let (leader, term) = soon(cluster.leader()).await.unwrap();
    let linked = |status: &GroupStatus| {
        let up = status.peers.iter().filter(|it| it.link == LinkState::Up);
        up.count() == 2
    };
    for i in 0..3 {
        soon(cluster.peer(i).group.when().holds(linked))
            .await
            .unwrap();
    }
    let formed = capture.take();
    let info = Level::INFO;
    let histories = count(
        &formed,
        "quorate::group",
        info,
        "the group has a history here",
    );
    assert_eq!(histories, 3);
    assert!(count(&formed, "quorate::group", info, "a leader is known") >= 3);
    let known = formed.iter().find(|it| {
        it.fields.get("leader") == Some(&format!("{:?}", cluster.peer(leader).net.peer().short()))
    });
    let known = &known.expect("the leader is named").fields;
    assert_eq!(
        (known["group"].as_str(), &known["term"]),
        ("\"cluster\"", &term.0.to_string())
    );
    assert!(count(&formed, "quorate::link", Level::DEBUG, "a link stands") >= 6);

    // Work as usual is nothing that anybody need read. On a machine that is busy with other things
    // a follower may lag meanwhile, or a leader be missed, which is no work as usual.
    fill(&cluster.peer(leader).group.map("n"), 0..20_000).await;
    let busy = capture.take();
    let loud: Vec<_> = busy.iter().filter(|it| it.level <= info).collect();
    assert!(loud.len() < 50, "{loud:?}");

    let late = cluster.add().await.unwrap();
    soon(cluster.caught_up(late)).await.unwrap();
    let caught_up = capture.take();
    assert!(
        count(
            &caught_up,
            "quorate::sync",
            info,
            "this peer lags: catching up"
        ) >= 1
    );
    assert!(count(&caught_up, "quorate::sync", info, "caught up") >= 1);
    assert!(
        count(
            &caught_up,
            "quorate::sync",
            Level::DEBUG,
            "the snapshot is in place"
        ) >= 1
    );
    assert!(count(&caught_up, "quorate::sync", Level::TRACE, "restored") >= 1);

    // A peer with another key is refused again and again, which is said once by each side.
    let stranger = Network::builder("cluster")
        .know(cluster.peer(0).net.peer(), cluster.peer(0).net.addresses());
    let stranger = stranger.without_rendezvous().build().await.unwrap();
    let wrong = GroupKey::secret("cluster", [7; 32]);
    let group = stranger.group(wrong).open().await.unwrap();
    let mut events = group.events().await.unwrap();
    for _ in 0..3 {
        soon(common::refused(&mut events)).await;
    }
    let refused = capture.take();
    let warned = count(&refused, "quorate::link", Level::WARN, "a peer was refused");
    assert!((1..=2).contains(&warned), "{warned} warnings");
    assert!(
        count(
            &refused,
            "quorate::link",
            Level::DEBUG,
            "a peer was refused again"
        ) >= 2
    );

    let all = [formed, busy, caught_up, refused].concat();
    let targets: BTreeSet<&str> = all.iter().map(|it| it.target.as_str()).collect();
    for target in targets {
        let ours = [
            "quorate::group",
            "quorate::link",
            "quorate::sync",
            "quorate::mark",
        ];
        let rest = target.starts_with("quorate_net") || target.starts_with("quorate::driver");
        assert!(ours.contains(&target) || rest, "{target} is not documented");
    }
    let grave: Vec<_> = all.iter().filter(|it| it.level == Level::ERROR).collect();
    assert!(grave.is_empty(), "{grave:?}");
}

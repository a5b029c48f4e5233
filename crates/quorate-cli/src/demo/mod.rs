//! `quorate demo`: the main job, end to end, on one machine.
//!
//! Peers form a group over real QUIC and load entries; then one more peer joins with an empty
//! state while writes go on, restores a snapshot from all of the others at once, and follows the
//! live log. In the end every living peer must hold the same, and every write that was ever
//! acknowledged, byte for byte: digests alone would agree on a common loss.
//!
//! The log's reserve is small here, and the late peer comes only when the log's beginning is gone,
//! so that there is never a way around the restore, whatever the size of the input.

mod catch_up;
mod check;
mod entries;
mod load;
mod options;
mod report;
mod story;
mod writers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use quorate::{
    GroupProfile,
    testing::{Cluster, ClusterPeer},
};

use crate::outcome::Outcome;
use entries::{Entries, Line};
pub(crate) use options::DemoArgs;
use report::Report;
use story::{Story, count, rate, size, span};

/// The map that the entries are loaded into.
const ENTRIES: &str = "entries";

/// The map that is written to meanwhile.
const LIVE: &str = "live";

/// Entries that the log keeps behind what is applied: enough for founders that are a little late.
const RESERVE: u64 = 64;

/// How long the peers have to find each other and elect a leader.
const FORMING: Duration = Duration::from_secs(30);

/// How long the peers have to come to one cursor once nothing is written any more.
const SETTLING: Duration = Duration::from_secs(60);

/// Runs the demonstration; `started` is when the process did.
pub(crate) fn run(args: DemoArgs, started: Instant) -> Outcome {
    let entries = match args.source() {
        Ok(entries) => Arc::new(entries),
        Err(what) => return Outcome::Usage(what),
    };
    // Looks at the sockets often: at tokio's default a busy runtime lets small frames wait behind
    // bulk for a tenth of a second.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .event_interval(7)
        .enable_all()
        .build();
    let runtime = match runtime.context("the runtime cannot be started") {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::Failed(error),
    };
    let mut demo = Demo {
        story: Story::new(started, args.json),
        report: Report {
            peers: args.peers,
            ..Report::default()
        },
        entries,
        started,
        args,
    };
    let played = runtime.block_on(demo.play());
    demo.story.end_progress();
    demo.report.ok = played.is_ok();
    if demo.args.json {
        match serde_json::to_string(&demo.report) {
            Ok(line) => println!("{line}"),
            Err(error) => return Outcome::Failed(error.into()),
        }
    }
    match played {
        Ok(()) => Outcome::Well,
        Err(error) => Outcome::Failed(error),
    }
}

/// The demonstration under way.
#[derive(Debug)]
struct Demo {
    args: DemoArgs,
    entries: Arc<Entries>,
    started: Instant,
    story: Story,
    report: Report,
}

impl Demo {
    async fn play(&mut self) -> anyhow::Result<()> {
        let mut cluster = self.form().await?;
        self.load(&cluster).await?;
        let writers = writers::start(&cluster, self.args.seed);
        self.outgrow(&cluster).await?;
        let late = self.catch_up(&mut cluster, &writers).await?;
        let written = writers.stop().await?;
        self.story.tell(format!(
            "the writers stop: {} live writes acknowledged, {} of unknown outcome",
            count(written.acknowledged()),
            count(written.unknown)
        ));
        self.compare(&cluster).await?;
        check::contents(&cluster, &self.entries, &written, self.args.seed).await?;
        self.story.tell(format!(
            "every living peer holds all {} loaded entries and all {} acknowledged live writes",
            count(self.entries.count()),
            count(written.acknowledged())
        ));
        self.story.tell(format!(
            "done: peer {} came late and holds what the others hold",
            name(cluster.peer(late))
        ));
        cluster.close().await;
        Ok(())
    }

    /// Starts the founders; they find each other, found the group and elect a leader.
    async fn form(&mut self) -> anyhow::Result<Cluster> {
        let n = self.args.peers;
        self.story.tell(format!(
            "{n} peers start on 127.0.0.1, each with its own key and QUIC endpoint; no relay, no \
             server"
        ));
        let profile = GroupProfile {
            reserve_entries: RESERVE,
            ..GroupProfile::lan()
        };
        let cluster = Cluster::builder(n)
            .network("demo")
            .seed(self.args.seed)
            .profile(profile)
            .start();
        let cluster = tokio::time::timeout(FORMING, cluster)
            .await
            .with_context(|| format!("no leader was elected within {}", span(FORMING)))??;
        let (leader, term) = cluster.leader().await?;
        let status = cluster.peer(leader).group.status();
        self.story.tell(format!(
            "they found each other and formed a group of {} voters; peer {} leads in term {}",
            status.configuration.voters.len(),
            name(cluster.peer(leader)),
            term.0
        ));
        for i in cluster.living() {
            let role = if i == leader { "leads" } else { "follows" };
            let peer = cluster.peer(i);
            let at = peer.net.addresses();
            let at = at.first().map(ToString::to_string).unwrap_or_default();
            self.story
                .detail(format!("peer {} at {at} {role}", name(peer)));
        }
        let first = cluster.peer(0).group.map::<u64, Line>(ENTRIES);
        let cursor = load::write(&first, &self.entries, 1, self.entries.entry(1)).await?;
        self.report.formation_ms = millis(self.started.elapsed());
        tokio::time::timeout(SETTLING, cluster.applied(cursor))
            .await
            .with_context(|| {
                format!("the first write is not everywhere after {}", span(SETTLING))
            })??;
        self.story.tell(format!(
            "the first write is committed at cursor {cursor}, {} ms after the process started",
            self.report.formation_ms
        ));
        Ok(cluster)
    }

    /// Loads the entries through all founders at once.
    async fn load(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let began = Instant::now();
        let through = cluster.living().len();
        let last = load::load(cluster, &self.entries).await?;
        let took = began.elapsed();
        self.report.entries = self.entries.count();
        self.story.tell(format!(
            "{} entries ({}) are committed up to cursor {last}, written through {through} peers \
             in {} ({})",
            count(self.entries.count()),
            size(self.entries.bytes()),
            span(took),
            rate(self.entries.count(), took)
        ));
        Ok(())
    }

    /// Waits until no peer's log begins at the beginning any more, whatever the size of the input.
    async fn outgrow(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        for i in cluster.living() {
            let when = cluster.peer(i).group.when();
            let pruned = when.holds(|status| status.base.index.0 > 0);
            tokio::time::timeout(SETTLING, pruned)
                .await
                .with_context(|| format!("the logs were not pruned within {}", span(SETTLING)))??;
        }
        Ok(())
    }

    /// Brings all living peers to one cursor and compares their digests there.
    async fn compare(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let (leader, term) = tokio::time::timeout(SETTLING, cluster.leader())
            .await
            .with_context(|| format!("no leader was agreed on within {}", span(SETTLING)))??;
        self.report.leader = cluster.peer(leader).net.peer().to_string();
        self.report.term = term.0;
        let digests = tokio::time::timeout(SETTLING, cluster.digests())
            .await
            .with_context(|| {
                format!(
                    "the peers did not come to one cursor within {}",
                    span(SETTLING)
                )
            })??;
        let first = digests[0].1;
        self.story.tell(format!(
            "{} living peers stand at cursor {}; peer {} leads in term {}",
            digests.len(),
            first.cursor,
            name(cluster.peer(leader)),
            term.0
        ));
        for (i, digest) in &digests {
            let peer = cluster.peer(*i);
            self.story
                .detail(format!("peer {} digest {}", name(peer), digest.digest));
            self.report
                .digests
                .insert(peer.net.peer().to_string(), digest.digest.to_string());
        }
        self.report.digests_equal = digests
            .iter()
            .all(|(_, digest)| digest.digest == first.digest);
        if !self.report.digests_equal {
            bail!(
                "the digests at cursor {} differ: peers hold different states",
                first.cursor
            );
        }
        Ok(())
    }
}

/// What the story calls a peer.
fn name(peer: &ClusterPeer) -> String {
    peer.net.peer().short()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

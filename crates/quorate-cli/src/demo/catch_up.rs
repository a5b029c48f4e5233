//! The late peer: watching it restore from all the others while writes go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::{Stream, StreamExt, stream};
use quorate::{Cursor, Event, EventsClosed, EventsLagged, GroupEvent, PeerId, testing::Cluster};

use super::{
    Demo, millis, name,
    report::{Anchor, Provider},
    story::{count, rate, size, span},
    writers::Writers,
};

/// How long the catch-up may stand still.
const STALL: Duration = Duration::from_secs(60);

/// An event with the number of the peer it happened on.
type Told = (usize, Result<Event, EventsLagged>);

/// What is known of the catch-up so far.
#[derive(Debug)]
struct Watch {
    late: usize,
    began: Instant,
    /// Live writes acknowledged before.
    before: u64,
    /// When the restore began.
    restoring: Option<Instant>,
    /// Items of the snapshot.
    total: u64,
    /// Items and bytes by provider.
    brought: BTreeMap<PeerId, (u64, u64)>,
    /// Who cut a snapshot, by anchor.
    cut: BTreeMap<Cursor, BTreeSet<usize>>,
    restored: Option<Cursor>,
    killed: bool,
}

impl Demo {
    /// Adds a peer with an empty state and follows it until it follows the live log; returns its
    /// number.
    pub(super) async fn catch_up(
        &mut self,
        cluster: &mut Cluster,
        writers: &Writers,
    ) -> anyhow::Result<usize> {
        let founders = watch_founders(cluster).await?;
        let began = Instant::now();
        let before = writers.acknowledged();
        let late = cluster.add().await?;
        let own = cluster.events(late).map(move |event| (late, event));
        let mut told = stream::select(own, founders);
        self.story.tell(format!(
            "peer {} joins with an empty state, while writes go on through {} peers",
            name(cluster.peer(late)),
            self.args.peers
        ));
        let mut watch = Watch::new(late, began, before);
        loop {
            let next = tokio::time::timeout(STALL, told.next()).await;
            let next = next.with_context(|| {
                format!(
                    "nothing happened for {}: the catch-up stands still",
                    span(STALL)
                )
            })?;
            let (peer, event) = next.context("the late peer stopped")?;
            // A watcher that lags has lost details of the story, nothing else.
            let Ok(Event::Group { event, .. }) = event else {
                continue;
            };
            if peer != late {
                self.founder_tells(cluster, &mut watch, peer, &event);
            } else if self.late_tells(cluster, &mut watch, event)? {
                break;
            }
        }
        self.story.end_progress();
        self.conclude(cluster, &watch, writers)?;
        Ok(late)
    }

    /// Takes one event of a founder.
    fn founder_tells(&self, cluster: &Cluster, watch: &mut Watch, peer: usize, event: &GroupEvent) {
        match event {
            GroupEvent::SnapshotCut { anchor, items } => {
                let cut = watch.cut.entry(*anchor).or_default();
                cut.insert(peer);
                if cut.len() == cluster.living().len() - 1 {
                    self.story.tell(format!(
                        "all {} peers have cut the snapshot at cursor {anchor}, the place of the \
                         request in the log: {} items",
                        cut.len(),
                        count(*items)
                    ));
                }
            }
            GroupEvent::RoleChanged { term, role } if *role == quorate::Role::Leader => {
                self.story.tell(format!(
                    "peer {} leads in term {}",
                    self.name_of(cluster, peer),
                    term.0
                ));
            }
            _ => {}
        }
    }

    /// Takes one event of the late peer; true once it follows the live log.
    fn late_tells(
        &mut self,
        cluster: &mut Cluster,
        watch: &mut Watch,
        event: GroupEvent,
    ) -> anyhow::Result<bool> {
        match event {
            GroupEvent::SessionStarted { .. } => {
                self.story.tell(format!(
                    "it is behind what the log still has and asks for a snapshot ({} after it \
                     started)",
                    span(watch.began.elapsed())
                ));
            }
            GroupEvent::RestoreStarted { .. } => self.tell_restore(watch, &event),
            GroupEvent::RestoreProgress {
                from,
                items,
                bytes,
                verified,
                total,
                ..
            } => {
                let brought = watch.brought.entry(from).or_default();
                brought.0 += items;
                brought.1 += bytes;
                self.story.progress(verified, total);
                if self.args.kill_leader && !watch.killed {
                    watch.killed = self.kill_leader(cluster, verified, total)?;
                }
            }
            GroupEvent::ProviderSetAside { peer, reason } => {
                self.story.tell(format!(
                    "peer {} is set aside for a while as a provider: {reason:?}",
                    peer.short()
                ));
            }
            GroupEvent::Restored { anchor, .. } => {
                watch.restored = Some(anchor);
                self.tell_providers(watch, anchor);
            }
            GroupEvent::CaughtUp { applied, .. } => {
                self.story.tell(format!(
                    "it has applied everything up to cursor {applied} and follows the live log, \
                     {} after it started",
                    span(watch.began.elapsed())
                ));
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    fn tell_restore(&mut self, watch: &mut Watch, event: &GroupEvent) {
        let GroupEvent::RestoreStarted {
            anchor,
            items,
            bytes,
            providers,
            confirmed,
            ..
        } = event
        else {
            return;
        };
        watch.restoring = Some(Instant::now());
        watch.total = *items;
        let sure = match confirmed {
            true => "confirmed by a majority",
            false => "stated by the leader",
        };
        self.story.tell(format!(
            "it restores the snapshot at cursor {anchor}: {} items, {}; {providers} peers \
             offer it so far, the digest is {sure}",
            count(*items),
            size(*bytes)
        ));
        self.story.progress(0, *items);
    }

    fn tell_providers(&mut self, watch: &Watch, anchor: Cursor) {
        self.story.end_progress();
        let took = watch.restoring.map(|at| at.elapsed()).unwrap_or_default();
        self.story.tell(format!(
            "every part is verified and installed at cursor {anchor}: {} items from {} peers in \
             {} ({})",
            count(watch.total),
            watch.brought.len(),
            span(took),
            rate(watch.total, took)
        ));
        for (peer, (items, bytes)) in &watch.brought {
            self.story.detail(format!(
                "peer {} gave {} items, {}",
                peer.short(),
                count(*items),
                size(*bytes)
            ));
        }
    }

    /// Kills the leader, if there is one at this moment.
    fn kill_leader(
        &self,
        cluster: &mut Cluster,
        verified: u64,
        total: u64,
    ) -> anyhow::Result<bool> {
        let leads = |i: &usize| cluster.peer(*i).group.status().is_leader();
        let Some(leader) = cluster.living().into_iter().find(leads) else {
            return Ok(false);
        };
        let who = name(cluster.peer(leader));
        cluster.kill(leader);
        self.story.tell(format!(
            "the leader, peer {who}, is killed at {} of {} items",
            count(verified),
            count(total)
        ));
        Ok(true)
    }

    fn conclude(
        &mut self,
        cluster: &Cluster,
        watch: &Watch,
        writers: &Writers,
    ) -> anyhow::Result<()> {
        let report = &mut self.report;
        report.catch_up_ms = millis(watch.began.elapsed());
        report.writes_during_catch_up = writers.acknowledged() - watch.before;
        report.providers = watch
            .brought
            .iter()
            .map(|(peer, (items, bytes))| Provider {
                peer: peer.to_string(),
                items: *items,
                bytes: *bytes,
            })
            .collect();
        self.story.detail(format!(
            "{} writes were acknowledged meanwhile",
            count(self.report.writes_during_catch_up)
        ));
        let Some(anchor) = watch.restored else {
            bail!(
                "peer {} caught up without restoring a snapshot: the demonstration is about that",
                name(cluster.peer(watch.late))
            );
        };
        self.report.anchor = Anchor {
            term: anchor.term.0,
            index: anchor.index.0,
        };
        if self.args.kill_leader && !watch.killed {
            bail!("the catch-up was over before the leader could be killed: use more --entries");
        }
        Ok(())
    }

    fn name_of(&self, cluster: &Cluster, peer: usize) -> String {
        match cluster.living().contains(&peer) {
            true => name(cluster.peer(peer)),
            false => format!("number {}", peer + 1),
        }
    }
}

impl Watch {
    fn new(late: usize, began: Instant, before: u64) -> Self {
        Self {
            late,
            began,
            before,
            restoring: None,
            total: 0,
            brought: BTreeMap::new(),
            cut: BTreeMap::new(),
            restored: None,
            killed: false,
        }
    }
}

/// What happens on the founders from now on; goes on without those that are killed.
async fn watch_founders(
    cluster: &Cluster,
) -> Result<impl Stream<Item = Told> + Unpin + use<>, EventsClosed> {
    let mut all = stream::SelectAll::new();
    for i in cluster.living() {
        let events = cluster.peer(i).group.events().await?;
        all.push(events.map(move |event| (i, event)));
    }
    Ok(all)
}

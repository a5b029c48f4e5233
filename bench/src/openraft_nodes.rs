//! Three nodes of the crate `openraft` in one process: no network, log and machine in memory.
//!
//! A message is a call of the other node, and replication is streamed, as the library offers it.
//! Snapshots are what lets the log be cut back, to the reserve that Quorate's has.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    ops::RangeBounds,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use openraft::{
    AnyError, Config, EmptyNode, EntryPayload, OptionalSend, Raft, RaftLogReader,
    RaftNetworkFactory, RaftNetworkV2, RaftSnapshotBuilder, SnapshotPolicy,
    base::{BoxFuture, BoxStream},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        VoteRequest, VoteResponse,
    },
    storage::{
        EntryResponder, IOFlushed, LogState, RaftLogStorage, RaftStateMachine, Snapshot,
        SnapshotMeta,
    },
    type_config::alias::{
        EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
    },
};

use crate::sums::{COMMAND, Sums, command};

const NODES: u64 = 3;
const RESERVE: u64 = 8_192;
const PATIENCE: Duration = Duration::from_secs(10);

openraft::declare_raft_types!(
    /// What the library is used with.
    pub(crate) Types: D = Add, R = u64, NodeId = u64, Node = EmptyNode
);

type Node = Raft<Types, Machine>;
type Ways = Arc<OnceLock<BTreeMap<u64, Node>>>;

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Add([u8; COMMAND]);

impl fmt::Display for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The nodes.
pub(crate) struct Nodes {
    leader: Node,
    all: Vec<Node>,
}

impl Nodes {
    /// Starts the nodes and waits for a leader.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let config = Config {
            heartbeat_interval: 50,
            election_timeout_min: 250,
            election_timeout_max: 500,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(RESERVE),
            max_in_snapshot_log_to_keep: RESERVE,
            ..Config::default()
        };
        let config = Arc::new(config.validate()?);
        let ways = Ways::default();
        let mut nodes = BTreeMap::new();
        for id in 1..=NODES {
            let network = Network(Arc::clone(&ways));
            let (log, machine) = (Log::default(), Machine::default());
            let node = Raft::new(id, Arc::clone(&config), network, log, machine).await?;
            nodes.insert(id, node);
        }
        ways.set(nodes.clone())
            .ok()
            .context("the ways are set once")?;
        let members: BTreeMap<u64, EmptyNode> =
            (1..=NODES).map(|id| (id, EmptyNode::default())).collect();
        nodes[&1].initialize(members).await?;
        let led = nodes[&1].wait(Some(PATIENCE));
        let metrics = led
            .metrics(|metrics| metrics.current_leader.is_some(), "a leader")
            .await?;
        let leader = metrics.current_leader.context("the leader is gone again")?;
        Ok(Self {
            leader: nodes[&leader].clone(),
            all: nodes.into_values().collect(),
        })
    }

    /// Writes once; returns what the machine answered.
    pub(crate) fn write(&self, number: u64) -> impl Future<Output = anyhow::Result<u64>> + use<> {
        let leader = self.leader.clone();
        async move { Ok(leader.client_write(Add(command(number))).await?.data) }
    }

    /// Stops the nodes.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        for node in &self.all {
            node.shutdown().await?;
        }
        Ok(())
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Logged>>);

#[derive(Default)]
struct Logged {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    entries: BTreeMap<u64, EntryOf<Types>>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Logged> {
        self.0
            .lock()
            .expect("nothing panics while it holds the log")
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        Ok(self
            .lock()
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let log = self.lock();
        let last = log.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState {
            last_purged_log_id: log.purged,
            last_log_id: last.or(log.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| (entry.log_id.index, entry));
        self.lock().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let first = last.map_or(0, |last| last.index + 1);
        self.lock().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut log = self.lock();
        log.purged = Some(upto);
        log.entries = log.entries.split_off(&(upto.index + 1));
        Ok(())
    }
}

/// The machine and what the library wants to know of it.
#[derive(Clone)]
pub(crate) struct Machine {
    sums: Sums,
    last: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    snapshot: Arc<Mutex<Option<SnapshotOf<Types, Sums>>>>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            sums: Sums::new(),
            last: None,
            membership: StoredMembershipOf::<Types>::default(),
            snapshot: Arc::default(),
        }
    }
}

impl Machine {
    fn cut(&self) -> SnapshotOf<Types, Sums> {
        Snapshot {
            meta: SnapshotMeta {
                last_log_id: self.last,
                last_membership: self.membership.clone(),
            },
            snapshot: self.sums.clone(),
        }
    }

    fn keep(&self, snapshot: SnapshotOf<Types, Sums>) {
        let kept = self.snapshot.lock();
        *kept.expect("nothing panics while it holds the snapshot") = Some(snapshot);
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Sums;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Sums>, io::Error> {
        self.keep(self.cut());
        Ok(self.cut())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Sums;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.last = Some(entry.log_id);
            let sum = match entry.payload {
                EntryPayload::Normal(Add(command)) => self.sums.apply(command),
                EntryPayload::Membership(membership) => {
                    self.membership =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
                    0
                }
                EntryPayload::Blank => 0,
            };
            if let Some(responder) = responder {
                responder.send(sum);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Sums,
    ) -> Result<(), io::Error> {
        self.sums = snapshot;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.keep(self.cut());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, Sums>>, io::Error> {
        let kept = self.snapshot.lock();
        let kept = kept.expect("nothing panics while it holds the snapshot");
        Ok(kept.as_ref().map(|kept| Snapshot {
            meta: kept.meta.clone(),
            snapshot: kept.snapshot.clone(),
        }))
    }
}

/// The way to every node.
struct Network(Ways);

/// The way to one node.
struct Way {
    ways: Ways,
    to: u64,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, to: u64, _: &EmptyNode) -> Way {
        let ways = Arc::clone(&self.0);
        Way { ways, to }
    }
}

impl Way {
    fn node(&self) -> Result<Node, Unreachable<Types>> {
        let node = self.ways.get().and_then(|ways| ways.get(&self.to));
        node.cloned()
            .ok_or_else(|| Unreachable::new(&AnyError::error("not started yet")))
    }
}

fn failed(error: &(impl std::error::Error + 'static)) -> Unreachable<Types> {
    Unreachable::new(error)
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = Sums;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = self.node()?.append_entries(request).await;
        answer.map_err(|error| failed(&error).into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let answers = self.node()?.stream_append(requests);
            let answers = answers.map(|answer| answer.map_err(|error| failed(&error).into()));
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.node()?.vote(request).await;
        answer.map_err(|error| failed(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Sums>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let answer = self.node()?.install_full_snapshot(vote, snapshot).await;
        answer.map_err(|error| failed(&error).into())
    }
}

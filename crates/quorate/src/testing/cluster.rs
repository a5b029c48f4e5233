//! A cluster: peers that can be added, killed, paused, cut off and started again.

use std::{collections::BTreeSet, io, time::Duration};

use futures::future::{select_all, try_join_all};
use quorate_core::{Cursor, Form, GroupKey, GroupProfile, PeerId, Term};
use quorate_net::{Switchboard, iroh::SecretKey};
use tokio::sync::oneshot;

use super::directory::Directory;
use crate::{
    event::{Events, EventsClosed},
    group::{Group, StateDigest},
    network::{BuildError, Network},
    open::OpenError,
    read::ReadError,
    status::GroupStatus,
    when::WhenClosed,
};

/// Peers of one group in one process, each with its own endpoint on 127.0.0.1, or all of them at
/// one switchboard ([`Cluster::memory`]).
///
/// Dropping it crashes every peer; [`Cluster::close`] says goodbye.
#[derive(Debug)]
pub struct Cluster {
    builder: ClusterBuilder,
    peers: Vec<Slot>,
    /// The sides between which there are no links.
    sides: Vec<BTreeSet<usize>>,
    place: Place,
}

/// Where the peers meet.
#[derive(Debug)]
enum Place {
    Directory(Directory),
    Switchboard(Switchboard),
}

#[derive(Debug)]
struct Slot {
    key: [u8; 32],
    running: Option<ClusterPeer>,
    /// Lets it go on when dropped, if it is paused.
    paused: Option<oneshot::Sender<()>>,
    /// What happened to the peer since it was started, until somebody takes it.
    events: Option<Events>,
}

/// One peer of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterPeer {
    /// Its network.
    pub net: Network,
    /// Its handle to the cluster's group.
    pub group: Group,
}

/// How a cluster is to be made; see [`Cluster::builder`].
#[derive(Clone, Debug)]
#[must_use = "a cluster is made by `start`"]
pub struct ClusterBuilder {
    peers: usize,
    seed: u64,
    network: String,
    key: GroupKey,
    profile: GroupProfile,
    timeout: Option<Duration>,
    memory: bool,
}

/// A cluster could not be made, or did not do what was waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A cluster has at least one peer.
    #[error("a cluster has at least one peer")]
    Empty,
    /// The directory where the peers meet could not be made.
    #[error("the directory where the peers meet could not be made")]
    Directory(#[from] io::Error),
    /// A peer could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A peer could not open the group.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A peer was closed while it was waited for.
    #[error(transparent)]
    Closed(#[from] WhenClosed),
    /// A peer was closed before it could be watched.
    #[error(transparent)]
    Unwatched(#[from] EventsClosed),
    /// A peer's state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Two peers hold different states at one cursor.
    #[error("peers {one} and {other} hold different states at cursor {}", at.cursor)]
    Diverged {
        /// The one.
        one: usize,
        /// The other.
        other: usize,
        /// What the one holds.
        at: StateDigest,
    },
}

impl Cluster {
    /// Starts `n` peers that found a group together, and waits until all know its leader.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn local(n: usize) -> Result<Self, ClusterError> {
        Self::builder(n).start().await
    }

    /// Starts `n` peers whose links are within the process, as [`Self::local`] does those on QUIC.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn memory(n: usize) -> Result<Self, ClusterError> {
        Self::builder(n).memory().start().await
    }

    /// Says how to make a cluster of `n` founders.
    pub fn builder(n: usize) -> ClusterBuilder {
        ClusterBuilder {
            peers: n,
            seed: 0,
            network: "cluster".to_owned(),
            key: GroupKey::named("cluster"),
            profile: GroupProfile::lan(),
            timeout: None,
            memory: false,
        }
    }

    /// Returns how many peers there have been, killed ones included.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Tells whether there has never been a peer; there has.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Returns a running peer.
    ///
    /// # Panics
    /// If peer `i` was killed or never was.
    pub fn peer(&self, i: usize) -> &ClusterPeer {
        self.peers[i].running.as_ref().expect("the peer runs")
    }

    /// Takes everything that happens to peer `i`, from its start on.
    ///
    /// # Panics
    /// If there was never a peer `i`, or its events were taken before.
    pub fn events(&mut self, i: usize) -> Events {
        self.peers[i].events.take().expect("events are taken once")
    }

    /// Returns the numbers of the running peers, in order.
    pub fn living(&self) -> Vec<usize> {
        let runs = |i: &usize| self.peers[*i].running.is_some();
        (0..self.peers.len()).filter(runs).collect()
    }

    /// Returns the numbers of the running peers that are not paused, in order.
    pub fn awake(&self) -> Vec<usize> {
        let awake = |i: &usize| self.peers[*i].paused.is_none();
        self.living().into_iter().filter(awake).collect()
    }

    /// Returns the number of the running peer with this id.
    pub fn number_of(&self, peer: PeerId) -> Option<usize> {
        self.living()
            .into_iter()
            .find(|i| self.peer(*i).net.peer() == peer)
    }

    /// Starts one more peer, which joins the group; returns its number at once.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn add(&mut self) -> Result<usize, ClusterError> {
        let i = self.peers.len();
        let key = self.builder.key_of(i);
        let slot = self.start(i, key).await?;
        self.peers.push(slot);
        Ok(i)
    }

    /// Starts peer `i`, on its side of the partition if there is one.
    async fn start(&self, i: usize, key: [u8; 32]) -> Result<Slot, ClusterError> {
        let barred = self.barred(i);
        let starting = self.builder.spawn(&self.place, key, Form::Join, barred);
        starting.await
    }

    /// Stops peer `i` as a crash would: without a goodbye, and its memory is gone.
    ///
    /// # Panics
    /// If there was never a peer `i`.
    pub fn kill(&mut self, i: usize) {
        self.peers[i].paused = None;
        if let Some(peer) = self.peers[i].running.take() {
            peer.net.crash();
        }
    }

    /// Stops peer `i` in good order, as its user would.
    ///
    /// # Panics
    /// If there was never a peer `i`.
    pub async fn stop(&mut self, i: usize) {
        self.peers[i].paused = None;
        if let Some(peer) = self.peers[i].running.take() {
            peer.net.close().await;
        }
    }

    /// Lets peer `i` hang: it reads nothing and answers nothing until [`Self::resume`], as a
    /// process does that is stopped or starved. What others send it waits; its own clock goes on.
    ///
    /// Returns when it hangs. Operations through it wait until it goes on.
    ///
    /// # Panics
    /// If peer `i` was killed or never was.
    pub async fn pause(&mut self, i: usize) {
        if self.peers[i].paused.is_none() {
            self.peers[i].paused = self.peer(i).net.pause().await;
        }
    }

    /// Lets a paused peer go on.
    ///
    /// # Panics
    /// If there was never a peer `i`.
    pub fn resume(&mut self, i: usize) {
        self.peers[i].paused = None;
    }

    /// Cuts the network: there are no links between peers of different `sides` until
    /// [`Self::heal`], in either direction. Those that stand are gone at once, without a goodbye.
    ///
    /// Peers that are on no side, later ones included, reach everybody. A peer that is killed and
    /// started again is on the side where it was. Partitions do not add up: the last one counts.
    pub fn partition(&mut self, sides: &[&[usize]]) {
        let side = |side: &&[usize]| side.iter().copied().collect();
        self.sides = sides.iter().map(side).collect();
        self.bar();
    }

    /// Ends a partition: links come back by themselves, within two seconds or so.
    pub fn heal(&mut self) {
        self.sides.clear();
        self.bar();
    }

    fn bar(&self) {
        for i in self.living() {
            self.peer(i).net.bar(self.barred(i));
        }
    }

    /// Whom peer `i` may have no link to.
    fn barred(&self, i: usize) -> BTreeSet<PeerId> {
        let Some(own) = self.sides.iter().find(|side| side.contains(&i)) else {
            return BTreeSet::new();
        };
        let others = self.sides.iter().flatten();
        let others = others.filter(|other| !own.contains(*other));
        others.map(|other| self.builder.id_of(*other)).collect()
    }

    /// Starts peer `i` again after it was killed: the same key, a new life.
    ///
    /// # Errors
    /// See [`ClusterError`].
    ///
    /// # Panics
    /// If there was never a peer `i`.
    pub async fn restart(&mut self, i: usize) -> Result<(), ClusterError> {
        self.kill(i);
        let key = self.peers[i].key;
        self.peers[i] = self.start(i, key).await?;
        Ok(())
    }

    /// Waits until all running peers know one leader among them; returns its number and term.
    ///
    /// Paused peers are left out, here and in the other conditions. All of them wait for as long
    /// as it takes: put a timeout around them.
    ///
    /// # Errors
    /// [`ClusterError::Closed`].
    pub async fn leader(&self) -> Result<(usize, Term), ClusterError> {
        self.leader_among(&self.awake()).await
    }

    /// Waits until these peers know one leader among them, such as those on one side of a
    /// partition; returns its number and term.
    ///
    /// # Errors
    /// [`ClusterError::Closed`], or [`ClusterError::Empty`] if it is about nobody.
    pub async fn leader_among(&self, peers: &[usize]) -> Result<(usize, Term), ClusterError> {
        let among = peers;
        loop {
            let peers = among.iter();
            let mut watched: Vec<_> = peers.map(|i| self.peer(*i).group.watch()).collect();
            let known: Vec<_> = watched
                .iter_mut()
                .map(|status| status.borrow_and_update().clone())
                .collect();
            if known.is_empty() {
                return Err(ClusterError::Empty);
            }
            if known.iter().any(|status| status.closed) {
                return Err(WhenClosed.into());
            }
            if let Some((leader, term)) = self.agreed(&known)
                && among.contains(&leader)
            {
                return Ok((leader, term));
            }
            let changed = watched.iter_mut().map(|status| Box::pin(status.changed()));
            select_all(changed).await.0.map_err(|_| WhenClosed)?;
        }
    }

    /// Returns the leader that all know, and its term.
    fn agreed(&self, known: &[GroupStatus]) -> Option<(usize, Term)> {
        let first = known.first()?;
        let same =
            |status: &GroupStatus| (status.leader, status.term) == (first.leader, first.term);
        let leader = self.number_of(first.leader?.peer)?;
        known.iter().all(same).then_some((leader, first.term))
    }

    /// Waits until peer `i` follows the live log, whatever it has to catch up.
    ///
    /// # Errors
    /// [`ClusterError::Closed`].
    ///
    /// # Panics
    /// If peer `i` was killed or never was.
    pub async fn caught_up(&self, i: usize) -> Result<GroupStatus, ClusterError> {
        Ok(self.peer(i).group.when().caught_up().await?)
    }

    /// Waits until all running peers have applied everything up to `cursor`.
    ///
    /// # Errors
    /// [`ClusterError::Closed`].
    pub async fn applied(&self, cursor: Cursor) -> Result<(), ClusterError> {
        for i in self.awake() {
            self.peer(i).group.when().applied(cursor).await?;
        }
        Ok(())
    }

    /// Waits until all running peers stand at one cursor, and returns their digests there.
    ///
    /// Returns once nothing more is written, elected or joined; put a timeout around it.
    ///
    /// # Errors
    /// [`ClusterError::Closed`] or [`ClusterError::Read`].
    pub async fn digests(&self) -> Result<Vec<(usize, StateDigest)>, ClusterError> {
        loop {
            let furthest = self
                .awake()
                .into_iter()
                .map(|i| self.peer(i).group.status().applied)
                .max()
                .ok_or(ClusterError::Empty)?;
            self.applied(furthest).await?;
            let mut digests = Vec::new();
            for i in self.awake() {
                digests.push((i, self.peer(i).group.digest().await?));
            }
            let cursor = digests[0].1.cursor;
            if digests.iter().all(|(_, digest)| digest.cursor == cursor) {
                return Ok(digests);
            }
        }
    }

    /// Waits until all running peers hold the same state at one cursor, as they do once nothing
    /// more is written, elected or joined; returns what they hold.
    ///
    /// # Errors
    /// [`ClusterError::Diverged`] if they hold different states at one cursor; otherwise as of
    /// [`Self::digests`].
    pub async fn converged(&self) -> Result<StateDigest, ClusterError> {
        let digests = self.digests().await?;
        let (one, at) = *digests.first().ok_or(ClusterError::Empty)?;
        match digests.iter().find(|(_, digest)| *digest != at) {
            Some((other, _)) => Err(ClusterError::Diverged {
                one,
                other: *other,
                at,
            }),
            None => Ok(at),
        }
    }

    /// Stops every peer in good order.
    pub async fn close(mut self) {
        for i in 0..self.peers.len() {
            self.stop(i).await;
        }
    }
}

impl ClusterBuilder {
    /// Sets the seed that the peers' keys follow from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the network's name.
    pub fn network(mut self, name: &str) -> Self {
        name.clone_into(&mut self.network);
        self
    }

    /// Sets the group's key.
    pub fn key(mut self, key: GroupKey) -> Self {
        self.key = key;
        self
    }

    /// Sets the operational parameters of every peer.
    pub fn profile(mut self, profile: GroupProfile) -> Self {
        self.profile = profile;
        self
    }

    /// Sets how long operations wait unless they are told otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Links the peers within the process: no sockets and no encryption, otherwise the same.
    pub fn memory(mut self) -> Self {
        self.memory = true;
        self
    }

    /// Starts the founders and waits until all of them know the group's leader.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn start(self) -> Result<Cluster, ClusterError> {
        if self.peers == 0 {
            return Err(ClusterError::Empty);
        }
        let place = if self.memory {
            Place::Switchboard(Switchboard::new())
        } else {
            Place::Directory(Directory::new()?)
        };
        let form = Form::Expect(self.peers);
        let founders = (0..self.peers).map(|i| {
            let (key, nobody) = (self.key_of(i), BTreeSet::new());
            self.spawn(&place, key, form, nobody)
        });
        let peers = try_join_all(founders).await?;
        let cluster = Cluster {
            builder: self,
            peers,
            sides: Vec::new(),
            place,
        };
        cluster.leader().await?;
        Ok(cluster)
    }

    async fn spawn(
        &self,
        place: &Place,
        key: [u8; 32],
        form: Form,
        barred: BTreeSet<PeerId>,
    ) -> Result<Slot, ClusterError> {
        let net = Network::builder(&self.network).secret_key(key);
        let mut net = match place {
            Place::Directory(directory) => net.rendezvous(directory.path()),
            Place::Switchboard(switchboard) => net.within(switchboard),
        };
        if let Some(timeout) = self.timeout {
            net = net.timeout(timeout);
        }
        let net = net.build().await?;
        // Before there is a group, and so before it dials.
        net.bar(barred);
        let events = net.events().await?;
        let group = net
            .group(self.key.clone())
            .form(form)
            .profile(self.profile.clone())
            .open()
            .await?;
        Ok(Slot {
            key,
            running: Some(ClusterPeer { net, group }),
            paused: None,
            events: Some(events),
        })
    }

    /// The id of peer `i`, whether it runs or not.
    fn id_of(&self, i: usize) -> PeerId {
        PeerId(*SecretKey::from_bytes(&self.key_of(i)).public().as_bytes())
    }

    /// The secret key of peer `i`.
    fn key_of(&self, i: usize) -> [u8; 32] {
        let mut hasher =
            blake3::Hasher::new_derive_key("quorate 2026 key of a test cluster's peer");
        hasher
            .update(&self.seed.to_le_bytes())
            .update(&(i as u64).to_le_bytes());
        *hasher.finalize().as_bytes()
    }
}

//! Networks: one peer of one, and the handle to it.

use std::{collections::BTreeSet, future::Future, path::PathBuf, sync::Arc, time::Duration};

use quorate_core::{GroupKey, Incarnation, NetworkId, Peer, PeerConfig, PeerId, Planted};
use quorate_net::{
    Address, AlreadyPluggedIn, BindError, Carrier, Switchboard, Transport, Tuning,
    iroh::{Endpoint, SecretKey, protocol::Router},
    presets::{Lan, Loopback},
    rendezvous::{Card, Rendezvous, RendezvousError},
};
use quorate_store::{MemoryStore, StoreOptions};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    driver::{self, Driver, Parts, clock::Clock, door::Door, request::Request},
    event::{Events, EventsClosed},
    group::request,
    hall::Hall,
    limits::{CLOSE_TIME, IDENTITY_TIME, LEAVE_TIME, NETWORK_NAME, OPERATION_TIMEOUT},
    metrics::Metrics,
    open::GroupBuilder,
    ticket::Ticket,
};

/// One peer of a network; clones are handles to the same peer.
///
/// Dropping all of them without [`Network::close`] is to the other peers what a crash of the
/// process is: nobody says goodbye.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    hall: Arc<Hall>,
    driver: JoinHandle<()>,
    carrier: Carrier,
    metrics: Metrics,
    /// The router that was made for this network, unless the application has its own.
    router: Option<Router>,
}

impl Inner {
    /// Gives up this peer's seats, as far as that can be done soon.
    async fn leave(&self) {
        let deadline = self.hall.clock.time().after(LEAVE_TIME);
        let (done, over) = oneshot::channel();
        if self
            .hall
            .door
            .enter(Request::Leave { deadline, done })
            .is_ok()
        {
            // It ends by being dropped: when every group has answered, or the driver has stopped.
            timeout(LEAVE_TIME, over)
                .await
                .map(drop)
                .unwrap_or_default();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.carrier.crash();
        self.driver.abort();
    }
}

/// Makes a peer; see [`Network::builder`].
#[derive(Clone, Debug)]
#[must_use = "a peer is made by `build` or `mount`"]
pub struct NetworkBuilder {
    name: String,
    secret_key: Option<[u8; 32]>,
    listen: Listen,
    finding: Finding,
    known: Vec<(PeerId, Vec<Address>)>,
    tickets: Vec<Ticket>,
    notes: Vec<(String, String)>,
    timeout: Duration,
    tuning: Tuning,
}

#[derive(Clone, Debug)]
enum Listen {
    Loopback,
    On(std::net::SocketAddr),
    /// Not at all: links are within the process.
    Within(Switchboard),
}

#[derive(Clone, Debug)]
enum Finding {
    /// The directory where this user's peers on this machine meet.
    Default,
    In(PathBuf),
    Off,
}

/// A peer could not be made; nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint could not be bound: most often its port is in use.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The directory where peers of this machine meet cannot be used.
    #[error("the rendezvous directory cannot be used")]
    Rendezvous(#[source] RendezvousError),
    /// A living process on this machine has the same identity, or a peer at the same switchboard.
    #[error(
        "peer {} already runs on this machine, as process {pid}: stop it, or give this one another \
         secret key",
        peer.short()
    )]
    IdentityInUse {
        /// Which identity.
        peer: PeerId,
        /// The other process, by its own account.
        pid: u32,
    },
    /// A ticket is of another network.
    #[error(
        "the ticket is of network {ticket:?} and this peer of network {network:?}: name the \
         ticket's network, or get a ticket of this one"
    )]
    TicketOfAnotherNetwork {
        /// The ticket's network.
        ticket: String,
        /// This peer's network.
        network: String,
    },
    /// The network's name is longer than [`crate::limits::NETWORK_NAME`].
    #[error(
        "the network's name has {len} bytes where {} are allowed",
        crate::limits::NETWORK_NAME
    )]
    NetworkName {
        /// Its size.
        len: usize,
    },
    /// A note's name is not one word, or one that cards use themselves.
    #[error(
        "{name:?} cannot be the name of a note: take one word other than pid, started, address"
    )]
    Note {
        /// The name.
        name: String,
    },
}

impl From<AlreadyPluggedIn> for BuildError {
    fn from(AlreadyPluggedIn(peer): AlreadyPluggedIn) -> Self {
        let pid = std::process::id();
        Self::IdentityInUse { peer, pid }
    }
}

impl From<RendezvousError> for BuildError {
    fn from(error: RendezvousError) -> Self {
        match error {
            RendezvousError::Taken { peer, pid } => Self::IdentityInUse { peer, pid },
            error => Self::Rendezvous(error),
        }
    }
}

impl Network {
    /// Starts to make a peer of the network called `name`.
    pub fn builder(name: &str) -> NetworkBuilder {
        NetworkBuilder {
            name: name.to_owned(),
            secret_key: None,
            listen: Listen::Loopback,
            finding: Finding::Default,
            known: Vec::new(),
            tickets: Vec::new(),
            notes: Vec::new(),
            timeout: OPERATION_TIMEOUT,
            tuning: Tuning::lan(),
        }
    }

    /// Returns this peer's id: its public key.
    pub fn peer(&self) -> PeerId {
        self.inner.hall.peer
    }

    /// Returns the network's id, which follows from its name.
    pub fn id(&self) -> NetworkId {
        self.inner.hall.network
    }

    /// Returns where this peer can be reached now.
    pub fn addresses(&self) -> Vec<Address> {
        self.inner.carrier.addresses()
    }

    /// Returns this peer's metrics and its endpoint's.
    pub fn metrics(&self) -> Metrics {
        self.inner.metrics.clone()
    }

    /// Returns the network's name.
    pub fn name(&self) -> &str {
        &self.inner.hall.name
    }

    /// Makes a ticket that lets peers of other machines in: the network's name, this peer's id and
    /// where it can be reached now, and `secret`, from which the groups' keys are to follow. A peer
    /// that listens on 127.0.0.1, as it does unless told otherwise, is reached from its machine
    /// only.
    ///
    /// ```no_run
    /// # async fn up(secret: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate::prelude::*;
    ///
    /// let net = Network::builder("shop").listen(([0, 0, 0, 0], 0).into()).build().await?;
    /// let ticket = net.ticket(secret);
    /// let group = net.group(ticket.group_key("orders")).open().await?;
    /// println!("let others in with {ticket}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn ticket(&self, secret: [u8; 32]) -> Ticket {
        Ticket {
            network: self.name().to_owned(),
            secret,
            peer: self.peer(),
            addresses: self.addresses(),
        }
    }

    /// Starts to open the group with this key.
    pub fn group(&self, key: GroupKey) -> GroupBuilder {
        GroupBuilder::new(Arc::clone(&self.inner.hall), key)
    }

    /// Subscribes to what happens in all groups and to all peers, from now on. Cancel-safe.
    ///
    /// # Errors
    /// [`EventsClosed`] if the network is closed.
    pub fn events(&self) -> impl Future<Output = Result<Events, EventsClosed>> + Send + use<> {
        let (hall, group) = (Arc::clone(&self.inner.hall), None);
        async move {
            request(&hall, |reply| Request::Events { group, reply })
                .await
                .map(Events::new)
                .ok_or(EventsClosed)
        }
    }

    /// Stops this peer in good order, within about two seconds, whatever of it can be done by then:
    /// it hands leadership over, gives up its seats, and says goodbye to the other peers.
    ///
    /// A peer that keeps its log in memory cannot come back as itself, so it leaves the groups
    /// instead of being missed: what is left is a smaller group and not one that lacks a voter. The
    /// last voter of a group keeps its seat; the group ends with it. Without a quorum nothing can
    /// be handed over, and it goes as in a crash.
    ///
    /// Writes under way end as [`crate::WriteError::Unknown`] if they are not answered before.
    /// Closing twice is harmless. Cancel-safe: what is begun goes on, and calling it again waits
    /// for the rest. An endpoint or router that the application brought stays open.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let inner = Arc::clone(&self.inner);
        async move {
            let stopping = async {
                inner.leave().await;
                request(&inner.hall, |done| Request::Stop { done }).await;
                if let Some(router) = &inner.router {
                    router.shutdown().await.unwrap_or_else(|error| {
                        tracing::debug!(%error, "the endpoint's router failed");
                    });
                }
            };
            if timeout(CLOSE_TIME, stopping).await.is_err() {
                // What could not be done in time is left as a crash would leave it.
                tracing::debug!("the peer did not stop in time");
                inner.driver.abort();
            }
        }
    }

    /// Lets this peer do nothing until the returned value is dropped: it reads and answers
    /// nothing, and closes nothing. Nothing is returned if the network is closed.
    pub(crate) async fn pause(&self) -> Option<oneshot::Sender<()>> {
        let (resume, until) = oneshot::channel();
        let pause = |paused| Request::Pause { paused, until };
        request(&self.inner.hall, pause).await.map(|()| resume)
    }

    /// Allows no links to these peers until it is called again.
    pub(crate) fn bar(&self, peers: BTreeSet<PeerId>) {
        self.inner.carrier.bar(peers);
    }

    /// Stops this peer as a crash would, although there may be other handles to it.
    pub(crate) fn crash(&self) {
        self.inner.carrier.crash();
        self.inner.driver.abort();
    }
}

impl NetworkBuilder {
    /// Sets the peer's secret key, from which its id follows; a new one is drawn otherwise.
    ///
    /// A key must not be in use twice at a time.
    pub fn secret_key(mut self, key: [u8; 32]) -> Self {
        self.secret_key = Some(key);
        self
    }

    /// Listens on `address` instead of on a free port of 127.0.0.1.
    pub fn listen(mut self, address: std::net::SocketAddr) -> Self {
        self.listen = Listen::On(address);
        self
    }

    /// Has links only to other peers of this process, those that plug in at the same switchboard:
    /// without a socket, a port or a file, for many nodes in one process.
    ///
    /// The peers of one network find each other there, unless it is said
    /// [`Self::without_rendezvous`]. All else is as over QUIC: each has its own identity, driver
    /// and state. [`Self::rendezvous`], [`Self::tuning`] and notes do not apply.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate::{Switchboard, prelude::*};
    ///
    /// let switchboard = Switchboard::new();
    /// let mut maps = Vec::new();
    /// for _ in 0..3 {
    ///     let net = Network::builder("fleet").within(&switchboard).build().await?;
    ///     let group = net.group(GroupKey::named("places")).form(Form::Expect(3)).open().await?;
    ///     maps.push((net, group.map::<String, u64>("places")));
    /// }
    /// maps[0].1.insert("north".to_owned(), 4).await?;
    /// let there = maps[2].1.get("north", Read::Linearizable).await?;
    /// assert_eq!(there, Some(4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn within(mut self, switchboard: &Switchboard) -> Self {
        self.listen = Listen::Within(switchboard.clone());
        self
    }

    /// Finds peers of this machine in `directory` instead of in the one that this user's peers
    /// share.
    pub fn rendezvous(mut self, directory: impl Into<PathBuf>) -> Self {
        self.finding = Finding::In(directory.into());
        self
    }

    /// Does not look for peers: only those given by [`Self::know`] are dialed.
    pub fn without_rendezvous(mut self) -> Self {
        self.finding = Finding::Off;
        self
    }

    /// Adds a peer that need not be found.
    pub fn know(mut self, peer: PeerId, addresses: Vec<Address>) -> Self {
        self.known.push((peer, addresses));
        self
    }

    /// Adds the peer that a ticket names, and takes the ticket for a wish to join: groups that are
    /// opened without a [`crate::Form`] are joined and never founded. May be called with several.
    ///
    /// A ticket of another network is refused by [`Self::build`] and [`Self::mount`], with
    /// [`BuildError::TicketOfAnotherNetwork`]. The groups' keys follow from it by
    /// [`Ticket::group_key`].
    pub fn ticket(mut self, ticket: &Ticket) -> Self {
        self.tickets.push(ticket.clone());
        self
    }

    /// Adds a note to this peer's card in the rendezvous directory, for whoever looks for it there:
    /// where it serves HTTP, say. See [`crate::rendezvous::live`].
    ///
    /// `name` is one word, `text` one line. A later note of one name takes the place of the
    /// earlier one.
    pub fn note(mut self, name: &str, text: &str) -> Self {
        self.notes.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Sets how long operations wait unless they are told otherwise; 5 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the QUIC parameters of links; those for one machine or one LAN by default.
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// Makes the peer with an endpoint and a router of its own; must run in a tokio runtime.
    ///
    /// Returns as soon as its socket is open: waits for no relay and no peer.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(self) -> Result<Network, BuildError> {
        self.check()?;
        let key = self.secret_key.unwrap_or_else(entropy);
        let tuning = self.tuning.clone();
        // Boxed, so that an application's own futures stay small.
        let endpoint = match &self.listen {
            Listen::Loopback => {
                let preset = Loopback { port: 0, tuning };
                Box::pin(quorate_net::bind(preset, &key)).await?
            }
            Listen::On(listen) => {
                let listen = *listen;
                let preset = Lan { listen, tuning };
                Box::pin(quorate_net::bind(preset, &key)).await?
            }
            Listen::Within(switchboard) => {
                let network = NetworkId::from_name(&self.name);
                let (plug, events) = switchboard.plug_in(network, &key)?;
                return self.start(plug.into(), events, None).await;
            }
        };
        let (transport, events) = Transport::new(endpoint, self.tuning.clone());
        let router = transport.serve();
        self.start(transport.into(), events, Some(router)).await
    }

    /// Makes the peer on an endpoint that the application owns.
    ///
    /// The application puts the returned handler on its router, beside its own:
    /// `.accept(quorate::ALPN, protocol)`. The endpoint's key is the peer's; [`Self::secret_key`]
    /// and [`Self::listen`] do not apply. [`Network::close`] leaves endpoint and router open.
    ///
    /// # Errors
    /// See [`BuildError`]; all but [`BuildError::Bind`].
    pub async fn mount(self, endpoint: Endpoint) -> Result<(Network, Transport), BuildError> {
        self.check()?;
        let (transport, events) = Transport::new(endpoint, self.tuning.clone());
        let network = self.start(transport.clone().into(), events, None).await?;
        Ok((network, transport))
    }

    /// Refuses what no peer can be made of.
    fn check(&self) -> Result<(), BuildError> {
        let len = self.name.len();
        if len > NETWORK_NAME {
            return Err(BuildError::NetworkName { len });
        }
        if let Some(ticket) = self
            .tickets
            .iter()
            .find(|ticket| ticket.network != self.name)
        {
            return Err(BuildError::TicketOfAnotherNetwork {
                ticket: ticket.network.clone(),
                network: self.name.clone(),
            });
        }
        if let Some((name, _)) = self.notes.iter().find(|(name, _)| !Card::is_note(name)) {
            return Err(BuildError::Note { name: name.clone() });
        }
        Ok(())
    }

    /// Puts this peer's card where others look, and begins to look for theirs.
    async fn meet(
        &self,
        carrier: &Carrier,
        network: NetworkId,
    ) -> Result<Option<driver::Finding>, BuildError> {
        let root = match (&self.finding, &self.listen) {
            (Finding::Off, _) => return Ok(None),
            (_, Listen::Within(switchboard)) => {
                return Ok(Some(driver::Finding {
                    sightings: switchboard.watch(network, carrier.peer()),
                    place: None,
                }));
            }
            (Finding::Default, _) => None,
            (Finding::In(directory), _) => Some(directory.as_path()),
        };
        let rendezvous = Rendezvous::open(root, network)?;
        let me = carrier.peer();
        let card = self
            .notes
            .iter()
            .fold(Card::here(carrier.addresses()), |card, (name, text)| {
                card.note(name, text)
            });
        let until = Instant::now() + IDENTITY_TIME;
        let card = loop {
            match rendezvous.register(me, &card) {
                // Whose place this peer takes may be on its way out.
                Err(RendezvousError::Taken { .. }) if Instant::now() < until => {
                    tokio::time::sleep(IDENTITY_LOOK).await;
                }
                registered => break registered?,
            }
        };
        Ok(Some(driver::Finding {
            sightings: rendezvous.watch(me),
            place: Some((rendezvous, card)),
        }))
    }

    async fn start(
        self,
        carrier: Carrier,
        events: quorate_net::Events,
        router: Option<Router>,
    ) -> Result<Network, BuildError> {
        let peer = carrier.peer();
        let network = NetworkId::from_name(&self.name);
        let finding = self.meet(&carrier, network).await?;
        let meets = finding.as_ref().is_some_and(|it| it.place.is_some());
        let invited = !self.tickets.is_empty();
        let from_tickets = self.tickets.into_iter();
        let from_tickets = from_tickets.map(|ticket| (ticket.peer, ticket.addresses));
        let known = self.known.into_iter().chain(from_tickets).collect();
        let draws = entropy();
        let draw = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| draws[at * 8 + byte]));
        let (store, recovered) =
            MemoryStore::new(StoreOptions::new(Incarnation(draw(0)), draw(3), draw(2)));
        let config = PeerConfig {
            peer,
            network,
            seed: draw(1),
            planted: Planted::default(),
        };
        let hall = Arc::new(Hall {
            door: Door::default(),
            clock: Clock::start(),
            meters: Arc::default(),
            peer,
            network,
            name: self.name,
            meets,
            invited,
            timeout: self.timeout,
        });
        let driver = Driver::new(Parts {
            hall: Arc::clone(&hall),
            peer: Peer::new(config, recovered),
            store,
            carrier: carrier.clone(),
            events,
            finding,
            known,
        });
        let inner = Inner {
            metrics: Metrics::new(&hall.meters, &hall, &carrier),
            hall,
            driver: tokio::spawn(driver.run()),
            carrier,
            router,
        };
        Ok(Network {
            inner: Arc::new(inner),
        })
    }
}

/// Between two looks whether another peer of this identity is gone.
const IDENTITY_LOOK: Duration = Duration::from_millis(20);

/// Draws 32 random bytes; the endpoint's crate already draws keys from the operating system.
fn entropy() -> [u8; 32] {
    SecretKey::generate().to_bytes()
}

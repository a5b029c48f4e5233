//! Networks: one peer of one, and the handle to it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use quorate_core::{GroupKey, Incarnation, NetworkId, Peer, PeerConfig, PeerId};
use quorate_net::{
    Address, BindError, Transport, Tuning,
    iroh::{Endpoint, SecretKey, protocol::Router},
    presets::{Lan, Loopback},
    rendezvous::{Card, Rendezvous, RendezvousError},
};
use quorate_store::{MemoryStore, StoreOptions};
use tokio::task::JoinHandle;

use crate::{
    driver::{self, Driver, Parts, clock::Clock, door::Door, request::Request},
    event::{Events, EventsClosed},
    group::{GroupBuilder, request},
    hall::Hall,
    limits::{CLOSE_TIME, OPERATION_TIMEOUT},
    metrics::Metrics,
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
    transport: Transport,
    metrics: Metrics,
    /// The router that was made for this network, unless the application has its own.
    router: Option<Router>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.transport.crash();
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
    timeout: Duration,
    tuning: Tuning,
}

#[derive(Clone, Debug)]
enum Listen {
    Loopback,
    On(std::net::SocketAddr),
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
    Rendezvous(#[from] RendezvousError),
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
        self.inner.transport.addresses()
    }

    /// Returns this peer's metrics and its endpoint's.
    pub fn metrics(&self) -> Metrics {
        self.inner.metrics.clone()
    }

    /// Starts to open the group with this key.
    pub fn group(&self, key: GroupKey) -> GroupBuilder {
        GroupBuilder::new(Arc::clone(&self.inner.hall), key)
    }

    /// Subscribes to what happens in all groups and to all peers, from now on.
    ///
    /// # Errors
    /// [`EventsClosed`] if the network is closed.
    pub async fn events(&self) -> Result<Events, EventsClosed> {
        request(&self.inner.hall, |reply| Request::Events {
            group: None,
            reply,
        })
        .await
        .map(Events::new)
        .ok_or(EventsClosed)
    }

    /// Stops this peer in good order: handles get their answers, the other peers a goodbye.
    ///
    /// Takes at most about two seconds. Writes under way end as
    /// [`crate::WriteError::Unknown`]. Closing twice is harmless. Cancel-safe: what is begun goes
    /// on, and calling it again waits for the rest. An endpoint or router that the application
    /// brought stays open.
    pub async fn close(&self) {
        let stopping = async {
            request(&self.inner.hall, |done| Request::Stop { done }).await;
            if let Some(router) = &self.inner.router {
                router.shutdown().await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "the endpoint's router failed");
                });
            }
        };
        if tokio::time::timeout(CLOSE_TIME, stopping).await.is_err() {
            // What could not be done in time is left as a crash would leave it.
            tracing::debug!("the peer did not stop in time");
            self.inner.driver.abort();
        }
    }

    /// Stops this peer as a crash would, although there may be other handles to it.
    pub(crate) fn crash(&self) {
        self.inner.transport.crash();
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
        let key = self.secret_key.unwrap_or_else(entropy);
        let tuning = self.tuning.clone();
        let endpoint = match self.listen {
            Listen::Loopback => quorate_net::bind(Loopback { port: 0, tuning }, &key).await?,
            Listen::On(listen) => quorate_net::bind(Lan { listen, tuning }, &key).await?,
        };
        let (transport, events) = Transport::new(endpoint, self.tuning.clone());
        let router = transport.serve();
        self.start(transport, events, Some(router)).await
    }

    /// Makes the peer on an endpoint that the application owns.
    ///
    /// The application puts the returned handler on its router, beside its own:
    /// `.accept(quorate::ALPN, protocol)`. The endpoint's key is the peer's; [`Self::secret_key`]
    /// and [`Self::listen`] do not apply. [`Network::close`] leaves endpoint and router open.
    ///
    /// # Errors
    /// [`BuildError::Rendezvous`].
    pub async fn mount(self, endpoint: Endpoint) -> Result<(Network, Transport), BuildError> {
        let (transport, events) = Transport::new(endpoint, self.tuning.clone());
        let network = self.start(transport.clone(), events, None).await?;
        Ok((network, transport))
    }

    /// Puts this peer's card where others look, and begins to look for theirs.
    fn meet(
        &self,
        transport: &Transport,
        network: NetworkId,
    ) -> Result<Option<driver::Finding>, RendezvousError> {
        let root = match &self.finding {
            Finding::Off => return Ok(None),
            Finding::Default => None,
            Finding::In(directory) => Some(directory.as_path()),
        };
        let rendezvous = Rendezvous::open(root, network)?;
        let me = transport.peer();
        Ok(Some(driver::Finding {
            _card: rendezvous.register(me, &Card::here(transport.addresses()))?,
            sightings: rendezvous.watch(me),
        }))
    }

    async fn start(
        self,
        transport: Transport,
        events: quorate_net::Events,
        router: Option<Router>,
    ) -> Result<Network, BuildError> {
        let peer = transport.peer();
        let network = NetworkId::from_name(&self.name);
        let finding = self.meet(&transport, network)?;
        let draws = entropy();
        let draw = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| draws[at * 8 + byte]));
        let (store, recovered) = MemoryStore::new(StoreOptions::new(Incarnation(draw(0)), draw(3)));
        let config = PeerConfig {
            peer,
            network,
            seed: draw(1),
            nonce: draw(2),
        };
        let hall = Arc::new(Hall {
            door: Door::default(),
            clock: Clock::start(),
            meters: Arc::default(),
            peer,
            network,
            timeout: self.timeout,
        });
        let driver = Driver::new(Parts {
            hall: Arc::clone(&hall),
            peer: Peer::new(config, recovered),
            store,
            transport: transport.clone(),
            events,
            finding,
            known: self.known,
        });
        let inner = Inner {
            metrics: Metrics::new(&hall.meters, &hall, &transport),
            hall,
            driver: tokio::spawn(driver.run()),
            transport,
            router,
        };
        Ok(Network {
            inner: Arc::new(inner),
        })
    }
}

/// Draws 32 random bytes; the endpoint's crate already draws keys from the operating system.
fn entropy() -> [u8; 32] {
    SecretKey::generate().to_bytes()
}

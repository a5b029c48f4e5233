//! Makes a peer: who it is, where it listens, how it finds others, where it keeps its log.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use quorate_core::{Incarnation, NetworkId, Peer, PeerConfig, PeerId, Planted, Recovered};
use quorate_net::{
    Address, Carrier, Switchboard, Transport, Tuning,
    iroh::{Endpoint, SecretKey, protocol::Router},
    presets::{Lan, Loopback},
    rendezvous::{Card, Rendezvous, RendezvousError},
};
use quorate_store::{MemoryStore, StoreOptions};
use tokio::{sync::Semaphore, time::Instant};

use super::{BuildError, Inner, Network};
use crate::{
    data_dir::{DataDir, DataDirError},
    driver::{
        self, Driver, Parts,
        clock::Clock,
        door::Door,
        log::{DiskLog, Log},
    },
    hall::Hall,
    limits::{IDENTITY_TIME, NETWORK_NAME, OPERATION_TIMEOUT},
    metrics::Metrics,
    recovery::RecoveryReport,
    ticket::Ticket,
};

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
    data_dir: Option<PathBuf>,
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

impl NetworkBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            secret_key: None,
            listen: Listen::Loopback,
            finding: Finding::Default,
            known: Vec::new(),
            tickets: Vec::new(),
            notes: Vec::new(),
            timeout: OPERATION_TIMEOUT,
            tuning: Tuning::lan(),
            data_dir: None,
        }
    }

    /// Sets the peer's secret key, from which its id follows; otherwise that of its data directory,
    /// or a new one.
    ///
    /// A key must not be in use twice at a time.
    pub fn secret_key(mut self, key: [u8; 32]) -> Self {
        self.secret_key = Some(key);
        self
    }

    /// Keeps the peer's log and its key in `directory`, so that it survives the end of its process
    /// and comes back as itself: with its seats, its votes, and all it has acknowledged.
    ///
    /// Without it the log is in memory. The directory is made if there is none, and belongs to one
    /// peer of one network at a time; it must not be copied and used twice. All groups of the peer
    /// share it. What was found in it is told by [`Network::recovery`].
    ///
    /// ```no_run
    /// # async fn up() -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate::prelude::*;
    ///
    /// let net = Network::builder("shop").data_dir("shop-data").build().await?;
    /// let group = net.group(GroupKey::named("orders")).form(Form::Expect(3)).open().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(directory.into());
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
        let directory = self.open_data_dir(self.secret_key).await?;
        let of_directory = directory.as_ref().map(DataDir::secret);
        let key = of_directory.or(self.secret_key).unwrap_or_else(entropy);
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
                return self.start(plug.into(), events, None, directory).await;
            }
        };
        let (transport, events) = Transport::new(endpoint, self.tuning.clone());
        let router = transport.serve();
        self.start(transport.into(), events, Some(router), directory)
            .await
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
        let key = endpoint.secret_key().to_bytes();
        let directory = self.open_data_dir(Some(key)).await?;
        let (transport, events) = Transport::new(endpoint, self.tuning.clone());
        let carrier = transport.clone().into();
        let network = self.start(carrier, events, None, directory).await?;
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

    /// Opens the data directory, if there is to be one, which must be of the peer with this key.
    async fn open_data_dir(&self, key: Option<[u8; 32]>) -> Result<Option<DataDir>, DataDirError> {
        let Some(path) = &self.data_dir else {
            return Ok(None);
        };
        let secret = || key.unwrap_or_else(entropy);
        let directory = DataDir::open(path, &self.name, secret).await?;
        if let Some(key) = key {
            let wanted = PeerId(*SecretKey::from_bytes(&key).public().as_bytes());
            directory.check_peer(wanted)?;
        }
        Ok(Some(directory))
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
        directory: Option<DataDir>,
    ) -> Result<Network, BuildError> {
        let draws = entropy();
        let draw = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| draws[at * 8 + byte]));
        let options = StoreOptions::new(Incarnation(draw(0)), draw(3), draw(2));
        let started = start_log(directory, options).await?;
        let peer = carrier.peer();
        let network = NetworkId::from_name(&self.name);
        let finding = self.meet(&carrier, network).await?;
        let meets = finding.as_ref().is_some_and(|it| it.place.is_some());
        let invited = !self.tickets.is_empty();
        let from_tickets = self.tickets.into_iter();
        let from_tickets = from_tickets.map(|ticket| (ticket.peer, ticket.addresses));
        let known = self.known.into_iter().chain(from_tickets).collect();
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
            on_disk: started.report.is_some(),
            over: AtomicBool::new(false),
            finished: Semaphore::new(0),
        });
        let driver = Driver::new(Parts {
            hall: Arc::clone(&hall),
            peer: Peer::new(config, started.recovered),
            log: started.log,
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
            recovery: started.report,
        };
        Ok(Network {
            inner: Arc::new(inner),
        })
    }
}

/// A log that has started, and what it held.
struct Started {
    log: Log,
    recovered: Recovered,
    report: Option<RecoveryReport>,
}

/// Starts the log of a data directory, or one in memory.
async fn start_log(
    directory: Option<DataDir>,
    options: StoreOptions,
) -> Result<Started, DataDirError> {
    let Some(directory) = directory else {
        let (store, recovered) = MemoryStore::new(options);
        let log = Log::Memory(Box::new(store));
        let report = None;
        return Ok(Started {
            log,
            recovered,
            report,
        });
    };
    let began = Instant::now();
    let path = directory.path().to_owned();
    let recovering = tokio::task::spawn_blocking(move || directory.recover(options));
    let panicked = |_| DataDirError::Damaged {
        path: path.clone(),
        what: "reading the log failed in a way that should not be",
    };
    let (opened, files, lock) = recovering.await.map_err(panicked)??;
    let report = RecoveryReport::new(&path, &opened, began.elapsed());
    report.trace();
    let log = DiskLog::start(path.clone(), opened.store, files, lock)
        .map_err(|source| DataDirError::io(&path, "start a thread for", source))?;
    Ok(Started {
        log: Log::Disk(Box::new(log)),
        recovered: opened.recovered,
        report: Some(report),
    })
}

/// Between two looks whether another peer of this identity is gone.
const IDENTITY_LOOK: Duration = Duration::from_millis(20);

/// Draws 32 random bytes; the endpoint's crate already draws keys from the operating system.
fn entropy() -> [u8; 32] {
    SecretKey::generate().to_bytes()
}

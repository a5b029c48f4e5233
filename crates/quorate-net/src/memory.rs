//! Links between the peers of one process: no endpoint, no socket, no port.
//!
//! A [`Switchboard`] is where such peers plug in; each sees the others of its network there, and a
//! dial needs no address. What a [`Plug`] tells and takes is what [`crate::Transport`] does, with
//! the same lanes, limits and ends, so a driver cannot tell them apart but by what they cost: a
//! frame is handed over and not copied, encrypted, sent, received and put together again.
//!
//! A peer is named by the public half of a key here too, and only whoever has the key can plug in
//! as it. A key cannot be plugged in twice in one network. A peer that goes unplugs, and its links
//! close; one that is dropped without a goodbye unplugs as well.
//!
//! The drivers run side by side, as they do in processes of their own: one that is busy or hangs
//! holds up nobody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use dashmap::DashMap;
use iroh::SecretKey;
use quorate_core::{CloseCode, Lane, LinkId, NetworkId, PeerId};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};
use tracing::debug;

use crate::{
    address::Address,
    barred::Barred,
    codes::Closing,
    inbox::{Event, Events, Inbox},
    introduction,
    limits::{DIALS, SIGHTINGS, STRANGER_TIME, STRANGERS},
    line::{self, Socket, Way},
    link::{LinkFigures, SendError},
    rendezvous::{self, Card, Found, Sighting, Sightings},
    transport::{TORN, TooManyDials},
};

/// Where peers of one process plug in; clones are the same switchboard.
#[derive(Clone, Debug, Default)]
pub struct Switchboard {
    plugs: watch::Sender<Plugs>,
}

type Plugs = BTreeMap<(NetworkId, PeerId), Plugged>;

#[derive(Clone, Debug)]
struct Plugged {
    plug: Weak<Inner>,
    card: Card,
}

/// The key is plugged in already; a peer must not be there twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("peer {} is plugged in already", .0.short())]
pub struct AlreadyPluggedIn(pub PeerId);

/// One peer's place at a switchboard; clones are handles to the same links.
#[derive(Clone, Debug)]
pub struct Plug {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    peer: PeerId,
    network: NetworkId,
    switchboard: Switchboard,
    runtime: Handle,
    inbox: Inbox,
    /// Links by number; looked up, and swept at the end, never iterated to decide.
    links: DashMap<LinkId, Way>,
    next_link: AtomicU64,
    strangers: Arc<Semaphore>,
    dials: Arc<Semaphore>,
    /// Peers that there are to be no links to.
    barred: Barred,
    stopping: AtomicBool,
}

impl Switchboard {
    /// Makes a switchboard with nobody plugged in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plugs in the peer of `network` whose key this is.
    ///
    /// # Errors
    /// [`AlreadyPluggedIn`]; nothing is changed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn plug_in(
        &self,
        network: NetworkId,
        secret_key: &[u8; 32],
    ) -> Result<(Plug, Events), AlreadyPluggedIn> {
        let peer = PeerId(*SecretKey::from_bytes(secret_key).public().as_bytes());
        let (inbox, events) = Inbox::new();
        let inner = Arc::new(Inner {
            peer,
            network,
            switchboard: self.clone(),
            runtime: Handle::current(),
            inbox,
            links: DashMap::new(),
            next_link: AtomicU64::new(1),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            dials: Arc::new(Semaphore::new(DIALS)),
            barred: Barred::default(),
            stopping: AtomicBool::new(false),
        });
        let plugged = Plugged {
            plug: Arc::downgrade(&inner),
            card: Card::here(Vec::new()),
        };
        let free = self.plugs.send_if_modified(|plugs| {
            let free = !plugs.contains_key(&(network, peer));
            if free {
                plugs.insert((network, peer), plugged);
            }
            free
        });
        if free {
            Ok((Plug { inner }, events))
        } else {
            Err(AlreadyPluggedIn(peer))
        }
    }

    /// Begins to watch for peers of `network` other than `me`; all that are there already come
    /// first.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch(&self, network: NetworkId, me: PeerId) -> Sightings {
        let (tell, queue) = mpsc::channel(SIGHTINGS);
        let watching = watch(self.plugs.subscribe(), network, me, tell);
        Sightings::new(queue, tokio::spawn(watching).abort_handle())
    }

    fn find(&self, network: NetworkId, peer: PeerId) -> Option<Plug> {
        let plugs = self.plugs.borrow();
        let inner = plugs.get(&(network, peer))?.plug.upgrade()?;
        Some(Plug { inner })
    }
}

async fn watch(
    mut plugs: watch::Receiver<Plugs>,
    network: NetworkId,
    me: PeerId,
    tell: mpsc::Sender<Sighting>,
) {
    let mut known = BTreeMap::new();
    loop {
        let there = plugs.borrow_and_update().clone();
        let there = there.into_iter().filter(|((of, _), _)| *of == network);
        let found = there.map(|((_, peer), plugged)| {
            let card = plugged.card;
            Found { peer, card }
        });
        for sighting in rendezvous::compare(&mut known, found.collect(), me) {
            if tell.send(sighting).await.is_err() {
                return;
            }
        }
        if plugs.changed().await.is_err() {
            return;
        }
    }
}

impl Inner {
    /// Is to be found no more. Somebody else with the same key may have plugged in since.
    fn unplug(&self) {
        self.switchboard.plugs.send_if_modified(|plugs| {
            let name = (self.network, self.peer);
            let here = plugs
                .get(&name)
                .is_some_and(|it| std::ptr::eq(it.plug.as_ptr(), self));
            if here {
                plugs.remove(&name);
            }
            here
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.unplug();
    }
}

impl Plug {
    /// Returns this peer's id: the public half of its key.
    pub fn peer(&self) -> PeerId {
        self.inner.peer
    }

    /// As [`crate::Transport::figures`]; there is no round trip.
    pub fn figures(&self) -> Vec<LinkFigures> {
        let links = self.inner.links.iter();
        links.map(|way| way.figures()).collect()
    }

    /// Starts to dial a peer of this network; ends in [`Event::LinkUp`] or [`Event::DialFailed`].
    ///
    /// # Errors
    /// [`TooManyDials`]; nothing was started.
    pub fn dial(&self, peer: PeerId) -> Result<(), TooManyDials> {
        let permit = Arc::clone(&self.inner.dials)
            .try_acquire_owned()
            .map_err(|_| TooManyDials)?;
        let plug = self.clone();
        self.inner.runtime.spawn(async move {
            let connected = plug.connect(peer);
            drop(permit);
            match connected {
                Ok(end) => plug.run(end).await,
                Err(error) => {
                    let error = error.to_owned();
                    let failed = Event::DialFailed { peer, error };
                    // Nobody to tell: the driver is gone.
                    plug.inner.inbox.begin(failed).await.unwrap_or_default();
                }
            }
        });
        Ok(())
    }

    /// As [`crate::Transport::send`].
    ///
    /// # Errors
    /// The frame was not queued; see [`SendError`].
    pub fn send(&self, link: LinkId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let way = self.way(link).ok_or(SendError::Down)?;
        way.send(lane, frame)?;
        way.flush();
        Ok(())
    }

    /// The link of this number.
    pub(crate) fn way(&self, link: LinkId) -> Option<Way> {
        self.inner.links.get(&link).map(|way| way.clone())
    }

    /// As [`crate::Transport::authenticate`].
    pub fn authenticate(&self, link: LinkId) {
        if let Some(way) = self.way(link) {
            way.authenticate();
        }
    }

    /// As [`crate::Transport::introduce`].
    pub fn introduce(&self, link: LinkId, peers: &[(PeerId, Vec<Address>)]) {
        if let Some(way) = self.way(link) {
            way.introduce(&introduction::encode(peers));
        }
    }

    /// As [`crate::Transport::close`].
    pub fn close(&self, link: LinkId, code: CloseCode, reason: &str) {
        if let Some(way) = self.way(link) {
            way.close(Closing::Core(code), reason.to_owned());
        }
    }

    /// As [`crate::Transport::tear`].
    pub fn tear(&self, link: LinkId) {
        if let Some(way) = self.way(link) {
            way.close(Closing::Torn, TORN.to_owned());
        }
    }

    /// As [`crate::Transport::bar`].
    pub fn bar(&self, peers: BTreeSet<PeerId>) {
        self.inner.barred.set(peers);
        for way in &self.inner.links {
            self.tear_if_barred(&way);
        }
    }

    fn tear_if_barred(&self, way: &Way) {
        if self.inner.barred.holds(way.peer()) {
            way.close(Closing::Torn, TORN.to_owned());
        }
    }

    /// As [`crate::Transport::crash`]; the key may be plugged in again at once.
    pub fn crash(&self) {
        self.stop(Closing::Torn, TORN);
    }

    /// Closes all links with [`CloseCode::Shutdown`], behind what was sent, and unplugs.
    pub fn shutdown(&self) {
        let code = CloseCode::Shutdown;
        self.inner.links.iter().for_each(|way| way.flush());
        self.stop(Closing::Core(code), code.reason());
    }

    fn stop(&self, closing: Closing, reason: &str) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.unplug();
        for way in &self.inner.links {
            way.close(closing, reason.to_owned());
        }
    }

    /// Draws a line to a peer; its end of it begins to run.
    fn connect(&self, peer: PeerId) -> Result<End, &'static str> {
        let switchboard = &self.inner.switchboard;
        let other = switchboard.find(self.inner.network, peer);
        let other = other.ok_or("no such peer is plugged in")?;
        if peer == self.peer() {
            return Err("a peer does not dial itself");
        }
        if self.inner.barred.holds(peer) || other.inner.barred.holds(self.peer()) {
            return Err(TORN);
        }
        let stranger = Arc::clone(&other.inner.strangers).try_acquire_owned();
        let stranger = stranger.map_err(|_| "the peer has too many strangers at its door")?;
        let exporter = SecretKey::generate().to_bytes();
        let [here, there] = line::draw([self.socket(), other.socket()]);
        let end = |(way, gate), stranger: Option<OwnedSemaphorePermit>| End {
            way,
            gate,
            exporter,
            dialed: stranger.is_none(),
            stranger,
        };
        let (here, there) = (end(here, None), end(there, Some(stranger)));
        self.admit(&here.way);
        other.admit(&there.way);
        let runtime = other.inner.runtime.clone();
        runtime.spawn(async move { other.run(there).await });
        Ok(here)
    }

    fn socket(&self) -> Socket {
        Socket {
            link: LinkId(self.inner.next_link.fetch_add(1, Ordering::Relaxed)),
            owner: self.peer(),
            inbox: self.inner.inbox.clone(),
        }
    }

    /// Adds a link, unless this peer stops or has barred the other one meanwhile.
    fn admit(&self, way: &Way) {
        self.inner.links.insert(way.link(), way.clone());
        self.tear_if_barred(way);
        if self.inner.stopping.load(Ordering::Acquire) {
            way.close(Closing::Torn, TORN.to_owned());
        }
    }

    /// Runs one end of a line from its first event to its last.
    async fn run(&self, end: End) {
        let End {
            way,
            gate,
            exporter,
            dialed,
            stranger,
        } = end;
        let (link, peer) = (way.link(), way.peer());
        let deadline = Instant::now() + STRANGER_TIME;
        let up = Event::LinkUp {
            link,
            peer,
            dialed,
            exporter,
        };
        if self.inner.inbox.begin(up).await.is_ok() {
            way.begin();
            prove(&way, gate, deadline).await;
        } else {
            let code = CloseCode::Shutdown;
            way.close(Closing::Core(code), code.reason().to_owned());
        }
        drop(stranger);
        let (code, reason) = way.closed().await;
        debug!(link = link.0, ?peer, %reason, "a link is closed");
        self.inner.links.remove(&link);
        let down = Event::LinkDown {
            link,
            peer,
            code,
            reason,
        };
        // Nobody to tell: the driver is gone.
        self.inner.inbox.end(down).await.unwrap_or_default();
    }
}

/// One end of a line, before it runs.
struct End {
    way: Way,
    /// Opens when the peer has proven itself.
    gate: oneshot::Receiver<()>,
    exporter: [u8; 32],
    dialed: bool,
    /// The place among the strangers, given back when the peer has proven itself.
    stranger: Option<OwnedSemaphorePermit>,
}

/// Waits until the peer has proven itself or the link is closed; closes it if that takes too long.
async fn prove(way: &Way, gate: oneshot::Receiver<()>, deadline: Instant) {
    let proof = async {
        tokio::select! {
            _ = gate => {}
            _ = way.closed() => {}
        }
    };
    if timeout_at(deadline, proof).await.is_err() {
        let code = CloseCode::Stranger;
        way.close(Closing::Core(code), code.reason().to_owned());
    }
}

//! Links to peers over one iroh endpoint.
//!
//! The transport moves bytes and takes no decision: when to dial, whom to trust, which of two
//! links to one peer survives, and what a frame means are its driver's. It tells what happens
//! through [`Events`] and does what it is told without ever making the caller wait.
//!
//! It owns neither the endpoint nor the router: it is a protocol handler beside the application's
//! own ([`Transport::install`]), or the only one of a router made for it ([`Transport::serve`]).

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use dashmap::DashMap;
use iroh::{
    Endpoint, EndpointAddr, EndpointId,
    endpoint::{ConnectOptions, Connection, QuicTransportConfig, RecvStream, SendStream},
    protocol::{AcceptError, ProtocolHandler, Router, RouterBuilder},
};
use quorate_core::{CloseCode, Lane, LinkId, PeerId};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tracing::{debug, error};

use crate::{
    address::Address,
    barred::Barred,
    codes::{self, Closing},
    inbox::{Event, Events, Inbox},
    introduction,
    limits::{DIAL_TIME, DIALS, FLUSH_TIME, STRANGER_TIME, STRANGERS},
    link::{self, CONTROL_TAG, Link, LinkFigures, SendError, Startup},
    presets::Tuning,
    writer::StreamLane,
};

/// The protocol's name and major version, as peers agree on it in the TLS handshake.
pub const ALPN: &[u8] = b"/quorate/1";

/// What is said of a link that is closed without a reason.
pub(crate) const TORN: &str = "the link was torn";

/// Links to peers over one endpoint; clones are handles to the same links.
///
/// Make it within a tokio runtime; its tasks run there.
#[derive(Clone, Debug)]
pub struct Transport {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    tuning: Tuning,
    quic: QuicTransportConfig,
    runtime: Handle,
    inbox: Inbox,
    /// Links by number; looked up, and swept at the end, never iterated to decide.
    links: DashMap<LinkId, Arc<Link>>,
    next_link: AtomicU64,
    strangers: Arc<Semaphore>,
    dials: Arc<Semaphore>,
    /// Peers that there are to be no links to.
    barred: Barred,
    stopping: AtomicBool,
}

/// As many dials as allowed are under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{DIALS} dials are under way")]
pub struct TooManyDials;

impl Transport {
    /// Makes the transport for an endpoint, and the queue of what it will tell.
    ///
    /// It accepts links once it is on a router: see [`Self::serve`] and [`Self::install`].
    /// `tuning` holds for the links that it dials and, beyond a stranger's limits, for all; an
    /// endpoint that the application configures should be given [`Tuning::quic`] as well.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(endpoint: Endpoint, tuning: Tuning) -> (Self, Events) {
        let (inbox, events) = Inbox::new();
        let inner = Inner {
            endpoint,
            quic: tuning.quic(),
            tuning,
            runtime: Handle::current(),
            inbox,
            links: DashMap::new(),
            next_link: AtomicU64::new(1),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            dials: Arc::new(Semaphore::new(DIALS)),
            barred: Barred::default(),
            stopping: AtomicBool::new(false),
        };
        (
            Self {
                inner: Arc::new(inner),
            },
            events,
        )
    }

    /// Spawns a router for the transport alone; dropping it stops accepting, and
    /// [`Router::shutdown`] shuts the transport down and closes the endpoint.
    #[must_use = "dropping the router stops accepting links"]
    pub fn serve(&self) -> Router {
        self.install(Router::builder(self.inner.endpoint.clone()))
            .spawn()
    }

    /// Adds the transport to a router that the application builds on the same endpoint.
    pub fn install(&self, router: RouterBuilder) -> RouterBuilder {
        router.accept(ALPN, self.clone())
    }

    /// Returns this peer's id: the endpoint's public key.
    pub fn peer(&self) -> PeerId {
        PeerId(*self.inner.endpoint.id().as_bytes())
    }

    /// Returns where this peer can be reached now; never waits for a relay.
    pub fn addresses(&self) -> Vec<Address> {
        Address::of(&self.inner.endpoint.addr())
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// Returns how every link does, in no order: for people, at the price of looking at each.
    pub fn figures(&self) -> Vec<LinkFigures> {
        let links = self.inner.links.iter();
        links.map(|link| link.figures()).collect()
    }

    /// Starts to dial a peer; ends in [`Event::LinkUp`] or [`Event::DialFailed`] within
    /// [`DIAL_TIME`].
    ///
    /// Without addresses the endpoint's own lookup services are asked. Two dials of one peer, or
    /// two peers dialing each other, make two links.
    ///
    /// # Errors
    /// [`TooManyDials`]; nothing was started.
    pub fn dial(&self, peer: PeerId, addresses: Vec<Address>) -> Result<(), TooManyDials> {
        let permit = Arc::clone(&self.inner.dials)
            .try_acquire_owned()
            .map_err(|_| TooManyDials)?;
        let transport = self.clone();
        self.inner.runtime.spawn(async move {
            let dialed = timeout(DIAL_TIME, Box::pin(transport.connect(peer, addresses))).await;
            drop(permit);
            let error = match dialed {
                _ if transport.inner.barred.holds(peer) => TORN.to_owned(),
                Ok(Ok((connection, send, recv))) => {
                    return transport.run(connection, Some((send, recv)), None).await;
                }
                Ok(Err(error)) => error,
                Err(_) => format!("no answer within {DIAL_TIME:?}"),
            };
            let failed = Event::DialFailed { peer, error };
            // Nobody to tell: the driver is gone.
            transport
                .inner
                .inbox
                .begin(failed)
                .await
                .unwrap_or_default();
        });
        Ok(())
    }

    /// Sends a frame on a lane of a link; never waits. A [`Batch`] sends several more cheaply.
    ///
    /// Frames of one lane arrive in order, except that bulk frames arrive in any. A lane whose
    /// queue is full closes its link with [`CloseCode::Slow`]; other links do not notice.
    ///
    /// # Errors
    /// The frame was not queued; see [`SendError`].
    pub fn send(&self, link: LinkId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.batch().send(link, lane, frame)
    }

    /// Begins a batch of frames that are handed to QUIC together when it is dropped.
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            transport: self,
            lanes: Vec::new(),
        }
    }

    /// Lifts the limits on strangers from a link whose peer has proven itself.
    ///
    /// Until then only control frames are sent, few are read (a first one of at most
    /// [`crate::limits::HELLO_FRAME`], and no more than [`crate::limits::HANDSHAKE`] of all), and
    /// the link goes down after [`STRANGER_TIME`].
    pub fn authenticate(&self, link: LinkId) {
        if let Some(link) = self.inner.links.get(&link) {
            link.authenticate();
        }
    }

    /// Tells the peer of a link where peers can be reached, as a hint; never waits.
    ///
    /// It leaves once both sides have proven themselves, and is left out if too much waits.
    pub fn introduce(&self, link: LinkId, peers: &[(PeerId, Vec<Address>)]) {
        if let Some(link) = self.inner.links.get(&link) {
            link.introduce(introduction::encode(peers));
        }
    }

    /// Closes a link now and tells the peer why; what is queued for it is lost.
    ///
    /// Frames that came before may still be delivered, up to [`Event::LinkDown`].
    pub fn close(&self, link: LinkId, code: CloseCode, reason: &str) {
        if let Some(link) = self.inner.links.get(&link) {
            link.close(Closing::Core(code), reason.to_owned());
        }
    }

    /// Closes a link now without a reason, as if the network were gone.
    pub fn tear(&self, link: LinkId) {
        if let Some(link) = self.inner.links.get(&link) {
            link.close(Closing::Torn, TORN.to_owned());
        }
    }

    /// Allows no links to these peers until it is called again: tears those that stand, refuses
    /// theirs, fails to dial. What a network does that is cut in two, for tests.
    pub fn bar(&self, peers: BTreeSet<PeerId>) {
        self.inner.barred.set(peers);
        for link in &self.inner.links {
            self.tear_if_barred(&link);
        }
    }

    fn tear_if_barred(&self, link: &Link) {
        if self.inner.barred.holds(link.peer) {
            link.close(Closing::Torn, TORN.to_owned());
        }
    }

    /// Does to all links what the end of the process would: they are gone and nobody says
    /// goodbye. Accepts and dials no more; the endpoint stays open.
    pub fn crash(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        for link in &self.inner.links {
            link.close(Closing::Torn, TORN.to_owned());
        }
    }

    /// Closes all links with [`CloseCode::Shutdown`] once their control frames are delivered, or
    /// after [`FLUSH_TIME`]; accepts and dials no more. The endpoint stays open.
    ///
    /// Cancel-safe: calling it again goes on where it was left.
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        let links: Vec<_> = self
            .inner
            .links
            .iter()
            .map(|link| Arc::clone(&link))
            .collect();
        for link in &links {
            link.part(CloseCode::Shutdown);
        }
        let closed = async {
            for link in &links {
                link.connection.closed().await;
            }
        };
        if timeout(FLUSH_TIME, closed).await.is_err() {
            for link in &links {
                link.close(
                    Closing::Core(CloseCode::Shutdown),
                    CloseCode::Shutdown.reason().to_owned(),
                );
            }
        }
    }

    /// Connects and opens the control stream.
    async fn connect(
        &self,
        peer: PeerId,
        addresses: Vec<Address>,
    ) -> Result<(Connection, SendStream, RecvStream), String> {
        let id = EndpointId::from_bytes(&peer.0).map_err(|_| "not a peer's key".to_owned())?;
        let addr = EndpointAddr::from_parts(id, addresses.into_iter().map(Into::into));
        let options = ConnectOptions::new().with_transport_config(self.inner.quic.clone());
        let connecting = self
            .inner
            .endpoint
            .connect_with_opts(addr, ALPN, options)
            .await;
        let connection = connecting.map_err(chain)?.await.map_err(chain)?;
        let (mut send, recv) = connection.open_bi().await.map_err(chain)?;
        // The other side does not see a stream before something is written to it.
        send.write_all(&[CONTROL_TAG]).await.map_err(chain)?;
        Ok((connection, send, recv))
    }

    /// Admits a connection that a peer made.
    async fn admit(&self, connection: Connection) {
        if self
            .inner
            .barred
            .holds(PeerId(*connection.remote_id().as_bytes()))
        {
            return connection.close(Closing::Torn.number(), TORN.as_bytes());
        }
        match Arc::clone(&self.inner.strangers).try_acquire_owned() {
            Ok(stranger) => self.run(connection, None, Some(stranger)).await,
            Err(_) => connection.close(Closing::Crowded.number(), b"too many strangers"),
        }
    }

    /// Runs a link to its end. An accepted one has no streams yet: the dialer opens them.
    async fn run(
        &self,
        connection: Connection,
        streams: Option<(SendStream, RecvStream)>,
        stranger: Option<OwnedSemaphorePermit>,
    ) {
        let deadline = Instant::now() + STRANGER_TIME;
        let dialed = streams.is_some();
        let streams = match streams {
            Some(streams) => streams,
            None => match accept_control(&connection, deadline).await {
                Ok(streams) => streams,
                Err((code, reason)) => {
                    debug!(reason, "a stranger is turned away");
                    return connection.close(Closing::Core(code).number(), codes::clip(reason));
                }
            },
        };
        let inner = &self.inner;
        let id = LinkId(inner.next_link.fetch_add(1, Ordering::Relaxed));
        let (link, gate) = Link::new(id, connection);
        inner.links.insert(id, Arc::clone(&link));
        // They may have been barred since.
        self.tear_if_barred(&link);
        if inner.stopping.load(Ordering::Acquire) {
            link.part(CloseCode::Shutdown);
        }
        let (send, recv) = streams;
        let (inbox, tuning) = (inner.inbox.clone(), inner.tuning.clone());
        let startup = Startup {
            dialed,
            send,
            recv,
            inbox,
            tuning,
            deadline,
            stranger,
            gate,
        };
        let (code, reason) = link::run(&link, startup).await;
        inner.links.remove(&id);
        let down = Event::LinkDown {
            link: id,
            peer: link.peer,
            code,
            reason,
        };
        // Nobody to tell: the driver is gone.
        inner.inbox.end(down).await.unwrap_or_default();
    }
}

/// Frames sent together: what one step of a driver asks for.
///
/// Frames of one lane share a write, and so packets. They leave when the batch is dropped, so
/// drop it before waiting for anything.
#[derive(Debug)]
#[must_use = "frames are sent through the batch"]
pub struct Batch<'a> {
    transport: &'a Transport,
    /// Lanes to flush at the end.
    lanes: Vec<Arc<StreamLane>>,
}

impl Batch<'_> {
    /// Adds a frame; as [`Transport::send`], but it leaves with the others.
    ///
    /// # Errors
    /// The frame was not queued; see [`SendError`].
    pub fn send(&mut self, link: LinkId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let link = self
            .transport
            .inner
            .links
            .get(&link)
            .ok_or(SendError::Down)?;
        self.lanes.extend(link.send(lane, frame)?);
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.flush());
    }
}

impl ProtocolHandler for Transport {
    /// Runs an incoming link; a panic in it stays in it, since it would end the whole router.
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let transport = self.clone();
        let link = self
            .inner
            .runtime
            .spawn(async move { transport.admit(connection).await });
        if let Err(failed) = link.await {
            error!(%failed, "a link's task failed");
        }
        Ok(())
    }

    async fn shutdown(&self) {
        Self::shutdown(self).await;
    }
}

/// Waits for the stream that the dialer opens, and checks that it is the control stream.
async fn accept_control(
    connection: &Connection,
    deadline: Instant,
) -> Result<(SendStream, RecvStream), (CloseCode, &'static str)> {
    let opened = async {
        let (send, mut recv) = connection.accept_bi().await.ok()?;
        let mut tag = [0];
        recv.read_exact(&mut tag).await.ok()?;
        Some((tag, send, recv))
    };
    match timeout_at(deadline, opened).await {
        Ok(Some(([CONTROL_TAG], send, recv))) => Ok((send, recv)),
        Ok(Some(_)) => Err((CloseCode::BadFrame, "a link begins with its control stream")),
        Ok(None) => Err((CloseCode::BadFrame, "the control stream did not open")),
        Err(_) => Err((CloseCode::Stranger, CloseCode::Stranger.reason())),
    }
}

/// An error and what caused it, in one line.
fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

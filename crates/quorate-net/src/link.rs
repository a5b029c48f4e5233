//! One connection to a peer, and the lanes on it.
//!
//! A link has one stream for control (bidirectional, opened by the dialer, first in priority), one
//! per direction and group for entries, and one per message for bulk (last in priority). Streams
//! begin with a tag, so a reader knows what it reads:
//!
//! ```text
//! control   1, then frames
//! entries   2, group id (16 bytes), then frames
//! bulk      3, then one frame
//! introduction 4, then one frame
//! ```
//!
//! A link begins as a stranger's: of its control stream one small frame is read, then proofs of
//! groups, and nothing else, until the driver says that the peer has proven itself; all within
//! [`STRANGER_TIME`], and with a window that holds little more than that first frame.
//!
//! Whatever is wrong with what a peer sends, its link is closed with a code and words, and nothing
//! else is touched. Errors inside a task of ours close the link too, and only the link.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use iroh::endpoint::{
    Connection, ConnectionError, RecvStream, SendStream, TransportErrorCode, VarInt,
};
use quorate_core::{CloseCode, GroupId, Lane, LinkId, PeerId};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, timeout_at},
};
use tracing::debug;

use crate::{
    codes::{self, Closing},
    inbox::{Event, Inbox},
    limits::{
        BULK_FRAME, BULK_QUEUE, CONTROL_FRAME, CONTROL_INBOX, CONTROL_QUEUE, DATA_INBOX,
        ENTRIES_FRAME, ENTRIES_LANES, ENTRIES_QUEUE, INTRODUCTION, INTRODUCTION_QUEUE,
    },
    outlet::{Framing, Outlet, Refused},
    presets::Tuning,
    reader::{self, Fault, Handshake},
    writer::{self, StreamLane},
};

/// Tags that open streams.
pub(crate) const CONTROL_TAG: u8 = 1;
pub(crate) const ENTRIES_TAG: u8 = 2;
pub(crate) const BULK_TAG: u8 = 3;
pub(crate) const INTRODUCTION_TAG: u8 = 4;

/// Separates the keying material of links from any other use of the TLS session.
const EXPORTER_LABEL: &[u8] = b"quorate link 1";

/// Why a frame was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such link any more; its end was or will be told as an event.
    #[error("the link is down")]
    Down,
    /// The frame is empty or larger than its lane allows: an error of the caller.
    #[error("a frame of {len} bytes where 1 to {limit} are allowed")]
    BadLength {
        /// Its length.
        len: usize,
        /// What its lane allows.
        limit: usize,
    },
    /// Only control frames may be sent before the peer has proven itself: an error of the caller.
    #[error("the peer has not proven itself")]
    Stranger,
    /// The peer does not read what it is sent; the link is being closed for it.
    #[error("the peer does not read what it is sent")]
    Slow,
    /// As many entries lanes as a link may have are open: an error of the caller.
    #[error("the link has {ENTRIES_LANES} entries lanes")]
    TooManyLanes,
}

/// A link as its senders see it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: PeerId,
    pub(crate) connection: Connection,
    runtime: Handle,
    control: Arc<StreamLane>,
    bulk: Outlet,
    introductions: Outlet,
    entries: Mutex<BTreeMap<GroupId, Arc<StreamLane>>>,
    proven: AtomicBool,
    /// Tells the link's task that the peer has proven itself.
    gate: Mutex<Option<oneshot::Sender<()>>>,
    /// Why this side closed it, if it did: the first reason stands.
    closing: OnceLock<(Closing, String)>,
    /// Why it will be closed once its control lane is written.
    parting: OnceLock<CloseCode>,
}

/// How a link does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LinkFigures {
    /// Who is at the other end.
    pub peer: PeerId,
    /// Whether the peer has proven itself.
    pub proven: bool,
    /// The round trip on the path in use, as QUIC estimates it, if there is one.
    pub round_trip: Option<Duration>,
    /// Bytes of frames that QUIC has not taken yet.
    pub queued: usize,
}

/// What a link's own task needs besides the link.
pub(crate) struct Startup {
    pub(crate) dialed: bool,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    pub(crate) inbox: Inbox,
    pub(crate) tuning: Tuning,
    /// By when the peer must have proven itself.
    pub(crate) deadline: Instant,
    /// The place among the strangers, given back when the peer has proven itself.
    pub(crate) stranger: Option<OwnedSemaphorePermit>,
    pub(crate) gate: oneshot::Receiver<()>,
}

impl Link {
    /// Makes the link for a connection; the other value opens its gate.
    pub(crate) fn new(id: LinkId, connection: Connection) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (open, gate) = oneshot::channel();
        let link = Self {
            id,
            peer: PeerId(*connection.remote_id().as_bytes()),
            connection,
            runtime: Handle::current(),
            control: Arc::new(StreamLane::new(CONTROL_QUEUE, &[])),
            bulk: Outlet::new(Framing::Bare, BULK_QUEUE),
            introductions: Outlet::new(Framing::Bare, INTRODUCTION_QUEUE),
            entries: Mutex::default(),
            proven: AtomicBool::new(false),
            gate: Mutex::new(Some(open)),
            closing: OnceLock::new(),
            parting: OnceLock::new(),
        };
        (Arc::new(link), gate)
    }

    /// Queues a frame; never waits. A lane over its bound closes the link. Returns the lane if the
    /// caller has to flush it.
    pub(crate) fn send(
        self: &Arc<Self>,
        lane: Lane,
        frame: Bytes,
    ) -> Result<Option<Arc<StreamLane>>, SendError> {
        let limit = frame_limit(lane);
        if frame.is_empty() || frame.len() > limit {
            return Err(SendError::BadLength {
                len: frame.len(),
                limit,
            });
        }
        if lane != Lane::Control && !self.proven.load(Ordering::Acquire) {
            return Err(SendError::Stranger);
        }
        let pushed = match lane {
            Lane::Control => push(&self.control, frame),
            Lane::Entries(group) => push(&self.entries_lane(group)?, frame),
            Lane::Bulk => self.bulk.push(frame).map(|_| {
                self.bulk.wake();
                None
            }),
        };
        pushed.map_err(|refused| match refused {
            Refused::Ended => SendError::Down,
            Refused::Full => {
                let reason = format!("{}: lane {lane:?}", CloseCode::Slow.reason());
                self.close(Closing::Core(CloseCode::Slow), reason);
                SendError::Slow
            }
        })
    }

    /// Queues an introduction; one that finds no room is left out.
    pub(crate) fn introduce(&self, list: Vec<u8>) {
        if !list.is_empty() && list.len() <= INTRODUCTION {
            // Without room it is left out: it is a hint.
            if self.introductions.push(list.into()).is_ok() {
                self.introductions.wake();
            }
        }
    }

    /// Lifts the limits on strangers.
    pub(crate) fn authenticate(&self) {
        self.proven.store(true, Ordering::Release);
        let gate = self
            .gate
            .lock()
            .expect("nothing panics while it holds the gate")
            .take();
        if let Some(gate) = gate {
            // Fails if the link is going down already, which is told as an event.
            gate.send(()).unwrap_or_default();
        }
    }

    /// Closes the link now; the first reason stands, and what is queued is lost.
    pub(crate) fn close(&self, closing: Closing, reason: String) {
        let (closing, reason) = self.closing.get_or_init(|| (closing, reason));
        self.connection.close(closing.number(), codes::clip(reason));
    }

    /// Closes the link once the peer has what its control lane holds.
    pub(crate) fn part(&self, code: CloseCode) {
        self.parting.get_or_init(|| code);
        self.control.end();
    }

    /// Returns how the link does.
    pub(crate) fn figures(&self) -> LinkFigures {
        let paths = self.connection.paths();
        let path = paths.iter().find(|path| path.is_selected());
        let lanes = self
            .entries
            .lock()
            .expect("nothing panics while it holds the lanes");
        let entries: usize = lanes.values().map(|lane| lane.bytes()).sum();
        LinkFigures {
            peer: self.peer,
            proven: self.proven.load(Ordering::Acquire),
            round_trip: path.map(|path| path.rtt()),
            queued: self.control.bytes() + self.bulk.bytes() + entries,
        }
    }

    /// Returns the keying material of the link's TLS session.
    fn exporter(&self) -> Result<[u8; 32], Fault> {
        let mut material = [0; 32];
        self.connection
            .export_keying_material(&mut material, EXPORTER_LABEL, &[])
            .map_err(|_| Fault::internal("the TLS session gives no keying material"))?;
        Ok(material)
    }

    /// Returns a group's entries lane, opened if there is none.
    fn entries_lane(self: &Arc<Self>, group: GroupId) -> Result<Arc<StreamLane>, SendError> {
        let mut lanes = self
            .entries
            .lock()
            .expect("nothing panics while it holds the lanes");
        if let Some(lane) = lanes.get(&group) {
            return Ok(Arc::clone(lane));
        }
        if lanes.len() >= ENTRIES_LANES {
            return Err(SendError::TooManyLanes);
        }
        let mut header = [ENTRIES_TAG; 17];
        header[1..].copy_from_slice(&group.0);
        let lane = Arc::new(StreamLane::new(ENTRIES_QUEUE, &header));
        lanes.insert(group, Arc::clone(&lane));
        let (connection, writing) = (self.connection.clone(), Arc::clone(&lane));
        self.spawn(async move { writer::entries(connection, &writing).await });
        Ok(lane)
    }

    /// Runs a lane's task; its fault, or its panic, closes the link.
    fn spawn(self: &Arc<Self>, task: impl Future<Output = Result<(), Fault>> + Send + 'static) {
        let link = Arc::clone(self);
        self.runtime.spawn(async move {
            let guard = CloseOnPanic(&link);
            if let Err(fault) = task.await {
                guard.0.fault(fault);
            }
        });
    }

    /// Closes the link for what a lane ran into.
    pub(crate) fn fault(&self, fault: Fault) {
        match fault {
            // Gone already: its end is being told.
            Fault::Lost => {}
            Fault::Broken(closing, reason) => {
                debug!(link = self.id.0, peer = ?self.peer, %reason, "closing a link");
                self.close(closing, reason);
            }
        }
    }

    /// Ends all lanes, so that their writers stop.
    fn end_lanes(&self) {
        self.control.end();
        self.bulk.end();
        self.introductions.end();
        let lanes = self
            .entries
            .lock()
            .expect("nothing panics while it holds the lanes");
        lanes.values().for_each(|lane| lane.end());
    }
}

/// Runs a link from its first event to the moment after which it brings no more frames; returns
/// what ended it.
pub(crate) async fn run(link: &Arc<Link>, startup: Startup) -> (Option<CloseCode>, String) {
    let guard = CloseOnPanic(link);
    if let Err(fault) = serve(link, startup).await {
        link.fault(fault);
    }
    let error = link.connection.closed().await;
    link.end_lanes();
    drop(guard);
    match link.closing.get() {
        Some((closing, reason)) if is_ours(&error) => (closing.core(), reason.clone()),
        // The peer, or the line, was first.
        _ => codes::read(&error),
    }
}

/// Tells whether a connection ended because this side closed it. An endpoint that goes right after
/// that ends it, too, and may be faster: with an error that says it is this side's.
fn is_ours(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::LocallyClosed => true,
        ConnectionError::TransportError(error) => error.code == TransportErrorCode::INTERNAL_ERROR,
        _ => false,
    }
}

async fn serve(link: &Arc<Link>, startup: Startup) -> Result<(), Fault> {
    let Startup {
        dialed,
        send,
        recv,
        inbox,
        tuning,
        deadline,
        stranger,
        mut gate,
    } = startup;
    let exporter = link.exporter()?;
    let up = Event::LinkUp {
        link: link.id,
        peer: link.peer,
        dialed,
        exporter,
    };
    inbox.begin(up).await?;

    link.spawn(control_writer(Arc::clone(link), send));
    let control = inbox.control_inlet(link.id, CONTROL_INBOX);
    let mut handshake = Handshake::new(recv);
    let proof = async {
        let hello = handshake.first_frame().await?;
        control.deliver(Lane::Control, vec![hello]).await?;
        loop {
            // The driver may never answer, and the peer may go meanwhile.
            tokio::select! {
                opened = &mut gate => return opened.map_err(|_| Fault::Lost),
                _ = link.connection.closed() => return Err(Fault::Lost),
                frames = handshake.frames() => control.deliver(Lane::Control, frames?).await?,
            }
        }
    };
    let late = || {
        let code = CloseCode::Stranger;
        Fault::code(code, code.reason().to_owned())
    };
    timeout_at(deadline, proof).await.map_err(|_| late())??;
    drop(stranger);

    link.connection
        .set_receive_window(VarInt::from_u32(tuning.link_window));
    link.connection
        .set_max_concurrent_uni_streams(Tuning::streams());
    let (bulk, in_flight) = (Arc::clone(link), tuning.bulk_in_flight);
    link.spawn(async move { writer::bulk(bulk.connection.clone(), &bulk.bulk, in_flight).await });
    let introducing = Arc::clone(link);
    link.spawn(async move {
        let link = introducing;
        writer::introductions(link.connection.clone(), &link.introductions).await
    });
    let data = inbox.data_inlet(link.id, DATA_INBOX);
    reader::read_all(link, handshake, control, data).await;
    Ok(())
}

/// Writes the control lane, and closes the link afterwards if that is what was asked for.
async fn control_writer(link: Arc<Link>, send: SendStream) -> Result<(), Fault> {
    writer::control(send, &link.control).await?;
    if let Some(code) = link.parting.get() {
        link.close(Closing::Core(*code), code.reason().to_owned());
    }
    Ok(())
}

/// Queues a frame on a lane, and returns the lane if it has to be flushed.
fn push(lane: &Arc<StreamLane>, frame: Bytes) -> Result<Option<Arc<StreamLane>>, Refused> {
    Ok(lane.push(frame)?.then(|| Arc::clone(lane)))
}

/// The largest frame a lane carries.
pub(crate) fn frame_limit(lane: Lane) -> usize {
    match lane {
        Lane::Control => CONTROL_FRAME,
        Lane::Entries(_) => ENTRIES_FRAME,
        Lane::Bulk => BULK_FRAME,
    }
}

/// Closes the link if the task that holds it panics: the peer then dials again, which it would
/// not if a lane were silently dead.
struct CloseOnPanic<'a>(&'a Arc<Link>);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .close(Closing::Internal, "a task of the peer failed".to_owned());
        }
    }
}

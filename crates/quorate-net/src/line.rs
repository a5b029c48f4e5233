//! One link between two peers of one process, and the lanes on it.
//!
//! No bytes travel: a frame is handed to the other peer's queue of events as it is, shared and not
//! copied. All the same the link holds to what one over QUIC does: lanes keep their order, a
//! stranger's handshake is all that is read of it, queues are bounded in bytes, and whatever is
//! wrong with what a peer sends costs this link and nothing else.
//!
//! ```text
//! stage of an end        what passes to its peer
//! Dark                   nothing: its LinkUp is not queued yet
//! Stranger               a handshake: the first control frame, and those behind it that fit
//! Held                   nothing, until this peer says that the other one has proven itself
//! Open                   everything
//! Over                   nothing any more
//! ```
//!
//! Bytes count against their lane from the moment they are sent until the other driver has taken
//! them: one bound where QUIC has a queue, a window and an inbox in a row. So a peer that hangs
//! loses its link once a lane is full, as it does there.
//!
//! Invariant: nothing passes an end before its LinkUp or after its LinkDown. Both follow from the
//! stage, which changes, like all that passes, under the end's lock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use quorate_core::{CloseCode, GroupId, Lane, LinkId, PeerId};
use tokio::sync::{oneshot, watch};

use crate::{
    address::Address,
    codes::{self, Closing},
    deframer::{FrameFault, HEAD},
    inbox::{Charge, Event, Inbox, Undelivered},
    introduction,
    limits::{
        BULK_QUEUE, CONTROL_QUEUE, ENTRIES_LANES, ENTRIES_QUEUE, FRAME_OVERHEAD, HANDSHAKE,
        HELLO_FRAME, INTRODUCTION, INTRODUCTION_QUEUE,
    },
    link::{LinkFigures, SendError, frame_limit},
    reader::Fault,
};

/// What both ends share.
#[derive(Debug)]
struct Line {
    ends: [End; 2],
    /// Which end closed it, and why: the first reason stands.
    closing: OnceLock<(usize, Closing, String)>,
    over: watch::Sender<bool>,
}

/// Where a peer gets what the other one sends.
#[derive(Debug)]
struct End {
    link: LinkId,
    owner: PeerId,
    inbox: Inbox,
    /// Whether the other peer has proven itself to this one.
    proven: AtomicBool,
    /// Tells the link's task of that.
    gate: Mutex<Option<oneshot::Sender<()>>>,
    intake: Mutex<Intake>,
}

#[derive(Debug)]
struct Intake {
    stage: Stage,
    /// Bytes of a stranger's handshake that may pass still.
    left: usize,
    /// Sent and not passed on yet, in order.
    waiting: VecDeque<Waiting>,
    /// Whether something was sent since the last flush.
    fresh: bool,
    control: Arc<AtomicUsize>,
    bulk: Arc<AtomicUsize>,
    introductions: Arc<AtomicUsize>,
    entries: BTreeMap<GroupId, Arc<AtomicUsize>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Dark,
    Stranger,
    Held,
    Open,
    Over,
}

#[derive(Debug)]
enum Waiting {
    Frames {
        lane: Lane,
        frames: Vec<Bytes>,
        charge: Charge,
    },
    Introduced {
        peers: Vec<(PeerId, Vec<Address>)>,
        charge: Charge,
    },
}

/// A line as the peer at one of its ends sees it.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    line: Arc<Line>,
    /// Which end is this peer's.
    side: usize,
}

/// What one end of a new line is made of.
pub(crate) struct Socket {
    pub(crate) link: LinkId,
    pub(crate) owner: PeerId,
    pub(crate) inbox: Inbox,
}

/// Makes a line between two peers; each way comes with what opens once its peer has proof.
pub(crate) fn draw(sockets: [Socket; 2]) -> [(Way, oneshot::Receiver<()>); 2] {
    let [(one, at_one), (other, at_other)] = sockets.map(End::new);
    let line = Arc::new(Line {
        ends: [one, other],
        closing: OnceLock::new(),
        over: watch::Sender::new(false),
    });
    let way = |side| Way {
        line: Arc::clone(&line),
        side,
    };
    [(way(0), at_one), (way(1), at_other)]
}

impl End {
    fn new(socket: Socket) -> (Self, oneshot::Receiver<()>) {
        let (open, gate) = oneshot::channel();
        let end = Self {
            link: socket.link,
            owner: socket.owner,
            inbox: socket.inbox,
            proven: AtomicBool::new(false),
            gate: Mutex::new(Some(open)),
            intake: Mutex::new(Intake {
                stage: Stage::Dark,
                left: HANDSHAKE,
                waiting: VecDeque::new(),
                fresh: false,
                control: Arc::default(),
                bulk: Arc::default(),
                introductions: Arc::default(),
                entries: BTreeMap::new(),
            }),
        };
        (end, gate)
    }

    fn lock(&self) -> MutexGuard<'_, Intake> {
        self.intake
            .lock()
            .expect("nothing panics while it holds an end of a line")
    }

    /// Passes on what may pass.
    fn flush(&self, intake: &mut Intake) -> Result<(), Fault> {
        intake.fresh = false;
        while intake.stage == Stage::Stranger {
            match intake.take_handshake()? {
                Some(frame) => self.pass(frame)?,
                None => break,
            }
        }
        if intake.stage == Stage::Open {
            for waiting in intake.waiting.drain(..) {
                self.pass(waiting)?;
            }
        }
        Ok(())
    }

    fn pass(&self, waiting: Waiting) -> Result<(), Fault> {
        let link = self.link;
        match waiting {
            Waiting::Frames {
                lane,
                frames,
                charge,
            } => self.inbox.pass_frames(link, lane, frames, charge)?,
            Waiting::Introduced { peers, charge } => {
                let event = Event::Introduced { link, peers };
                self.inbox.pass_event(event, charge)?;
            }
        }
        Ok(())
    }
}

impl Intake {
    /// Appends a frame to what waits; says whether it is the first since the last flush.
    fn push(&mut self, lane: Lane, frame: Bytes) -> Result<bool, SendError> {
        if self.stage == Stage::Over {
            return Err(SendError::Down);
        }
        let (cost, bound) = (frame.len() + FRAME_OVERHEAD, bound(lane));
        match self.waiting.back_mut() {
            Some(Waiting::Frames {
                lane: last,
                frames,
                charge,
            }) if *last == lane => {
                if !charge.grow(cost, bound) {
                    return Err(SendError::Slow);
                }
                frames.push(frame);
            }
            _ => {
                let mut charge = Charge::none(self.kept(lane)?);
                if !charge.grow(cost, bound) {
                    return Err(SendError::Slow);
                }
                let frames = vec![frame];
                self.waiting.push_back(Waiting::Frames {
                    lane,
                    frames,
                    charge,
                });
            }
        }
        Ok(!std::mem::replace(&mut self.fresh, true))
    }

    /// Where the bytes of a lane are counted.
    fn kept(&mut self, lane: Lane) -> Result<&Arc<AtomicUsize>, SendError> {
        match lane {
            Lane::Control => Ok(&self.control),
            Lane::Bulk => Ok(&self.bulk),
            Lane::Entries(group) => {
                if self.entries.len() >= ENTRIES_LANES && !self.entries.contains_key(&group) {
                    return Err(SendError::TooManyLanes);
                }
                Ok(self.entries.entry(group).or_default())
            }
        }
    }

    /// Takes the next frame of a stranger's handshake, if it came and is not too much.
    fn take_handshake(&mut self) -> Result<Option<Waiting>, FrameFault> {
        for (at, waiting) in self.waiting.iter_mut().enumerate() {
            let Waiting::Frames {
                lane: Lane::Control,
                frames,
                charge,
            } = waiting
            else {
                continue;
            };
            let (len, limit) = (frames[0].len(), HELLO_FRAME);
            if self.left == HANDSHAKE && len > limit {
                return Err(FrameFault::TooLarge { len, limit });
            }
            let Some(left) = self.left.checked_sub(HEAD + len) else {
                self.stage = Stage::Held;
                return Ok(None);
            };
            self.left = left;
            let frame = frames.remove(0);
            let charge = charge.split(len + FRAME_OVERHEAD);
            if frames.is_empty() {
                self.waiting.remove(at);
            }
            return Ok(Some(Waiting::Frames {
                lane: Lane::Control,
                frames: vec![frame],
                charge,
            }));
        }
        Ok(None)
    }

    fn bytes(&self) -> usize {
        let own = [&self.control, &self.bulk, &self.introductions];
        let all = own.into_iter().chain(self.entries.values());
        all.map(|kept| kept.load(Ordering::Relaxed)).sum()
    }
}

/// Bytes that a lane may keep.
fn bound(lane: Lane) -> usize {
    match lane {
        Lane::Control => CONTROL_QUEUE,
        Lane::Entries(_) => ENTRIES_QUEUE,
        Lane::Bulk => BULK_QUEUE,
    }
}

impl From<Undelivered> for Fault {
    fn from(why: Undelivered) -> Self {
        let code = match why {
            Undelivered::Deaf => CloseCode::Shutdown,
            Undelivered::Full => CloseCode::Slow,
        };
        Self::code(code, code.reason().to_owned())
    }
}

impl Way {
    fn mine(&self) -> &End {
        &self.line.ends[self.side]
    }

    fn other(&self) -> &End {
        &self.line.ends[1 - self.side]
    }

    /// The number that the link has here.
    pub(crate) fn link(&self) -> LinkId {
        self.mine().link
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> PeerId {
        self.other().owner
    }

    /// Sends a frame; never waits. Says whether the caller has to [`Self::flush`] the link.
    pub(crate) fn send(&self, lane: Lane, frame: Bytes) -> Result<bool, SendError> {
        let (len, limit) = (frame.len(), frame_limit(lane));
        if len == 0 || len > limit {
            return Err(SendError::BadLength { len, limit });
        }
        if lane != Lane::Control && !self.mine().proven.load(Ordering::Acquire) {
            return Err(SendError::Stranger);
        }
        let pushed = self.other().lock().push(lane, frame);
        if pushed == Err(SendError::Slow) {
            let reason = format!("{}: lane {lane:?}", CloseCode::Slow.reason());
            self.close(Closing::Core(CloseCode::Slow), reason);
        }
        pushed
    }

    /// Hands over what was sent, as far as the other end lets it pass.
    pub(crate) fn flush(&self) {
        self.line.change(1 - self.side, |_| {});
    }

    /// Sends where peers can be reached; left out if there is no room, or no proof yet.
    pub(crate) fn introduce(&self, list: &[u8]) {
        let proven = self.mine().proven.load(Ordering::Acquire);
        if list.is_empty() || list.len() > INTRODUCTION || !proven {
            return;
        }
        let Some(peers) = introduction::decode(list) else {
            return;
        };
        self.line.change(1 - self.side, |intake| {
            let mut charge = Charge::none(&intake.introductions);
            if intake.stage != Stage::Over && charge.grow(list.len(), INTRODUCTION_QUEUE) {
                let introduced = Waiting::Introduced { peers, charge };
                intake.waiting.push_back(introduced);
            }
        });
    }

    /// Lets pass what the other peer sends from now on: its [`Event::LinkUp`] is queued.
    pub(crate) fn begin(&self) {
        let proven = &self.mine().proven;
        self.line.change(self.side, |intake| {
            // The driver may have been faster.
            match (intake.stage, proven.load(Ordering::Acquire)) {
                (Stage::Dark, true) => intake.stage = Stage::Open,
                (Stage::Dark, false) => intake.stage = Stage::Stranger,
                _ => {}
            }
        });
    }

    /// Lifts the limits on strangers from what the other peer sends.
    pub(crate) fn authenticate(&self) {
        let end = self.mine();
        end.proven.store(true, Ordering::Release);
        self.line.change(self.side, |intake| {
            if matches!(intake.stage, Stage::Stranger | Stage::Held) {
                intake.stage = Stage::Open;
            }
        });
        let gate = end.gate.lock();
        let gate = gate.expect("nothing panics while it holds the gate").take();
        if let Some(gate) = gate {
            // Fails if the link is going down already, which is told as an event.
            gate.send(()).unwrap_or_default();
        }
    }

    /// Closes the link now; the first reason stands, and what did not pass yet is lost.
    pub(crate) fn close(&self, closing: Closing, reason: String) {
        self.line.close(self.side, closing, reason);
    }

    /// Waits until the link is closed; returns why, as this peer is told. From then on nothing
    /// passes any more.
    pub(crate) async fn closed(&self) -> (Option<CloseCode>, String) {
        let mut over = self.line.over.subscribe();
        // Fails when nobody is left to close it, and this way is.
        over.wait_for(|over| *over).await.map(drop).unwrap_or(());
        match self.line.closing.get() {
            Some((side, closing, reason)) if *side == self.side => (closing.core(), reason.clone()),
            Some((_, closing, reason)) => codes::said(closing.number(), reason),
            None => (None, String::new()),
        }
    }

    /// Returns how the link does.
    pub(crate) fn figures(&self) -> LinkFigures {
        LinkFigures {
            peer: self.peer(),
            proven: self.mine().proven.load(Ordering::Acquire),
            round_trip: None,
            queued: self.other().lock().bytes(),
        }
    }
}

impl Line {
    /// Changes an end and passes on what may pass then. If that cannot be, or must not, the peer
    /// at that end closes the line.
    fn change(&self, side: usize, change: impl FnOnce(&mut Intake)) {
        let end = &self.ends[side];
        let passed = {
            let mut intake = end.lock();
            change(&mut intake);
            end.flush(&mut intake)
        };
        if let Err(Fault::Broken(closing, reason)) = passed {
            self.close(side, closing, reason);
        }
    }

    fn close(&self, side: usize, closing: Closing, reason: String) {
        self.closing.get_or_init(|| (side, closing, reason));
        for end in &self.ends {
            let mut intake = end.lock();
            intake.stage = Stage::Over;
            intake.waiting.clear();
        }
        self.over.send_replace(true);
    }
}

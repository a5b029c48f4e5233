//! From QUIC to the driver's queue.
//!
//! One task per stream. A reader takes what has come in one go, cuts it into frames and queues
//! them together; while the link is over its budget it waits, and QUIC holds the peer back.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use iroh::endpoint::{ConnectionError, ReadError, ReadExactError, RecvStream, WriteError};
use quorate_core::{CloseCode, GroupId, Lane};
use tokio::{
    sync::{Notify, Semaphore},
    task::{JoinError, JoinSet},
    time::{Instant, timeout_at},
};

use crate::{
    codes::Closing,
    deframer::{Deframer, FrameFault, HEAD, checked_len},
    inbox::{Deaf, Inlet},
    introduction,
    limits::{
        BULK_READERS, ENTRIES_LANES, HANDSHAKE, HELLO_FRAME, INTRODUCTION, LANE_END, READ_CHUNKS,
    },
    link::{BULK_TAG, ENTRIES_TAG, INTRODUCTION_TAG, Link, frame_limit},
};

/// What ends a lane before its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The connection is gone; whoever waits for that knows why.
    Lost,
    /// Something is wrong that closes the link.
    Broken(Closing, String),
}

/// What the streams of one link share.
struct Shared {
    data: Inlet,
    /// Groups whose entries lane is open: a second one would make two orders of one.
    lanes: Mutex<BTreeSet<GroupId>>,
    /// Told when one of them has ended.
    ended: Notify,
    bulk: Semaphore,
}

/// The control lane of a link while its peer is a stranger: little of it is read.
pub(crate) struct Handshake {
    recv: RecvStream,
    deframer: Deframer,
    /// What may be read still.
    left: usize,
}

impl Handshake {
    pub(crate) fn new(recv: RecvStream) -> Self {
        Self {
            recv,
            deframer: Deframer::new(frame_limit(Lane::Control)),
            left: HANDSHAKE,
        }
    }

    /// Reads the first frame, and not a byte more.
    pub(crate) async fn first_frame(&mut self) -> Result<Bytes, Fault> {
        let mut head = [0; HEAD];
        self.recv.read_exact(&mut head).await?;
        let mut frame = vec![0; checked_len(head, HELLO_FRAME)?];
        self.recv.read_exact(&mut frame).await?;
        self.left -= head.len() + frame.len();
        Ok(frame.into())
    }

    /// Reads the frames that follow, proofs of more groups, for as long as there may be more; never
    /// returns at the end of the stream or of what may be read.
    ///
    /// Cancel-safe: what has come of a frame is kept.
    pub(crate) async fn frames(&mut self) -> Result<Vec<Bytes>, Fault> {
        let mut frames = Vec::new();
        while frames.is_empty() {
            // Without room it waits for the proof, which what it has read may hold; who ended its
            // stream is about to close the link, and says why.
            let chunk = match self.left {
                0 => None,
                left => self.recv.read_chunk(left).await?,
            };
            let Some(chunk) = chunk else {
                return std::future::pending().await;
            };
            self.left -= chunk.len();
            self.deframer.push(chunk, &mut frames)?;
        }
        Ok(frames)
    }
}

/// Reads all lanes of a link until the connection is gone and everything read is delivered.
pub(crate) async fn read_all(link: &Link, control: Handshake, inlet: Inlet, data: Inlet) {
    let shared = Arc::new(Shared {
        data,
        lanes: Mutex::default(),
        ended: Notify::new(),
        bulk: Semaphore::new(BULK_READERS),
    });
    let mut readers = JoinSet::new();
    readers.spawn(async move {
        let Handshake { recv, deframer, .. } = control;
        read_lane(recv, deframer, Lane::Control, &inlet).await
    });
    loop {
        tokio::select! {
            stream = link.connection.accept_uni() => match stream {
                Ok(recv) => {
                    readers.spawn(read_stream(recv, Arc::clone(&shared)));
                }
                Err(_) => break,
            },
            Some(ended) = readers.join_next() => settle(link, ended),
        }
    }
    while let Some(ended) = readers.join_next().await {
        settle(link, ended);
    }
}

/// Closes the link if a reader ended for any other reason than its stream's end.
fn settle(link: &Link, ended: Result<Result<(), Fault>, JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => link.fault(fault),
        Err(_) => link.fault(Fault::internal("a reader failed")),
    }
}

/// Reads a stream that the peer opened.
async fn read_stream(mut recv: RecvStream, shared: Arc<Shared>) -> Result<(), Fault> {
    let mut tag = [0];
    recv.read_exact(&mut tag).await?;
    match tag {
        [ENTRIES_TAG] => read_entries(recv, &shared).await,
        [BULK_TAG] => read_bulk(recv, &shared).await,
        [INTRODUCTION_TAG] => read_introduction(recv, &shared).await,
        [tag] => Err(Fault::code(
            CloseCode::BadFrame,
            format!("no stream begins with {tag}"),
        )),
    }
}

async fn read_entries(mut recv: RecvStream, shared: &Shared) -> Result<(), Fault> {
    let mut group = GroupId([0; 16]);
    recv.read_exact(&mut group.0).await?;
    shared.open(group).await?;
    let lane = Lane::Entries(group);
    let read = read_lane(recv, Deframer::new(frame_limit(lane)), lane, &shared.data).await;
    shared.lanes().remove(&group);
    shared.ended.notify_waiters();
    read
}

/// Reads one message: only a few at a time, in the order in which the streams came, so that a
/// peer that begins many and ends none ties up little.
async fn read_bulk(recv: RecvStream, shared: &Shared) -> Result<(), Fault> {
    let _turn = shared.bulk.acquire().await.map_err(|_| Fault::Lost)?;
    let frame = read_message(recv, frame_limit(Lane::Bulk)).await?;
    Ok(shared.data.deliver(Lane::Bulk, vec![frame]).await?)
}

/// Reads where peers can be reached.
async fn read_introduction(recv: RecvStream, shared: &Shared) -> Result<(), Fault> {
    let _turn = shared.bulk.acquire().await.map_err(|_| Fault::Lost)?;
    let list = read_message(recv, INTRODUCTION).await?;
    let peers = introduction::decode(&list).ok_or_else(|| {
        let reason = "an introduction that is none".to_owned();
        Fault::code(CloseCode::BadFrame, reason)
    })?;
    Ok(shared.data.introduce(peers, list.len()).await?)
}

/// Reads the one frame of a stream.
async fn read_message(mut recv: RecvStream, limit: usize) -> Result<Bytes, Fault> {
    let mut deframer = Deframer::new(limit);
    let (mut chunks, mut frames) = (vec![Bytes::new(); READ_CHUNKS], Vec::new());
    while let Some(count) = recv.read_many_chunks(&mut chunks).await? {
        for chunk in &mut chunks[..count] {
            deframer.push(std::mem::take(chunk), &mut frames)?;
        }
        if frames.len() > 1 {
            break;
        }
    }
    deframer.finish()?;
    match frames.pop() {
        Some(frame) if frames.is_empty() => Ok(frame),
        _ => {
            let reason = "the stream carries one frame".to_owned();
            Err(Fault::code(CloseCode::BadFrame, reason))
        }
    }
}

/// Reads frames until the stream ends, which it may between two frames.
async fn read_lane(
    mut recv: RecvStream,
    mut deframer: Deframer,
    lane: Lane,
    inlet: &Inlet,
) -> Result<(), Fault> {
    let mut chunks = vec![Bytes::new(); READ_CHUNKS];
    while let Some(count) = recv.read_many_chunks(&mut chunks).await? {
        let mut frames = Vec::new();
        for chunk in &mut chunks[..count] {
            deframer.push(std::mem::take(chunk), &mut frames)?;
        }
        if !frames.is_empty() {
            inlet.deliver(lane, frames).await?;
        }
    }
    Ok(deframer.finish()?)
}

impl Shared {
    /// Waits until the group's lane before this one has ended.
    ///
    /// The peer knows that we have the end of that one, but not that it was read: two tasks read
    /// the two streams, and the second may run first. What stays open for longer is a second lane.
    async fn open(&self, group: GroupId) -> Result<(), Fault> {
        let until = Instant::now() + LANE_END;
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.try_open(group)? {
                return Ok(());
            }
            if timeout_at(until, ended).await.is_err() {
                let reason = format!("a second entries lane for group {group:?}");
                return Err(Fault::code(CloseCode::Misbehaved, reason));
            }
        }
    }

    fn try_open(&self, group: GroupId) -> Result<bool, Fault> {
        let mut lanes = self.lanes();
        if lanes.contains(&group) {
            return Ok(false);
        }
        if lanes.len() >= ENTRIES_LANES {
            let reason = format!("more than {ENTRIES_LANES} entries lanes");
            return Err(Fault::code(CloseCode::Misbehaved, reason));
        }
        Ok(lanes.insert(group))
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, BTreeSet<GroupId>> {
        self.lanes
            .lock()
            .expect("nothing panics while it holds the lanes")
    }
}

impl Fault {
    pub(crate) fn code(code: CloseCode, reason: String) -> Self {
        Self::Broken(Closing::Core(code), reason)
    }

    pub(crate) fn internal(reason: &str) -> Self {
        Self::Broken(Closing::Internal, reason.to_owned())
    }
}

impl From<FrameFault> for Fault {
    fn from(fault: FrameFault) -> Self {
        let code = match fault {
            FrameFault::TooLarge { .. } => CloseCode::TooLarge,
            FrameFault::Empty | FrameFault::Truncated => CloseCode::BadFrame,
        };
        Self::code(code, fault.to_string())
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(_) => Self::Lost,
            ReadError::Reset(code) => Self::code(
                CloseCode::BadFrame,
                format!("a stream was reset with code {code}"),
            ),
            ReadError::ClosedStream | ReadError::ZeroRttRejected => {
                Self::internal("a stream was read after its end")
            }
        }
    }
}

impl From<ReadExactError> for Fault {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => FrameFault::Truncated.into(),
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(_) => Self::Lost,
            WriteError::Stopped(code) => {
                let reason = format!("the peer stopped reading a lane with code {code}");
                Self::code(CloseCode::Misbehaved, reason)
            }
            WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                Self::internal("a stream was written after its end")
            }
        }
    }
}

impl From<ConnectionError> for Fault {
    fn from(_: ConnectionError) -> Self {
        Self::Lost
    }
}

impl From<Deaf> for Fault {
    fn from(_: Deaf) -> Self {
        Self::code(CloseCode::Shutdown, CloseCode::Shutdown.reason().to_owned())
    }
}

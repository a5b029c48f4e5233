//! What every request has at hand: the peer, its group, its map, and how they are called.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};
use quorate::{Cursor, Group, Map, Network, Position, Read, ReadError, Snapshot, WriteError};
use tokio::sync::{Notify, Semaphore, watch};

use crate::{blob::Blob, limits::WATCHERS};

use super::{error::ApiError, writer::Writer};

/// The header that says where an answer stands in the group's log.
pub(crate) const CURSOR: HeaderName = HeaderName::from_static("quorate-cursor");

/// What a peer's HTTP interface serves from.
#[derive(Debug)]
pub(crate) struct App {
    /// The peer.
    pub(crate) net: Network,
    /// The name of the network.
    pub(crate) network: String,
    /// The group.
    pub(crate) group: Group,
    /// Its keys and values.
    pub(crate) kv: Map<Vec<u8>, Blob>,
    /// What gives writes without a name one.
    pub(crate) writer: Writer,
    /// Room for watchers.
    pub(crate) watchers: Arc<Semaphore>,
    /// Says that the peer stops: answers without an end must end.
    pub(crate) stopping: watch::Receiver<bool>,
    /// Told once the peer has given up its seat.
    pub(crate) left: Notify,
}

impl App {
    /// Puts together what serves `group` of `net`.
    pub(crate) fn new(net: Network, group: Group, stopping: watch::Receiver<bool>) -> Self {
        Self {
            network: net.name().to_owned(),
            net,
            kv: group.map(crate::blob::KV),
            group,
            writer: Writer::default(),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            stopping,
            left: Notify::new(),
        }
    }

    /// Returns where this peer's state stands, once it is part of a history.
    pub(crate) fn position(&self) -> Option<Position> {
        let status = self.group.status();
        Some(Position {
            genesis: status.genesis?,
            cursor: status.applied,
        })
    }

    /// Returns the position of `cursor`.
    pub(crate) fn place(&self, cursor: Cursor) -> Option<Position> {
        Some(Position {
            genesis: self.group.status().genesis?,
            cursor,
        })
    }

    /// Returns the history that this peer is part of.
    ///
    /// # Errors
    /// It is part of none yet.
    pub(crate) fn joined(&self) -> Result<Position, ApiError> {
        self.position().ok_or_else(|| {
            ApiError::no_quorum(Some("this peer has not joined a group yet".to_owned()))
        })
    }

    /// Says why the group cannot decide, if it cannot.
    pub(crate) fn why(&self) -> Option<String> {
        crate::words::standstill(&self.group.status())
    }

    /// Takes a snapshot that is as fresh as `read` asks for.
    pub(crate) async fn read(&self, read: Read, timeout: Duration) -> Result<Snapshot, ApiError> {
        self.joined()?;
        let taken = self.group.snapshot(read).timeout(timeout).await;
        taken.map_err(|error| {
            let status = self.group.status();
            match (&error, read) {
                // There is a leader; what was asked for just has not come here yet.
                (ReadError::Unavailable, Read::AtLeast(cursor)) if status.leader.is_some() => {
                    ApiError::not_here_yet(cursor, status.applied)
                }
                _ => ApiError::of_read(&error, self.why()),
            }
        })
    }

    /// Says why a write was not committed.
    pub(crate) fn write_error<I>(&self, error: &WriteError<I>) -> ApiError
    where
        WriteError<I>: std::fmt::Display,
    {
        ApiError::of_write(error, self.why())
    }
}

/// Says in an answer where it stands in the log.
pub(crate) fn mark(response: &mut Response, position: Option<Position>) {
    let Some(position) = position else { return };
    let text = position.to_string();
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(CURSOR, value);
    }
}

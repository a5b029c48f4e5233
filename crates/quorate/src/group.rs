//! Groups: opening one, and the handle to it.

use std::{sync::Arc, time::Duration};

use quorate_core::{Cursor, Digest, Form, GroupId, GroupKey, GroupProfile, OpenGroup};
use quorate_state::{Collections, Machine, collections::Key};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{oneshot, watch};

use crate::{
    driver::{door::Turned, request::Request},
    event::{Events, EventsClosed},
    hall::Hall,
    map::Map,
    read::{Read, ReadError, Reading},
    snapshot::{Published, Snapshot},
    status::GroupStatus,
    when::When,
};

/// How a group is to be opened; made by [`crate::Network::group`].
#[derive(Clone, Debug)]
#[must_use = "a group is opened by `open`"]
pub struct GroupBuilder {
    hall: Arc<Hall>,
    open: OpenGroup,
}

/// A group could not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The network is closed on this peer.
    #[error("the network is closed on this peer")]
    Closed,
    /// A group must be expected to have at least one peer.
    #[error("a group is founded by at least one peer: expect 1 or more")]
    NobodyExpected,
    /// More founders are expected than a group may have voters.
    #[error("a group is founded by at most {most} peers: expect fewer and let the rest join")]
    TooManyExpected {
        /// As many as there may be.
        most: usize,
    },
}

impl GroupBuilder {
    pub(crate) fn new(hall: Arc<Hall>, key: GroupKey) -> Self {
        Self {
            hall,
            open: OpenGroup {
                key,
                machine: Collections.name().to_owned(),
                form: Form::Join,
                profile: GroupProfile::lan(),
            },
        }
    }

    /// Says how the group comes to be where there is none yet; to join it, unless said otherwise.
    pub fn form(mut self, form: Form) -> Self {
        self.open.form = form;
        self
    }

    /// Sets the operational parameters; [`GroupProfile::lan`] unless said otherwise.
    pub fn profile(mut self, profile: GroupProfile) -> Self {
        self.open.profile = profile;
        self
    }

    /// Sets how many applied entries, and how many bytes of them, the log keeps for peers that
    /// lag a little.
    pub fn reserve(mut self, entries: u64, bytes: u64) -> Self {
        self.open.profile.reserve_entries = entries;
        self.open.profile.reserve_bytes = bytes;
        self
    }

    /// Sets how long a snapshot is kept after its last valid fetch.
    pub fn snapshot_ttl(mut self, ttl: Duration) -> Self {
        self.open.profile.snapshot_ttl = ttl;
        self
    }

    /// Opens the group and returns its handle, without waiting for peers: see [`Group::when`].
    ///
    /// A group that is open already is returned as it was opened first. Cancel-safe: a group may
    /// be open although nobody waited for it.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was opened.
    pub async fn open(self) -> Result<Group, OpenError> {
        match self.open.form {
            Form::Expect(0) => return Err(OpenError::NobodyExpected),
            Form::Expect(n) if n > quorate_core::limits::VOTERS => {
                return Err(OpenError::TooManyExpected {
                    most: quorate_core::limits::VOTERS,
                });
            }
            _ => {}
        }
        let group = self.open.key.group_id(&self.open.machine);
        let open = Box::new(self.open);
        let seat = request(&self.hall, |reply| Request::Open { group, open, reply })
            .await
            .ok_or(OpenError::Closed)?;
        Ok(Group {
            hall: self.hall,
            seat,
        })
    }
}

/// One group on this peer; clones are handles to the same.
///
/// Handles outlive the network: once it is closed, operations say so.
#[derive(Clone, Debug)]
pub struct Group {
    hall: Arc<Hall>,
    seat: Arc<Seat>,
}

/// What the driver shows of a group to its handles.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) group: GroupId,
    pub(crate) label: String,
    pub(crate) status: watch::Receiver<GroupStatus>,
    pub(crate) published: Published,
}

/// The digest of a group's state at one cursor: equal on every peer that holds the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StateDigest {
    /// The last entry that the state has applied.
    pub cursor: Cursor,
    /// How many items it has, those of the system included.
    pub items: u64,
    /// Its root digest.
    pub digest: Digest,
}

impl Group {
    /// Returns the group's id.
    pub fn id(&self) -> GroupId {
        self.seat.group
    }

    /// Returns what people call the group: its key's label.
    pub fn label(&self) -> &str {
        &self.seat.label
    }

    /// Returns a handle to the group's map called `name`; costs nothing, and asks nobody.
    ///
    /// Maps come to be by being written to. All of a group's peers should agree on the types.
    pub fn map<K, V>(&self, name: &str) -> Map<K, V>
    where
        K: Key,
        V: Serialize + DeserializeOwned,
    {
        Map::new(Arc::clone(&self.hall), Arc::clone(&self.seat), name)
    }

    /// Returns how the group stands on this peer, as of the driver's last turn.
    pub fn status(&self) -> GroupStatus {
        self.seat.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<GroupStatus> {
        self.seat.status.clone()
    }

    /// Returns the group's conditions as futures.
    pub fn when(&self) -> When {
        When::new(self.seat.status.clone())
    }

    /// Subscribes to what happens in the group and to its peers, from now on.
    ///
    /// # Errors
    /// [`EventsClosed`] if the network is closed on this peer.
    pub async fn events(&self) -> Result<Events, EventsClosed> {
        let group = Some(self.seat.group);
        request(&self.hall, |reply| Request::Events { group, reply })
            .await
            .map(Events::new)
            .ok_or(EventsClosed)
    }

    /// Takes a consistent snapshot of the whole state, as fresh as `read` asks for; O(1), and it
    /// stays as it is while writes go on.
    pub fn snapshot(&self, read: Read) -> Reading<Snapshot> {
        Reading::snapshot(&self.hall, &self.seat, read)
    }

    /// Computes the digest of the state as this peer has it now.
    ///
    /// Costs what changed since the last digest; works in slices, so that other tasks go on.
    /// Cancel-safe: what was hashed is remembered.
    ///
    /// # Errors
    /// As a local read: see [`ReadError`].
    pub async fn digest(&self) -> Result<StateDigest, ReadError> {
        let snapshot = self.snapshot(Read::Local).await?;
        let mut digesting = snapshot.tree().digesting();
        loop {
            if let Some(digest) = digesting.advance(HASH_SLICE) {
                return Ok(StateDigest {
                    cursor: snapshot.cursor(),
                    items: snapshot.tree().len(),
                    digest,
                });
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Bytes hashed before other tasks have their turn: about a millisecond.
const HASH_SLICE: usize = 1 << 20;

/// Asks the driver for something that it gives at once; nothing if it has stopped.
pub(crate) async fn request<R>(
    hall: &Hall,
    make: impl FnOnce(oneshot::Sender<R>) -> Request,
) -> Option<R> {
    let (reply, answer) = oneshot::channel();
    match hall.door.enter(make(reply)) {
        Ok(()) => answer.await.ok(),
        Err(Turned::Closed | Turned::Full(..)) => None,
    }
}

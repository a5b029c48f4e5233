//! Groups: the handle to one.

use std::{fmt, future::Future, sync::Arc};

use quorate_core::{ClientOp, Cursor, Digest, GroupId, PeerId};
use quorate_state::{Collections, collections::Key};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::{
    client::{Client, ClientError, register},
    driver::{door::Turned, request::Request},
    event::{Events, EventsClosed},
    hall::Hall,
    map::Map,
    read::{Read, ReadError, Reading},
    snapshot::{Published, Snapshot},
    status::GroupStatus,
    when::When,
    wish::{LeaveError, TransferError, Wish},
};

/// One group on this peer; clones are handles to the same.
///
/// A group runs one machine. Unless the application brings its own (see
/// [`crate::GroupBuilder::machine`]), it is that of collections: many maps, by name.
///
/// Handles outlive the network: once it is closed, operations say so.
pub struct Group<M = Collections> {
    pub(crate) hall: Arc<Hall>,
    pub(crate) seat: Arc<Seat>,
    /// Answers queries; the driver has its own handle to what applies commands.
    pub(crate) machine: Arc<M>,
}

/// What the driver shows of a group to its handles.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) group: GroupId,
    pub(crate) label: String,
    pub(crate) status: watch::Receiver<GroupStatus>,
    pub(crate) published: Published,
    /// As many permits as commands may be fed and not yet heard of.
    pub(crate) feeding: Arc<Semaphore>,
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
}

impl<M> Group<M> {
    pub(crate) fn new(hall: Arc<Hall>, seat: Arc<Seat>, machine: Arc<M>) -> Self {
        Self {
            hall,
            seat,
            machine,
        }
    }

    /// Returns the group's id.
    pub fn id(&self) -> GroupId {
        self.seat.group
    }

    /// Returns what people call the group: its key's label.
    pub fn label(&self) -> &str {
        &self.seat.label
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

    /// Subscribes to what happens in the group and to its peers, from now on. Cancel-safe.
    ///
    /// # Errors
    /// [`EventsClosed`] if the network is closed on this peer.
    pub fn events(&self) -> impl Future<Output = Result<Events, EventsClosed>> + Send + use<M> {
        let (hall, group) = (Arc::clone(&self.hall), Some(self.seat.group));
        async move {
            request(&hall, |reply| Request::Events { group, reply })
                .await
                .map(Events::new)
                .ok_or(EventsClosed)
        }
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
    pub fn digest(&self) -> impl Future<Output = Result<StateDigest, ReadError>> + Send + use<M> {
        let taking = self.snapshot(Read::Local);
        async move {
            let snapshot = taking.await?;
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

    /// Registers a client, whose writes are applied once however often they are sent.
    ///
    /// Costs a write. Cancel-safe: a client that nobody waited for is never used, and expires. If
    /// it is not known whether the client was registered, registering another one is harmless.
    ///
    /// ```no_run
    /// # async fn pay(group: quorate::Group) -> Result<(), Box<dyn std::error::Error>> {
    /// let client = group.client().await?;
    /// let accounts = group.map::<String, u64>("accounts");
    /// let done = client.write(accounts.insert("alice".to_owned(), 5)).await?;
    /// println!("applied once, at {}", done.cursor);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn client(&self) -> impl Future<Output = Result<Client, ClientError>> + Send + use<M> {
        register(&self.hall, &self.seat)
    }

    /// Hands leadership over to `to`, or to the voter that is best caught up.
    ///
    /// May be asked of any peer. Writes wait meanwhile, for a round trip or two. Dropping it does
    /// not take the wish back. Done means that `to` leads, or another peer than at first.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub fn transfer_leader(&self, to: Option<PeerId>) -> Wish<TransferError> {
        let (group, judge) = (self.seat.group, TransferError::judge);
        Wish::new(&self.hall, group, judge, move |deadline| {
            ClientOp::Transfer { to, deadline }
        })
    }

    /// Gives up this peer's seat: it hands over if it leads, and is no member once it is done.
    ///
    /// It stays away: in this life it asks for no seat again. Its state stays readable as it is.
    /// The last voter is refused, as the group ends with it; with `dissolve` it ends the group. A
    /// learner that is ready takes the seat, if there is one. Dropping it does not take the wish
    /// back. [`crate::Network::close`] does the same for all groups of a peer.
    ///
    /// # Errors
    /// See [`LeaveError`].
    pub fn leave(&self, dissolve: bool) -> Wish<LeaveError> {
        let (group, judge) = (self.seat.group, LeaveError::judge);
        Wish::new(&self.hall, group, judge, move |deadline| ClientOp::Leave {
            dissolve,
            deadline,
        })
    }
}

impl<M> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self {
            hall: Arc::clone(&self.hall),
            seat: Arc::clone(&self.seat),
            machine: Arc::clone(&self.machine),
        }
    }
}

impl<M> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.seat.group)
            .field("label", &self.seat.label)
            .finish_non_exhaustive()
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

//! Networks: one peer of one, and the handle to it.

mod builder;
mod error;

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, atomic::Ordering},
};

use quorate_core::{GroupKey, NetworkId, PeerId};
use quorate_net::{Address, Carrier, iroh::protocol::Router};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    driver::request::Request,
    event::{Events, EventsClosed},
    group::request,
    hall::Hall,
    limits::{CLOSE_TIME, LEAVE_TIME},
    metrics::Metrics,
    open::GroupBuilder,
    recovery::RecoveryReport,
    ticket::Ticket,
};
pub use builder::NetworkBuilder;
pub use error::BuildError;

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
    carrier: Carrier,
    metrics: Metrics,
    /// The router that was made for this network, unless the application has its own.
    router: Option<Router>,
    /// What was found in the data directory, if there is one.
    recovery: Option<RecoveryReport>,
}

impl Inner {
    /// Gives up this peer's seats if it cannot come back as itself, else the lead, as far as that
    /// can be done soon.
    async fn leave(&self) {
        let deadline = self.hall.clock.time().after(LEAVE_TIME);
        let (done, over) = oneshot::channel();
        if self
            .hall
            .door
            .enter(Request::Leave { deadline, done })
            .is_ok()
        {
            // It ends by being dropped: when every group has answered, or the driver has stopped.
            timeout(LEAVE_TIME, over)
                .await
                .map(drop)
                .unwrap_or_default();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.carrier.crash();
        self.driver.abort();
    }
}

impl Network {
    /// Starts to make a peer of the network called `name`.
    pub fn builder(name: &str) -> NetworkBuilder {
        NetworkBuilder::new(name)
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
        self.inner.carrier.addresses()
    }

    /// Returns this peer's metrics and its endpoint's.
    pub fn metrics(&self) -> Metrics {
        self.inner.metrics.clone()
    }

    /// Returns the network's name.
    pub fn name(&self) -> &str {
        &self.inner.hall.name
    }

    /// Returns what this peer found in its data directory; nothing if its log is in memory.
    pub fn recovery(&self) -> Option<&RecoveryReport> {
        self.inner.recovery.as_ref()
    }

    /// Tells whether this peer's life is over: the others know a later start of its data directory,
    /// of which this one is a copy or an older state. It has stopped by itself; the next peer that
    /// is made in the directory joins as a new member.
    pub fn has_ended(&self) -> bool {
        self.inner.hall.over.load(Ordering::Acquire)
    }

    /// Makes a ticket that lets peers of other machines in: the network's name, this peer's id and
    /// where it can be reached now, and `secret`, from which the groups' keys are to follow. A peer
    /// that listens on 127.0.0.1, as it does unless told otherwise, is reached from its machine
    /// only.
    ///
    /// ```no_run
    /// # async fn up(secret: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate::prelude::*;
    ///
    /// let net = Network::builder("shop").listen(([0, 0, 0, 0], 0).into()).build().await?;
    /// let ticket = net.ticket(secret);
    /// let group = net.group(ticket.group_key("orders")).open().await?;
    /// println!("let others in with {ticket}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn ticket(&self, secret: [u8; 32]) -> Ticket {
        Ticket {
            network: self.name().to_owned(),
            secret,
            peer: self.peer(),
            addresses: self.addresses(),
        }
    }

    /// Starts to open the group with this key.
    pub fn group(&self, key: GroupKey) -> GroupBuilder {
        GroupBuilder::new(Arc::clone(&self.inner.hall), key)
    }

    /// Subscribes to what happens in all groups and to all peers, from now on. Cancel-safe.
    ///
    /// # Errors
    /// [`EventsClosed`] if the network is closed.
    pub fn events(&self) -> impl Future<Output = Result<Events, EventsClosed>> + Send + use<> {
        let (hall, group) = (Arc::clone(&self.inner.hall), None);
        async move {
            request(&hall, |reply| Request::Events { group, reply })
                .await
                .map(Events::new)
                .ok_or(EventsClosed)
        }
    }

    /// Stops this peer in good order, within about two seconds, whatever of it can be done by then:
    /// it hands leadership over, says goodbye to the other peers, and lets go of its data
    /// directory, in which it keeps its seats.
    ///
    /// A peer that keeps its log in memory cannot come back as itself, so it leaves the groups
    /// instead of being missed: what is left is a smaller group and not one that lacks a voter. The
    /// last voter of a group keeps its seat; the group ends with it. Without a quorum nothing can
    /// be handed over, and it goes as in a crash.
    ///
    /// Writes under way end as [`crate::WriteError::Unknown`] if they are not answered before.
    /// Closing twice is harmless. Cancel-safe: what is begun goes on, and calling it again waits
    /// for the rest. An endpoint or router that the application brought stays open.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let inner = Arc::clone(&self.inner);
        async move {
            let stopping = async {
                inner.leave().await;
                request(&inner.hall, |done| Request::Stop { done }).await;
                // It is never given a permit: it ends by being closed.
                inner
                    .hall
                    .finished
                    .acquire()
                    .await
                    .map(drop)
                    .unwrap_or_default();
                if let Some(router) = &inner.router {
                    router.shutdown().await.unwrap_or_else(|error| {
                        tracing::debug!(%error, "the endpoint's router failed");
                    });
                }
            };
            if timeout(CLOSE_TIME, stopping).await.is_err() {
                // What could not be done in time is left as a crash would leave it.
                tracing::debug!("the peer did not stop in time");
                inner.driver.abort();
            }
        }
    }

    /// Lets this peer do nothing until the returned value is dropped: it reads and answers
    /// nothing, and closes nothing. Nothing is returned if the network is closed.
    pub(crate) async fn pause(&self) -> Option<oneshot::Sender<()>> {
        let (resume, until) = oneshot::channel();
        let pause = |paused| Request::Pause { paused, until };
        request(&self.inner.hall, pause).await.map(|()| resume)
    }

    /// Allows no links to these peers until it is called again.
    pub(crate) fn bar(&self, peers: BTreeSet<PeerId>) {
        self.inner.carrier.bar(peers);
    }

    /// Stops this peer as a crash would, although there may be other handles to it.
    pub(crate) fn crash(&self) {
        self.inner.carrier.crash();
        self.inner.driver.abort();
    }
}

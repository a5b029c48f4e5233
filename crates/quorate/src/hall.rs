//! What all handles of one network share with its driver.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use quorate_core::{NetworkId, PeerId};
use tokio::sync::Semaphore;

use crate::{
    driver::{clock::Clock, door::Door},
    metrics::Meters,
};

/// What all handles of one network share with its driver.
#[derive(Debug)]
pub(crate) struct Hall {
    /// The way to the driver.
    pub(crate) door: Door,
    /// The driver's clocks.
    pub(crate) clock: Clock,
    /// What is counted here.
    pub(crate) meters: Arc<Meters>,
    /// This peer.
    pub(crate) peer: PeerId,
    /// The network.
    pub(crate) network: NetworkId,
    /// Its name.
    pub(crate) name: String,
    /// Whether this peer meets others in a rendezvous directory.
    pub(crate) meets: bool,
    /// Whether it was given a ticket: then it joins groups unless it is said otherwise.
    pub(crate) invited: bool,
    /// How long an operation waits unless it is told otherwise.
    pub(crate) timeout: Duration,
    /// Whether its log is on a disk, so that it comes back as itself.
    pub(crate) on_disk: bool,
    /// Whether its incarnation has ended: it was refused as a copy.
    pub(crate) over: AtomicBool,
    /// Closed once the driver has done its last.
    pub(crate) finished: Semaphore,
}

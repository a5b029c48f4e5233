//! What all handles of one network share with its driver.

use std::{sync::Arc, time::Duration};

use quorate_core::{Form, NetworkId, PeerId};

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
    /// How groups come to be unless it is said.
    pub(crate) form: Form,
    /// How long an operation waits unless it is told otherwise.
    pub(crate) timeout: Duration,
}

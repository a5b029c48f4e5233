//! What carries a peer's links: an endpoint, or a switchboard within the process.
//!
//! An enum and not a trait: there are these two, whoever drives a peer does the same with both,
//! and a type parameter would run through everything up to the application's handles. What only
//! an endpoint has (a router, addresses, its own metrics) is asked of [`Transport`].

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_core::{CloseCode, Lane, LinkId, PeerId};

use crate::{
    address::Address,
    line::Way,
    link::{LinkFigures, SendError},
    memory::Plug,
    transport::{self, TooManyDials, Transport},
};

/// What carries a peer's links; clones are handles to the same links.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Carrier {
    /// QUIC, over an endpoint of iroh.
    Endpoint(Transport),
    /// The process itself.
    Switchboard(Plug),
}

/// Frames sent together, as with [`crate::Batch`]; they leave when it is dropped.
#[derive(Debug)]
#[must_use = "frames are sent through the batch"]
pub struct CarrierBatch<'a> {
    way: BatchWay<'a>,
}

#[derive(Debug)]
enum BatchWay<'a> {
    Endpoint(transport::Batch<'a>),
    Switchboard {
        plug: &'a Plug,
        /// Links to flush at the end.
        ways: Vec<Way>,
    },
}

impl From<Transport> for Carrier {
    fn from(transport: Transport) -> Self {
        Self::Endpoint(transport)
    }
}

impl From<Plug> for Carrier {
    fn from(plug: Plug) -> Self {
        Self::Switchboard(plug)
    }
}

impl Carrier {
    /// Returns this peer's id.
    pub fn peer(&self) -> PeerId {
        match self {
            Self::Endpoint(transport) => transport.peer(),
            Self::Switchboard(plug) => plug.peer(),
        }
    }

    /// Returns where this peer can be reached; nowhere but in its process at a switchboard.
    pub fn addresses(&self) -> Vec<Address> {
        match self {
            Self::Endpoint(transport) => transport.addresses(),
            Self::Switchboard(_) => Vec::new(),
        }
    }

    /// Returns the transport, if it is one over an endpoint.
    pub fn transport(&self) -> Option<&Transport> {
        match self {
            Self::Endpoint(transport) => Some(transport),
            Self::Switchboard(_) => None,
        }
    }

    /// Returns how every link does; see [`Transport::figures`].
    pub fn figures(&self) -> Vec<LinkFigures> {
        match self {
            Self::Endpoint(transport) => transport.figures(),
            Self::Switchboard(plug) => plug.figures(),
        }
    }

    /// Starts to dial a peer; see [`Transport::dial`]. A switchboard needs no addresses.
    ///
    /// # Errors
    /// [`TooManyDials`]; nothing was started.
    pub fn dial(&self, peer: PeerId, addresses: Vec<Address>) -> Result<(), TooManyDials> {
        match self {
            Self::Endpoint(transport) => transport.dial(peer, addresses),
            Self::Switchboard(plug) => plug.dial(peer),
        }
    }

    /// Sends a frame; see [`Transport::send`].
    ///
    /// # Errors
    /// The frame was not queued; see [`SendError`].
    pub fn send(&self, link: LinkId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.batch().send(link, lane, frame)
    }

    /// Begins a batch of frames that leave together when it is dropped.
    pub fn batch(&self) -> CarrierBatch<'_> {
        let way = match self {
            Self::Endpoint(transport) => BatchWay::Endpoint(transport.batch()),
            Self::Switchboard(plug) => BatchWay::Switchboard {
                plug,
                ways: Vec::new(),
            },
        };
        CarrierBatch { way }
    }

    /// Lifts the limits on strangers from a link; see [`Transport::authenticate`].
    pub fn authenticate(&self, link: LinkId) {
        match self {
            Self::Endpoint(transport) => transport.authenticate(link),
            Self::Switchboard(plug) => plug.authenticate(link),
        }
    }

    /// Tells a peer where peers can be reached; see [`Transport::introduce`].
    pub fn introduce(&self, link: LinkId, peers: &[(PeerId, Vec<Address>)]) {
        match self {
            Self::Endpoint(transport) => transport.introduce(link, peers),
            Self::Switchboard(plug) => plug.introduce(link, peers),
        }
    }

    /// Closes a link; see [`Transport::close`].
    pub fn close(&self, link: LinkId, code: CloseCode, reason: &str) {
        match self {
            Self::Endpoint(transport) => transport.close(link, code, reason),
            Self::Switchboard(plug) => plug.close(link, code, reason),
        }
    }

    /// Closes a link as if the network were gone; see [`Transport::tear`].
    pub fn tear(&self, link: LinkId) {
        match self {
            Self::Endpoint(transport) => transport.tear(link),
            Self::Switchboard(plug) => plug.tear(link),
        }
    }

    /// Allows no links to these peers until it is called again; see [`Transport::bar`].
    pub fn bar(&self, peers: BTreeSet<PeerId>) {
        match self {
            Self::Endpoint(transport) => transport.bar(peers),
            Self::Switchboard(plug) => plug.bar(peers),
        }
    }

    /// Does to all links what the end of the process would; see [`Transport::crash`].
    pub fn crash(&self) {
        match self {
            Self::Endpoint(transport) => transport.crash(),
            Self::Switchboard(plug) => plug.crash(),
        }
    }

    /// Closes all links in good order; see [`Transport::shutdown`]. Cancel-safe.
    pub async fn shutdown(&self) {
        match self {
            Self::Endpoint(transport) => transport.shutdown().await,
            Self::Switchboard(plug) => plug.shutdown(),
        }
    }
}

impl CarrierBatch<'_> {
    /// Adds a frame; as [`Carrier::send`], but it leaves with the others.
    ///
    /// # Errors
    /// The frame was not queued; see [`SendError`].
    pub fn send(&mut self, link: LinkId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        match &mut self.way {
            BatchWay::Endpoint(batch) => batch.send(link, lane, frame),
            BatchWay::Switchboard { plug, ways } => {
                let way = plug.way(link).ok_or(SendError::Down)?;
                if way.send(lane, frame)? {
                    ways.push(way);
                }
                Ok(())
            }
        }
    }
}

impl Drop for CarrierBatch<'_> {
    fn drop(&mut self) {
        if let BatchWay::Switchboard { ways, .. } = &self.way {
            ways.iter().for_each(Way::flush);
        }
    }
}

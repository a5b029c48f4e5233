//! Why a peer could not be made.

use quorate_core::PeerId;
use quorate_net::{AlreadyPluggedIn, BindError, rendezvous::RendezvousError};

use crate::data_dir::DataDirError;

/// A peer could not be made; nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint could not be bound: most often its port is in use.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The directory where peers of this machine meet cannot be used.
    #[error("the rendezvous directory cannot be used")]
    Rendezvous(#[source] RendezvousError),
    /// A living process on this machine has the same identity, or a peer at the same switchboard.
    #[error(
        "peer {} already runs on this machine, as process {pid}: stop it, or give this one another \
         secret key",
        peer.short()
    )]
    IdentityInUse {
        /// Which identity.
        peer: PeerId,
        /// The other process, by its own account.
        pid: u32,
    },
    /// A ticket is of another network.
    #[error(
        "the ticket is of network {ticket:?} and this peer of network {network:?}: name the \
         ticket's network, or get a ticket of this one"
    )]
    TicketOfAnotherNetwork {
        /// The ticket's network.
        ticket: String,
        /// This peer's network.
        network: String,
    },
    /// The network's name is longer than [`crate::limits::NETWORK_NAME`].
    #[error(
        "the network's name has {len} bytes where {} are allowed",
        crate::limits::NETWORK_NAME
    )]
    NetworkName {
        /// Its size.
        len: usize,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A note's name is not one word, or one that cards use themselves.
    #[error(
        "{name:?} cannot be the name of a note: take one word other than pid, started, address"
    )]
    Note {
        /// The name.
        name: String,
    },
}

impl From<AlreadyPluggedIn> for BuildError {
    fn from(AlreadyPluggedIn(peer): AlreadyPluggedIn) -> Self {
        let pid = std::process::id();
        Self::IdentityInUse { peer, pid }
    }
}

impl From<RendezvousError> for BuildError {
    fn from(error: RendezvousError) -> Self {
        match error {
            RendezvousError::Taken { peer, pid } => Self::IdentityInUse { peer, pid },
            error => Self::Rendezvous(error),
        }
    }
}

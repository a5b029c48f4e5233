//! Looking for live peers of this machine without being one.

use std::path::Path;

use quorate_core::{NetworkId, PeerId};

use quorate_net::rendezvous::Rendezvous;
pub use quorate_net::rendezvous::{Card, RendezvousError};

/// Returns the live peers of the network called `network` on this machine, by id, with what they
/// say of themselves; of `directory`, or of the one that this user's peers share.
///
/// For programs that are no peers and look for one: its card may say where it serves them, see
/// [`crate::NetworkBuilder::note`]. Cards of dead processes are swept out on the way. Nothing is
/// made where there is no directory yet. Reads a few files, so it blocks for about a millisecond.
///
/// ```no_run
/// # fn main() -> Result<(), quorate::rendezvous::RendezvousError> {
/// for (peer, card) in quorate::rendezvous::live("shop", None)? {
///     println!("{peer} is process {} and serves {:?}", card.pid, card.notes.get("http"));
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The directory is open to others, is not this user's, or cannot be read.
pub fn live(
    network: &str,
    directory: Option<&Path>,
) -> Result<Vec<(PeerId, Card)>, RendezvousError> {
    let Some(found) = Rendezvous::find(directory, NetworkId::from_name(network))? else {
        return Ok(Vec::new());
    };
    let peers = found.scan()?.into_iter();
    Ok(peers.map(|found| (found.peer, found.card)).collect())
}

//! Finding a live peer of this machine to ask: its card in the directory of this machine's peers
//! says which group it serves and where.

use quorate::rendezvous;

use crate::{
    outcome::{Code, Failure},
    up::{GROUP_NOTE, HTTP_NOTE},
};

use super::call::Peer;

/// Returns a live peer of the group: the first that takes a connection.
pub(super) async fn live(
    network: &str,
    group: &str,
    token: Option<String>,
) -> Result<Peer, Failure> {
    let found = rendezvous::live(network, None).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("the peers of this machine cannot be looked for: {error}"),
            "mend the directory, set XDG_RUNTIME_DIR to one that is yours alone, or name a peer \
             with --http ADDRESS",
        )
    })?;
    let mut deaf = None;
    for (_, card) in found {
        let serves = card
            .notes
            .get(GROUP_NOTE)
            .is_some_and(|label| label == group);
        let Some(http) = card.notes.get(HTTP_NOTE).filter(|_| serves) else {
            continue;
        };
        let Ok(peer) = Peer::named(http, token.clone()) else {
            continue;
        };
        match peer.connect().await {
            Ok(_) => return Ok(peer),
            Err(failure) => deaf = Some(failure),
        }
    }
    Err(deaf.unwrap_or_else(|| {
        Failure::new(
            Code::Failed,
            format!("no peer of group {group} in network {network} runs on this machine"),
            "start one with `quorate up`, or name one with --http ADDRESS",
        )
    }))
}

//! Finding a live peer of this machine to ask: its card in the directory of this machine's peers
//! says which group it serves and where.

use std::time::Duration;

use quorate::rendezvous;

use crate::{
    http::StatusBody,
    outcome::{Code, Failure},
    up::{GROUP_NOTE, HTTP_NOTE},
};

use super::call::{Peer, Question};

/// How long a peer may take to say how it stands.
const LOOK: Duration = Duration::from_millis(500);

/// Returns a live peer of the group: the first that knows a leader, else the first that answers.
///
/// Costs a question for each that is asked in vain: one that hangs, or has not joined yet.
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
    let (mut lost, mut deaf) = (None, None);
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
        match peer.ask_once(Question::get("/v1/status", LOOK)).await {
            Ok(answer) => match answer.json::<StatusBody>() {
                Ok(status) if status.leader.is_some() => return Ok(peer),
                _ => lost = lost.or(Some(peer)),
            },
            Err(failure) => deaf = Some((peer, failure)),
        }
    }
    if let Some(peer) = lost {
        return Ok(peer);
    }
    let deaf = match deaf {
        // It answers, but with a refusal, which the command's own question will show.
        Some((peer, failure)) if failure.code != Code::Timeout && peer.connect().await.is_ok() => {
            return Ok(peer);
        }
        deaf => deaf.map(|(_, failure)| failure),
    };
    Err(deaf.unwrap_or_else(|| {
        Failure::new(
            Code::Failed,
            format!("no peer of group {group} in network {network} runs on this machine"),
            "start one with `quorate up`, or name one with --http ADDRESS",
        )
    }))
}

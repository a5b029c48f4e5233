//! Finding a live peer of this machine to ask.

use crate::outcome::{Code, Failure};

use super::call::Peer;

/// Returns a live peer of the group.
pub(super) async fn live(
    network: &str,
    group: &str,
    _token: Option<String>,
) -> Result<Peer, Failure> {
    Err(nobody(network, group))
}

fn nobody(network: &str, group: &str) -> Failure {
    Failure::new(
        Code::Failed,
        format!("no peer of group {group} in network {network} runs on this machine"),
        "start one with `quorate up`, or name one with --http ADDRESS",
    )
}

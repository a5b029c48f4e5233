//! What a peer says of itself when it starts.

use std::{io::Write as _, net::SocketAddr, path::Path};

use quorate::PeerId;
use serde_json::json;

use crate::words;

use super::UpArgs;

/// Who a peer is and where it can be reached.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) peer: PeerId,
    pub(super) network: &'a str,
    pub(super) group: &'a str,
    pub(super) http: SocketAddr,
    pub(super) key_file: &'a Path,
}

impl Head<'_> {
    /// Prints it, as lines or as an object.
    pub(super) fn print(&self, args: &UpArgs) {
        let peer = self.peer.to_string();
        let text = if args.json {
            let object = json!({
                "peer": peer,
                "network": self.network,
                "group": self.group,
                "http": format!("http://{}", self.http),
                "durability": words::DURABILITY,
            });
            format!("{object}\n")
        } else {
            format!(
                "peer        {}\ngroup       {}, in network {}\nkey         {}\n\
                 durability  {}\nhttp        http://{}\n",
                words::id(&peer, args.full_ids),
                self.group,
                self.network,
                self.key_file.display(),
                words::DURABILITY,
                self.http,
            )
        };
        let mut out = std::io::stdout().lock();
        // A reader that has gone away is no reason to stop.
        out.write_all(text.as_bytes()).unwrap_or_default();
        out.flush().unwrap_or_default();
    }
}

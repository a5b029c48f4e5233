//! What a peer says of itself when it starts.

use std::{io::Write as _, net::SocketAddr};

use quorate::{Group, Network, Ticket};
use serde_json::json;

use crate::{output::columns, words};

use super::UpArgs;

/// Prints who the peer is that made `ticket`, and where it can be reached: lines, or an object.
pub(super) fn print(
    args: &UpArgs,
    (network, group): (&Network, &Group),
    ticket: &Ticket,
    http: SocketAddr,
) {
    let peer = ticket.peer.to_string();
    let http = format!("http://{http}");
    let listens: Vec<String> = ticket.addresses.iter().map(ToString::to_string).collect();
    let data = network.recovery();
    let data = data.map(|found| found.path.display().to_string());
    let durability = words::durability(network, &group.status());
    let text = if args.json {
        let object = json!({
            "peer": peer,
            "network": ticket.network,
            "group": args.group,
            "ticket": ticket.to_string(),
            "listen": listens,
            "http": http,
            "durability": durability,
            "data_dir": data,
        });
        format!("{object}\n")
    } else {
        let group = format!("{} of network {}", args.group, ticket.network);
        let mut lines = vec![
            ("peer", words::id(&peer, args.full_ids).to_owned()),
            ("group", group),
            ("durability", durability.to_owned()),
            ("listens", listens.join(" ")),
            ("ticket", ticket.to_string()),
            ("http", http),
        ];
        if let Some(data) = data {
            lines.insert(3, ("data", data));
        }
        let line = |(name, text): (&str, String)| vec![name.to_owned(), text];
        columns(&lines.into_iter().map(line).collect::<Vec<_>>())
    };
    let mut out = std::io::stdout().lock();
    // A reader that has gone away is no reason to stop.
    out.write_all(text.as_bytes()).unwrap_or_default();
    out.flush().unwrap_or_default();
}

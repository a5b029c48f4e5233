//! What a peer says of itself when it starts.

use std::{io::Write as _, net::SocketAddr};

use quorate::Ticket;
use serde_json::json;

use crate::{output::columns, words};

use super::UpArgs;

/// Prints who the peer is that made `ticket`, and where it can be reached: lines, or an object.
pub(super) fn print(args: &UpArgs, ticket: &Ticket, http: SocketAddr) {
    let peer = ticket.peer.to_string();
    let http = format!("http://{http}");
    let listens: Vec<String> = ticket.addresses.iter().map(ToString::to_string).collect();
    let text = if args.json {
        let object = json!({
            "peer": peer,
            "network": ticket.network,
            "group": args.group,
            "ticket": ticket.to_string(),
            "listen": listens,
            "http": http,
            "durability": words::DURABILITY,
        });
        format!("{object}\n")
    } else {
        let group = format!("{} of network {}", args.group, ticket.network);
        let lines = [
            ("peer", words::id(&peer, args.full_ids).to_owned()),
            ("group", group),
            ("durability", words::DURABILITY.to_owned()),
            ("listens", listens.join(" ")),
            ("ticket", ticket.to_string()),
            ("http", http),
        ];
        columns(&lines.map(|(name, text)| vec![name.to_owned(), text]))
    };
    let mut out = std::io::stdout().lock();
    // A reader that has gone away is no reason to stop.
    out.write_all(text.as_bytes()).unwrap_or_default();
    out.flush().unwrap_or_default();
}

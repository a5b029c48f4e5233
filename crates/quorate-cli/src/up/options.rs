//! What the user wants a peer to be, checked.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use quorate::{Form, Ticket, TicketError};

use crate::{names::name, outcome::Failure};

/// Options of `quorate up`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArgs {
    /// The network to be a peer of.
    ///
    /// [default: that of the ticket, else default]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) network: Option<String>,
    /// The group to take part in.
    #[arg(long, value_name = "NAME", default_value = "kv", value_parser = name)]
    pub(crate) group: String,
    /// Where to listen for other peers; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Where to serve HTTP; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = address)]
    pub(crate) http: SocketAddr,
    /// A ticket of a peer elsewhere, as its `quorate up` printed it; may be given several times.
    ///
    /// Without --expect and --form, a peer with a ticket joins and never founds a group.
    #[arg(long, value_name = "TICKET", value_parser = ticket)]
    pub(crate) peer: Vec<Ticket>,
    /// The file that holds the network's secret; made where there is none.
    ///
    /// [default: key in the user's data directory, under quorate/NETWORK]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Where to keep the peer's log and its key, so that it survives its process and comes back as
    /// itself; made where there is none. Without it the log is in memory.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Found the group with so many peers: waits until they have found each other.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = founders,
        conflicts_with = "form"
    )]
    pub(crate) expect: Option<usize>,
    /// Found the group alone, or only join one.
    #[arg(long, value_name = "HOW")]
    pub(crate) form: Option<HowToForm>,
    /// The file that holds the token which HTTP clients must show.
    #[arg(long, value_name = "FILE")]
    pub(crate) http_token_file: Option<PathBuf>,
    /// Print whole ids instead of their first ten digits.
    #[arg(long)]
    pub(crate) full_ids: bool,
    /// Print where the peer is as one JSON object on one line, the only one on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a group comes to be, other than by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum HowToForm {
    /// Found it at once; others join.
    Alone,
    /// Never found one: wait for one to join.
    Join,
}

const EXAMPLES: &str = "\
Examples:
  quorate up                     one peer; run it in three terminals for a group of three
  quorate up --expect 3          found the group only once three peers have found each other
  quorate up --http 127.0.0.1:8080
  quorate up --data-dir ~/shop-1              keep the log; another directory for each peer
  quorate up --listen 0.0.0.0:7000            let peers of other machines in ...
  quorate up --listen 0.0.0.0:0 --peer TICKET ... which join with the ticket it printed
";

impl UpArgs {
    /// Returns how the group is to come to be; nothing if nothing was said.
    pub(crate) fn form(&self) -> Option<Form> {
        match (self.expect, self.form) {
            (Some(n), _) => Some(Form::Expect(n)),
            (None, Some(HowToForm::Alone)) => Some(Form::Alone),
            (None, Some(HowToForm::Join)) => Some(Form::Join),
            (None, None) => None,
        }
    }

    /// Returns the name of the network: the one that was given, else the tickets', else the usual.
    ///
    /// # Errors
    /// They do not agree.
    pub(crate) fn network(&self) -> Result<String, Failure> {
        let mut names = self.peer.iter().map(|ticket| &ticket.network);
        let Some(first) = self.network.as_ref().or_else(|| names.next()) else {
            return Ok("default".to_owned());
        };
        match self.peer.iter().find(|ticket| ticket.network != *first) {
            Some(other) => Err(Failure::usage(
                format!(
                    "the ticket is of network {:?}, not {first:?}",
                    other.network
                ),
                "leave --network out, or get a ticket of that network",
            )),
            None => Ok(name(first).unwrap_or_else(|_| first.clone())),
        }
    }

    /// Checks what the options mean together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if !self.http.ip().is_loopback() && self.http_token_file.is_none() {
            return Err(Failure::usage(
                format!("--http {} can be reached from other machines", self.http),
                "add --http-token-file FILE with a secret that clients must show, or listen on \
                 127.0.0.1",
            ));
        }
        Ok(())
    }
}

fn ticket(text: &str) -> Result<Ticket, String> {
    text.parse().map_err(|error: TicketError| error.to_string())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an address and a port, such as 127.0.0.1:0".to_owned())
}

fn founders(text: &str) -> Result<usize, String> {
    let most = quorate::limits::FOUNDERS;
    match text.parse() {
        Ok(0) => Err("a group is founded by at least one peer: use --expect 1 or more".to_owned()),
        Ok(n) if n > most => Err(format!("at most {most} peers found a group: the rest join")),
        Ok(n) => Ok(n),
        Err(_) => Err(format!("expected a number of peers from 1 to {most}")),
    }
}

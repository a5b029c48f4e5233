//! `quorate up`: one peer of a group of keys and values, with an HTTP interface.
//!
//! Started without flags it needs nothing: the network's secret is in a file that the first peer
//! of this user makes, the peers of one machine find each other in a directory, and the group
//! forms by itself. What it is and where it can be reached goes to stdout, at once; what happens
//! to it, and what it waits for, goes to stderr.
//!
//! Ctrl-C and SIGTERM stop it in good order within two seconds; a second Ctrl-C stops it at once.

mod found;
mod head;
mod options;
mod stop;
mod story;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use quorate::{BuildError, Group, Network, OpenError, Ticket};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{
    data_dir::{self, chain},
    http::{self, App, Guard},
    limits::STOP_TIME,
    outcome::{Code, Failure, Outcome},
    secret_file,
};

pub(crate) use options::UpArgs;
use stop::Signals;
use story::Story;

/// What a peer's card says of where it serves HTTP, and of its group.
pub(crate) const HTTP_NOTE: &str = "http";
pub(crate) const GROUP_NOTE: &str = "group";

/// The file of a data directory that holds the network's secret which it was first used with.
const KEPT_KEY: &str = "key";

/// Runs a peer until it is told to stop.
pub(crate) fn run(args: UpArgs) -> Outcome {
    // Looks at the sockets often: at tokio's default a busy runtime lets small frames wait.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .event_interval(7)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::Failed(error.into()),
    };
    let ended = runtime.block_on(up(args));
    // What still runs has had its time.
    runtime.shutdown_background();
    ended.into()
}

async fn up(args: UpArgs) -> Result<(), Failure> {
    args.check()?;
    let name = args.network()?;
    let mut signals = Signals::install()?;
    let token = args.http_token_file.as_deref();
    let token = token.map(secret_file::token).transpose()?;
    let listener = bind(args.http).await?;
    let http = listener.local_addr();
    let http = http.map_err(|error| no_address(args.http, &error))?;
    let network = build(&args, &name, http).await?;
    let secret = secret(&args, &network)?;
    let ticket = network.ticket(secret);
    let group = open(&args, &network, &ticket).await?;
    if let Some(path) = kept_key(&network) {
        secret_file::keep(&path, &secret)?;
    }

    let (stop, stopping) = watch::channel(false);
    let app = App::new(network.clone(), group.clone(), stopping.clone());
    let app = Arc::new(app);
    let router = http::router(Arc::clone(&app), Arc::new(Guard { token }));
    let server = tokio::spawn(http::serve(listener, router, stopping, STOP_TIME / 2));
    head::print(&args, (&network, &group), &ticket, http);

    let mut story = Story::new(group, &args);
    if let Some(found) = network.recovery() {
        found::tell(found, &story);
    }
    tokio::select! {
        () = signals.asked() => story.tell("stopping; Ctrl-C again stops at once"),
        () = app.left.notified() => story.tell("this peer has given up its seat; stopping"),
        () = story.run() => story.tell("the peer has stopped"),
    }
    let stopped = timeout(STOP_TIME, async {
        // Nobody listens any more if the server has ended by itself.
        stop.send(true).unwrap_or_default();
        network.close().await;
        // A server that panicked has ended too.
        server.await.unwrap_or_default();
    });
    tokio::select! {
        _ = stopped => story.tell("stopped"),
        () = signals.asked() => story.tell("stopped at once"),
    }
    if network.has_ended() {
        return Err(data_dir::disowned());
    }
    Ok(())
}

/// Returns the network's secret: the tickets', what the key file holds, or what the data directory
/// was first used with.
fn secret(args: &UpArgs, network: &Network) -> Result<[u8; 32], Failure> {
    let of_tickets = args.peer.first().map(|ticket| ticket.secret);
    if args
        .peer
        .iter()
        .any(|ticket| Some(ticket.secret) != of_tickets)
    {
        return Err(Failure::new(
            Code::Damaged,
            "the tickets are of different networks of one name",
            "use tickets of one network only",
        ));
    }
    match (&args.key_file, of_tickets) {
        (Some(path), of_tickets) => {
            let of_file = secret_file::key(path)?;
            if of_tickets.is_some_and(|ticket| ticket != of_file) {
                return Err(Failure::new(
                    Code::Damaged,
                    "the key file does not hold the secret of the ticket's network",
                    "leave --key-file out: the ticket carries the secret",
                ));
            }
            Ok(of_file)
        }
        (None, Some(ticket)) => Ok(ticket),
        (None, None) => match kept_key(network).filter(|path| path.exists()) {
            Some(path) => secret_file::key(&path),
            None => secret_file::key(&secret_file::default_key_path(network.name())?),
        },
    }
}

/// Returns where the data directory, if there is one, holds the network's secret.
fn kept_key(network: &Network) -> Option<PathBuf> {
    let found = network.recovery()?;
    Some(found.path.join(KEPT_KEY))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| no_address(address, &error))
}

fn no_address(address: SocketAddr, error: &std::io::Error) -> Failure {
    let hint = if error.kind() == std::io::ErrorKind::AddrInUse {
        "another process has the port: choose another, or any free one with --http 127.0.0.1:0"
    } else {
        "use an address of this machine, such as --http 127.0.0.1:0"
    };
    let message = format!("HTTP cannot be served on {address}: {error}");
    Failure::new(Code::Failed, message, hint)
}

async fn build(args: &UpArgs, name: &str, http: SocketAddr) -> Result<Network, Failure> {
    // Whoever reads the card is on this machine.
    let mut reach = http;
    if http.ip().is_unspecified() {
        reach.set_ip(match http {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut builder = Network::builder(name)
        .listen(args.listen)
        .note(HTTP_NOTE, &reach.to_string())
        .note(GROUP_NOTE, &args.group);
    for ticket in &args.peer {
        builder = builder.ticket(ticket);
    }
    if let Some(directory) = &args.data_dir {
        builder = builder.data_dir(directory);
    }
    builder.build().await.map_err(|error| match error {
        BuildError::Bind(error) => Failure::new(
            Code::Failed,
            format!(
                "peers cannot be listened for on {}: {}",
                args.listen,
                chain(&error)
            ),
            "choose another port, or any free one with --listen 127.0.0.1:0",
        ),
        BuildError::Rendezvous(error) => Failure::new(
            Code::Failed,
            format!("peers of this machine cannot be found: {}", chain(&error)),
            "mend the directory, or set XDG_RUNTIME_DIR to one that is yours alone",
        ),
        BuildError::DataDir(error) => data_dir::failure(&error),
        in_use @ BuildError::IdentityInUse { .. } => Failure::new(
            Code::Locked,
            in_use.to_string(),
            "stop the other process first",
        ),
        other => Failure::new(Code::Failed, chain(&other), "try again"),
    })
}

async fn open(args: &UpArgs, network: &Network, ticket: &Ticket) -> Result<Group, Failure> {
    let mut builder = network.group(ticket.group_key(&args.group));
    if let Some(form) = args.form() {
        builder = builder.form(form);
    }
    if let Some(found) = network.recovery()
        && !found.groups.is_empty()
        && !found.groups.contains(&builder.id())
    {
        return Err(data_dir::other_group(&found.path, &args.group));
    }
    builder.open().await.map_err(|error| match error {
        OpenError::NobodyExpected | OpenError::TooManyExpected { .. } => {
            Failure::usage(error.to_string(), "use --expect with another number")
        }
        other => Failure::new(Code::Failed, chain(&other), "try again"),
    })
}

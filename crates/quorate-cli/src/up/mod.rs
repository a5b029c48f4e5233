//! `quorate up`: one peer of a group of keys and values, with an HTTP interface.
//!
//! Started without flags it needs nothing: the network's secret is in a file that the first peer
//! of this user makes, the peers of one machine find each other in a directory, and the group
//! forms by itself. What it is and where it can be reached goes to stdout, at once; what happens
//! to it, and what it waits for, goes to stderr.
//!
//! Ctrl-C and SIGTERM stop it in good order within two seconds; a second Ctrl-C stops it at once.

mod head;
mod options;
mod stop;
mod story;

use std::{net::SocketAddr, sync::Arc};

use quorate::{BuildError, Group, GroupKey, Network, OpenError};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{
    http::{self, App, Guard},
    limits::STOP_TIME,
    outcome::{Code, Failure, Outcome},
    secret_file,
};

use head::Head;
pub(crate) use options::UpArgs;
use stop::Signals;
use story::Story;

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
    let mut signals = Signals::install()?;
    let token = args.http_token_file.as_deref();
    let token = token.map(secret_file::token).transpose()?;
    let key_file = match &args.key_file {
        Some(path) => path.clone(),
        None => secret_file::default_key_path(&args.network)?,
    };
    let secret = secret_file::key(&key_file)?;
    let listener = bind(args.http).await?;
    let http = listener
        .local_addr()
        .map_err(|error| no_address(args.http, &error))?;
    let network = build(&args).await?;
    let group = open(&args, &network, &secret).await?;

    let (stop, stopping) = watch::channel(false);
    let app = Arc::new(App::new(&args.network, group.clone(), stopping.clone()));
    let router = http::router(Arc::clone(&app), Arc::new(Guard { token }));
    let server = tokio::spawn(http::serve(listener, router, stopping, STOP_TIME / 2));
    let head = Head {
        peer: network.peer(),
        network: &args.network,
        group: &args.group,
        http,
        key_file: &key_file,
    };
    head.print(&args);

    let mut story = Story::new(group, &args);
    tokio::select! {
        () = signals.asked() => story.tell("stopping (Ctrl-C again stops at once)"),
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
    Ok(())
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

async fn build(args: &UpArgs) -> Result<Network, Failure> {
    let builder = Network::builder(&args.network).listen(args.listen);
    let built = builder.build().await;
    built.map_err(|error| match error {
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
        other => Failure::new(Code::Failed, chain(&other), "try again"),
    })
}

async fn open(args: &UpArgs, network: &Network, secret: &[u8; 32]) -> Result<Group, Failure> {
    let key = GroupKey::secret(
        &args.group,
        group_secret(secret, &args.network, &args.group),
    );
    let mut builder = network.group(key);
    if let Some(form) = args.form() {
        builder = builder.form(form);
    }
    builder.open().await.map_err(|error| match error {
        OpenError::NobodyExpected | OpenError::TooManyExpected { .. } => {
            Failure::usage(error.to_string(), "use --expect with another number")
        }
        other => Failure::new(Code::Failed, chain(&other), "try again"),
    })
}

/// Derives the secret of a group: who has the network's secret has those of its groups, and
/// groups of different names have nothing to do with each other.
fn group_secret(secret: &[u8; 32], network: &str, group: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("quorate 2026 group secret of a network");
    hasher.update(secret);
    for name in [network, group] {
        hasher
            .update(&(name.len() as u64).to_le_bytes())
            .update(name.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Tells an error with what is behind it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text
}

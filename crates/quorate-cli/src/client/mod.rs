//! The commands that ask a running peer: `put`, `get`, `delete`, `watch`, `status`, `members`,
//! `member` and `leave`.
//!
//! Each is one HTTP request to one peer. Which one: the one named by `--http` or `QUORATE_HTTP`,
//! else a live peer of the network that the directory of this machine's peers knows.

mod answer;
mod call;
mod find;
mod kv;
mod leave;
mod member;
mod sse;
mod status;
mod watch;

use std::{future::Future, path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    limits::{LONGEST_TIMEOUT, TIMEOUT},
    names::name,
    outcome::{Code, Failure, Outcome},
    secret_file,
};

use call::Peer;
pub(crate) use kv::{DeleteArgs, GetArgs, PutArgs, delete, get, put};
pub(crate) use leave::{LeaveArgs, leave};
pub(crate) use member::{MemberArgs, member};
pub(crate) use status::{MembersArgs, StatusArgs, members, status};
pub(crate) use watch::{WatchArgs, watch};

/// Which peer to ask, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The peer's HTTP address, as `quorate up` prints it.
    ///
    /// [default: a live peer of the network on this machine]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "QUORATE_HTTP",
        hide_env_values = true
    )]
    http: Option<String>,
    /// The network of the peer, where no address is given.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = name)]
    network: String,
    /// The group of the peer, where no address is given.
    #[arg(long, value_name = "NAME", default_value = "kv", value_parser = name)]
    group: String,
    /// The file that holds the token which the peer wants.
    #[arg(long, value_name = "FILE")]
    http_token_file: Option<PathBuf>,
    /// How long the operation may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "5000", value_parser = milliseconds)]
    timeout_ms: Duration,
}

impl Target {
    /// Finds the peer to ask.
    async fn peer(&self) -> Result<Peer, Failure> {
        let token = self.http_token_file.as_deref();
        let token = token.map(secret_file::token).transpose()?;
        match &self.http {
            Some(address) => Peer::named(address, token),
            None => find::live(&self.network, &self.group, token).await,
        }
    }
}

/// Runs a command that asks a peer.
fn run(command: impl Future<Output = Result<(), Failure>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(command).into(),
        Err(error) => Outcome::Failed(error.into()),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let most = LONGEST_TIMEOUT.as_millis();
    match text.parse::<u64>() {
        Ok(ms) if (1..=most).contains(&u128::from(ms)) => Ok(Duration::from_millis(ms)),
        _ => Err(format!(
            "expected a number of milliseconds from 1 to {most}, such as {}",
            TIMEOUT.as_millis()
        )),
    }
}

/// What cannot be printed because nobody reads it is no failure of the command.
fn unprinted(error: &std::io::Error) -> Failure {
    Failure::new(
        Code::Failed,
        format!("the result cannot be written: {error}"),
        "write it somewhere else",
    )
}

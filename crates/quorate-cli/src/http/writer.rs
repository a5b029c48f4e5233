//! Writes that have no name of their own: the peer gives them one.
//!
//! A write without a name that is on its way to a leader just as that dies is lost or is not, and
//! nobody knows: its caller would wait until the deadline to be told no more than that. So the peer
//! registers a client of its own when the first such write comes, and sends them all as this
//! client's: what is lost with a leader is sent again to the next, and applied once.
//!
//! The client is replaced long before the group forgets it for not being used, and whenever the
//! peer has come into another history. Where the group has no room for one more client, writes go
//! without a name, as before. Whoever names requests is not concerned: the name is kept.

use std::time::{Duration, Instant};

use quorate::{Client, ClientError, Committed, RequestName, Write, WriteError};
use tokio::{sync::Mutex, time::timeout};

use crate::limits::OWN_CLIENT_IDLE;

use super::{app::App, error::ApiError};

/// The client that this peer is itself, once it has written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    own: Mutex<Option<Own>>,
}

#[derive(Debug)]
struct Own {
    client: Client,
    used: Instant,
}

impl App {
    /// Sends a write under the name it was given, or under one of this peer's, and waits for what
    /// becomes of it.
    pub(crate) async fn write<I, O>(
        &self,
        write: Write<I, O>,
        name: Option<RequestName>,
        within: Duration,
    ) -> Result<Committed<O>, ApiError>
    where
        WriteError<I>: std::fmt::Display,
    {
        if let Some(name) = name {
            let done = write.named(name).timeout(within).await;
            return done.map_err(|error| self.write_error(&error));
        }
        let began = Instant::now();
        let client = timeout(within, self.own_client()).await;
        let write = write.timeout(within.saturating_sub(began.elapsed()));
        let done = match client {
            Ok(Ok(client)) => client.write(write).await,
            Ok(Err(ClientError::Busy)) => write.await,
            Ok(Err(ClientError::Closed)) => return Err(ApiError::stopping()),
            // The write itself was never sent.
            Ok(Err(_)) | Err(_) => return Err(ApiError::no_quorum(self.why())),
        };
        match done {
            Ok(done) => Ok(done),
            // Its caller knows of no client that could be.
            Err(WriteError::Expired { .. }) => {
                *self.writer.own.lock().await = None;
                Err(ApiError::busy())
            }
            Err(WriteError::Dropped { .. }) => Err(self.write_error(&WriteError::<I>::Unknown)),
            Err(error) => Err(self.write_error(&error)),
        }
    }

    /// Returns the client that this peer is, registered if need be; waits for a leader meanwhile.
    ///
    /// Cancel-safe: a registration that nobody waits for makes a client that is never used.
    async fn own_client(&self) -> Result<Client, ClientError> {
        let mut own = self.writer.own.lock().await;
        let genesis = self.group.status().genesis;
        if let Some(own) = own.as_mut()
            && Some(own.client.id().genesis) == genesis
            && own.used.elapsed() < OWN_CLIENT_IDLE
        {
            own.used = Instant::now();
            return Ok(own.client.clone());
        }
        loop {
            match self.group.client().await {
                Ok(client) => {
                    *own = Some(Own {
                        client: client.clone(),
                        used: Instant::now(),
                    });
                    return Ok(client);
                }
                Err(error @ (ClientError::Busy | ClientError::Closed)) => return Err(error),
                // As long as the caller's patience lasts.
                Err(_) => {}
            }
        }
    }
}

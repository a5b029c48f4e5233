//! What tells a peer to stop.

use std::io;

use crate::outcome::{Code, Failure};

/// The signals that ask a process to end.
#[derive(Debug)]
pub(super) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process.
    pub(super) fn install() -> Result<Self, Failure> {
        Self::try_install().map_err(|error| {
            Failure::new(
                Code::Failed,
                format!("the system does not let this process handle signals: {error}"),
                "run it where signals can be handled",
            )
        })
    }

    #[cfg(unix)]
    fn try_install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(not(unix))]
    fn try_install() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits until the process is asked to end; each time once.
    pub(super) async fn asked(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

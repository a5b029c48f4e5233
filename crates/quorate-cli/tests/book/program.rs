//! The program as a user runs it: in a home of its own.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use quorate_tests::terminal::meeting_place;
use tempfile::TempDir;

use crate::exchange;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command printed.
pub(crate) struct Said(Output);

impl Said {
    /// Returns what went to stdout, of a command that ended well.
    #[track_caller]
    pub(crate) fn out(&self) -> String {
        let error = String::from_utf8_lossy(&self.0.stderr);
        assert!(self.0.status.success(), "{}: {error}", self.0.status);
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }
}

/// Runs the program where no peer runs.
pub(crate) fn quorate(arguments: &[&str]) -> Said {
    let program = env!("CARGO_BIN_EXE_quorate");
    Said(Command::new(program).args(arguments).output().unwrap())
}

/// A user's home, with nothing in it.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(meeting_place())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(arguments).env_remove("QUORATE_HTTP");
        for variable in ["HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"] {
            command.env(variable, self.0.path());
        }
        command
    }

    /// Runs a command of this user's.
    pub(crate) fn quorate(&self, arguments: &[&str]) -> Said {
        Said(self.command(arguments).output().unwrap())
    }

    /// Starts a peer of this user's.
    pub(crate) fn up(&self, arguments: &[&str]) -> Up {
        let mut process = self
            .command(&["up"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut head = String::new();
        while !head.contains("http://") {
            assert_ne!(out.read_line(&mut head).unwrap(), 0, "it ended: {head}");
        }
        let http = head.split("http://").nth(1).unwrap().trim().to_owned();
        // What it may still print must not be what it waits for.
        std::thread::spawn(move || drop(out.read_to_end(&mut Vec::new())));
        Up {
            process,
            http,
            head,
        }
    }
}

/// A peer that runs; dropping it kills it.
pub(crate) struct Up {
    process: Child,
    /// Its HTTP address.
    pub(crate) http: String,
    /// What it said of itself.
    pub(crate) head: String,
}

impl Up {
    /// Waits until it can serve a linearizable read.
    pub(crate) fn ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = exchange::ask(&self.http, "GET", "/healthz");
            if answer.code == 200 {
                return;
            }
            assert!(Instant::now() < deadline, "{}", answer.body);
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

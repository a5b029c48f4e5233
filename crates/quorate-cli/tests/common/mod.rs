//! Peers as processes, in a world of their own, and a client that sends exactly what it is told.
//!
//! A [`World`] is a user's machine: a home and a runtime directory that no other test sees. In it
//! commands run to their end ([`World::run`]) or peers run until they are stopped ([`World::up`]);
//! what a peer prints is gathered line by line, and can be waited for. Nothing sleeps: everything
//! is waited for, with [`PATIENCE`] at the end of it. Dropping a peer kills it.
#![allow(dead_code)] // Each test file uses a part of it.

pub(crate) mod dice;
pub(crate) mod http;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::park_timeout,
    time::{Duration, Instant},
};

use tempfile::TempDir;

#[allow(unused_imports)] // The same.
pub(crate) use http::{Request, Response, Stream};

/// How long anything may take before a test fails: long, since the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A user's machine.
#[derive(Debug)]
pub(crate) struct World {
    directory: TempDir,
}

/// What a command that ran to its end left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    /// What it printed to stdout, as it is.
    pub(crate) bytes: Vec<u8>,
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Up {
    child: Child,
    said: Arc<Said>,
    /// Where it serves HTTP.
    pub(crate) http: SocketAddr,
}

/// What a peer has printed so far.
#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Lines>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// How many of its two streams have ended.
    ended: usize,
}

impl World {
    /// Makes an empty machine.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self { directory };
        for path in [world.home(), world.runtime()] {
            std::fs::create_dir(&path).unwrap();
            mode(&path, 0o700);
        }
        world
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Returns a path for a file of the test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn secret(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        mode(&path, 0o600);
        path.to_str().unwrap().to_owned()
    }

    /// Prepares a command in this world.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command
            .args(arguments)
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.runtime())
            .env("TMPDIR", self.directory.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("QUORATE_HTTP")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments), b"")
    }

    /// Runs a command to its end, with this on its stdin.
    pub(crate) fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        finish(command, stdin)
    }

    /// Starts a peer and waits until it has said where it serves HTTP.
    pub(crate) fn up(&self, arguments: &[&str]) -> Up {
        Up::start(self.command(&[&["up"], arguments].concat()))
    }

    /// Starts a peer that is a group of its own, and waits until it serves.
    pub(crate) fn alone(&self) -> Up {
        let up = self.up(&["--form", "alone"]);
        up.wait_ready();
        up
    }

    /// Starts a group of `n` founders, and waits until all of them serve.
    pub(crate) fn group(&self, n: usize) -> Vec<Up> {
        let expect = n.to_string();
        let peers: Vec<Up> = (0..n).map(|_| self.up(&["--expect", &expect])).collect();
        for peer in &peers {
            peer.wait_ready();
        }
        peers
    }
}

impl Ran {
    /// Checks the exit code; shows everything if it is another.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.out,
            self.err
        );
        self
    }

    /// Reads the last line of stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let last = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it failed with this code, said so, and said what to do.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, says: &str, hints: &str) -> Self {
        let ran = self.code(code);
        assert!(ran.err.contains(says), "{says:?} in {}", ran.err);
        assert!(ran.err.contains(hints), "{hints:?} in {}", ran.err);
        assert_eq!(ran.out, "", "an error is no data");
        ran
    }
}

impl Up {
    /// Starts `command`, which runs a peer, and waits until it serves HTTP.
    pub(crate) fn start(command: Command) -> Self {
        let mut up = Self::spawn(command);
        up.wait_address();
        up
    }

    /// Starts `command`, which runs a peer.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Said::default());
        said.gather(child.stdout.take().unwrap());
        said.gather(child.stderr.take().unwrap());
        Self {
            child,
            said,
            http: ([127, 0, 0, 1], 0).into(),
        }
    }

    /// Waits until it has said where it serves HTTP.
    #[track_caller]
    pub(crate) fn wait_address(&mut self) {
        let line = self.wait_line(|line| line.contains("http://"));
        let (_, address) = line.split_once("http://").unwrap();
        let address: String = address
            .chars()
            .take_while(|c| !c.is_whitespace() && *c != '"')
            .collect();
        self.http = address.parse().unwrap_or_else(|_| panic!("{line}"));
    }

    /// Waits for a line, old or new, that is wanted; returns it.
    #[track_caller]
    pub(crate) fn wait_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_line_after(0, wanted)
    }

    /// Waits for a line other than the first `skip` ones that is wanted; returns it.
    #[track_caller]
    pub(crate) fn wait_line_after(&self, skip: usize, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        let mut said = self.said.lines.lock().unwrap();
        loop {
            if let Some(line) = said.lines.iter().skip(skip).find(|line| wanted(line)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            let over = said.ended == 2 || left.is_zero();
            assert!(!over, "no such line:\n{}", said.lines.join("\n"));
            said = self.said.news.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Returns all that it has printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        // A failed wait leaves it poisoned, and then what was printed is wanted most.
        let said = self.said.lines.lock();
        said.unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// Waits until it serves linearizable reads.
    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        eventually("the peer serves", || {
            let response = Request::get("/healthz?timeout_ms=1000").send(self.http)?;
            (response.status == 200).then_some(())
        });
    }

    /// Asks it for its status.
    pub(crate) fn status(&self) -> serde_json::Value {
        Request::get("/v1/status").send(self.http).unwrap().json()
    }

    /// Returns its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name: TERM, INT, STOP, CONT, KILL.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, waits until it has, and returns how and how long that took.
    pub(crate) fn stop(&mut self, signal: &str) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal(signal);
        let status = self.wait_end();
        (status, began.elapsed())
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the process ends", || child.try_wait().unwrap())
    }

    /// Tells whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Up {
    /// Kills it; where a test has failed, shows what it printed.
    #[expect(clippy::print_stderr, reason = "the report of a test that has failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines().join("\n");
            eprintln!("--- process {} printed:\n{lines}", self.pid());
        }
        if self.is_running() {
            self.kill();
        }
    }
}

impl Said {
    /// Takes what comes out of `stream`, line by line, in a thread of its own.
    fn gather(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let said = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                said.lines.lock().unwrap().lines.push(line);
                said.news.notify_all();
            }
            said.lines.lock().unwrap().ended += 1;
            said.news.notify_all();
        });
    }
}

/// Tries until there is something, for as long as a test may take.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    settles(what, || attempt().ok_or_else(String::new))
}

/// Tries until there is something, for as long as a test may take; then shows what was there last.
#[track_caller]
pub(crate) fn settles<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        let last = match attempt() {
            Ok(found) => return found,
            Err(last) => last,
        };
        assert!(
            Instant::now() < until,
            "not in {PATIENCE:?}: {what}\n{last}"
        );
        park_timeout(Duration::from_millis(20));
    }
}

fn finish(mut command: Command, stdin: &[u8]) -> Ran {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let Some(mut pipe) = child.stdin.take() {
        // A command that does not want all of it closes its end.
        pipe.write_all(stdin).unwrap_or_default();
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

/// Sets who may read and enter.
pub(crate) fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

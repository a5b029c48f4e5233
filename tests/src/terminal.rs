//! Programs in pseudo-terminals, as people use them.
//!
//! A test types a line, waits until the screen shows what it led to, and types the next. So what a
//! screen shows in the end does not depend on timing, and can be compared with a page.

use std::{
    fmt,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, ExitStatus},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use pty_process::{
    Size,
    blocking::{Command, Pty, open},
};

use crate::transcript::Transcript;

/// Longer than anything takes, so that what hangs fails and shows its screen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program in a pseudo-terminal, with the screen it has written so far.
///
/// Dropping it ends the program as closing the terminal does.
pub struct Terminal {
    keys: Arc<Pty>,
    program: Child,
    screen: Arc<Screen>,
    reader: Option<JoinHandle<()>>,
    /// How much of the screen has been waited for.
    seen: usize,
}

#[derive(Debug, Default)]
struct Screen {
    text: Mutex<String>,
    changed: Condvar,
}

impl Terminal {
    /// Runs `program` in a new terminal; peers that it starts meet others in `place`.
    ///
    /// # Panics
    /// If the program cannot be run.
    #[track_caller]
    pub fn start(program: &str, arguments: &[&str], place: &Path) -> Self {
        let (pty, pts) = open().expect("the system has pseudo-terminals");
        pty.resize(Size::new(50, 200))
            .expect("a terminal has a size");
        let program = Command::new(program)
            .args(arguments)
            .env("XDG_RUNTIME_DIR", place)
            .spawn(pts)
            .expect("the program runs");
        let (keys, screen) = (Arc::new(pty), Arc::<Screen>::default());
        let reader = std::thread::spawn({
            let (pty, screen) = (Arc::clone(&keys), Arc::clone(&screen));
            move || screen.fill(&pty)
        });
        Self {
            keys,
            program,
            screen,
            reader: Some(reader),
            seen: 0,
        }
    }

    /// Types a line.
    ///
    /// # Panics
    /// If the terminal is closed.
    #[track_caller]
    pub fn types(&self, line: &str) {
        (&*self.keys)
            .write_all(format!("{line}\n").as_bytes())
            .expect("the terminal is open");
    }

    /// Types Ctrl-D: the end of the input.
    ///
    /// # Panics
    /// If the terminal is closed.
    #[track_caller]
    pub fn closes(&self) {
        (&*self.keys)
            .write_all(b"\x04")
            .expect("the terminal is open");
    }

    /// Waits until the screen shows a line with `text` below all that was waited for before.
    ///
    /// # Panics
    /// If it does not within a minute: with what it shows.
    #[track_caller]
    pub fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut screen = self.screen.lock();
        loop {
            if let Some(at) = screen[self.seen..].find(text)
                && let Some(end) = screen[self.seen + at..].find('\n')
            {
                self.seen += at + end;
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no `{text}` on this screen:\n{screen}");
            let waited = self.screen.changed.wait_timeout(screen, left);
            screen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the program has ended; returns how, and all that its screen showed.
    ///
    /// # Panics
    /// If the program cannot be waited for.
    #[track_caller]
    pub fn ends(mut self) -> (ExitStatus, String) {
        let reader = self.reader.take().expect("it is taken once");
        reader.join().expect("the reader cannot fail");
        let status = self.program.wait().expect("the program was started here");
        let screen = self.screen.lock().clone();
        (status, screen)
    }

    /// Waits until the program has ended well, and compares all that it showed with a page.
    ///
    /// # Panics
    /// If it ended otherwise, or showed something else.
    #[track_caller]
    pub fn ends_as(self, shown: &Transcript) {
        let (status, screen) = self.ends();
        assert!(status.success(), "{status}:\n{screen}");
        shown.assert_shown(&screen);
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal")
            .field("program", &self.program.id())
            .field("screen", &self.screen)
            .finish_non_exhaustive()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.reader.is_some() {
            // A test failed: what it started must not outlive it. It may have ended meanwhile.
            drop(self.program.kill());
            drop(self.program.wait());
        }
    }
}

impl Screen {
    fn lock(&self) -> std::sync::MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the program writes until it has ended.
    fn fill(&self, mut pty: &Pty) {
        let mut bytes = [0; 4096];
        // When the last process has closed the terminal, reading fails.
        while let Ok(read @ 1..) = pty.read(&mut bytes) {
            let written = String::from_utf8_lossy(&bytes[..read]).replace('\r', "");
            self.lock().push_str(&written);
            self.changed.notify_all();
        }
    }
}

/// Waits until all screens show `text`.
///
/// # Panics
/// As [`Terminal::sees`].
#[track_caller]
pub fn all_see<const N: usize>(terminals: [&mut Terminal; N], text: &str) {
    for terminal in terminals {
        terminal.sees(text);
    }
}

/// Makes a directory where peers meet, for this user alone.
///
/// # Panics
/// If the system has no place for it.
#[track_caller]
pub fn meeting_place() -> tempfile::TempDir {
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let made = tempfile::Builder::new().permissions(private).tempdir();
    made.expect("a directory can be made")
}

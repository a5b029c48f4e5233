//! A directory that goes away with its owner.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A new directory below the system's for temporary files; removed when dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes a directory that no other process or cluster has.
    pub(super) fn new() -> io::Result<Self> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("quorate-cluster-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match make(&path) {
                Ok(()) => return Ok(Self { path }),
                // Left behind by a process with the same number that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory for this user alone: peers refuse to meet in any other.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever clears temporary files.
        std::fs::remove_dir_all(&self.path).unwrap_or_default();
    }
}

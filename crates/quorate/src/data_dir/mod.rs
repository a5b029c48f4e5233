//! Data directories: where a peer keeps its log, and who it is, across its lives.
//!
//! ```text
//! DIR/identity-a, identity-b   network and secret key (see `identity`)
//! DIR/lock                     locked by the process that uses the directory
//! DIR/log/                     the superblock's two copies, and the segments of the log
//! ```
//!
//! One directory is one peer of one network. It is opened under an exclusive lock, and what is not
//! what it should be (another network's, a newer version's, somebody else's files, both copies of
//! the identity gone) is refused as it is: nothing is deleted, and nothing starts fresh where
//! something was. Only a directory that is not there yet, or is empty, begins a new peer.
//!
//! While one begins, a crash may come between any two files. So the second copy of the identity is
//! written last, when the log has begun: an identity of two copies without a log has lost it.
//!
//! Copying the directory of a peer that runs, or that will run again, makes two peers of one
//! memory: forbidden. It is noticed when the two boots meet (see `quorate_core`'s `boot`); then the
//! one that did not come first ends its life, and starts the next time as a new member.

mod files;
mod identity;
mod inspection;
mod io;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use quorate_core::PeerId;
use quorate_store::{Opened, StoreOptions, recover_with, superblock};
use tokio::time::Instant;

use crate::limits::IDENTITY_TIME;
pub(crate) use files::RealFiles;
use identity::Identity;
pub use quorate_store::RecoveryError;

pub use quorate_store::{Inspection as LogInspection, Position as LogPosition};

pub use inspection::{Damage, GroupFound, Inspection, SegmentFound, Torn, inspect};

/// The log's directory within a data directory.
const LOG: &str = "log";

/// The file that is locked.
const LOCK: &str = "lock";

/// Between two looks whether another process has let go of a directory.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// A data directory cannot be used; nothing in it was changed, and nothing was deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process uses it, or another peer of this one.
    #[error("{} is in use{}", path.display(), by(*holder))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, by its own account.
        holder: Option<u32>,
    },
    /// It belongs to a peer of another network.
    #[error("{} belongs to network {found:?}, not to {wanted:?}", path.display())]
    OtherNetwork {
        /// The directory.
        path: PathBuf,
        /// The network that it is of.
        found: String,
        /// The network that was asked for.
        wanted: String,
    },
    /// It belongs to a peer with another key than the one that was set.
    #[error("{} belongs to peer {}, not to {}", path.display(), found.short(), wanted.short())]
    OtherPeer {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: PeerId,
        /// Whose it was to be.
        wanted: PeerId,
    },
    /// It has files in it, and none of them is a data directory's.
    #[error("{} is not empty and no data directory", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error("{} has format {found}: this version knows {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest one that this version knows.
        known: u32,
    },
    /// A file without which the peer is nobody is damaged or gone.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The operating system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was to be done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The log in it cannot be read just now.
    #[error("the log in {} cannot be used", path.display())]
    Log {
        /// The log's directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: RecoveryError,
    },
}

fn by(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

impl DataDirError {
    pub(crate) fn io(path: &Path, doing: &'static str, source: std::io::Error) -> Self {
        let path = path.to_owned();
        Self::Io {
            path,
            doing,
            source,
        }
    }
}

/// A data directory that this process uses alone.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    identity: Identity,
    /// Whether the log has yet to begin.
    begins: bool,
    lock: DirLock,
}

/// Locked as long as it lives.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DataDir {
    /// Opens the data directory of a peer of `network`, or makes one with `secret`.
    ///
    /// Waits a moment for a process that is about to let go of it.
    pub(crate) async fn open(
        path: &Path,
        network: &str,
        secret: impl FnOnce() -> [u8; 32],
    ) -> Result<Self, DataDirError> {
        refuse_foreign(path)?;
        io::make_directory(path).map_err(|error| DataDirError::io(path, "make", error))?;
        let lock = lock(path).await?;
        let mut begins = true;
        let identity = match Identity::read(path)? {
            Some((identity, bad)) => {
                if !identity.is_of(network) {
                    return Err(DataDirError::OtherNetwork {
                        path: path.to_owned(),
                        found: identity.network().to_owned(),
                        wanted: network.to_owned(),
                    });
                }
                begins = has_no_log(path)?;
                if begins && bad != Some(1) {
                    return Err(DataDirError::Damaged {
                        path: path.join(LOG),
                        what: "the log that was in it is gone",
                    });
                }
                if begins {
                    let log = path.join(LOG);
                    io::make_directory(&log)
                        .map_err(|error| DataDirError::io(&log, "make", error))?;
                } else if let Some(copy) = bad {
                    mend(path, &identity, copy);
                }
                identity
            }
            None => begin(path, Identity::new(network, secret()))?,
        };
        let path = path.to_owned();
        Ok(Self {
            path,
            identity,
            begins,
            lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the key of the peer whose directory it is.
    pub(crate) fn secret(&self) -> [u8; 32] {
        self.identity.secret()
    }

    /// Refuses a directory that is not of `wanted`.
    pub(crate) fn check_peer(&self, wanted: PeerId) -> Result<(), DataDirError> {
        let found = self.identity.peer();
        if found == wanted {
            return Ok(());
        }
        let path = self.path.clone();
        Err(DataDirError::OtherPeer {
            path,
            found,
            wanted,
        })
    }

    /// Starts the log: reads and mends it. Blocks as long as that takes.
    pub(crate) fn recover(
        self,
        options: StoreOptions,
    ) -> Result<(Opened, RealFiles, DirLock), DataDirError> {
        let path = self.path.join(LOG);
        let files = RealFiles::new(path.clone());
        let mut files = files.map_err(|error| DataDirError::io(&path, "open", error))?;
        let opened = recover_with(options, |request| files.execute(request));
        let opened = opened.map_err(|source| DataDirError::Log { path, source })?;
        if self.begins {
            self.identity.write(&self.path, 1)?;
        }
        Ok((opened, files, self.lock))
    }
}

/// Tells whether some process uses the data directory; false if it is not there.
///
/// It may be used, or not any more, a moment later.
pub(crate) fn is_in_use(path: &Path) -> bool {
    let file = OpenOptions::new().read(true).open(path.join(LOCK));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Tells whether no log has begun in a data directory.
fn has_no_log(path: &Path) -> Result<bool, DataDirError> {
    let log = path.join(LOG);
    match fs::read_dir(&log) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(DataDirError::io(&log, "read", error)),
    }
}

/// Writes a copy of the identity anew, since it was bad. Where that cannot be done just now, the
/// next start tries again: the other copy has it all.
fn mend(path: &Path, identity: &Identity, copy: usize) {
    let file = path.join(identity::NAMES[copy]);
    let written = identity.write(path, copy).err();
    tracing::warn!(
        target: "quorate::disk",
        file = %file.display(),
        error = written.as_ref().map(tracing::field::display),
        "a copy of the identity was bad and is written anew"
    );
}

/// Refuses a directory with something in it that is not ours, before anything is put there.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DataDirError::io(path, "read", error)),
    };
    let (mut known, mut foreign) = (false, false);
    for entry in entries {
        let entry = entry.map_err(|error| DataDirError::io(path, "read", error))?;
        let name = entry.file_name();
        let drafted = |name: &str| name.strip_suffix(io::DRAFT).unwrap_or(name).to_owned();
        let name = name.to_str().map(drafted).unwrap_or_default();
        let identifies = identity::NAMES.contains(&&*name);
        known |= identifies;
        foreign |= !identifies && name != LOCK && name != LOG;
    }
    // Beside an identity, or a log that has lost it, there may be what people have put there.
    let begun = || path.join(LOG).join(superblock::NAMES[0]).exists();
    if foreign && !known && !begun() {
        let path = path.to_owned();
        return Err(DataDirError::Foreign { path });
    }
    Ok(())
}

/// Puts a new peer's identity into a directory, unless there was one before.
fn begin(path: &Path, identity: Identity) -> Result<Identity, DataDirError> {
    let log = path.join(LOG);
    io::make_directory(&log).map_err(|error| DataDirError::io(&log, "make", error))?;
    let mut entries = fs::read_dir(&log).map_err(|error| DataDirError::io(&log, "read", error))?;
    if entries.next().is_some() {
        return Err(DataDirError::Damaged {
            path: path.join(identity::NAMES[0]),
            what: "it is gone, and there is a log",
        });
    }
    identity.write(path, 0)?;
    Ok(identity)
}

async fn lock(path: &Path) -> Result<DirLock, DataDirError> {
    let name = path.join(LOCK);
    let failed = |doing: &'static str| {
        let name = name.clone();
        move |error| DataDirError::io(&name, doing, error)
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = io::private(&mut options)
        .open(&name)
        .map_err(failed("open"))?;
    let until = Instant::now() + IDENTITY_TIME;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                tokio::time::sleep(LOCK_LOOK).await;
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // For people only: it may be just being written.
                (&file).take(32).read_to_string(&mut text).unwrap_or(0);
                return Err(DataDirError::Locked {
                    path: path.to_owned(),
                    holder: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
    }
    // For people only, who can do without it on a disk that is full.
    let told = file.set_len(0).and_then(|()| file.rewind());
    let told = told.and_then(|()| writeln!(file, "{}", std::process::id()));
    told.unwrap_or_default();
    Ok(DirLock { _file: file })
}

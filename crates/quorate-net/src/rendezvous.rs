//! Finding peers on one machine: a directory with one file per peer.
//!
//! ```text
//! $XDG_RUNTIME_DIR/quorate        or <temp>/quorate-<user>, mode 0700
//!   <network id>/
//!     <peer id>                   a peer's card, locked by its process for as long as it lives
//!     founder-<group id>          locked by the peer that may found the group
//!     .sweep                      locked while cards are moved in or swept out
//! ```
//!
//! It works without any network, needs no port known beforehand and no multicast (which many
//! machines and all containers filter on loopback).
//!
//! A process that dies leaves its card behind, so a card alone proves nothing. Its owner holds an
//! advisory lock on it, which the operating system releases with the process however it ends:
//! **a card whose lock can be had is stale**, and whoever notices sweeps it out. A process id in
//! the card would not do: ids are re-used, and say nothing across containers that share a
//! directory.
//!
//! A card appears whole: it is written and locked under a temporary name and then renamed. Moving
//! in and sweeping exclude each other by a lock on `.sweep`, else a sweeper that has just found a
//! stale card could remove the fresh one that took its name.
//!
//! The directory says where peers are, not that they may be trusted: that is proven on the link.
//! Still, whoever can write in it can make peers dial them, so it must belong to the user alone.

mod card;
mod watch;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use quorate_core::{GroupId, NetworkId, PeerId};

pub use card::Card;
pub(crate) use watch::compare;
pub use watch::{Sighting, Sightings};

use crate::limits::{RENDEZVOUS_CARD, RENDEZVOUS_PEERS};

/// The rendezvous directory of one network.
#[derive(Clone, Debug)]
pub struct Rendezvous {
    dir: PathBuf,
}

/// A peer's card in the directory; dropping it takes the card out.
#[derive(Debug)]
pub struct Registration {
    rendezvous: Rendezvous,
    peer: PeerId,
    /// Holds the card's lock.
    file: File,
}

/// The right to found a group on this machine; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the right back"]
pub struct FounderLock {
    _file: File,
}

/// A live peer in the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Who it is, by its own account.
    pub peer: PeerId,
    /// What it says of itself.
    pub card: Card,
}

/// The rendezvous directory cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RendezvousError {
    /// Others than the user may enter or read it.
    #[error(
        "{} is open to others (mode {mode:03o}): run `chmod 700 {}` or name another directory",
        path.display(), path.display()
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not a directory of this user.
    #[error(
        "{} is not a directory of this user: remove it or name another directory",
        path.display()
    )]
    Foreign {
        /// What was found.
        path: PathBuf,
    },
    /// A living process on this machine has the same identity.
    #[error(
        "peer {} already runs on this machine, as process {pid}: stop it, or start this one with \
         another key",
        peer.short()
    )]
    Taken {
        /// Which identity.
        peer: PeerId,
        /// The other process, by its own account.
        pid: u32,
    },
    /// A card is larger than others would read.
    #[error("a card of {len} bytes where {RENDEZVOUS_CARD} are allowed")]
    CardTooLarge {
        /// Its size.
        len: usize,
    },
    /// The operating system refuses.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Rendezvous {
    /// Opens the directory of `network` in `root`, or in the user's own place; makes what is
    /// missing.
    ///
    /// # Errors
    /// It belongs to somebody else, is open to others, or cannot be made.
    pub fn open(root: Option<&Path>, network: NetworkId) -> Result<Self, RendezvousError> {
        let root = root.map_or_else(default_root, Path::to_path_buf);
        ensure_private(&root)?;
        let dir = root.join(network.to_string());
        ensure_private(&dir)?;
        Ok(Self { dir })
    }

    /// Opens the directory of `network` like [`Self::open`], but makes nothing: nothing is returned
    /// where no peer of the network has ever been.
    ///
    /// # Errors
    /// It belongs to somebody else, or is open to others.
    pub fn find(root: Option<&Path>, network: NetworkId) -> Result<Option<Self>, RendezvousError> {
        let root = root.map_or_else(default_root, Path::to_path_buf);
        let dir = root.join(network.to_string());
        for path in [&root, &dir] {
            match fs::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                _ => check(path)?,
            }
        }
        Ok(Some(Self { dir }))
    }

    /// Returns the network's directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Puts a peer's card into the directory, in place of any that a dead process left.
    ///
    /// # Errors
    /// [`RendezvousError::Taken`] if a living process has put a card of the same peer there: two
    /// that speak as one would be taken for one that contradicts itself. Otherwise the card is too
    /// large, or cannot be written.
    pub fn register(&self, peer: PeerId, card: &Card) -> Result<Registration, RendezvousError> {
        let file = self.put(peer, card, Place::Free)?;
        Ok(Registration {
            rendezvous: self.clone(),
            peer,
            file,
        })
    }

    /// Returns the live peers, by id, and sweeps out the cards of dead ones.
    ///
    /// Cards that cannot be read (of a newer version, say) are passed over.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn scan(&self) -> Result<Vec<Found>, RendezvousError> {
        let listed = fs::read_dir(&self.dir).map_err(failed("list", &self.dir))?;
        let mut found = Vec::new();
        for entry in listed {
            let entry = entry.map_err(failed("list", &self.dir))?;
            let Some(peer) = entry.file_name().to_str().and_then(peer_id) else {
                continue;
            };
            if let Some(card) = self.read(peer) {
                found.push(Found { peer, card });
            }
            if found.len() == RENDEZVOUS_PEERS {
                break;
            }
        }
        found.sort_unstable_by_key(|found| found.peer);
        Ok(found)
    }

    /// Takes the right to found `group` on this machine, if no living process has it.
    ///
    /// # Errors
    /// The lock's file cannot be opened.
    pub fn try_founder_lock(&self, group: GroupId) -> Result<Option<FounderLock>, RendezvousError> {
        // The file stays when the lock is given back: removing it would let two processes lock
        // two files of one name.
        let path = self.dir.join(format!("founder-{group}"));
        let file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FounderLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    fn card_path(&self, peer: PeerId) -> PathBuf {
        self.dir.join(peer.to_string())
    }

    /// Writes a card, locked, under its peer's name.
    fn put(&self, peer: PeerId, card: &Card, place: Place) -> Result<File, RendezvousError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let text = card.to_string();
        if text.len() > RENDEZVOUS_CARD {
            return Err(RendezvousError::CardTooLarge { len: text.len() });
        }
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!(".card-{}-{nth}", std::process::id()));
        let written = self.write(&temporary, &text, peer, place);
        if written.is_err() {
            // It may not have come to exist; the error to tell is the first one.
            fs::remove_file(&temporary).unwrap_or_default();
        }
        written
    }

    fn write(
        &self,
        temporary: &Path,
        text: &str,
        peer: PeerId,
        place: Place,
    ) -> Result<File, RendezvousError> {
        let path = &self.card_path(peer);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(temporary)
            .map_err(failed("make", temporary))?;
        file.lock().map_err(failed("lock", temporary))?;
        file.write_all(text.as_bytes())
            .map_err(failed("write", temporary))?;
        let _sweep = self.sweep_lock()?;
        if place == Place::Free
            && let Some(card) = living(path)
        {
            let pid = card.pid;
            return Err(RendezvousError::Taken { peer, pid });
        }
        fs::rename(temporary, path).map_err(failed("make", path))?;
        Ok(file)
    }

    /// Reads a peer's card if the peer lives; sweeps it out if not.
    fn read(&self, peer: PeerId) -> Option<Card> {
        let path = self.card_path(peer);
        // A card may be replaced between opening and locking it: then look at the new one.
        for _ in 0..REPLACED {
            let mut file = File::open(&path).ok()?;
            // Shared, so that two who look at once do not take each other for the owner.
            match file.try_lock_shared() {
                Err(TryLockError::WouldBlock) => return read_card(&mut file),
                Err(TryLockError::Error(_)) => return None,
                Ok(()) if same_file(&path, &file) => {
                    self.sweep(&path, &file);
                    return None;
                }
                Ok(()) => {}
            }
        }
        None
    }

    /// Removes a stale card, unless a fresh one has taken its name meanwhile. A card that cannot
    /// be removed is left for the next scan.
    fn sweep(&self, path: &Path, stale: &File) {
        let lock = open_lock(&self.dir.join(".sweep"));
        if let Ok(lock) = lock
            && lock.try_lock().is_ok()
            && same_file(path, stale)
        {
            fs::remove_file(path).unwrap_or_default();
        }
    }

    fn sweep_lock(&self) -> Result<File, RendezvousError> {
        let path = self.dir.join(".sweep");
        let file = open_lock(&path)?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(file)
    }
}

impl Registration {
    /// Replaces the card; whoever looks sees the old one or the new one.
    ///
    /// # Errors
    /// The card is too large, or cannot be written; the old one stays.
    pub fn update(&mut self, card: &Card) -> Result<(), RendezvousError> {
        self.file = self.rendezvous.put(self.peer, card, Place::Own)?;
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let path = self.rendezvous.card_path(self.peer);
        let Ok(_sweep) = self.rendezvous.sweep_lock() else {
            return;
        };
        // Another process of the same peer may have put its card there.
        if same_file(&path, &self.file) {
            // A card left behind is stale from now on, and swept by whoever looks.
            fs::remove_file(&path).unwrap_or_default();
        }
    }
}

/// Whose card may lie where a card is put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// No living peer's.
    Free,
    /// That of the peer itself.
    Own,
}

/// Reads the card at `path` if its owner lives; one that cannot be read says nothing.
fn living(path: &Path) -> Option<Card> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_card(&mut file).unwrap_or_default()),
        _ => None,
    }
}

/// How often in a row a card is looked at again because it was replaced meanwhile.
const REPLACED: usize = 4;

fn read_card(file: &mut File) -> Option<Card> {
    let mut text = String::new();
    let most = u64::try_from(RENDEZVOUS_CARD).unwrap_or(u64::MAX);
    file.take(most).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

/// The user's own place for rendezvous.
fn default_root() -> PathBuf {
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        return Path::new(&dir).join("quorate");
    }
    let user = ["USER", "LOGNAME", "USERNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let user: String = user
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .collect();
    std::env::temp_dir().join(format!(
        "quorate-{}",
        if user.is_empty() { "user" } else { &user }
    ))
}

/// Makes a directory for the user alone, or checks that it is one.
fn ensure_private(path: &Path) -> Result<(), RendezvousError> {
    match make_private(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("make", path)(error));
        }
        Ok(()) | Err(_) => {}
    }
    check(path)
}

/// Checks that a directory is one for the user alone.
fn check(path: &Path) -> Result<(), RendezvousError> {
    // Not following links: a link planted by somebody else leads where they like.
    let found = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    if !found.is_dir() {
        return Err(RendezvousError::Foreign {
            path: path.to_owned(),
        });
    }
    check_private(path, &found)
}

#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(unix)]
fn check_private(path: &Path, found: &fs::Metadata) -> Result<(), RendezvousError> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(RendezvousError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    // A file made here tells who we are, which the standard library does not. Only the superuser
    // can make one in a private directory of somebody else.
    let own = open_lock(&path.join(".sweep"))?;
    let own = own.metadata().map_err(failed("look at", path))?;
    if own.uid() != found.uid() {
        return Err(RendezvousError::Foreign {
            path: path.to_owned(),
        });
    }
    Ok(())
}

#[cfg(unix)]
fn same_file(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// Elsewhere the directory lies within the user's profile, which is private as it is.
#[cfg(not(unix))]
fn check_private(_: &Path, _: &fs::Metadata) -> Result<(), RendezvousError> {
    Ok(())
}

#[cfg(not(unix))]
fn same_file(path: &Path, _: &File) -> bool {
    path.exists()
}

fn open_lock(path: &Path) -> Result<File, RendezvousError> {
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    options.map_err(failed("open", path))
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RendezvousError {
    move |source| RendezvousError::Io {
        act,
        path: path.to_owned(),
        source,
    }
}

/// Reads a card's file name.
fn peer_id(name: &str) -> Option<PeerId> {
    let mut id = [0; 32];
    if name.len() != 64 || !name.is_ascii() {
        return None;
    }
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&name[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(PeerId(id))
}

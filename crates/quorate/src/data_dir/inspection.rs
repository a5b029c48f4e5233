//! Looks into a data directory and changes nothing in it, whoever uses it.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use quorate_core::PeerId;
use quorate_store::{RecoveryError, limits::LONGEST_SEGMENT, superblock};

use super::{DataDirError, LOG, identity::Identity, is_in_use};

pub use quorate_store::{Damage, GroupFound, SegmentFound, Torn};

/// What a data directory holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The network, its name escaped where it is not one line of text.
    pub network: String,
    /// The peer.
    pub peer: PeerId,
    /// Whether a process used the directory: what it was writing shows as a torn tail then.
    pub in_use: bool,
    /// Whether one copy of the identity is bad or missing; the next start writes it anew.
    pub bad_identity: bool,
    /// The log.
    pub log: quorate_store::Inspection,
}

impl Inspection {
    /// Tells whether something that had been promised is bad or gone.
    pub fn is_damaged(&self) -> bool {
        self.log.is_damaged()
    }
}

/// Reads a data directory whole, without locking it and without writing anything.
///
/// Cost: reads the log once, and holds its entries in memory meanwhile. Of a peer that runs it may
/// be read up to three times, until nothing was sealed or removed meanwhile.
///
/// # Errors
/// [`DataDirError`], all but `Locked`.
pub fn inspect(path: &Path) -> Result<Inspection, DataDirError> {
    let listed = fs::read_dir(path).map_err(|error| DataDirError::io(path, "read", error))?;
    drop(listed);
    let Some((identity, bad)) = Identity::read(path)? else {
        let path = path.to_owned();
        return Err(DataDirError::Foreign { path });
    };
    let log = path.join(LOG);
    if !log.is_dir() {
        return Err(DataDirError::Damaged {
            path: log,
            what: "the log that was in it is gone",
        });
    }
    let mut tries = TRIES;
    let (in_use, found) = loop {
        tries -= 1;
        let in_use = is_in_use(path);
        let copies = superblocks(&log)?;
        let found = inspect_log(&log, copies.clone());
        // What a peer writes meanwhile may make it look as if something were missing.
        if !in_use || tries == 0 || superblocks(&log)? == copies {
            break (in_use, found?);
        }
    };
    Ok(Inspection {
        network: identity.network().to_owned(),
        peer: identity.peer(),
        in_use,
        bad_identity: bad.is_some(),
        log: found,
    })
}

/// How often the log of a peer that runs is looked at.
const TRIES: u32 = 3;

/// Reads both copies of the superblock. One that cannot be read is as good as a bad one, unless
/// neither can.
fn superblocks(log: &Path) -> Result<[Option<Bytes>; 2], DataDirError> {
    match superblock::NAMES.map(|name| read_if_there(&log.join(name))) {
        [Err(error), Err(_)] => Err(error),
        copies => Ok(copies.map(|copy| copy.unwrap_or(Some(Bytes::from_static(b"unreadable"))))),
    }
}

fn inspect_log(
    log: &Path,
    copies: [Option<Bytes>; 2],
) -> Result<quorate_store::Inspection, DataDirError> {
    let segments = segment_names(log)?.into_iter().map(|(number, path)| {
        let bytes = read(&path).map_err(|error| DataDirError::io(&path, "read", error))?;
        Ok::<_, ReadError>((number, bytes))
    });
    quorate_store::inspect(copies, segments).map_err(|error| match error {
        ReadError::Log(source) => DataDirError::Log {
            path: log.to_owned(),
            source,
        },
        ReadError::File(error) => error,
    })
}

enum ReadError {
    Log(RecoveryError),
    File(DataDirError),
}

impl From<RecoveryError> for ReadError {
    fn from(error: RecoveryError) -> Self {
        Self::Log(error)
    }
}

impl From<DataDirError> for ReadError {
    fn from(error: DataDirError) -> Self {
        Self::File(error)
    }
}

/// Returns the segments' numbers and files, in order.
fn segment_names(log: &Path) -> Result<Vec<(u64, PathBuf)>, DataDirError> {
    let failed = |error| DataDirError::io(log, "read", error);
    let mut names = Vec::new();
    for entry in fs::read_dir(log).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if let Some(number) = name.to_str().and_then(quorate_store::segment_number) {
            names.push((number, entry.path()));
        }
    }
    names.sort_unstable_by_key(|(number, _)| *number);
    Ok(names)
}

fn read_if_there(path: &Path) -> Result<Option<Bytes>, DataDirError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataDirError::io(path, "read", error)),
    }
}

fn read(path: &Path) -> std::io::Result<Bytes> {
    let file = File::open(path)?;
    if file.metadata()?.len() > LONGEST_SEGMENT {
        return Err(std::io::Error::other("the file is longer than any segment"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_SEGMENT).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

//! Who the peer of a data directory is: its network and its secret key.
//!
//! The log speaks for a member, so the key that makes its owner that member stays beside it: a log
//! under another key would vote for somebody else. Two equal files, `identity-a` and `identity-b`,
//! for the same reason as the superblock has two: one bad sector must not take a peer's identity,
//! of which nobody else has a copy. Each is text, and ends in a check of all before it:
//!
//! ```text
//! quorate-data-directory 1
//! network default
//! peer 3f0c... (64 digits)
//! secret 9a41... (64 digits)
//! check 1f2e... (32 digits, the beginning of the BLAKE3 hash of the lines before)
//! ```

use std::{fmt::Write as _, fs, io::ErrorKind, path::Path};

use quorate_core::PeerId;
use quorate_net::iroh::SecretKey;

use super::{DataDirError, io::write_whole};

/// The names of the two copies.
pub(super) const NAMES: [&str; 2] = ["identity-a", "identity-b"];

/// The version of the layout of a data directory.
pub(super) const FORMAT: u32 = 1;

const FIRST: &str = "quorate-data-directory";

/// More bytes than an identity has, with the longest name of a network.
const MOST: u64 = 4 << 10;

/// Who the peer of a data directory is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The network's name, escaped, so that it is one line.
    network: String,
    secret: [u8; 32],
}

/// Never tells the secret.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("network", &self.network)
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}

/// What became of reading a copy.
enum Copy {
    Missing,
    Bad,
    /// It cannot be read.
    Failed(DataDirError),
    Good(Identity),
}

impl Identity {
    pub(super) fn new(network: &str, secret: [u8; 32]) -> Self {
        let network = network.escape_default().to_string();
        Self { network, secret }
    }

    /// Returns the network's name, escaped.
    pub(super) fn network(&self) -> &str {
        &self.network
    }

    pub(super) fn is_of(&self, network: &str) -> bool {
        network.escape_default().eq(self.network.chars())
    }

    pub(super) fn secret(&self) -> [u8; 32] {
        self.secret
    }

    pub(super) fn peer(&self) -> PeerId {
        PeerId(*SecretKey::from_bytes(&self.secret).public().as_bytes())
    }

    /// Reads the identity of a directory; nothing if it has none. Returns with it which copy is
    /// missing or bad.
    pub(super) fn read(directory: &Path) -> Result<Option<(Self, Option<usize>)>, DataDirError> {
        match (read_copy(directory, 0)?, read_copy(directory, 1)?) {
            (Copy::Missing, Copy::Missing) => Ok(None),
            (Copy::Good(a), Copy::Good(b)) if a == b => Ok(Some((a, None))),
            (Copy::Good(a), Copy::Missing | Copy::Bad | Copy::Failed(_)) => Ok(Some((a, Some(1)))),
            (Copy::Missing | Copy::Bad | Copy::Failed(_), Copy::Good(b)) => Ok(Some((b, Some(0)))),
            // What cannot be read just now may be good.
            (Copy::Failed(error), _) | (_, Copy::Failed(error)) => Err(error),
            (Copy::Good(_), Copy::Good(_)) => Err(DataDirError::Damaged {
                path: directory.join(NAMES[0]),
                what: "it and its copy name two different peers",
            }),
            (a, _) => Err(DataDirError::Damaged {
                path: directory.join(NAMES[usize::from(matches!(a, Copy::Missing))]),
                what: "neither it nor its copy is what was written",
            }),
        }
    }

    /// Writes one copy, durably.
    pub(super) fn write(&self, directory: &Path, copy: usize) -> Result<(), DataDirError> {
        let written = write_whole(directory, NAMES[copy], self.text().as_bytes());
        written.map_err(|error| DataDirError::io(directory, "write the identity in", error))
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{FIRST} {FORMAT}\nnetwork {}\npeer {}\nsecret {}\n",
            self.network,
            self.peer(),
            hex(&self.secret)
        );
        let check = check(&text);
        // Writing to a string never fails.
        writeln!(text, "check {check}").unwrap_or_default();
        text
    }
}

fn read_copy(directory: &Path, copy: usize) -> Result<Copy, DataDirError> {
    let path = directory.join(NAMES[copy]);
    let read = fs::metadata(&path).and_then(|metadata| {
        let fits = metadata.len() <= MOST;
        fits.then(|| fs::read(&path)).transpose()
    });
    let bytes = match read {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Copy::Bad),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Copy::Missing),
        Err(error) => return Ok(Copy::Failed(DataDirError::io(&path, "read", error))),
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(Copy::Bad);
    };
    parse(&path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Copy, DataDirError> {
    let Some((before, stated)) = text.rsplit_once("check ") else {
        return Ok(Copy::Bad);
    };
    if stated.strip_suffix('\n') != Some(&check(before)) {
        return Ok(Copy::Bad);
    }
    let mut lines = before.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let Some(format) = field(FIRST).and_then(|text| text.parse().ok()) else {
        return Ok(Copy::Bad);
    };
    if format != FORMAT {
        return Err(DataDirError::Format {
            path: path.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    let identity = field("network").and_then(|network| {
        let peer = field("peer")?;
        let secret = unhex(field("secret")?)?;
        let network = network.to_owned();
        let identity = Identity { network, secret };
        (identity.peer().to_string() == peer).then_some(identity)
    });
    Ok(identity.map_or(Copy::Bad, Copy::Good))
}

fn check(text: &str) -> String {
    hex(&blake3::hash(text.as_bytes()).as_bytes()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::new("a shop, with\nlines", [7; 32])
    }

    fn written() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for copy in [0, 1] {
            identity().write(directory.path(), copy).unwrap();
        }
        directory
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = written();
        let read = Identity::read(directory.path()).unwrap().unwrap();
        assert_eq!(read, (identity(), None));
        assert!(identity().is_of("a shop, with\nlines") && !identity().is_of("a shop"));
        let empty = tempfile::tempdir().unwrap();
        assert!(Identity::read(empty.path()).unwrap().is_none());
    }

    #[test]
    fn any_change_of_one_copy_is_seen_and_the_other_counts() {
        let text = identity().text().into_bytes();
        for copy in [0, 1] {
            let directory = written();
            for at in 0..text.len() {
                let mut bad = text.clone();
                bad[at] ^= 0x10;
                for bytes in [&bad[..], &text[..at]] {
                    fs::write(directory.path().join(NAMES[copy]), bytes).unwrap();
                    let read = Identity::read(directory.path()).unwrap().unwrap();
                    assert_eq!(read, (identity(), Some(copy)), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_copy_that_cannot_be_read_counts_as_a_bad_one() {
        let directory = written();
        fs::remove_file(directory.path().join(NAMES[0])).unwrap();
        fs::create_dir(directory.path().join(NAMES[0])).unwrap();
        let read = Identity::read(directory.path()).unwrap().unwrap();
        assert_eq!(read, (identity(), Some(0)));
        fs::remove_file(directory.path().join(NAMES[1])).unwrap();
        let read = Identity::read(directory.path());
        assert!(matches!(read, Err(DataDirError::Io { .. })), "{read:?}");
    }

    #[test]
    fn without_a_good_copy_the_file_is_named() {
        let directory = written();
        for name in NAMES {
            fs::write(directory.path().join(name), "nonsense").unwrap();
        }
        let read = Identity::read(directory.path());
        assert!(
            matches!(read, Err(DataDirError::Damaged { .. })),
            "{read:?}"
        );
    }

    #[test]
    fn a_newer_format_is_refused_and_not_taken_for_damage() {
        let directory = written();
        let newer = identity().text().replace(" 1\n", " 2\n");
        let (before, _) = newer.rsplit_once("check ").unwrap();
        let newer = format!("{before}check {}\n", check(before));
        fs::write(directory.path().join(NAMES[1]), newer).unwrap();
        let read = Identity::read(directory.path());
        assert!(
            matches!(read, Err(DataDirError::Format { found: 2, .. })),
            "{read:?}"
        );
    }

    #[test]
    fn the_secret_is_not_in_what_is_printed_for_debugging() {
        assert!(!format!("{:?}", identity()).contains("7, 7"));
    }
}

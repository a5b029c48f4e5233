//! Damages what a disk holds: only what was synced and sealed, since anything above the seal that
//! is bad may lawfully pass for a torn tail.

use std::time::Duration;

use bytes::Bytes;
use quorate_store::{
    MemoryFiles,
    superblock::{NAMES, Superblock},
};

use crate::{
    dice::MILLION,
    fault::{FaultKind, Place},
};

/// What happens to synced bytes of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// A bit is another one.
    Rot { place: Place },
    /// What was meant for one place is at another one.
    Misdirected { meant: Place, place: Place },
    /// A file has lost its end.
    Truncated { place: Place },
    /// A file is gone.
    Missing { place: Place },
    /// The newest file of the log is gone.
    LostName,
    /// One copy of the superblock is bad.
    Superblock { second: bool },
    /// Both copies of the superblock are bad.
    Superblocks,
    /// Nothing is left.
    Wiped,
}

impl Damage {
    /// Returns what a fault does to which peer's disk, and how long that peer is away.
    pub(crate) fn of(kind: &FaultKind) -> Option<(usize, Self, Duration)> {
        Some(match *kind {
            FaultKind::BitRot { peer, place, away } => (peer, Self::Rot { place }, away),
            FaultKind::MisdirectedWrite {
                peer,
                meant,
                place,
                away,
            } => (peer, Self::Misdirected { meant, place }, away),
            FaultKind::TruncatedFile { peer, place, away } => {
                (peer, Self::Truncated { place }, away)
            }
            FaultKind::MissingFile { peer, place, away } => (peer, Self::Missing { place }, away),
            FaultKind::LostName { peer, away } => (peer, Self::LostName, away),
            FaultKind::BadSuperblock { peer, second, away } => {
                (peer, Self::Superblock { second }, away)
            }
            FaultKind::BadSuperblocks { peer, away } => (peer, Self::Superblocks, away),
            FaultKind::WipedDisk { peer, away } => (peer, Self::Wiped, away),
            _ => return None,
        })
    }

    /// Tells whether the peer comes back as another incarnation.
    pub(crate) fn ends_incarnation(self) -> bool {
        matches!(self, Self::Superblocks | Self::Wiped)
    }
}

/// How many bytes a misdirected write has.
const MISDIRECTED: usize = 512;

/// Damages files; tells whether there was anything to damage.
pub(crate) fn damage(files: &mut MemoryFiles, damage: Damage) -> bool {
    let sealed = sealed(files);
    match damage {
        Damage::Rot { place } => {
            let Some((name, at)) = find(&sealed, place) else {
                return false;
            };
            edit(files, name, |content| content[at] ^= 1 << (place % 8));
        }
        Damage::Misdirected { meant, place } => {
            let (Some((from, start)), Some((to, at))) =
                (find(&sealed, meant), find(&sealed, place))
            else {
                return false;
            };
            let source = files.content(from).unwrap_or_default();
            let most = length_of(&sealed, to) - at;
            // What is not sealed must not be harmed, too: nobody would know of it.
            let end = (start + MISDIRECTED.min(most)).min(length_of(&sealed, from));
            let piece = source[start..end].to_vec();
            // Where it was meant to be is what had been there before: nothing yet.
            edit(files, from, |content| content[start..end].fill(0));
            edit(files, to, |content| {
                content[at..at + piece.len()].copy_from_slice(&piece);
            });
        }
        Damage::Truncated { place } => {
            let Some((name, at)) = find(&sealed, place) else {
                return false;
            };
            edit(files, name, |content| content.truncate(at));
        }
        Damage::Missing { place } => {
            let Some((name, _)) = find(&sealed, place) else {
                return false;
            };
            files.remove(name);
        }
        Damage::LostName => {
            let Some((name, _)) = sealed.last() else {
                return false;
            };
            files.remove(name);
        }
        Damage::Superblock { second } => spoil(files, NAMES[usize::from(second)]),
        Damage::Superblocks => NAMES.into_iter().for_each(|name| spoil(files, name)),
        Damage::Wiped => {
            let names: Vec<String> = files.names().map(str::to_owned).collect();
            names.iter().for_each(|name| files.remove(name));
        }
    }
    true
}

/// Returns the files of the log, in order, and how much of each is sealed.
fn sealed(files: &MemoryFiles) -> Vec<(String, usize)> {
    let copies = NAMES.into_iter().filter_map(|name| files.content(name));
    let copies = copies.filter_map(|copy| Superblock::decode(&Bytes::from(copy)).ok());
    let Some(superblock) = copies.max_by_key(|copy| copy.version) else {
        return Vec::new();
    };
    let seal = superblock.seal;
    let names = files.names().filter_map(|name| {
        let number: u64 = name.strip_prefix("log-")?.parse().ok()?;
        let length = files.content(name)?.len();
        let sealed = match number.cmp(&seal.segment) {
            std::cmp::Ordering::Less => length,
            std::cmp::Ordering::Equal => length.min(seal.offset as usize),
            std::cmp::Ordering::Greater => 0,
        };
        (sealed > 0).then(|| (name.to_owned(), sealed))
    });
    names.collect()
}

/// Returns the file and the byte at a part of a million of all sealed bytes.
fn find(sealed: &[(String, usize)], place: u32) -> Option<(&str, usize)> {
    let all: usize = sealed.iter().map(|(_, length)| *length).sum();
    let mut at = all * place as usize / MILLION as usize;
    for (name, length) in sealed {
        if at < *length {
            return Some((name, at));
        }
        at -= length;
    }
    None
}

fn length_of(sealed: &[(String, usize)], name: &str) -> usize {
    let file = sealed.iter().find(|(other, _)| other == name);
    file.map_or(0, |(_, length)| *length)
}

fn edit(files: &mut MemoryFiles, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    if let Some(mut content) = files.content(name) {
        edit(&mut content);
        files.replace(name, content);
    }
}

fn spoil(files: &mut MemoryFiles, name: &str) {
    edit(files, name, |content| {
        if let Some(byte) = content.get_mut(40) {
            *byte ^= 1;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_the_file_it_lies_in() {
        let sealed = [("a".to_owned(), 10), ("b".to_owned(), 30)];
        assert_eq!(find(&sealed, 0), Some(("a", 0)));
        assert_eq!(find(&sealed, 249_999), Some(("a", 9)));
        assert_eq!(find(&sealed, 250_000), Some(("b", 0)));
        assert_eq!(find(&sealed, MILLION - 1), Some(("b", 29)));
        assert_eq!(find(&[], 5), None);
    }
}

//! Boots: how often an incarnation was started, and how a restart is told from a copy.
//!
//! A data directory that is copied, or brought back from a backup, looks like the peer it was taken
//! from, and has forgotten what that peer promised since. A number alone does not show it: a
//! directory that was copied before the last two starts is refused at its first and its second
//! start, and at the third it states a number that nobody has seen. So each boot has a nonce too,
//! the directory keeps those of its latest boots, and a boot states all of them: a boot continues
//! another one only if it has that one's nonce among its own.
//!
//! What this cannot show: of a directory that was copied during the last boot that others have
//! heard of, whichever of the two is started next is taken for the restart, and the other one for
//! the copy. Copying the directory of a peer that runs, or that will run again, stays forbidden.

use serde::{Deserialize, Serialize};

use crate::limits;

/// One start of an incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Boot {
    /// How often the incarnation had been started, this start included.
    pub number: u64,
    /// Tells it from a start of a copy that has the same number.
    pub nonce: u64,
}

/// The latest boots of one incarnation, as its directory knows them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Lineage {
    number: u64,
    /// The nonces of the latest boots, the present one last.
    nonces: Vec<u64>,
}

impl Lineage {
    /// Returns what a directory knows before its first boot.
    pub const fn unborn() -> Self {
        Self {
            number: 0,
            nonces: Vec::new(),
        }
    }

    /// Makes a lineage of its parts, as they were stored; nothing if they cannot be one.
    pub fn from_parts(number: u64, nonces: Vec<u64>) -> Option<Self> {
        let lineage = Self { number, nonces };
        (lineage.is_plausible() || lineage == Self::unborn()).then_some(lineage)
    }

    /// Tells whether a peer that runs may say this of itself.
    pub(crate) fn is_plausible(&self) -> bool {
        let most = self.number.min(limits::LINEAGE as u64);
        !self.nonces.is_empty() && self.nonces.len() as u64 <= most
    }

    /// Adds a boot, forgetting the oldest beyond the limit.
    pub fn boot(&mut self, nonce: u64) {
        self.number = self.number.saturating_add(1);
        self.nonces.push(nonce);
        let beyond = self.nonces.len().saturating_sub(limits::LINEAGE);
        self.nonces.drain(..beyond);
    }

    /// Returns the present boot; zeros before the first.
    pub fn present(&self) -> Boot {
        Boot {
            number: self.number,
            nonce: self.nonces.last().copied().unwrap_or(0),
        }
    }

    /// Returns the nonces of the latest boots, the present one last.
    pub fn nonces(&self) -> &[u64] {
        &self.nonces
    }

    /// Tells whether the present boot is `known` or may follow it; if not, the two are boots of
    /// copies of one directory.
    ///
    /// One that is too many boots ahead is believed: nobody can say anything of what lies between.
    pub fn continues(&self, known: Boot) -> bool {
        let Some(since) = self.number.checked_sub(known.number) else {
            return false;
        };
        let place = usize::try_from(since)
            .ok()
            .and_then(|since| self.nonces.len().checked_sub(since.saturating_add(1)));
        place.is_none_or(|place| self.nonces[place] == known.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(nonces: &[u64]) -> Lineage {
        let mut lineage = Lineage::unborn();
        nonces.iter().for_each(|nonce| lineage.boot(*nonce));
        lineage
    }

    #[test]
    fn a_restart_continues_every_boot_before_it() {
        let many: Vec<u64> = (100..140).collect();
        for now in 1..=many.len() {
            let present = lineage(&many[..now]);
            for before in 1..=now {
                assert!(present.continues(lineage(&many[..before]).present()));
            }
            for after in now + 1..=many.len() {
                assert!(!present.continues(lineage(&many[..after]).present()));
            }
        }
    }

    #[test]
    fn a_copy_stays_a_copy_however_often_it_is_started() {
        let mut copy = lineage(&[1, 2]);
        let original = lineage(&[1, 2, 3, 4]);
        for start in 0..limits::LINEAGE as u64 {
            copy.boot(1_000 + start);
            assert!(!copy.continues(original.present()), "at start {start}");
        }
        assert!(original.continues(lineage(&[1, 2]).present()));
    }

    #[test]
    fn what_no_directory_says_is_not_a_lineage() {
        assert_eq!(Lineage::from_parts(1, vec![1, 2]), None);
        assert_eq!(Lineage::from_parts(3, Vec::new()), None);
        let long = vec![0; limits::LINEAGE + 1];
        assert_eq!(Lineage::from_parts(1_000, long), None);
        assert_eq!(Lineage::from_parts(0, Vec::new()), Some(Lineage::unborn()));
        let kept = lineage(&[4, 5]);
        let parts = (kept.present().number, kept.nonces().to_vec());
        assert_eq!(Lineage::from_parts(parts.0, parts.1), Some(kept));
    }
}

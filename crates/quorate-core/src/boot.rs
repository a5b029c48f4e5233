//! Boots: how often an incarnation was started, and how a restart is told from a copy.
//!
//! A data directory that is copied, or brought back from a backup, looks like the peer it was taken
//! from, and has forgotten what that peer promised since. A number alone does not show it: a
//! directory that was copied before the last two starts is refused at its first and its second
//! start, and at the third it states a number that nobody has seen. So each boot has a nonce too,
//! the directory keeps those of its latest boots, and a boot states all of them: a boot continues
//! another one only if it has that one's nonce among its own.
//!
//! Nobody could remember the nonces of all boots there ever were, so only as many are stated as
//! [`limits::LINEAGE`] says, and whoever is further ahead is believed. A copy must not get there by
//! being started often, as a supervisor would do with one that is refused. So a boot that came to
//! nothing has no place in the lineage: one is *taken* once a member has talked to it, it makes
//! that durable, and only then it tells the others, who do not remember it before. The start after
//! a boot that was not taken stands in its place, under the same number. A copy that everybody
//! refuses stays where it was copied; to get ahead it would have to be believed that often.
//!
//! What this cannot show: of a directory that was copied during the last boot that others have
//! heard of, whichever of the two is started next is taken for the restart, and the other one for
//! the copy. Copying the directory of a peer that runs, or that will run again, stays forbidden.

use serde::{Deserialize, Serialize};

use crate::limits;

/// One start of an incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Boot {
    /// Which one it is, counting this one and those before it that were taken.
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
    /// Whether a member has talked to the present boot, and that is durable.
    taken: bool,
}

impl Lineage {
    /// Returns what a directory knows before its first boot.
    pub const fn unborn() -> Self {
        Self {
            number: 0,
            nonces: Vec::new(),
            taken: true,
        }
    }

    /// Makes a lineage of its parts, as they were stored; nothing if they cannot be one.
    pub fn from_parts(number: u64, nonces: Vec<u64>, taken: bool) -> Option<Self> {
        if number == 0 && nonces.is_empty() {
            return Some(Self::unborn());
        }
        let lineage = Self {
            number,
            nonces,
            taken,
        };
        lineage.is_plausible().then_some(lineage)
    }

    /// Tells whether a peer that runs may say this of itself.
    pub(crate) fn is_plausible(&self) -> bool {
        let most = self.number.min(limits::LINEAGE as u64);
        !self.nonces.is_empty() && self.nonces.len() as u64 <= most
    }

    /// Adds a boot, in the place of the one before if that was not taken, and forgets the oldest
    /// beyond the limit.
    pub fn boot(&mut self, nonce: u64) {
        if std::mem::take(&mut self.taken) {
            self.number = self.number.saturating_add(1);
        } else {
            self.nonces.pop();
        }
        self.nonces.push(nonce);
        let beyond = self.nonces.len().saturating_sub(limits::LINEAGE);
        self.nonces.drain(..beyond);
    }

    /// Takes note that a member has talked to the present boot.
    pub fn take(&mut self) {
        self.taken = true;
    }

    /// Tells whether the present boot is taken: whether others may remember it.
    pub fn is_taken(&self) -> bool {
        self.taken
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
        for nonce in nonces {
            lineage.boot(*nonce);
            lineage.take();
        }
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
        for start in 0..3 * limits::LINEAGE as u64 {
            copy.boot(1_000 + start);
            assert!(!copy.continues(original.present()), "at start {start}");
        }
        assert!(original.continues(lineage(&[1, 2]).present()));
    }

    #[test]
    fn a_boot_that_was_not_taken_is_followed_by_one_in_its_place() {
        let mut restarted = lineage(&[1, 2, 3]);
        let taken = restarted.present();
        for start in 0..3 * limits::LINEAGE as u64 {
            restarted.boot(1_000 + start);
            assert_eq!(restarted.present().number, 4);
            assert!(restarted.continues(taken));
        }
        restarted.take();
        let present = restarted.present();
        restarted.boot(7);
        assert_eq!(restarted.present().number, 5);
        assert!(restarted.continues(present));
    }

    #[test]
    fn what_no_directory_says_is_not_a_lineage() {
        assert_eq!(Lineage::from_parts(1, vec![1, 2], true), None);
        assert_eq!(Lineage::from_parts(3, Vec::new(), true), None);
        let long = vec![0; limits::LINEAGE + 1];
        assert_eq!(Lineage::from_parts(1_000, long, true), None);
        for taken in [true, false] {
            let unborn = Lineage::from_parts(0, Vec::new(), taken);
            assert_eq!(unborn, Some(Lineage::unborn()));
        }
        let kept = lineage(&[4, 5]);
        let parts = (kept.present().number, kept.nonces().to_vec());
        assert_eq!(Lineage::from_parts(parts.0, parts.1, true), Some(kept));
    }
}

//! A hash of anything that has one, the same in every run of one build.

use std::hash::{Hash, Hasher};

use crate::hash::Rolling;

/// Feeds what hashes itself into the 128 bits of [`Rolling`].
#[derive(Clone, Debug)]
pub(super) struct Stable(Rolling);

impl Stable {
    /// Returns the hash of one value.
    pub(super) fn of(value: &impl Hash) -> u128 {
        let mut stable = Self(Rolling::new(3));
        value.hash(&mut stable);
        stable.0.value()
    }
}

impl Hasher for Stable {
    fn finish(&self) -> u64 {
        self.0.value() as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.bytes(bytes);
    }

    fn write_u8(&mut self, number: u8) {
        self.0.word(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.0.word(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.0.word(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0.word(number);
    }

    fn write_u128(&mut self, number: u128) {
        self.0.word((number >> 64) as u64);
        self.0.word(number as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.0.word(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.0.word(number as u64);
    }
}

//! A fast 128-bit rolling hash, for traces and for chains of log entries.
//!
//! A run hashes every byte that goes in or out of every peer, so the hash must cost about a
//! nanosecond a word; a cryptographic one would take most of the run. Nobody chooses the bytes to
//! make it collide: it tells two runs of one seed apart, and two logs that should be equal.

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;

/// The state of the hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rolling {
    high: u64,
    low: u64,
}

impl Rolling {
    /// Starts a hash; different keys give unrelated hashes.
    pub(crate) fn new(key: u64) -> Self {
        let mut rolling = Self {
            high: FIRST,
            low: SECOND,
        };
        rolling.word(key);
        rolling
    }

    /// Goes on from a hash taken before.
    pub(crate) fn resume(hash: u128) -> Self {
        Self {
            high: (hash >> 64) as u64,
            low: hash as u64,
        }
    }

    /// Takes one word in.
    pub(crate) fn word(&mut self, word: u64) {
        self.words(word, word);
    }

    /// Takes two words in, each in one half of the state; the halves mix with every call.
    fn words(&mut self, one: u64, other: u64) {
        let high = fold(self.high ^ one, FIRST).wrapping_add(self.low);
        self.low = fold(self.low.rotate_left(23) ^ other, SECOND).wrapping_add(self.high);
        self.high = high;
    }

    /// Takes bytes in, with their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (chunks, rest) = bytes.as_chunks::<16>();
        // By fours: the loop itself is a sixth of what a chunk costs.
        let (fours, few) = chunks.as_chunks::<4>();
        for [one, two, three, four] in fours {
            self.chunk(u128::from_le_bytes(*one));
            self.chunk(u128::from_le_bytes(*two));
            self.chunk(u128::from_le_bytes(*three));
            self.chunk(u128::from_le_bytes(*four));
        }
        for chunk in few {
            self.chunk(u128::from_le_bytes(*chunk));
        }
        if !rest.is_empty() {
            self.chunk(padded(bytes, rest));
        }
    }

    fn chunk(&mut self, chunk: u128) {
        self.words(chunk as u64, (chunk >> 64) as u64);
    }

    /// Returns the hash of everything taken in so far.
    pub(crate) fn value(&self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }
}

/// Lets `write!` feed a hash, for the rare things whose text is their only common form.
impl std::fmt::Write for Rolling {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// Returns the last bytes, fewer than 16, as a number; without a call that copies some bytes.
fn padded(bytes: &[u8], rest: &[u8]) -> u128 {
    if let Some(last) = bytes.last_chunk::<16>() {
        // What comes before the rest was taken in already.
        return u128::from_le_bytes(*last) >> (8 * (16 - rest.len()));
    }
    let byte = |value: u128, byte: &u8| (value << 8) | u128::from(*byte);
    let (words, few) = rest.as_chunks::<8>();
    let high = few.iter().rev().fold(0, byte);
    match words {
        [word] => (high << 64) | u128::from(u64::from_le_bytes(*word)),
        _ => high,
    }
}

/// Multiplies to 128 bits and folds the halves.
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_length_and_content_change_the_hash() {
        let hash = |parts: &[&[u8]]| {
            let mut rolling = Rolling::new(1);
            for part in parts {
                rolling.bytes(part);
            }
            rolling.value()
        };
        let all = [
            hash(&[b"a", b"b"]),
            hash(&[b"b", b"a"]),
            hash(&[b"ab"]),
            hash(&[b"ab\0"]),
            hash(&[b"", b"ab"]),
            hash(&[b"12345678", b"9"]),
            hash(&[b"123456789"]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "two inputs share a hash");
        }
    }

    #[test]
    fn the_last_bytes_are_taken_in_as_if_zeros_followed() {
        let bytes: Vec<u8> = (1..=40).collect();
        for len in 0..bytes.len() {
            let mut expected = Rolling::new(0);
            expected.word(len as u64);
            for chunk in bytes[..len].chunks(16) {
                let mut whole = [0; 16];
                whole[..chunk.len()].copy_from_slice(chunk);
                expected.chunk(u128::from_le_bytes(whole));
            }
            let mut rolling = Rolling::new(0);
            rolling.bytes(&bytes[..len]);
            assert_eq!(rolling.value(), expected.value(), "{len} bytes");
        }
    }

    #[test]
    fn a_resumed_hash_goes_on_as_if_never_stopped() {
        let mut whole = Rolling::new(7);
        whole.word(1);
        let mut resumed = Rolling::resume(whole.value());
        whole.word(2);
        resumed.word(2);
        assert_eq!(whole.value(), resumed.value());
    }
}

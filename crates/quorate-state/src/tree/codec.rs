//! Varints, and a reader of bytes that somebody else wrote.
//!
//! Numbers are LEB128 in their shortest form; any other form is refused, so that a value has one
//! encoding. The reader hands out slices of its input and allocates nothing.

/// The longest varint: 64 bits in groups of seven.
pub(super) const MAX_VARINT: usize = 10;

/// Appends `value`.
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    let mut buffer = [0; MAX_VARINT];
    let len = write_varint(&mut buffer, value);
    out.extend_from_slice(&buffer[..len]);
}

/// Writes `value` at the beginning of `out` and returns its length.
pub(super) fn write_varint(out: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        out[at] = (value as u8) | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// Reads bytes that may be anything: each method returns nothing once the input does not fit.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Option<u64> {
        // Almost all are lengths below 128.
        if let Some((&short, rest)) = self.rest.split_first()
            && short < 0x80
        {
            self.rest = rest;
            return Some(u64::from(short));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for at in 0..MAX_VARINT {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if at == MAX_VARINT - 1 && group > 1 {
                return None;
            }
            value |= group << (7 * at);
            if byte & 0x80 == 0 {
                // A last group of zero would be a longer form of a shorter number.
                return (at == 0 || byte != 0).then_some(value);
            }
        }
        None
    }

    pub(super) fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let len = usize::try_from(len).ok()?;
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn hash(&mut self) -> Option<[u8; 32]> {
        self.take(32)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_comes_back(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn whatever_is_read_has_one_encoding(input in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&input);
            if let Some(value) = reader.varint() {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert_eq!(&input[..input.len() - reader.remaining()], &out[..]);
            }
        }
    }

    #[test]
    fn longer_forms_and_overflows_are_refused() {
        for input in [&[0x80, 0x00][..], &[0xff; 10], &[0x80], &[]] {
            assert_eq!(Reader::new(input).varint(), None, "{input:?}");
        }
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(Reader::new(&most).varint(), Some(u64::MAX));
    }
}

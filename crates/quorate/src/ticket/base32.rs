//! Bytes as text that can be read aloud, selected by a double click and put into a command line.
//!
//! RFC 4648's base 32 in lower case and without padding. Hexadecimal would be longer; base 64 has
//! characters at which a shell or a double click stops.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A text that is not of the alphabet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Foreign;

/// Returns `bytes` as text.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((bytes.len() * 8).div_ceil(5));
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(letter(held >> bits));
        }
        held &= 0xff;
    }
    if bits > 0 {
        text.push(letter(held << (5 - bits)));
    }
    text
}

/// Returns the whole bytes in `text`, and whether nothing is left over: fewer bits than make a
/// letter, all of them zero.
pub(super) fn decode(text: &str) -> Result<(Vec<u8>, bool), Foreign> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0_u32, 0);
    for letter in text.bytes() {
        let value = ALPHABET
            .iter()
            .position(|of| *of == letter)
            .ok_or(Foreign)?;
        held = held << 5 | value as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
        held &= 0xff;
    }
    let rest = held & ((1 << bits) - 1);
    Ok((bytes, bits < 5 && rest == 0))
}

fn letter(value: u32) -> char {
    char::from(ALPHABET[(value & 31) as usize])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_standard_examples_hold() {
        for (plain, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text), Ok((plain.as_bytes().to_vec(), true)));
        }
        assert_eq!(decode("MY"), Err(Foreign));
        assert_eq!(decode("m1"), Err(Foreign));
    }

    proptest! {
        #[test]
        fn one_text_for_each_bytes(text in "[a-z2-7]{0,24}") {
            let (bytes, whole) = decode(&text).unwrap();
            prop_assert_eq!(encode(&bytes) == text, whole);
        }
    }
}

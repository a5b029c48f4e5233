//! Keys and values of typed collections as bytes.
//!
//! Keys are ordered by their encodings, so encodings keep the order of what they encode: integers
//! are big-endian with the sign turned around, texts and byte strings are as they are, and where
//! more follows they end in `0 1`, a zero within them being `0 255`. A general serialization would
//! order texts by length, and would take types (hash maps, floats) of which equal values may have
//! different bytes; a key must have exactly one encoding on every peer. So keys have a trait of
//! their own, and values, which only ever come back, are postcard.

use bytes::Bytes;
use postcard::ser_flavors::Size;
use serde::{Serialize, de::DeserializeOwned};

/// A type whose values can be keys.
///
/// Implementations MUST give equal values equal encodings, different values different ones, and
/// SHOULD keep the order: build them from the implementations here, field by field.
///
/// ```
/// use quorate_state::collections::{Key, KeyReader, KeyWriter, decode_key, encode_key};
///
/// #[derive(PartialEq, Debug)]
/// struct Seat { hall: String, row: u16 }
///
/// impl Key for Seat {
///     fn encode(&self, out: &mut KeyWriter) {
///         self.hall.encode(out);
///         self.row.encode(out);
///     }
///     fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
///         Some(Self { hall: Key::decode(from)?, row: Key::decode(from)? })
///     }
/// }
///
/// let seat = Seat { hall: "red".into(), row: 7 };
/// assert_eq!(decode_key(&encode_key(&seat)), Some(seat));
/// ```
pub trait Key: Sized {
    /// Writes the key.
    fn encode(&self, out: &mut KeyWriter);

    /// Reads a key back; nothing if the bytes are no encoding of one.
    fn decode(from: &mut KeyReader<'_>) -> Option<Self>;
}

/// A borrowed form in which keys of type `K` can be looked up: `K` itself, `str` for `String`,
/// byte slices for `Vec<u8>` and `Bytes`.
pub trait Lookup<K> {
    /// Writes the encoding that the key itself has.
    fn write(&self, out: &mut KeyWriter);
}

impl<K: Key> Lookup<K> for K {
    fn write(&self, out: &mut KeyWriter) {
        self.encode(out);
    }
}

impl Lookup<String> for str {
    fn write(&self, out: &mut KeyWriter) {
        out.put_string(self.as_bytes());
    }
}

impl Lookup<Vec<u8>> for [u8] {
    fn write(&self, out: &mut KeyWriter) {
        out.put_string(self);
    }
}

impl Lookup<Bytes> for [u8] {
    fn write(&self, out: &mut KeyWriter) {
        out.put_string(self);
    }
}

/// Returns the encoding of the key that `key` is a borrowed form of.
pub fn encode_lookup<K>(key: &(impl Lookup<K> + ?Sized)) -> Vec<u8> {
    encode_lookup_after(Vec::new(), key)
}

/// As [`encode_lookup`], behind what is there `before`.
pub(crate) fn encode_lookup_after<K>(before: Vec<u8>, key: &(impl Lookup<K> + ?Sized)) -> Vec<u8> {
    let mut out = KeyWriter {
        bytes: before,
        open: false,
    };
    key.write(&mut out);
    out.bytes
}

/// Returns the encoding of a key.
pub fn encode_key(key: &impl Key) -> Vec<u8> {
    let mut out = KeyWriter::default();
    key.encode(&mut out);
    out.bytes
}

/// Returns the key that `bytes` encode, if they encode one.
pub fn decode_key<K: Key>(bytes: &[u8]) -> Option<K> {
    let mut reader = KeyReader {
        rest: bytes,
        open: false,
    };
    let key = K::decode(&mut reader)?;
    reader.rest.is_empty().then_some(key)
}

/// A value that cannot be encoded, or bytes that are no value of the type.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the value does not fit its encoding: {0}")]
pub struct ValueError(#[from] postcard::Error);

/// Returns the encoding of a value.
///
/// # Errors
///
/// Refuses what postcard refuses: values that do not know their length.
pub fn encode_value(value: &impl Serialize) -> Result<Vec<u8>, ValueError> {
    encode_value_after(&[], value)
}

/// As [`encode_value`], behind what is there `before`.
///
/// Goes through the value twice, for its size first: counting costs less than a buffer that grows,
/// and the result has no room left over, which would cost its [`Bytes`] one allocation more.
pub(crate) fn encode_value_after(
    before: &[u8],
    value: &impl Serialize,
) -> Result<Vec<u8>, ValueError> {
    let size = postcard::serialize_with_flavor(value, Size::default())?;
    let mut bytes = Vec::with_capacity(before.len() + size);
    bytes.extend_from_slice(before);
    Ok(postcard::to_extend(value, bytes)?)
}

/// Returns the value that `bytes` encode.
///
/// # Errors
///
/// Refuses bytes that encode no value of this type.
pub fn decode_value<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, ValueError> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(ValueError(postcard::Error::DeserializeUnexpectedEnd)),
    }
}

/// Where keys are written.
#[derive(Clone, Default, Debug)]
pub struct KeyWriter {
    bytes: Vec<u8>,
    /// Whether a string was written last, which ends here only if something follows.
    open: bool,
}

/// Where keys are read.
#[derive(Clone, Debug)]
pub struct KeyReader<'a> {
    rest: &'a [u8],
    /// Whether a string was read last, whose end was not consumed.
    open: bool,
}

/// What ends a string before something else.
const END: [u8; 2] = [0, 1];
/// What stands for a zero in a string.
const ZERO: [u8; 2] = [0, 0xff];

impl KeyWriter {
    /// Writes bytes of which every encoding of the type has equally many.
    pub fn put_fixed(&mut self, bytes: &[u8]) {
        self.close();
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a string of bytes of any length.
    pub fn put_string(&mut self, string: &[u8]) {
        self.close();
        let mut parts = string.split(|byte| *byte == 0);
        self.bytes
            .extend_from_slice(parts.next().unwrap_or_default());
        for part in parts {
            self.bytes.extend_from_slice(&ZERO);
            self.bytes.extend_from_slice(part);
        }
        self.open = true;
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.bytes.extend_from_slice(&END);
        }
    }
}

impl<'a> KeyReader<'a> {
    /// Reads `N` bytes.
    pub fn take_fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.close()?;
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// Reads a string of bytes.
    pub fn take_string(&mut self) -> Option<Vec<u8>> {
        self.close()?;
        let mut string = Vec::new();
        loop {
            let zero = self.rest.iter().position(|byte| *byte == 0);
            let (part, rest) = self.rest.split_at(zero.unwrap_or(self.rest.len()));
            string.extend_from_slice(part);
            self.rest = rest;
            match rest.strip_prefix(&ZERO) {
                Some(rest) => {
                    string.push(0);
                    self.rest = rest;
                }
                None => {
                    self.open = true;
                    return Some(string);
                }
            }
        }
    }

    fn close(&mut self) -> Option<()> {
        if std::mem::take(&mut self.open) {
            self.rest = self.rest.strip_prefix(&END)?;
        }
        Some(())
    }
}

impl Key for String {
    fn encode(&self, out: &mut KeyWriter) {
        out.put_string(self.as_bytes());
    }

    fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
        Self::from_utf8(from.take_string()?).ok()
    }
}

impl Key for Vec<u8> {
    fn encode(&self, out: &mut KeyWriter) {
        out.put_string(self);
    }

    fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
        from.take_string()
    }
}

impl Key for Bytes {
    fn encode(&self, out: &mut KeyWriter) {
        out.put_string(self);
    }

    fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
        from.take_string().map(Self::from)
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut KeyWriter) {
        out.put_fixed(self);
    }

    fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
        from.take_fixed()
    }
}

impl Key for bool {
    fn encode(&self, out: &mut KeyWriter) {
        out.put_fixed(&[u8::from(*self)]);
    }

    fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
        match from.take_fixed()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl Key for char {
    fn encode(&self, out: &mut KeyWriter) {
        u32::from(*self).encode(out);
    }

    fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
        Self::from_u32(Key::decode(from)?)
    }
}

macro_rules! integer_keys {
    ($($unsigned:ty, $signed:ty;)*) => {$(
        impl Key for $unsigned {
            fn encode(&self, out: &mut KeyWriter) {
                out.put_fixed(&self.to_be_bytes());
            }

            fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
                from.take_fixed().map(Self::from_be_bytes)
            }
        }

        impl Key for $signed {
            fn encode(&self, out: &mut KeyWriter) {
                (self.cast_unsigned() ^ (1 << (<$unsigned>::BITS - 1))).encode(out);
            }

            fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
                let turned = <$unsigned>::decode(from)?;
                Some((turned ^ (1 << (<$unsigned>::BITS - 1))).cast_signed())
            }
        }
    )*};
}

integer_keys! {
    u8, i8;
    u16, i16;
    u32, i32;
    u64, i64;
    u128, i128;
}

macro_rules! tuple_keys {
    ($(($($part:ident $at:tt),*);)*) => {$(
        impl<$($part: Key),*> Key for ($($part,)*) {
            fn encode(&self, out: &mut KeyWriter) {
                $(self.$at.encode(out);)*
            }

            fn decode(from: &mut KeyReader<'_>) -> Option<Self> {
                Some(($($part::decode(from)?,)*))
            }
        }
    )*};
}

tuple_keys! {
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Mixed = (String, i32, Vec<u8>, u16);

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255), any::<u8>()], 0..6)
    }

    fn mixed() -> impl Strategy<Value = Mixed> {
        ("[a\0\u{1}b]{0,3}", -2_i32..3, bytes(), any::<u16>())
    }

    proptest! {
        #[test]
        fn encodings_come_back_and_keep_the_order(a in mixed(), b in mixed()) {
            let (encoded_a, encoded_b) = (encode_key(&a), encode_key(&b));
            prop_assert_eq!(decode_key::<Mixed>(&encoded_a), Some(a.clone()));
            prop_assert_eq!(a.cmp(&b), encoded_a.cmp(&encoded_b));
        }

        #[test]
        fn strings_keep_the_order(a in bytes(), b in bytes()) {
            let (encoded_a, encoded_b) = (encode_key(&a), encode_key(&b));
            prop_assert_eq!(decode_key::<Vec<u8>>(&encoded_a), Some(a.clone()));
            prop_assert_eq!(a.cmp(&b), encoded_a.cmp(&encoded_b));
            // Strings at the end keep prefixes, which is what a search by prefix needs.
            prop_assert_eq!(b.starts_with(&a), encoded_b.starts_with(&encoded_a));
        }

        #[test]
        fn integers_keep_the_order(a in any::<i64>(), b in any::<i64>()) {
            prop_assert_eq!(a.cmp(&b), encode_key(&a).cmp(&encode_key(&b)));
            prop_assert_eq!(decode_key::<i64>(&encode_key(&a)), Some(a));
        }

        #[test]
        fn what_decodes_has_one_encoding(input in bytes(), more in bytes()) {
            let input = [input, more].concat();
            if let Some(key) = decode_key::<(Vec<u8>, u8, String)>(&input) {
                prop_assert_eq!(encode_key(&key), input.clone());
            }
            if let Some(key) = decode_key::<(bool, char, Vec<u8>)>(&input) {
                prop_assert_eq!(encode_key(&key), input);
            }
        }
    }

    #[test]
    fn plain_texts_are_themselves() {
        assert_eq!(encode_key(&"apple".to_owned()), b"apple");
        assert_eq!(encode_key(&Bytes::from_static(b"pear")), b"pear");
    }

    #[test]
    fn values_come_back_whole_or_not_at_all() {
        let value = (7_u64, "seven".to_owned());
        let encoded = encode_value(&value).unwrap();
        assert_eq!(decode_value::<(u64, String)>(&encoded), Ok(value));
        assert!(decode_value::<(u64, String)>(&encoded[1..]).is_err());
        assert!(decode_value::<u64>(&encoded).is_err());
    }
}

//! Bytes in files: two small hexadecimal digits each.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Writes bytes as text.
pub(crate) fn write(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`write`] writes; nothing if it is something else.
pub(crate) fn read(text: &str) -> Option<Bytes> {
    let digits: Option<Vec<u8>> = text
        .bytes()
        .map(|sign| match sign {
            b'0'..=b'9' => Some(sign - b'0'),
            b'a'..=b'f' => Some(sign - b'a' + 10),
            _ => None,
        })
        .collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Writes bytes for serde.
pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&write(bytes))
}

/// Reads bytes for serde.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    read(&text).ok_or_else(|| D::Error::custom("expected pairs of digits from 0 to 9 and a to f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_and_nothing_else_is_read() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(read(&write(&all)).as_deref(), Some(&all[..]));
        assert_eq!(write(&[0, 10, 255]), "000aff");
        for text in ["0", "0g", "0A", "00 ", "-1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

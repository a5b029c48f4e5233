//! Variable-length integers, byte strings and entries.

use bytes::Bytes;

use crate::{
    configuration::Configuration,
    cursor::{Index, Term},
    entry::{Body, ClientSequence, Entry, Marker, Named},
    id::GenesisId,
    limits,
    time::Wall,
};

/// The bytes are not what the format says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub &'static str);

/// Appends `value` in seven bits a byte, lowest first, the top bit saying that more follow.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `bytes` behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes values off the front of received bytes; byte strings are slices of them, not copies.
#[derive(Debug)]
pub struct Reader {
    frame: Bytes,
    /// Where the next value begins, at most the length.
    at: usize,
}

impl Reader {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self {
            frame: bytes,
            at: 0,
        }
    }

    /// Returns how many bytes are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// Takes one byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let byte = *self.frame.get(self.at).ok_or(Malformed("cut short"))?;
        self.at += 1;
        Ok(byte)
    }

    /// Takes an integer; longer forms than needed are malformed.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        // Most are small.
        match self.frame.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let (value, length) = long_varint(&self.frame[self.at..])?;
        self.at += length;
        Ok(value)
    }

    /// Takes an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = &self.frame[self.at..];
        let array = *rest.first_chunk().ok_or(Malformed("cut short"))?;
        self.at += N;
        Ok(array)
    }

    /// Takes a byte string.
    #[inline]
    pub fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed("length too large"))?;
        if length > self.remaining() {
            return Err(Malformed("length beyond the end"));
        }
        let end = self.at + length;
        let bytes = self.frame.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    /// Takes everything that is left.
    pub fn take_rest(&mut self) -> Bytes {
        let rest = self.frame.split_off(self.at);
        self.frame.clear();
        self.at = 0;
        rest
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.remaining() == 0 {
            Ok(())
        } else {
            Err(Malformed("bytes behind the end"))
        }
    }
}

/// Reads an integer at the front of `rest`, as [`put_varint`] writes it; returns its length, too.
pub(super) fn long_varint(rest: &[u8]) -> Result<(u64, usize), Malformed> {
    let mut value = 0_u64;
    for (place, &byte) in rest.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if place == 9 && bits > 1 {
            return Err(Malformed("integer too large"));
        }
        value |= bits << (7 * place);
        if byte & 0x80 == 0 {
            if byte == 0 && place > 0 {
                return Err(Malformed("integer not in its shortest form"));
            }
            return Ok((value, place + 1));
        }
    }
    let whole = rest.len() >= 10;
    Err(Malformed(if whole {
        "integer too long"
    } else {
        "cut short"
    }))
}

const NOOP: u8 = 0;
const CONFIGURATION: u8 = 1;
const COMMAND: u8 = 2;
const MARKER: u8 = 3;
const NAMED: u8 = 4;
const REGISTER: u8 = 5;
const DISSOLVE: u8 = 6;
const UPGRADE: u8 = 7;

/// Appends `entry` in the form that it has on the wire and in the durable log.
pub fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    match &entry.body {
        Body::Command(bytes) => {
            out.push(COMMAND);
            put_varint(out, entry.term.0);
            put_bytes(out, bytes);
        }
        Body::Noop => {
            out.push(NOOP);
            put_varint(out, entry.term.0);
        }
        Body::Configuration(configuration) => {
            out.push(CONFIGURATION);
            put_varint(out, entry.term.0);
            put_postcard(out, configuration);
        }
        Body::Named(named) => {
            out.push(NAMED);
            put_varint(out, entry.term.0);
            put_name(out, named.client);
            put_varint(out, named.at.0);
            put_bytes(out, &named.bytes);
        }
        Body::Register { at } => {
            out.push(REGISTER);
            put_varint(out, entry.term.0);
            put_varint(out, at.0);
        }
        Body::Marker(marker) => {
            out.push(MARKER);
            put_varint(out, entry.term.0);
            put_postcard(out, marker);
        }
        Body::Dissolve { into } => {
            out.push(DISSOLVE);
            put_varint(out, entry.term.0);
            out.extend_from_slice(&into.0);
        }
        Body::Upgrade { version } => {
            out.push(UPGRADE);
            put_varint(out, entry.term.0);
            put_varint(out, (*version).into());
        }
    }
}

/// Takes an entry off the front of `reader`.
///
/// A command's bytes are a slice of what `reader` reads.
#[inline]
pub fn decode_entry(reader: &mut Reader) -> Result<Entry, Malformed> {
    let kind = reader.u8()?;
    let term = Term(reader.varint()?);
    let body = if kind == COMMAND {
        Body::Command(reader.bytes()?)
    } else {
        decode_other(kind, reader)?
    };
    Ok(Entry { term, body })
}

fn decode_other(kind: u8, reader: &mut Reader) -> Result<Body, Malformed> {
    Ok(match kind {
        NOOP => Body::Noop,
        CONFIGURATION => {
            let configuration: Configuration = take_postcard(reader)?;
            if !configuration.is_valid() {
                return Err(Malformed("configuration out of order or beyond the limits"));
            }
            Body::Configuration(Box::new(configuration))
        }
        NAMED => Body::Named(Box::new(Named {
            client: take_name(reader)?,
            at: Wall(reader.varint()?),
            bytes: reader.bytes()?,
        })),
        REGISTER => Body::Register {
            at: Wall(reader.varint()?),
        },
        MARKER => {
            let marker: Marker = take_postcard(reader)?;
            if marker.requesters.len() > limits::REQUESTERS {
                return Err(Malformed("marker with too many requesters"));
            }
            Body::Marker(Box::new(marker))
        }
        DISSOLVE => Body::Dissolve {
            into: GenesisId(reader.array()?),
        },
        UPGRADE => Body::Upgrade {
            version: u32::try_from(reader.varint()?)
                .map_err(|_| Malformed("version out of range"))?,
        },
        _ => return Err(Malformed("unknown kind of entry")),
    })
}

/// Returns about how many bytes `entry` takes on the wire, never less for a command.
#[inline]
pub fn entry_size(entry: &Entry) -> usize {
    match &entry.body {
        Body::Noop | Body::Register { .. } | Body::Dissolve { .. } | Body::Upgrade { .. } => 16,
        Body::Command(bytes) => bytes.len() + 32,
        Body::Named(named) => named.bytes.len() + 64,
        Body::Configuration(configuration) => {
            32 + 48
                * (configuration.voters.len()
                    + configuration.outgoing.len()
                    + configuration.learners.len())
        }
        Body::Marker(marker) => 32 + 80 * marker.requesters.len(),
    }
}

/// Appends the name of a command.
pub(super) fn put_name(out: &mut Vec<u8>, name: ClientSequence) {
    put_varint(out, name.client.0);
    put_varint(out, name.sequence);
    put_varint(out, name.open);
}

/// Takes the name of a command; nobody's is malformed.
pub(super) fn take_name(reader: &mut Reader) -> Result<ClientSequence, Malformed> {
    let name = ClientSequence {
        client: Index(reader.varint()?),
        sequence: reader.varint()?,
        open: reader.varint()?,
    };
    if name.is_anonymous() {
        return Err(Malformed("a name without a client"));
    }
    Ok(name)
}

fn put_postcard(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let bytes = postcard::to_stdvec(value).expect("encoding to a growing buffer cannot fail");
    put_bytes(out, &bytes);
}

fn take_postcard<T: serde::de::DeserializeOwned>(reader: &mut Reader) -> Result<T, Malformed> {
    let bytes = reader.bytes()?;
    let (value, rest) =
        postcard::take_from_bytes(&bytes).map_err(|_| Malformed("unreadable value"))?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(Malformed("bytes behind a value"))
    }
}

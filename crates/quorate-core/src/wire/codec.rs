//! Variable-length integers, byte strings and entries.

use bytes::{Buf, Bytes};

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
    rest: Bytes,
}

impl Reader {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// Returns how many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        if self.rest.is_empty() {
            return Err(Malformed("cut short"));
        }
        Ok(self.rest.get_u8())
    }

    /// Takes an integer; longer forms than needed are malformed.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed("integer too large"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 {
                    Err(Malformed("integer not in its shortest form"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(Malformed("integer too long"))
    }

    /// Takes an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let slice = self.rest.get(..N).ok_or(Malformed("cut short"))?;
        let mut array = [0; N];
        array.copy_from_slice(slice);
        self.rest.advance(N);
        Ok(array)
    }

    /// Takes a byte string.
    pub fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed("length too large"))?;
        if length > self.rest.len() {
            return Err(Malformed("length beyond the end"));
        }
        Ok(self.rest.split_to(length))
    }

    /// Takes everything that is left.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes behind the end"))
        }
    }
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
        Body::Noop => {
            out.push(NOOP);
            put_varint(out, entry.term.0);
        }
        Body::Configuration(configuration) => {
            out.push(CONFIGURATION);
            put_varint(out, entry.term.0);
            put_postcard(out, configuration);
        }
        Body::Command(bytes) => {
            out.push(COMMAND);
            put_varint(out, entry.term.0);
            put_bytes(out, bytes);
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
pub fn decode_entry(reader: &mut Reader) -> Result<Entry, Malformed> {
    let kind = reader.u8()?;
    let term = Term(reader.varint()?);
    let body = match kind {
        NOOP => Body::Noop,
        CONFIGURATION => {
            let configuration: Configuration = take_postcard(reader)?;
            if !configuration.is_valid() {
                return Err(Malformed("configuration out of order or beyond the limits"));
            }
            Body::Configuration(Box::new(configuration))
        }
        COMMAND => Body::Command(reader.bytes()?),
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
    };
    Ok(Entry { term, body })
}

/// Returns about how many bytes `entry` takes on the wire, never less for a command.
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

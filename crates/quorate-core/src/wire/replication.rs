//! Messages of the entries lanes and of the bulk lane.
//!
//! The codec is our own so that a frame of a thousand entries is decoded into slices of itself.

use bytes::Bytes;

use super::{
    Address,
    codec::{
        Malformed, Reader, decode_entry, encode_entry, put_bytes, put_name, put_varint, take_name,
    },
};
use crate::{
    cursor::{Cursor, Index, Term},
    entries::Entries,
    entry::Command,
    id::{GenesisId, GroupId, Incarnation, SessionId},
    limits,
};

/// One message of an entries lane, with whom it is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Replication {
    /// Entries, from the leader.
    Append(Append),
    /// Commands of a follower's clients, to the leader.
    Forward(Forward),
    /// What became of forwarded commands, from the leader.
    Outcomes(Outcomes),
}

/// Entries for a follower (Raft, section 5.3).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The conversation.
    pub run: u64,
    /// The cursor of the entry before the first one.
    pub previous: Cursor,
    /// The leader's commit index.
    pub commit: Index,
    /// The read sequence to confirm.
    pub read: u64,
    /// The entries; none probes whether `previous` is there.
    pub entries: Entries,
}

/// Proposals that a follower passes on for its clients.
///
/// Valid for one leader's term: another leader drops them, and the follower knows that they were
/// never appended by it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Forward {
    /// The term whose leader is meant.
    pub term: Term,
    /// The number of the first proposal; the others count on.
    pub first: u64,
    /// The proposals.
    pub proposals: Vec<Proposal>,
}

/// What a client wants to have ordered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Proposal {
    /// A command.
    Command(Command),
    /// A registration of a client.
    Register,
}

impl Proposal {
    /// Returns about how many bytes it takes on the wire, never less.
    pub fn size(&self) -> usize {
        match self {
            Self::Command(command) if command.client.is_anonymous() => command.bytes.len() + 32,
            Self::Command(command) => command.bytes.len() + 64,
            Self::Register => 32,
        }
    }
}

/// What became of forwarded commands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Outcomes {
    /// The leader's term.
    pub term: Term,
    /// The commands' numbers and what became of each.
    pub outcomes: Vec<(u64, ForwardOutcome)>,
}

/// What became of one forwarded command.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ForwardOutcome {
    /// It is committed and applied, now or, if it has a name, before.
    Committed {
        /// Where what was applied stands.
        cursor: Cursor,
        /// What the state machine answered.
        outcome: Bytes,
    },
    /// The client is registered.
    Registered {
        /// Where the registration stands.
        cursor: Cursor,
    },
    /// It was not applied: the leader or the client table is full.
    Busy,
    /// The leader did not append it: it does not lead that term.
    NotLeader,
    /// The leader appended it and then lost its leadership.
    Unknown,
    /// No copy of it can ever commit.
    Superseded,
    /// Not applied: its client is not known, or not any more.
    Expired,
    /// Not applied: it was answered before, and the answer is no longer kept.
    Dropped,
}

/// A chunk of a snapshot, for a session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BulkChunk {
    /// For whom.
    pub address: Address,
    /// The session that asked.
    pub session: SessionId,
    /// The session's name for the fetch.
    pub fetch: u64,
    /// The snapshot it is of.
    pub anchor: Cursor,
    /// The chunk, for the state to verify.
    pub chunk: Bytes,
}

const APPEND: u8 = 1;
const FORWARD: u8 = 2;
const OUTCOMES: u8 = 3;
const CHUNK: u8 = 4;

/// Encodes one message of an entries lane.
pub fn encode_replication(address: &Address, message: &Replication) -> Bytes {
    Encoder::default().encode(address, message.clone())
}

/// Encodes messages of an entries lane, one after the other.
///
/// A leader sends the same entries to every follower: they are encoded once, and copied into the
/// frames of all.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// The entries of the last append, encoded; behind them there is room for the rest of a frame.
    buffer: Vec<u8>,
    encoded: usize,
    entries: Option<Entries>,
}

impl Encoder {
    /// Starts with room that is used again; see [`Encoder::into_room`].
    pub(crate) fn with_room(buffer: Vec<u8>) -> Self {
        Self {
            buffer,
            ..Self::default()
        }
    }

    /// Gives the room back.
    pub(crate) fn into_room(self) -> Vec<u8> {
        self.buffer
    }

    /// Encodes one message.
    pub(crate) fn encode(&mut self, address: &Address, message: Replication) -> Bytes {
        match message {
            Replication::Append(append) => self.append(address, append),
            Replication::Forward(forward) => self.other(address, |out| put_forward(out, &forward)),
            Replication::Outcomes(outcomes) => {
                self.other(address, |out| put_outcomes(out, &outcomes))
            }
        }
    }

    fn append(&mut self, address: &Address, append: Append) -> Bytes {
        let known = self.entries.as_ref();
        if known.is_none_or(|known| !known.are_same(&append.entries)) {
            self.buffer.clear();
            self.buffer.reserve(append.entries.bytes() + HEAD);
            for entry in &append.entries {
                encode_entry(&mut self.buffer, entry);
            }
            self.encoded = self.buffer.len();
        }
        let out = &mut self.buffer;
        out.truncate(self.encoded);
        put_address(out, address);
        out.push(APPEND);
        put_varint(out, append.term.0);
        put_varint(out, append.run);
        put_cursor(out, append.previous);
        put_varint(out, append.commit.0);
        put_varint(out, append.read);
        put_varint(out, append.entries.len() as u64);
        self.entries = Some(append.entries);
        let (entries, head) = out.split_at(self.encoded);
        // Of its exact size: what has room to spare costs one more allocation.
        Bytes::from([head, entries].concat())
    }

    fn other(&mut self, address: &Address, put: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        self.buffer.truncate(self.encoded);
        put_address(&mut self.buffer, address);
        put(&mut self.buffer);
        Bytes::copy_from_slice(&self.buffer[self.encoded..])
    }
}

/// Bytes of an append beside its entries, at most.
const HEAD: usize = 128;

fn put_forward(out: &mut Vec<u8>, forward: &Forward) {
    out.push(FORWARD);
    put_varint(out, forward.term.0);
    put_varint(out, forward.first);
    put_varint(out, forward.proposals.len() as u64);
    for proposal in &forward.proposals {
        put_proposal(out, proposal);
    }
}

fn put_outcomes(out: &mut Vec<u8>, outcomes: &Outcomes) {
    out.push(OUTCOMES);
    put_varint(out, outcomes.term.0);
    put_varint(out, outcomes.outcomes.len() as u64);
    for (number, outcome) in &outcomes.outcomes {
        put_varint(out, *number);
        put_outcome(out, outcome);
    }
}

/// Decodes one message of an entries lane.
pub fn decode_replication(frame: Bytes) -> Result<(Address, Replication), Malformed> {
    if frame.len() > limits::ENTRIES_FRAME {
        return Err(Malformed("entries frame too large"));
    }
    let mut reader = Reader::new(frame);
    let address = take_address(&mut reader)?;
    let message = match reader.u8()? {
        APPEND => Replication::Append(take_append(&mut reader)?),
        FORWARD => Replication::Forward(take_forward(&mut reader)?),
        OUTCOMES => Replication::Outcomes(take_outcomes(&mut reader)?),
        _ => return Err(Malformed("unknown kind of entries frame")),
    };
    reader.finish()?;
    Ok((address, message))
}

/// Encodes a chunk.
pub fn encode_bulk(message: &BulkChunk) -> Bytes {
    let mut out = Vec::with_capacity(message.chunk.len() + 128);
    put_address(&mut out, &message.address);
    out.push(CHUNK);
    put_varint(&mut out, message.session.0);
    put_varint(&mut out, message.fetch);
    put_cursor(&mut out, message.anchor);
    out.extend_from_slice(&message.chunk);
    Bytes::from(out)
}

/// Decodes a chunk's frame; the chunk itself stays as it came.
pub fn decode_bulk(frame: Bytes) -> Result<BulkChunk, Malformed> {
    if frame.len() > limits::BULK_FRAME {
        return Err(Malformed("bulk frame too large"));
    }
    let mut reader = Reader::new(frame);
    let address = take_address(&mut reader)?;
    if reader.u8()? != CHUNK {
        return Err(Malformed("unknown kind of bulk frame"));
    }
    Ok(BulkChunk {
        address,
        session: SessionId(reader.varint()?),
        fetch: reader.varint()?,
        anchor: take_cursor(&mut reader)?,
        chunk: reader.take_rest(),
    })
}

fn take_append(reader: &mut Reader) -> Result<Append, Malformed> {
    let term = Term(reader.varint()?);
    let run = reader.varint()?;
    let previous = take_cursor(reader)?;
    let commit = Index(reader.varint()?);
    let read = reader.varint()?;
    let mut newest = previous.term;
    let mut in_order = true;
    let entries: Entries = take_counted(reader, limits::APPEND_ENTRIES, |reader| {
        let entry = decode_entry(reader)?;
        in_order &= entry.term >= newest && entry.term <= term;
        newest = entry.term;
        Ok(entry)
    })?
    .into();
    let last = previous.index.0.checked_add(entries.len() as u64);
    if last.is_none_or(|last| last == u64::MAX) {
        return Err(Malformed("indexes beyond the last possible one"));
    }
    if !in_order {
        return Err(Malformed("terms out of order"));
    }
    Ok(Append {
        term,
        run,
        previous,
        commit,
        read,
        entries,
    })
}

fn take_forward(reader: &mut Reader) -> Result<Forward, Malformed> {
    let term = Term(reader.varint()?);
    let first = reader.varint()?;
    let proposals = take_counted(reader, limits::APPEND_ENTRIES, take_proposal)?;
    if first.checked_add(proposals.len() as u64).is_none() {
        return Err(Malformed("numbers beyond the last possible one"));
    }
    Ok(Forward {
        term,
        first,
        proposals,
    })
}

fn take_outcomes(reader: &mut Reader) -> Result<Outcomes, Malformed> {
    let term = Term(reader.varint()?);
    let outcomes = take_counted(reader, limits::APPEND_ENTRIES, |reader| {
        Ok((reader.varint()?, take_outcome(reader)?))
    })?;
    Ok(Outcomes { term, outcomes })
}

/// Takes a counted list; each element takes at least one byte, so the count is checked against
/// what was received before anything is reserved.
fn take_counted<T>(
    reader: &mut Reader,
    limit: usize,
    mut take: impl FnMut(&mut Reader) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = usize::try_from(reader.varint()?).map_err(|_| Malformed("count too large"))?;
    if count > limit || count > reader.remaining() {
        return Err(Malformed("count too large"));
    }
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(take(reader)?);
    }
    Ok(list)
}

const ANONYMOUS: u8 = 0;
const NAMED: u8 = 1;
const REGISTER: u8 = 2;

fn put_proposal(out: &mut Vec<u8>, proposal: &Proposal) {
    match proposal {
        Proposal::Command(command) => {
            if command.client.is_anonymous() {
                out.push(ANONYMOUS);
            } else {
                out.push(NAMED);
                put_name(out, command.client);
            }
            put_bytes(out, &command.bytes);
        }
        Proposal::Register => out.push(REGISTER),
    }
}

fn take_proposal(reader: &mut Reader) -> Result<Proposal, Malformed> {
    Ok(match reader.u8()? {
        ANONYMOUS => Proposal::Command(Command::anonymous(reader.bytes()?)),
        NAMED => Proposal::Command(Command {
            client: take_name(reader)?,
            bytes: reader.bytes()?,
        }),
        REGISTER => Proposal::Register,
        _ => return Err(Malformed("unknown kind of proposal")),
    })
}

fn put_outcome(out: &mut Vec<u8>, outcome: &ForwardOutcome) {
    match outcome {
        ForwardOutcome::Committed { cursor, outcome } => {
            out.push(0);
            put_cursor(out, *cursor);
            put_bytes(out, outcome);
        }
        ForwardOutcome::Busy => out.push(1),
        ForwardOutcome::NotLeader => out.push(2),
        ForwardOutcome::Unknown => out.push(3),
        ForwardOutcome::Superseded => out.push(4),
        ForwardOutcome::Expired => out.push(5),
        ForwardOutcome::Dropped => out.push(6),
        ForwardOutcome::Registered { cursor } => {
            out.push(7);
            put_cursor(out, *cursor);
        }
    }
}

fn take_outcome(reader: &mut Reader) -> Result<ForwardOutcome, Malformed> {
    Ok(match reader.u8()? {
        0 => ForwardOutcome::Committed {
            cursor: take_cursor(reader)?,
            outcome: reader.bytes()?,
        },
        1 => ForwardOutcome::Busy,
        2 => ForwardOutcome::NotLeader,
        3 => ForwardOutcome::Unknown,
        4 => ForwardOutcome::Superseded,
        5 => ForwardOutcome::Expired,
        6 => ForwardOutcome::Dropped,
        7 => ForwardOutcome::Registered {
            cursor: take_cursor(reader)?,
        },
        _ => return Err(Malformed("unknown outcome")),
    })
}

fn put_address(out: &mut Vec<u8>, address: &Address) {
    out.extend_from_slice(&address.group.0);
    out.extend_from_slice(&address.genesis.0);
    out.extend_from_slice(&address.to.0.to_le_bytes());
}

fn take_address(reader: &mut Reader) -> Result<Address, Malformed> {
    Ok(Address {
        group: GroupId(reader.array()?),
        genesis: GenesisId(reader.array()?),
        to: Incarnation(u64::from_le_bytes(reader.array()?)),
    })
}

fn put_cursor(out: &mut Vec<u8>, cursor: Cursor) {
    put_varint(out, cursor.term.0);
    put_varint(out, cursor.index.0);
}

fn take_cursor(reader: &mut Reader) -> Result<Cursor, Malformed> {
    Ok(Cursor::new(Term(reader.varint()?), Index(reader.varint()?)))
}

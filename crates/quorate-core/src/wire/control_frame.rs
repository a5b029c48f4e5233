//! The frames of the control lane.
//!
//! All is in the form of postcard. What there is most of, the ids of an envelope and the answers
//! and heartbeats within, is written and read here without it, field by field instead of byte by
//! byte.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Address, Control, Envelope, Message,
    codec::{Malformed, long_varint, put_varint},
};
use crate::{
    cursor::{Index, Term},
    id::{GenesisId, GroupId, Incarnation},
    limits,
    versions::Versions,
};

/// Encodes `messages` into as few frames as the limit allows, each message whole, and a hello by
/// itself: of a stranger's first frame less is read.
///
/// # Panics
///
/// Never for messages built by the core: none is larger than a frame.
pub fn encode_control(messages: &[Control], frame: impl FnMut(Bytes)) {
    encode_control_in(&mut Vec::new(), messages, frame);
}

/// As [`encode_control`], with room that is used again.
pub(crate) fn encode_control_in(
    room: &mut Vec<u8>,
    messages: &[Control],
    mut frame: impl FnMut(Bytes),
) {
    room.clear();
    for message in messages {
        let before = room.len();
        put(message, room).expect("encoding to a growing buffer cannot fail");
        let alone = matches!(message, Control::Hello(_));
        if (alone || room.len() > limits::CONTROL_FRAME) && before > 0 {
            frame(Bytes::copy_from_slice(&room[..before]));
            room.drain(..before);
        }
        if alone {
            frame(Bytes::copy_from_slice(room));
            room.clear();
        }
    }
    if !room.is_empty() {
        frame(Bytes::copy_from_slice(room));
    }
}

/// The number of [`Control::Group`] on the wire.
const GROUP: u8 = 2;
/// The numbers of the messages that there are most of: of [`Message::Heartbeat`] and
/// [`Message::Ack`].
const HEARTBEAT: u8 = 13;
const ACK: u8 = 14;

/// Appends a message.
fn put(message: &Control, out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    let Control::Group(Envelope { address, message }) = message else {
        return append_postcard(message, out);
    };
    out.push(GROUP);
    out.extend_from_slice(&address.group.0);
    out.extend_from_slice(&address.genesis.0);
    put_varint(out, address.to.0);
    match message {
        Message::Heartbeat {
            term,
            run,
            commit,
            read,
        } => {
            out.push(HEARTBEAT);
            for number in [term.0, *run, commit.0, *read] {
                put_varint(out, number);
            }
        }
        Message::Ack {
            term,
            run,
            matched,
            read,
            reader,
            stateless,
            versions,
        } => {
            out.push(ACK);
            for number in [term.0, *run, matched.0, *read] {
                put_varint(out, number);
            }
            out.push((*reader).into());
            out.push((*stateless).into());
            put_varint(out, versions.first().into());
            put_varint(out, versions.last().into());
        }
        message => return append_postcard(message, out),
    }
    Ok(())
}

/// Appends a value without its length: its end is where it says.
fn append_postcard(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    *out = postcard::to_extend(value, std::mem::take(out))?;
    Ok(())
}

/// Takes a message off the front of `bytes`.
fn take(bytes: &[u8]) -> Result<(Control, &[u8]), postcard::Error> {
    let Some((&GROUP, rest)) = bytes.split_first() else {
        return postcard::take_from_bytes(bytes);
    };
    let ids = rest.split_first_chunk::<16>().and_then(|(group, rest)| {
        let (genesis, rest) = rest.split_first_chunk::<16>()?;
        Some((GroupId(*group), GenesisId(*genesis), rest))
    });
    let (group, genesis, rest) = ids.ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
    let ((to, message), rest) = match take_frequent(rest) {
        Some(taken) => taken,
        None => postcard::take_from_bytes(rest)?,
    };
    let address = Address { group, genesis, to };
    Ok((Control::Group(Envelope { address, message }), rest))
}

/// Takes one of the messages that there are most of, with whom it is for; nothing if it is another
/// one, or not as [`put`] writes it: postcard is to judge it then.
fn take_frequent(bytes: &[u8]) -> Option<((Incarnation, Message), &[u8])> {
    let mut rest = bytes;
    let to = Incarnation(take_varint(&mut rest)?);
    let (kind, behind) = rest.split_first()?;
    rest = behind;
    if !matches!(*kind, HEARTBEAT | ACK) {
        return None;
    }
    let term = Term(take_varint(&mut rest)?);
    let run = take_varint(&mut rest)?;
    let index = Index(take_varint(&mut rest)?);
    let read = take_varint(&mut rest)?;
    if *kind == HEARTBEAT {
        let commit = index;
        let message = Message::Heartbeat {
            term,
            run,
            commit,
            read,
        };
        return Some(((to, message), rest));
    }
    let ([reader @ (0 | 1), stateless @ (0 | 1)], behind) = rest.split_first_chunk()? else {
        return None;
    };
    rest = behind;
    let first = u32::try_from(take_varint(&mut rest)?).ok()?;
    let last = u32::try_from(take_varint(&mut rest)?).ok()?;
    let message = Message::Ack {
        term,
        run,
        matched: index,
        read,
        reader: *reader == 1,
        stateless: *stateless == 1,
        versions: Versions::new(first..=last)?,
    };
    Some(((to, message), rest))
}

/// Takes an integer in its shortest form.
#[inline]
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    match rest.split_first() {
        // Most are small.
        Some((&byte @ ..0x80, behind)) => {
            *rest = behind;
            Some(u64::from(byte))
        }
        _ => {
            let (value, length) = long_varint(rest).ok()?;
            *rest = &rest[length..];
            Some(value)
        }
    }
}

/// Decodes the messages of one frame in order.
pub fn decode_control(frame: &[u8]) -> Result<Vec<Control>, Malformed> {
    let mut messages = Vec::new();
    decode_control_into(&mut messages, frame)?;
    Ok(messages)
}

/// As [`decode_control`], with room that is used again; all or nothing of a frame counts.
pub(crate) fn decode_control_into(
    messages: &mut Vec<Control>,
    frame: &[u8],
) -> Result<(), Malformed> {
    if frame.len() > limits::CONTROL_FRAME {
        return Err(Malformed("control frame too large"));
    }
    let mut rest = frame;
    while !rest.is_empty() {
        let (message, behind) = take(rest).map_err(|_| Malformed("unreadable control message"))?;
        check(&message)?;
        messages.push(message);
        rest = behind;
    }
    Ok(())
}

/// Checks what the types alone do not.
fn check(message: &Control) -> Result<(), Malformed> {
    match message {
        Control::Hello(hello) if hello.proofs.len() > limits::HELLO_PROOFS => {
            Err(Malformed("too many proofs in a handshake"))
        }
        Control::Hello(hello) if !hello.lineage.is_plausible() => {
            Err(Malformed("impossible boots in a handshake"))
        }
        Control::Group(Envelope {
            message: Message::Propose(genesis),
            ..
        }) if !genesis.configuration().is_valid()
            || genesis.configuration().voters != genesis.voters =>
        {
            Err(Malformed("genesis out of order or beyond the limits"))
        }
        Control::Group(Envelope {
            message: Message::Authorized { voters, .. },
            ..
        }) if voters.len() > 2 * limits::VOTERS => Err(Malformed("too many voters")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        boot::Lineage,
        id::NetworkId,
        wire::{Hello, PROTOCOL_VERSION, Proof},
    };

    fn address() -> Address {
        Address {
            group: GroupId([3; 16]),
            genesis: GenesisId([0; 16]),
            to: Incarnation(u64::MAX),
        }
    }

    #[test]
    fn a_hello_fits_a_strangers_first_frame_whatever_waits_behind_it() {
        let mut lineage = Lineage::unborn();
        for boot in 0..2 * limits::LINEAGE as u64 {
            lineage.boot(u64::MAX - boot);
        }
        let proof = Proof {
            label: [255; 8],
            proof: [255; 32],
        };
        let hello = Control::Hello(Hello {
            version: PROTOCOL_VERSION,
            network: NetworkId::from_name("test"),
            incarnation: Incarnation(u64::MAX),
            lineage,
            proofs: vec![proof; limits::HELLO_PROOFS],
        });
        let mut messages = vec![Control::Prove(proof); limits::GROUPS];
        messages[0] = hello.clone();
        let mut frames = Vec::new();
        encode_control(&messages, |frame| frames.push(frame));
        assert!(
            frames[0].len() <= limits::HELLO_FRAME,
            "{}",
            frames[0].len()
        );
        assert_eq!(decode_control(&frames[0]), Ok(vec![hello]));
        // What a transport counts on that reads so much of a stranger.
        let proofs: usize = frames[1..].iter().map(|frame| frame.len() + 4).sum();
        assert!(proofs <= limits::GROUPS * 48, "{proofs}");
        let decoded = frames.iter().map(|frame| decode_control(frame).unwrap());
        assert!(decoded.flatten().eq(messages));
    }

    /// A number of any length on the wire.
    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0_u32..64).prop_map(|(number, shift)| number >> shift)
    }

    fn frequent() -> impl Strategy<Value = Message> {
        let numbers = (number(), number(), number(), number());
        let versions = (1_u32..=u32::MAX, any::<u32>());
        (numbers, versions, any::<[bool; 2]>(), any::<bool>()).prop_map(
            |((term, run, index, read), (first, more), [reader, stateless], ack)| {
                let (term, index) = (Term(term), Index(index));
                let last = first.saturating_add(more);
                if ack {
                    Message::Ack {
                        term,
                        run,
                        matched: index,
                        read,
                        reader,
                        stateless,
                        versions: Versions::new(first..=last).expect("not empty"),
                    }
                } else {
                    Message::Heartbeat {
                        term,
                        run,
                        commit: index,
                        read,
                    }
                }
            },
        )
    }

    proptest! {
        #[test]
        fn frequent_messages_are_written_and_read_as_postcard_would(message in frequent()) {
            let address = address();
            let control = Control::Group(Envelope { address, message: message.clone() });
            let mut written = Vec::new();
            put(&control, &mut written).expect("room");
            let whole = postcard::to_stdvec(&control).expect("room");
            prop_assert_eq!(&written, &whole);
            let rest = &written[33..];
            let taken = take_frequent(rest).expect("it is one of them");
            prop_assert_eq!(taken, ((address.to, message), &[][..]));
        }

        /// What is not written so is left to postcard, which reads more forms.
        #[test]
        fn what_is_read_here_postcard_reads_alike(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..16], 0..60),
        ) {
            if let Some((taken, rest)) = take_frequent(&bytes) {
                let by_postcard = postcard::take_from_bytes::<(Incarnation, Message)>(&bytes);
                prop_assert_eq!(by_postcard.ok(), Some((taken, rest)));
            }
        }
    }
}

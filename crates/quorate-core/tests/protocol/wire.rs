//! What is on the wire: everything comes back as it was sent, and no bytes whatever can make a
//! decoder panic or hand out more than came in.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::{
    Body, ClientSequence, Command, Configuration, Cursor, Entries, Entry, GenesisId, GroupId,
    Incarnation, Index, Marker, Member, Named, PeerId, Requester, SessionId, Term, Wall, limits,
    wire::{
        Address, Append, BulkChunk, Control, Envelope, Forward, ForwardOutcome, Message, Outcomes,
        Proposal, Reader, Replication, decode_bulk, decode_control, decode_entry,
        decode_replication, encode_bulk, encode_control, encode_entry, encode_replication,
        entry_size,
    },
};

fn member() -> impl Strategy<Value = Member> {
    (any::<[u8; 32]>(), any::<u64>()).prop_map(|(peer, incarnation)| Member {
        peer: PeerId(peer),
        incarnation: Incarnation(incarnation),
    })
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| Cursor::new(Term(term), Index(index)))
}

fn name() -> impl Strategy<Value = ClientSequence> {
    (1..=u64::MAX, any::<u64>(), any::<u64>()).prop_map(|(client, sequence, open)| ClientSequence {
        client: Index(client),
        sequence,
        open,
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
    prop_oneof![
        bytes().prop_map(|bytes| Proposal::Command(Command::anonymous(bytes))),
        (name(), bytes()).prop_map(|(client, bytes)| Proposal::Command(Command { client, bytes })),
        Just(Proposal::Register),
    ]
}

fn outcome() -> impl Strategy<Value = ForwardOutcome> {
    let bytes = prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
    prop_oneof![
        (cursor(), bytes)
            .prop_map(|(cursor, outcome)| ForwardOutcome::Committed { cursor, outcome }),
        cursor().prop_map(|cursor| ForwardOutcome::Registered { cursor }),
        Just(ForwardOutcome::Busy),
        Just(ForwardOutcome::NotLeader),
        Just(ForwardOutcome::Unknown),
        Just(ForwardOutcome::Superseded),
        Just(ForwardOutcome::Expired),
        Just(ForwardOutcome::Dropped),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let command = bytes().prop_map(Body::Command);
    let named = (name(), any::<u64>(), bytes()).prop_map(|(client, at, bytes)| {
        Body::Named(Box::new(Named {
            client,
            at: Wall(at),
            bytes,
        }))
    });
    let register = any::<u64>().prop_map(|at| Body::Register { at: Wall(at) });
    let configuration = prop::collection::vec(member(), 1..9)
        .prop_map(|voters| Body::Configuration(Box::new(Configuration::of_voters(voters))));
    let requester =
        (member(), any::<u64>(), cursor()).prop_map(|(member, session, have)| Requester {
            member,
            session: SessionId(session),
            have,
        });
    let marker =
        (prop::collection::vec(requester, 0..5), any::<u64>()).prop_map(|(requesters, at)| {
            Body::Marker(Box::new(Marker {
                requesters,
                requested_at: Wall(at),
            }))
        });
    prop_oneof![
        Just(Body::Noop),
        any::<u32>().prop_map(|version| Body::Upgrade { version }),
        any::<[u8; 16]>().prop_map(|into| Body::Dissolve {
            into: GenesisId(into)
        }),
        command,
        named,
        register,
        configuration,
        marker
    ]
}

fn address() -> impl Strategy<Value = Address> {
    (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u64>()).prop_map(|(group, genesis, to)| Address {
        group: GroupId(group),
        genesis: GenesisId(genesis),
        to: Incarnation(to),
    })
}

proptest! {
    #[test]
    fn entries_come_back_and_never_take_more_than_their_size_says(term: u64, body in body()) {
        let entry = Entry { term: Term(term), body };
        let mut bytes = Vec::new();
        encode_entry(&mut bytes, &entry);
        prop_assert!(bytes.len() <= entry_size(&entry) + 16);
        let mut reader = Reader::new(Bytes::from(bytes));
        prop_assert_eq!(decode_entry(&mut reader).unwrap(), entry);
        prop_assert!(reader.finish().is_ok());
    }

    #[test]
    fn appends_come_back(
        address in address(),
        run: u64,
        (previous_term, index) in (0_u64..100, 0_u64..u64::MAX / 2),
        bodies in prop::collection::vec((0_u64..3, body()), 0..20),
    ) {
        let mut term = previous_term;
        let entries: Vec<Entry> = bodies
            .into_iter()
            .map(|(step, body)| {
                term += step;
                Entry { term: Term(term), body }
            })
            .collect();
        let append = Replication::Append(Append {
            term: Term(term),
            run,
            previous: Cursor::new(Term(previous_term), Index(index)),
            commit: Index(index),
            read: 3,
            entries: entries.into(),
        });
        let frame = encode_replication(&address, &append);
        prop_assert_eq!(decode_replication(frame).unwrap(), (address, append));
    }

    #[test]
    fn forwards_and_outcomes_come_back(
        address in address(),
        proposals in prop::collection::vec(proposal(), 0..20),
        outcomes in prop::collection::vec((any::<u64>(), outcome()), 0..20),
    ) {
        let size: usize = proposals.iter().map(Proposal::size).sum();
        for message in [
            Replication::Forward(Forward { term: Term(2), first: 7, proposals }),
            Replication::Outcomes(Outcomes { term: Term(2), outcomes }),
        ] {
            let frame = encode_replication(&address, &message);
            if matches!(message, Replication::Forward(_)) {
                prop_assert!(frame.len() <= size + 128, "the size is no less than it takes");
            }
            prop_assert_eq!(decode_replication(frame).unwrap(), (address, message));
        }
    }

    #[test]
    fn control_messages_share_frames_within_the_limit_and_come_back_in_order(
        address in address(),
        cursors in prop::collection::vec(cursor(), 0..400),
    ) {
        let messages: Vec<Control> = cursors
            .into_iter()
            .map(|last| {
                let message = Message::PreVote { term: last.term, last };
                Control::Group(Envelope { address, message })
            })
            .collect();
        let mut back = Vec::new();
        let mut frames = 0;
        let mut bytes = Vec::new();
        encode_control(&messages, |frame| {
            assert!(frame.len() <= limits::CONTROL_FRAME);
            frames += 1;
            bytes.extend_from_slice(&frame);
            back.extend(decode_control(&frame).unwrap());
        });
        let plain = messages.iter().flat_map(|one| postcard::to_stdvec(one).unwrap());
        prop_assert_eq!(bytes, plain.collect::<Vec<_>>(), "the form is postcard's");
        prop_assert!(frames <= messages.len().div_ceil(20), "frames are shared");
        prop_assert_eq!(back, messages);
    }

    #[test]
    fn chunks_come_back(address in address(), chunk in prop::collection::vec(any::<u8>(), 0..999)) {
        let message = BulkChunk {
            address,
            session: SessionId(1),
            fetch: 2,
            anchor: Cursor::new(Term(3), Index(4)),
            chunk: Bytes::from(chunk),
        };
        prop_assert_eq!(decode_bulk(encode_bulk(&message)).unwrap(), message);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        drop(decode_control(&bytes));
        let bytes = Bytes::from(bytes);
        drop(decode_bulk(bytes.clone()));
        drop(decode_replication(bytes.clone()));
        drop(decode_entry(&mut Reader::new(bytes)));
    }

    #[test]
    fn a_valid_frame_with_one_changed_byte_is_read_or_refused(
        address in address(),
        body in body(),
        place: prop::sample::Index,
        change in 1_u8..,
    ) {
        let append = Replication::Append(Append {
            term: Term(9),
            run: 1,
            previous: Cursor::new(Term(1), Index(1)),
            commit: Index(1),
            read: 0,
            entries: vec![Entry { term: Term(5), body }; 3].into(),
        });
        let mut frame = encode_replication(&address, &append).to_vec();
        let place = place.index(frame.len());
        frame[place] ^= change;
        if let Ok((_, Replication::Append(read))) = decode_replication(Bytes::from(frame)) {
            let bytes: usize = read.entries.iter().map(entry_size).sum();
            prop_assert!(read.entries.len() <= 3 && bytes < 10_000);
        }
    }
}

#[test]
fn counts_and_lengths_beyond_the_frame_are_refused_before_anything_is_reserved() {
    let address = Address {
        group: GroupId([1; 16]),
        genesis: GenesisId([2; 16]),
        to: Incarnation(3),
    };
    let empty = Append {
        term: Term(1),
        run: 0,
        previous: Cursor::ZERO,
        commit: Index(0),
        read: 0,
        entries: Entries::default(),
    };
    let frame = encode_replication(&address, &Replication::Append(empty));
    // The last byte is the number of entries.
    for count in [
        &[0x7f][..],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ] {
        let mut hostile = frame[..frame.len() - 1].to_vec();
        hostile.extend_from_slice(count);
        assert!(decode_replication(Bytes::from(hostile)).is_err());
    }
}

#[test]
fn an_append_that_ends_at_the_last_possible_index_is_refused() {
    let address = Address {
        group: GroupId([1; 16]),
        genesis: GenesisId([2; 16]),
        to: Incarnation(3),
    };
    let append = Append {
        term: Term(u64::MAX),
        run: 0,
        previous: Cursor::new(Term(1), Index(u64::MAX)),
        commit: Index(u64::MAX),
        read: 0,
        entries: vec![Entry {
            term: Term(2),
            body: Body::Noop,
        }]
        .into(),
    };
    let frame = encode_replication(&address, &Replication::Append(append));
    assert!(decode_replication(frame).is_err());
}

/// A frame with one message whose last element is `bytes`.
fn with_last(message: &Replication, strip: usize, bytes: &[u8]) -> Bytes {
    let address = Address {
        group: GroupId([1; 16]),
        genesis: GenesisId([2; 16]),
        to: Incarnation(3),
    };
    let mut frame = encode_replication(&address, message).to_vec();
    frame.truncate(frame.len() - strip);
    frame.extend_from_slice(bytes);
    Bytes::from(frame)
}

#[test]
fn a_name_of_nobody_and_unknown_kinds_are_refused() {
    let register = Replication::Forward(Forward {
        term: Term(1),
        first: 1,
        proposals: vec![Proposal::Register],
    });
    // The last byte is the kind of the one proposal.
    let named = [1, 7, 2, 1, 3, b'a', b'b', b'c'];
    let read = decode_replication(with_last(&register, 1, &named));
    assert!(read.is_ok(), "{read:?}");
    for proposal in [
        &[1, 0, 2, 1, 3, b'a', b'b', b'c'][..],
        &[1, 7, 2, 1, 4, b'a', b'b', b'c'],
        &[1, 7, 2, 1],
        &[3],
    ] {
        let read = decode_replication(with_last(&register, 1, proposal));
        assert!(read.is_err(), "{proposal:?} is {read:?}");
    }
    let outcomes = Replication::Outcomes(Outcomes {
        term: Term(1),
        outcomes: vec![(1, ForwardOutcome::Dropped)],
    });
    assert!(decode_replication(with_last(&outcomes, 1, &[7, 4, 9])).is_ok());
    for outcome in [&[7, 4][..], &[8]] {
        assert!(decode_replication(with_last(&outcomes, 1, outcome)).is_err());
    }
    // Kind, term, client, number, lowest open one, stamp, length, bytes.
    for (entry, fits) in [
        (&[4, 1, 7, 2, 1, 5, 1, b'a'][..], true),
        (&[4, 1, 0, 2, 1, 5, 1, b'a'], false),
        (&[4, 1, 7, 2, 1, 5, 2, b'a'], false),
        (&[5, 1, 9], true),
        (&[5, 1], false),
        (&[6, 1], false),
    ] {
        let read = decode_entry(&mut Reader::new(Bytes::copy_from_slice(entry)));
        assert_eq!(read.is_ok(), fits, "{entry:?} is {read:?}");
    }
}

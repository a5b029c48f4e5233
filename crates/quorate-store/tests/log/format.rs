//! The formats on the disk, held by fixtures and read by a second reader.
//!
//! If a fixture differs, the format has changed: data directories of released versions can no
//! longer be read. Then the format's version has to grow, and the old one stays readable.

use quorate_core::{
    Ballot, Body, Boot, ClientSequence, DiskWrite, Entry, Index, Named, Term, Wall,
};
use quorate_store::{MemoryFiles, superblock::NAMES};

use crate::common::{Driver, command, configuration, genesis, group, member, options};

const LOG: &str = include_str!("../fixtures/log-0000000001.hex");
const SUPERBLOCK: &str = include_str!("../fixtures/superblock.hex");

/// The entries that the last base keeps: one of each kind that clients make.
fn kept() -> Vec<Entry> {
    let named = Named {
        client: ClientSequence {
            client: Index(2),
            sequence: 300,
            open: 7,
        },
        at: Wall(0x1234),
        bytes: b"cc".as_slice().into(),
    };
    let entry = |body| Entry {
        term: Term(3),
        body,
    };
    vec![
        command(3, b'b', 3),
        entry(Body::Named(Box::new(named))),
        entry(Body::Register { at: Wall(5) }),
    ]
}

/// One operation of each kind, in two batches, sealed.
fn directory() -> MemoryFiles {
    let mut driver = Driver::start(options(1 << 20), MemoryFiles::new()).expect("it is new");
    let history = genesis(group(1), 0x0102_0304_0506_0708);
    let ballot = Ballot {
        term: Term(3),
        voted_for: Some(member(2)),
    };
    driver.submit_all(vec![
        (group(1), DiskWrite::Genesis(history.clone())),
        (group(1), DiskWrite::Ballot(ballot)),
        (group(2), DiskWrite::Refuse(genesis(group(2), 9).id())),
    ]);
    driver.settle();
    let log = driver.log(group(1));
    let mut entries = vec![command(3, b'a', 5)];
    entries.extend(kept());
    let previous = log.end();
    driver.submit(
        group(1),
        DiskWrite::Append {
            previous,
            entries: entries.into(),
        },
    );
    let base = DiskWrite::Base {
        base: driver.log(group(1)).cursor(2),
        configuration: configuration(),
        genesis: history.id(),
        keep: true,
    };
    driver.submit(group(1), base);
    driver.settle();
    let boot = Boot {
        number: 6,
        nonce: 0x55aa,
    };
    driver.submit(group(1), DiskWrite::Taken);
    driver.remember(vec![(member(3), boot)]);
    driver.settle();
    driver.seal();
    driver.settle();
    driver.files
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| {
        line.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    bytes.chunks(32).map(|chunk| line(chunk) + "\n").collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

#[test]
fn what_is_written_is_what_was_always_written() {
    let files = directory();
    let log = files
        .content("log-0000000001")
        .expect("there is one segment");
    assert_eq!(hex(&log), LOG);
    for name in NAMES {
        assert_eq!(
            hex(&files.content(name).expect("there are two copies")),
            SUPERBLOCK
        );
    }
}

#[test]
fn what_was_always_written_can_be_read() {
    let written = directory();
    let mut files = MemoryFiles::new();
    files.replace("log-0000000001", unhex(LOG));
    for name in NAMES {
        files.replace(name, unhex(SUPERBLOCK));
    }
    let read = Driver::start(options(1 << 20), files).expect("it is whole");
    let again = Driver::start(options(1 << 20), written).expect("it is whole");
    assert_eq!(read.lineage.present().number, 2);
    for number in [1, 2] {
        assert_eq!(read.log(group(number)), again.log(group(number)));
        assert_eq!(read.ballot(group(number)), again.ballot(group(number)));
    }
    let log = read.log(group(1));
    assert_eq!((log.base.index.0, log.entries), (2, kept()));
    assert_eq!(read.log(group(2)).refused, [genesis(group(2), 9).id()]);
}

/// A reader made from the description of the format alone, checksum included.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self, size: usize) -> u64 {
        let bytes = self.take(size).iter().rev();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

fn crc32c(parts: &[&[u8]]) -> u64 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    u64::from(!crc)
}

#[test]
fn the_segment_is_as_described() {
    let log = unhex(LOG);
    let mut bytes = Bytes(&log);
    assert_eq!(bytes.take(8), b"quorlog\0");
    assert_eq!(bytes.number(4), 1);
    assert_eq!(bytes.number(4), crc32c(&[&log[16..40], &log[..12]]));
    assert_eq!(bytes.number(8), 1, "the segment's number");
    let marker = bytes.number(8);
    assert_eq!(bytes.number(8), 1, "the first batch");
    let mut kinds = Vec::new();
    let mut sequence = 0;
    while !bytes.0.is_empty() {
        let (start, header) = (log.len() - bytes.0.len(), bytes.0);
        assert_eq!(bytes.number(8), marker);
        sequence += 1;
        assert_eq!(bytes.number(8), sequence);
        let sealed = (bytes.number(8), bytes.number(8));
        let before = if sequence == 1 {
            (0, 0)
        } else {
            (1, start as u64)
        };
        assert_eq!(sealed, before);
        let length = bytes.number(4) as usize;
        let count = bytes.number(4);
        assert_eq!(bytes.number(4), crc32c(&[&header[..40]]));
        let mut records = Bytes(bytes.take(length));
        for _ in 0..count {
            let record = records.0;
            let checksum = records.number(4);
            let body = records.number(4) as usize;
            kinds.push((records.take(1)[0], records.take(16)[0]));
            assert_eq!(checksum, crc32c(&[&header[..16], &record[4..25 + body]]));
            read_body(
                *kinds.last().expect("just pushed"),
                Bytes(records.take(body)),
            );
        }
        assert_eq!(records.0, []);
    }
    assert_eq!(kinds, [(1, 1), (2, 2), (3, 1), (4, 1)]);
}

fn read_body((kind, _): (u8, u8), mut body: Bytes<'_>) {
    let members = |body: &mut Bytes<'_>, count: u64| {
        assert_eq!(body.number(1), count);
        for number in 1..=count {
            assert_eq!(body.take(32), [number as u8; 32]);
            assert_eq!(body.number(8), number << 8);
        }
    };
    match kind {
        1 => {
            assert_eq!(body.number(8), 0x0102_0304_0506_0708);
            members(&mut body, 3);
        }
        2 => {
            assert_eq!(body.take(16), genesis(group(2), 9).id().0);
            assert_eq!(body.number(1), 0, "another history than that of the log");
        }
        3 => {
            assert_eq!(
                (body.number(8), body.number(8)),
                (1, 1),
                "behind the genesis"
            );
            assert_eq!(body.number(4), 4, "entries");
            // Commands of term 3 by nobody: their length and bytes.
            assert_eq!(body.take(8), *b"\x02\x03\x05aaaaa");
            assert_eq!(body.take(6), *b"\x02\x03\x03bbb");
            // A named one: client 2, number 300, the lowest open one 7, the leader's clock.
            assert_eq!(body.take(11), *b"\x04\x03\x02\xac\x02\x07\xb4\x24\x02cc");
            // A registration, at 5 of the leader's clock.
            assert_eq!(body.take(3), *b"\x05\x03\x05");
        }
        _ => {
            assert_eq!((body.number(8), body.number(8)), (3, 2), "base");
            assert_eq!((body.number(8), body.number(8)), (3, 5), "end");
            assert_eq!(
                body.take(16),
                genesis(group(1), 0x0102_0304_0506_0708).id().0
            );
            assert_eq!(body.number(1), 1, "the rest is kept");
            members(&mut body, 3);
            members(&mut body, 0);
            members(&mut body, 0);
        }
    }
    assert_eq!(body.0, []);
}

#[test]
fn the_superblock_is_as_described() {
    let whole = unhex(SUPERBLOCK);
    let mut bytes = Bytes(&whole);
    assert_eq!(bytes.take(8), b"quorsupr");
    assert_eq!(bytes.number(4), 1);
    assert_eq!(bytes.number(4), crc32c(&[&whole[16..], &whole[..12]]));
    assert_eq!(bytes.number(8), whole.len() as u64);
    assert_eq!(
        bytes.number(8),
        5,
        "the start, the ballot, the histories, a boot taken, what is remembered and sealed"
    );
    assert_eq!(bytes.number(8), 0x1111_2222);
    assert_eq!(bytes.number(8), 0x0bad_cafe_f00d_5eed);
    assert_eq!(bytes.number(8), 1, "the first start");
    assert_eq!(
        (bytes.number(8), bytes.number(8)),
        (1, unhex(LOG).len() as u64)
    );
    assert_eq!(bytes.number(8), 3, "batches");
    assert_eq!(bytes.number(1), 0, "copy a first");
    assert_eq!(bytes.number(4), 2, "groups");
    assert_eq!(bytes.number(4), 1, "nonces");
    assert_eq!(bytes.number(4), 1, "remembered boots");
    assert_eq!(bytes.take(16), [1; 16]);
    assert_eq!(bytes.number(8), 3, "term");
    assert_eq!((bytes.number(8), bytes.number(8)), (3, 5), "sealed");
    assert_eq!(bytes.number(8), 1, "since");
    assert_eq!(bytes.number(1), 3, "a vote and a genesis");
    assert_eq!(bytes.number(4), 0, "refused");
    assert_eq!((bytes.take(32), bytes.number(8)), (&[2; 32][..], 2 << 8));
    assert_eq!(
        bytes.take(16),
        genesis(group(1), 0x0102_0304_0506_0708).id().0
    );
    assert_eq!(bytes.take(16), [2; 16]);
    assert_eq!(bytes.number(8), 0);
    assert_eq!((bytes.number(8), bytes.number(8)), (0, 0));
    assert_eq!(bytes.number(8), 0);
    assert_eq!(bytes.number(1), 0);
    assert_eq!(bytes.number(4), 1, "refused");
    assert_eq!(bytes.take(16), genesis(group(2), 9).id().0);
    assert_eq!(bytes.number(8), 0x0123_4567_89ab_cdef, "the start's nonce");
    assert_eq!((bytes.take(32), bytes.number(8)), (&[3; 32][..], 3 << 8));
    assert_eq!((bytes.number(8), bytes.number(8)), (6, 0x55aa));
    assert_eq!(bytes.0, []);
}

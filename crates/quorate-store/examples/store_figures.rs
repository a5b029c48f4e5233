//! How fast the store takes appends when its files are in memory.
//!
//! `cargo run --release --example store_figures -p quorate-store`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures time and prints it"
)]

use std::time::Instant;

use quorate_core::{
    Body, Cursor, DiskId, DiskOp, DiskWrite, Entry, Genesis, GroupId, Incarnation, Index, Member,
    PeerId, Term,
};
use quorate_store::{DiskCompletion, MemoryStore, StoreOptions, recover};

const ENTRY_BYTES: usize = 100;
const RESERVE: u64 = 8_192;

fn main() {
    for (groups, batch, total) in [
        (1, 1, 2_000_000),
        (1, 16, 8_000_000),
        (1, 256, 16_000_000),
        (1, 4_096, 16_000_000),
        (1_000, 1, 2_000_000),
    ] {
        let (seconds, appends) = appends(groups, batch, total);
        let per_second = (appends * batch) as f64 / seconds;
        let each = seconds * 1e9 / appends as f64;
        println!(
            "{groups:>5} groups, {batch:>5} entries of {ENTRY_BYTES} B an append: \
             {per_second:>12.0} entries/s, {each:>10.0} ns an append"
        );
    }
    recovery(1_000_000);
}

fn genesis(group: GroupId) -> Genesis {
    Genesis {
        group,
        nonce: 1,
        voters: vec![Member {
            peer: PeerId([1; 32]),
            incarnation: Incarnation(1),
        }],
    }
}

fn entries(count: u64) -> Vec<Entry> {
    let entry = Entry {
        term: Term(1),
        body: Body::Command(vec![7; ENTRY_BYTES].into()),
    };
    vec![entry; count as usize]
}

fn started(groups: u64) -> (MemoryStore, Vec<GroupId>) {
    let (mut store, _) = MemoryStore::new(StoreOptions::new(Incarnation(1), 1, 1));
    let ids: Vec<GroupId> = (0..groups)
        .map(|number| GroupId((number as u128).to_be_bytes()))
        .collect();
    for group in &ids {
        let write = DiskWrite::Genesis(genesis(*group));
        store.submit(DiskOp {
            id: DiskId(0),
            group: *group,
            write,
        });
    }
    (store, ids)
}

/// Appends to the groups in turn, moving their bases; returns the seconds and the appends.
fn appends(groups: u64, batch: u64, total: u64) -> (f64, u64) {
    let (mut store, ids) = started(groups);
    let entries = entries(batch);
    let mut last = vec![1_u64; ids.len()];
    let mut bases = vec![0_u64; ids.len()];
    let mut done: Vec<DiskCompletion> = Vec::new();
    let appends = total / batch;
    let start = Instant::now();
    for number in 0..appends {
        let at = (number % groups) as usize;
        let group = ids[at];
        let previous = Cursor::new(Term(1), Index(last[at]));
        let write = DiskWrite::Append {
            previous,
            entries: entries.clone().into(),
        };
        store.submit_all(
            [DiskOp {
                id: DiskId(number),
                group,
                write,
            }],
            &mut done,
        );
        last[at] += batch;
        if last[at] - bases[at] > RESERVE + RESERVE / 4 {
            bases[at] = last[at] - RESERVE;
            let write = DiskWrite::Base {
                base: Cursor::new(Term(1), Index(bases[at])),
                configuration: Box::new(genesis(group).configuration()),
                genesis: genesis(group).id(),
                keep: true,
            };
            store.submit_all(
                [DiskOp {
                    id: DiskId(number),
                    group,
                    write,
                }],
                &mut done,
            );
        }
        assert!(done.iter().all(|done| done.result.is_ok()) && !done.is_empty());
        done.clear();
    }
    (start.elapsed().as_secs_f64(), appends)
}

/// Writes `total` entries and reads them back.
fn recovery(total: u64) {
    let (mut store, ids) = started(1);
    let (group, entries) = (ids[0], entries(256));
    for number in 0..total / 256 {
        let previous = Cursor::new(Term(1), Index(1 + number * 256));
        let write = DiskWrite::Append {
            previous,
            entries: entries.clone().into(),
        };
        store.submit(DiskOp {
            id: DiskId(number),
            group,
            write,
        });
    }
    let mut files = store.into_files();
    let bytes = files.bytes();
    let start = Instant::now();
    let opened = recover(StoreOptions::new(Incarnation(1), 1, 1), &mut files);
    let seconds = start.elapsed().as_secs_f64();
    let recovered = opened.map_or(0, |opened| opened.recovered.groups[0].entries.len());
    println!(
        "recovery of {} entries, {} MiB: {:.0} ms",
        recovered,
        bytes >> 20,
        seconds * 1e3
    );
}

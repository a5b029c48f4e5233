//! A log whose base moves gives its space back.

use quorate_core::{Cursor, DiskId, DiskOp, DiskWrite, Entry, Index, Term};
use quorate_store::{Damage, MemoryFiles, MemoryStore, limits};

use crate::common::{Driver, Log, command, configuration, genesis, group, options, recover_for};

#[test]
fn a_million_entries_with_a_moving_base_stay_in_a_few_segments() {
    const RESERVE: u64 = 8_192;
    const BATCH: u64 = 256;
    let (mut store, _) = MemoryStore::new(options(limits::SEGMENT_BYTES));
    let genesis = genesis(group(1), 1);
    let mut id = 0;
    let mut submit = |store: &mut MemoryStore, write| {
        id += 1;
        let group = group(1);
        let done = store.submit(DiskOp {
            id: DiskId(id),
            group,
            write,
        });
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].result, Ok(()));
    };
    submit(&mut store, DiskWrite::Genesis(genesis.clone()));
    let entries: Vec<Entry> = (0..BATCH).map(|_| command(1, 7, 100)).collect();
    let (mut last, mut base, mut most) = (1, 0, 0);
    while last < 1_000_000 {
        let previous = Cursor::new(Term(1), Index(last));
        submit(
            &mut store,
            DiskWrite::Append {
                previous,
                entries: entries.clone().into(),
            },
        );
        last += BATCH;
        if last - base > RESERVE + RESERVE / 4 {
            base = last - RESERVE;
            let write = DiskWrite::Base {
                base: Cursor::new(Term(1), Index(base)),
                configuration: configuration(),
                genesis: genesis.id(),
                keep: true,
            };
            submit(&mut store, write);
        }
        most = most.max(store.bytes());
    }
    // The reserve with its quarter is 1.2 MiB; the oldest and the newest segment are not all of it.
    assert!(most < 3 * limits::SEGMENT_BYTES, "{most} bytes");
    assert!(most > RESERVE * 100);
    let recovered = MemoryStore::open(options(limits::SEGMENT_BYTES), store.into_files());
    let (_, recovered) = recovered.expect("it is whole");
    assert_eq!(recovered.groups[0].base.index.0, base);
    assert_eq!(recovered.groups[0].entries.len() as u64, last - base);
    assert_eq!(recovered.groups[0].genesis, Some(genesis.id()));
}

/// Appends `count` entries of `term` behind the first `keep` entries, each in a segment of its own.
fn append(driver: &mut Driver, number: u8, keep: usize, term: u64, count: usize) {
    for at in keep..keep + count {
        let previous = driver.log(group(number)).cursor(at);
        let entries = vec![command(term, number, 200)];
        driver.append(group(number), previous, entries);
    }
}

fn rebase(driver: &mut Driver, number: u8, at: usize) {
    let log = driver.log(group(number));
    let base = DiskWrite::Base {
        base: log.cursor(at),
        configuration: configuration(),
        genesis: log.genesis.expect("it has begun"),
        keep: true,
    };
    driver.submit(group(number), base);
    driver.settle();
}

fn check(driver: Driver) {
    let mut files = driver.files;
    let opened = recover_for(options(300), &mut files, u64::MAX).expect("it ends");
    let opened = opened.expect("it is whole");
    for recovered in &opened.recovered.groups {
        assert_eq!(Log::from(recovered), driver.pasts[&recovered.group].now().0);
    }
}

fn started(groups: &[u8]) -> Driver {
    let mut driver = Driver::start(options(300), MemoryFiles::new()).expect("it is new");
    for number in groups {
        driver.submit(
            group(*number),
            DiskWrite::Genesis(genesis(group(*number), 1)),
        );
        driver.settle();
    }
    driver
}

#[test]
fn overwritten_entries_do_not_rise_from_a_segment_that_another_group_needs() {
    let mut driver = started(&[1, 2]);
    // Entries of both groups share segments: group 2 stays, group 1's are overwritten.
    for _ in 0..6 {
        let ops = [1, 2].map(|number| {
            let previous = driver.log(group(number)).end();
            let entries = vec![command(1, number, 10)];
            (
                group(number),
                DiskWrite::Append {
                    previous,
                    entries: entries.into(),
                },
            )
        });
        driver.submit_all(ops.into());
        driver.settle();
    }
    append(&mut driver, 1, 3, 2, 1);
    let before = driver.store.segments();
    // The segment with the cut goes, since the base covers its entry; those before it stay.
    rebase(&mut driver, 1, 4);
    append(&mut driver, 2, 7, 1, 3);
    assert!(driver.store.segments() <= before + 3);
    assert_eq!(driver.log(group(1)).entries.len(), 0);
    check(driver);
}

#[test]
fn a_cold_group_pins_only_what_it_needs() {
    let mut driver = started(&[1, 2]);
    append(&mut driver, 1, 1, 1, 40);
    let held = driver.store.segments();
    rebase(&mut driver, 1, 35);
    append(&mut driver, 1, 6, 1, 1);
    assert!(
        driver.store.segments() < held - 25,
        "{}",
        driver.store.segments()
    );
    assert_eq!(driver.log(group(2)).entries.len(), 1);
    check(driver);
}

#[test]
fn a_dropped_history_frees_its_segments_and_stays_refused() {
    let mut driver = started(&[1]);
    append(&mut driver, 1, 1, 1, 20);
    let id = genesis(group(1), 1).id();
    driver.submit(group(1), DiskWrite::Refuse(id));
    driver.settle();
    driver.submit(group(1), DiskWrite::Genesis(genesis(group(1), 2)));
    driver.settle();
    append(&mut driver, 1, 1, 1, 1);
    assert!(driver.store.segments() <= 4, "{}", driver.store.segments());
    assert_eq!(driver.log(group(1)).refused, [id]);
    check(driver);
}

#[test]
fn a_dissolved_history_frees_its_segments_and_stays_buried() {
    let mut driver = started(&[1]);
    append(&mut driver, 1, 1, 1, 20);
    let (id, winner) = (genesis(group(1), 1).id(), genesis(group(1), 2).id());
    let dissolve = |genesis| DiskWrite::Dissolve {
        genesis,
        into: winner,
    };
    driver.submit(group(1), dissolve(id));
    // Another history's tombstone leaves the log alone.
    driver.submit(group(1), DiskWrite::Genesis(genesis(group(1), 3)));
    let other = genesis(group(1), 4).id();
    driver.submit(group(1), dissolve(other));
    driver.settle();
    append(&mut driver, 1, 1, 1, 1);
    assert!(driver.store.segments() <= 4, "{}", driver.store.segments());
    let log = driver.log(group(1));
    assert_eq!(log.tombstones, [(id, winner), (other, winner)]);
    assert_eq!(log.entries.len(), 2);
    check(driver);
}

#[test]
fn overwritten_entries_free_their_segments() {
    let mut driver = started(&[1]);
    append(&mut driver, 1, 1, 1, 30);
    let held = driver.store.segments();
    append(&mut driver, 1, 2, 2, 1);
    // The base gets to where the entries were cut, far below the highest that there was.
    rebase(&mut driver, 1, 2);
    append(&mut driver, 1, 1, 2, 1);
    assert!(held > 25 && driver.store.segments() <= 4);
    assert_eq!(driver.log(group(1)).entries.len(), 2);
    check(driver);
}

#[test]
fn a_lost_segment_is_missed_although_no_other_follows_on_it() {
    let mut driver = started(&[1, 2]);
    append(&mut driver, 2, 1, 1, 2);
    append(&mut driver, 1, 1, 1, 5);
    rebase(&mut driver, 1, 4);
    driver.seal();
    driver.settle();
    let holds = |files: &MemoryFiles, name: &str| {
        let content = files.content(name).expect("it is listed");
        content.windows(200).any(|window| *window == [2; 200])
    };
    let names: Vec<String> = driver.files.names().map(str::to_owned).collect();
    let last = names.iter().rfind(|name| holds(&driver.files, name));
    driver
        .files
        .remove(last.expect("the entries are somewhere"));
    let lost = recover_for(options(300), &mut driver.files, u64::MAX).expect("it ends");
    let damage = Damage {
        at: None,
        group: Some(group(2)),
        index: Some(Index(3)),
    };
    let lost = lost.expect("what is left is a log");
    assert_eq!(lost.report.damage, [damage]);
    assert_eq!(
        lost.recovered.groups[1].floor,
        Some(Cursor::new(Term(1), Index(3)))
    );
    assert_eq!(lost.recovered.groups[0].floor, None);
}

//! Boots that are counted and remembered, and incarnations that end: at any crash one or the
//! other, never something in between.

use quorate_core::{Boot, Cursor, DiskWrite, Genesis, Incarnation};
use quorate_store::{Fate, MemoryFiles, Opened, StoreOptions};

use crate::common::{Driver, command, genesis, group, member, options, recover_for};

fn again() -> StoreOptions {
    StoreOptions {
        incarnation: Incarnation(0x3333),
        marker: 0x4444,
        nonce: 0x5555,
        ..options(256)
    }
}

/// A directory with a log of several segments.
fn lived_in() -> Driver {
    let mut driver = Driver::start(options(256), MemoryFiles::crashing()).expect("it is new");
    driver.submit(group(1), DiskWrite::Genesis(genesis(group(1), 1)));
    let mut previous = Genesis::CURSOR;
    for number in 0..8 {
        let entries = vec![command(1, b'a', 60)];
        driver.append(group(1), previous, entries);
        previous = Cursor::new(previous.term, previous.index.next());
        assert!(driver.store.segments() > number / 8);
    }
    assert!(driver.store.segments() > 2);
    driver
}

fn reopen(mut files: MemoryFiles) -> Opened {
    let opened = recover_for(again(), &mut files, u64::MAX).expect("it ends");
    opened.expect("it is whole")
}

#[test]
fn a_start_adds_its_nonce_to_those_before_unless_the_last_one_was_not_taken() {
    let mut files = MemoryFiles::crashing();
    let mut taken = 0;
    for start in 1_u64..60 {
        let options = StoreOptions {
            nonce: start,
            ..again()
        };
        let mut driver = Driver::start(options, files).expect("it is whole");
        let boot = Boot {
            number: taken + 1,
            nonce: start,
        };
        assert_eq!(driver.lineage.present(), boot);
        assert!(!driver.lineage.is_taken());
        let kept = usize::try_from(taken + 1).expect("small").min(16);
        assert_eq!(driver.lineage.nonces().len(), kept);
        if start % 3 != 0 {
            driver.submit(group(1), DiskWrite::Taken);
            driver.settle();
            taken += 1;
        }
        files = driver.files;
        files.crash(|_| Fate::Lost);
    }
    assert_eq!(taken, 40);
}

#[test]
fn a_boot_is_reported_as_taken_only_when_no_crash_can_undo_it() {
    for fate in [Fate::Lost, Fate::Kept] {
        let mut requests = 0;
        loop {
            let mut driver = lived_in();
            driver.submit(group(1), DiskWrite::Taken);
            driver.pump(requests);
            let past = &driver.pasts[&group(1)];
            let durable = past.durable == past.ids.len();
            driver.files.crash(|_| fate.clone());
            let number = reopen(driver.files).recovered.lineage.present().number;
            assert!(number == 2 || (number == 1 && !durable), "boot {number}");
            if durable {
                break;
            }
            requests += 1;
        }
        assert!(requests >= 4, "both copies are written and synced");
    }
}

#[test]
fn remembered_boots_are_the_last_ones_told_or_those_before() {
    let boot = |number| Boot { number, nonce: 7 };
    let first = vec![(member(1), boot(3))];
    let second = vec![(member(1), boot(4)), (member(2), boot(1))];
    let mut requests = 0;
    loop {
        let mut driver = lived_in();
        driver.remember(first.clone());
        driver.settle();
        driver.remember(second.clone());
        let over = driver.pump(requests);
        let durable = over && driver.store.is_idle();
        driver.files.crash(|_| Fate::Lost);
        let found = reopen(driver.files).recovered.remembered;
        assert!(found == second || (!durable && found == first));
        if durable {
            break;
        }
        requests += 1;
    }
    assert!(requests >= 4, "both copies are written and synced");
}

#[test]
fn an_incarnation_that_ended_never_comes_back_and_leaves_nothing() {
    let boot = Boot {
        number: 3,
        nonce: 7,
    };
    for fate in [Fate::Lost, Fate::Kept] {
        let mut requests = 0;
        loop {
            let mut driver = lived_in();
            driver.remember(vec![(member(1), boot)]);
            driver.settle();
            driver.end_incarnation();
            driver.pump(requests);
            let ended = driver.store.has_ended();
            driver.files.crash(|_| fate.clone());
            let opened = reopen(driver.files);
            let recovered = &opened.recovered;
            assert!(opened.report.ended || !ended, "after {requests} requests");
            assert_eq!(recovered.succeeds, opened.report.ended);
            if opened.report.ended {
                assert_eq!(recovered.incarnation, Incarnation(0x3333));
                assert_eq!(recovered.lineage.present().number, 1);
                assert!(recovered.groups.is_empty());
            } else {
                assert_eq!(recovered.incarnation, Incarnation(0x1111_2222));
                assert_eq!(recovered.groups[0].entries.len(), 9);
            }
            assert_eq!(recovered.remembered, [(member(1), boot)]);
            if ended {
                break;
            }
            requests += 1;
        }
    }
}

#[test]
fn a_start_after_the_end_may_be_interrupted_anywhere() {
    for fate in [Fate::Lost, Fate::Kept] {
        let mut requests = 0;
        loop {
            let mut driver = lived_in();
            driver.end_incarnation();
            driver.settle();
            let mut files = driver.files;
            files.crash(|_| Fate::Lost);
            let over = recover_for(again(), &mut files, requests).is_some();
            files.crash(|_| fate.clone());
            let mut next = Driver::start(again(), files).expect("it is whole");
            assert!(next.pasts.is_empty());
            // What it writes now is not mixed with what was there.
            next.submit(group(1), DiskWrite::Genesis(genesis(group(1), 2)));
            next.settle();
            let recovered = reopen(next.files).recovered;
            assert_eq!(recovered.incarnation, Incarnation(0x3333));
            assert!(recovered.succeeds);
            assert_eq!(recovered.groups[0].genesis, Some(genesis(group(1), 2).id()));
            assert_eq!(recovered.groups[0].entries.len(), 1);
            if over {
                break;
            }
            requests += 1;
        }
    }
}

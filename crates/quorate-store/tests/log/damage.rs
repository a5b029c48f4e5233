//! Every byte of the log, bad: below the seal it is damage, above it a torn tail, never a panic.
//!
//! Damage never shows: what is recovered is what was there, or ends before it, with a floor at the
//! place where it ended.

use proptest::prelude::*;
use quorate_core::{Ballot, Body, Cursor, DiskWrite, Entry, Index, Recovered, Term};
use quorate_store::{
    Damage, MemoryFiles, Opened, Position, RecoveryError,
    record::{BATCH_HEADER, BatchHeader},
    superblock::NAMES,
};

use crate::common::{
    Dice, Driver, Log, command, configuration, fate, genesis, group, member, options, recover_for,
};

const SEGMENT: u64 = 900;

/// A directory with two groups and several segments, sealed but for its last batch.
struct Directory {
    files: MemoryFiles,
    /// What it holds.
    whole: Recovered,
    /// What it holds without the last batch.
    sealed: Recovered,
    /// Where the last batch begins in the last segment.
    seal: usize,
}

fn directory() -> Directory {
    let mut driver = Driver::start(options(SEGMENT), MemoryFiles::new()).expect("it is new");
    for number in [1, 2] {
        driver.submit(group(number), DiskWrite::Genesis(genesis(group(number), 7)));
        let ballot = Ballot {
            term: Term(3),
            voted_for: Some(member(number)),
        };
        driver.submit(group(number), DiskWrite::Ballot(ballot));
    }
    for at in 0..12 {
        append(&mut driver, 1, at);
        append(&mut driver, 2, at);
    }
    let log = driver.log(group(1));
    let base = DiskWrite::Base {
        base: log.cursor(10),
        configuration: configuration(),
        genesis: log.genesis.expect("it has begun"),
        keep: true,
    };
    driver.submit(group(1), base);
    driver.settle();
    driver.seal();
    driver.settle();
    let opened = recover(&mut driver.files.clone()).expect("nothing is wrong with it");
    assert_eq!(opened.report.torn, None);
    assert_eq!(opened.recovered.groups[0].entries.len(), 15);
    let sealed = opened.recovered;
    let names = segments(&driver.files);
    let length = |files: &MemoryFiles| {
        let last = files.content(names.last().expect("there are segments"));
        last.expect("it is there").len()
    };
    let seal = length(&driver.files);
    append(&mut driver, 2, 99);
    assert_eq!(segments(&driver.files), names);
    assert!(length(&driver.files) > seal);
    let whole = recover(&mut driver.files.clone()).expect("nothing is wrong with it");
    Directory {
        files: driver.files,
        whole: whole.recovered,
        sealed,
        seal,
    }
}

fn append(driver: &mut Driver, number: u8, fill: u8) {
    let entries = vec![command(3, fill, 20), command(3, fill + 100, 40)];
    let previous = driver.log(group(number)).end();
    driver.append(group(number), previous, entries);
}

fn recover(files: &mut MemoryFiles) -> Result<Opened, RecoveryError> {
    recover_for(options(SEGMENT), files, u64::MAX).expect("recovery ends")
}

fn same(a: &Recovered, b: &Recovered) {
    assert_eq!(format!("{:?}", a.groups), format!("{:?}", b.groups));
}

fn segments(files: &MemoryFiles) -> Vec<String> {
    let names = files.names().filter(|name| name.starts_with("log-"));
    names.map(str::to_owned).collect()
}

/// Checks what recovery makes of a log that is damaged below its seal.
///
/// `least` is what it held for sure, and no more than `most`.
fn check_damaged(opened: &Opened, least: &Recovered, most: &Recovered, context: &str) {
    assert_eq!(opened.report.torn, None, "{context}");
    let groups = opened.recovered.groups.iter();
    assert_eq!(groups.len(), least.groups.len());
    for ((left, least), most) in groups.zip(&least.groups).zip(&most.groups) {
        let (mine, was, longest) = (Log::from(left), Log::from(least), Log::from(most));
        assert_eq!((left.ballot, left.genesis), (least.ballot, least.genesis));
        for (at, entry) in (mine.base.index.0 + 1..).zip(&mine.entries) {
            let held = at.checked_sub(longest.base.index.0 + 1);
            let held = held.and_then(|at| longest.entries.get(at as usize));
            assert!(
                held.is_none_or(|held| held == entry),
                "{context}: other entries"
            );
        }
        assert!(
            mine.end() <= longest.end(),
            "{context}: more than there was"
        );
        match left.floor {
            // The end must be as it was; where it begins may be older, if a base was lost.
            None => assert!(
                mine.end() >= was.end(),
                "{context}: {:?} is lost",
                was.end()
            ),
            Some(floor) => {
                assert!(floor >= was.end(), "{context}: a floor below the end");
                assert!(floor > mine.end(), "{context}: a floor that is reached");
            }
        }
    }
    let limited = opened.recovered.groups.iter();
    for group in limited.filter(|group| group.floor.is_some()) {
        let index = Log::from(group).end().index.next();
        let named = |damage: &&Damage| damage.group == Some(group.group);
        let named = opened.report.damage.iter().find(named);
        let named = named.and_then(|damage| damage.index).expect("it is named");
        assert!(named <= index, "{context}: {named:?}");
    }
}

/// Checks that a directory that was mended is whole, and as limited as before.
fn check_mended(files: &mut MemoryFiles, opened: &Opened) {
    let again = recover(files).expect("it was mended");
    assert_eq!(again.report.damage, []);
    assert_eq!(again.report.torn, None);
    same(&again.recovered, &opened.recovered);
}

#[test]
fn a_bad_byte_below_the_seal_is_damage_and_named() {
    let directory = directory();
    let names = segments(&directory.files);
    assert!(names.len() > 3);
    let (mut groups_named, mut limited) = (0, 0);
    for name in &names {
        let content = directory.files.content(name).expect("it is there");
        let last = Some(name) == names.last();
        let below = if last { directory.seal } else { content.len() };
        for at in 0..content.len() {
            let mut rotten = content.clone();
            rotten[at] ^= 1 << (at % 8);
            let mut files = directory.files.clone();
            files.replace(name, rotten);
            let opened = recover(&mut files).expect("what is left is a log");
            let context = format!("{name} {at}");
            if let Some(first) = opened.report.damage.iter().find(|first| first.at.is_some()) {
                assert!(at < below, "{context}");
                let position = first.at.expect("it has a place");
                assert_eq!(format!("log-{:010}", position.segment), *name);
                assert!(position.offset <= at as u64);
                groups_named += usize::from(first.group.is_some() && first.index.is_some());
                let groups = opened.recovered.groups.iter();
                limited += groups.filter(|group| group.floor.is_some()).count();
                check_damaged(&opened, &directory.sealed, &directory.whole, &context);
                if at % 7 == 0 {
                    check_mended(&mut files, &opened);
                }
            } else {
                assert!(at >= below, "{context}: {:?}", opened.report);
                let torn = opened.report.torn.expect("it is reported");
                let bytes = (content.len() - below) as u64;
                assert_eq!((torn.at.offset, torn.bytes), (below as u64, bytes));
                same(&opened.recovered, &directory.sealed);
            }
        }
    }
    assert!(groups_named > 500, "{groups_named}");
    assert!(limited > 500, "{limited}");
}

#[test]
fn damage_to_a_record_names_its_group_and_the_first_index_missing() {
    let mut files = directory().files;
    let names = segments(&files);
    // The last byte of the third segment is the last of an append.
    let mut content = files.content(&names[2]).expect("it is there");
    *content.last_mut().expect("it has bytes") ^= 1;
    files.replace(&names[2], content);
    let opened = recover(&mut files).expect("what is left is a log");
    let [damage] = opened.report.damage[..] else {
        panic!("in one place: {:?}", opened.report.damage);
    };
    assert_eq!(damage.at.map(|at| at.segment), Some(3));
    let name = damage.group.expect("the group can be read");
    let index = damage.index.expect("so the index is known");
    assert!(name == group(1) || name == group(2));
    assert!((3..20).contains(&index.0), "{index:?}");
}

/// Damages a byte that costs group 2 the end of its log.
fn damaged(files: &MemoryFiles) -> MemoryFiles {
    let names = segments(files);
    let content = files.content(&names[1]).expect("it is there");
    let limits = |files: &MemoryFiles| {
        let opened = recover(&mut files.clone()).expect("what is left is a log");
        opened.recovered.groups[1].floor.is_some()
    };
    let mut damaged = (0..content.len()).map(|at| {
        let mut rotten = content.clone();
        rotten[at] ^= 4;
        let mut files = files.clone();
        files.replace(&names[1], rotten);
        files
    });
    damaged
        .find(limits)
        .expect("the segment has some of its log")
}

#[test]
fn a_limit_on_votes_outlives_starts_until_the_log_is_back() {
    let Directory { files, whole, .. } = directory();
    let lost = group(2);
    let was = whole.groups.iter().find(|one| one.group == lost);
    let was = Log::from(was.expect("it is there"));
    let mut driver =
        Driver::start(options(SEGMENT), damaged(&files)).expect("what is left is a log");
    let hole = driver.log(lost).end();
    assert!(hole < was.end());
    let floor = |files: &MemoryFiles| {
        let opened = recover(&mut files.clone()).expect("it is whole");
        let mut groups = opened.recovered.groups.into_iter();
        groups
            .find(|one| one.group == lost)
            .and_then(|one| one.floor)
    };
    assert_eq!(floor(&driver.files), Some(was.end()));
    // It is refilled one by one; only the last entry ends the limit.
    while driver.log(lost).end() < was.end() {
        assert_eq!(floor(&driver.files), Some(was.end()));
        let previous = driver.log(lost).end();
        let next = (previous.index.0 - was.base.index.0) as usize;
        let entries = vec![was.entries[next].clone()];
        driver.append(lost, previous, entries);
    }
    assert_eq!(floor(&driver.files), None);
    assert_eq!(driver.log(lost).entries, was.entries);
}

#[test]
fn a_crash_while_a_damaged_log_is_written_anew_changes_nothing() {
    let files = damaged(&directory().files);
    let mut rotten = MemoryFiles::crashing();
    for name in files.names().map(str::to_owned).collect::<Vec<_>>() {
        rotten.replace(&name, files.content(&name).expect("it is there"));
    }
    let opened = recover(&mut rotten.clone()).expect("what is left is a log");
    assert!(
        opened
            .recovered
            .groups
            .iter()
            .any(|one| one.floor.is_some())
    );
    let mut interrupted = 0;
    for requests in 0..200 {
        for seed in 0..6 {
            let mut files = rotten.clone();
            let fresh = quorate_store::StoreOptions {
                marker: 1_000 + seed,
                ..options(SEGMENT)
            };
            if let Some(ended) = recover_for(fresh, &mut files, requests) {
                same(&ended.expect("it is mended").recovered, &opened.recovered);
            } else {
                interrupted += 1;
            }
            let mut dice = Dice::new(seed * 1_000 + requests);
            files.crash(fate(&mut dice));
            let again = recover(&mut files).expect("what is left is a log");
            same(&again.recovered, &opened.recovered);
            check_mended(&mut files, &again);
        }
    }
    assert!(interrupted > 50, "{interrupted}");
}

#[test]
fn a_bad_byte_in_one_superblock_changes_nothing() {
    let Directory { files, whole, .. } = directory();
    for name in NAMES {
        let content = files.content(name).expect("it is there");
        for at in 0..content.len() {
            let mut rotten = content.clone();
            rotten[at] ^= 1 << (at % 8);
            let mut files = files.clone();
            files.replace(name, rotten);
            let opened = recover(&mut files).expect("the other copy is good");
            assert_eq!(opened.report.bad_copies, 1, "{name} {at}");
            same(&opened.recovered, &whole);
            assert_eq!(files.content(NAMES[0]), files.content(NAMES[1]));
        }
    }
}

#[test]
fn a_segment_cut_short_or_gone_is_damage() {
    let Directory {
        files,
        whole,
        sealed,
        seal,
    } = directory();
    let names = segments(&files);
    for name in &names {
        let content = files.content(name).expect("it is there");
        let last = Some(name) == names.last();
        for length in 0..content.len() {
            let mut files = files.clone();
            files.replace(name, content[..length].to_vec());
            let outcome = recover(&mut files);
            let opened = outcome.expect("what is left is a log");
            if last && length >= seal {
                same(&opened.recovered, &sealed);
            } else {
                assert_ne!(opened.report.damage, [], "{name} {length}");
                // With the end of the log goes what was not sealed, too.
                check_damaged(&opened, &whole, &whole, &format!("{name} {length}"));
            }
        }
        same(
            &recover(&mut files.clone()).expect("it is whole").recovered,
            &whole,
        );
        let mut files = files.clone();
        files.remove(name);
        let opened = recover(&mut files).expect("what is left is a log");
        assert_ne!(opened.report.damage, [], "{name}");
        check_damaged(&opened, &whole, &whole, name);
        check_mended(&mut files, &opened);
    }
}

#[test]
fn whatever_follows_the_last_batch_is_cut() {
    let Directory { files, whole, .. } = directory();
    let name = segments(&files).pop().expect("there are segments");
    let content = files.content(&name).expect("it is there");
    for extra in [1, BATCH_HEADER - 1, BATCH_HEADER, 300] {
        for fill in [0, 0xff, 0x5e] {
            let mut longer = content.clone();
            longer.resize(content.len() + extra, fill);
            let mut files = files.clone();
            files.replace(&name, longer);
            let opened = recover(&mut files).expect("nothing promised is bad");
            let torn = opened.report.torn.expect("it is reported");
            assert_eq!(
                (torn.at.offset, torn.bytes),
                (content.len() as u64, extra as u64)
            );
            same(&opened.recovered, &whole);
            assert_eq!(files.content(&name).as_ref(), Some(&content));
        }
    }
}

#[test]
fn a_batch_written_twice_counts_once() {
    let Directory {
        mut files,
        whole,
        seal,
        ..
    } = directory();
    let name = segments(&files).pop().expect("there are segments");
    let mut content = files.content(&name).expect("it is there");
    let length = content.len();
    content.extend_from_within(seal..);
    files.replace(&name, content);
    let opened = recover(&mut files).expect("nothing promised is bad");
    assert_eq!(
        opened.report.torn.map(|torn| torn.at.offset),
        Some(length as u64)
    );
    same(&opened.recovered, &whole);
}

#[test]
fn a_batch_planted_in_a_command_seals_nothing() {
    // A client that guesses the format, but not the marker, writes what looks like a batch that
    // says "everything is sealed". Its own batch is torn: that must stay a torn tail.
    let mut driver = Driver::start(options(1 << 20), MemoryFiles::new()).expect("it is new");
    driver.submit(group(1), DiskWrite::Genesis(genesis(group(1), 7)));
    driver.settle();
    let mut planted = vec![0; BATCH_HEADER];
    let header = BatchHeader {
        sequence: 99,
        seal: Position {
            segment: u64::MAX,
            offset: u64::MAX,
        },
        length: 0,
        count: 0,
    };
    header.encode(0x1234_5678_9abc_def0, &mut planted);
    let mut entry: Entry = command(1, 0, 0);
    if let Body::Command(command) = &mut entry.body {
        *command = planted.into();
    }
    let previous = Cursor::new(Term(1), Index(1));
    let before = driver
        .files
        .content("log-0000000001")
        .expect("it is there")
        .len();
    let entries = vec![entry];
    driver.append(group(1), previous, entries);
    let mut files = driver.files;
    let mut content = files.content("log-0000000001").expect("it is there");
    content[before + 1] ^= 1;
    files.replace("log-0000000001", content);
    let opened = recover(&mut files).expect("it is a torn tail");
    assert_eq!(
        opened.report.torn.map(|torn| torn.at.offset),
        Some(before as u64)
    );
    assert_eq!(opened.recovered.groups[0].entries.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_recover_or_are_refused(
        which in 0_usize..8,
        edits in prop::collection::vec((any::<u16>(), any::<u8>()), 1..40),
        cut in any::<u16>(),
        garbage in prop::collection::vec(any::<u8>(), 0..400),
        whole in any::<bool>(),
    ) {
        let mut files = directory().files;
        let names: Vec<String> = files.names().map(str::to_owned).collect();
        let name = &names[which % names.len()];
        let mut content = files.content(name).expect("it is there");
        if whole {
            content = garbage;
        } else {
            for (at, byte) in edits {
                let at = usize::from(at) % content.len();
                content[at] = byte;
            }
            content.truncate(usize::from(cut) % (content.len() + 1));
            content.extend(garbage);
        }
        files.replace(name, content);
        // Whatever comes of it, doing it again comes to the same.
        let once = recover(&mut files).map(|opened| format!("{:?}", opened.recovered.groups));
        let twice = recover(&mut files).map(|opened| format!("{:?}", opened.recovered.groups));
        prop_assert_eq!(once, twice);
    }
}

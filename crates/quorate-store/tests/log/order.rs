//! When operations are reported durable, and when they fail.

use quorate_core::{
    Ballot, Cursor, DiskError, DiskId, DiskOp, DiskWrite, Genesis, GroupId, Incarnation, Index,
    Term,
};
use quorate_store::{
    Fate, FileDone, FileError, FileOp, FileRequest, MemoryFiles, Store, StoreEffects, StoreOptions,
    Unsynced, superblock::NAMES,
};

use crate::common::{Driver, command, configuration, genesis, group, member, options, recover_for};

fn opened() -> (Store, MemoryFiles) {
    let mut files = MemoryFiles::crashing();
    let opened = recover_for(options(1 << 20), &mut files, u64::MAX);
    (opened.expect("it ends").expect("it is new").store, files)
}

fn op(id: u64, group: GroupId, write: DiskWrite) -> DiskOp {
    DiskOp {
        id: DiskId(id),
        group,
        write,
    }
}

fn append(id: u64, number: u8, at: u64) -> DiskOp {
    let previous = if at == 0 {
        Cursor::ZERO
    } else {
        Cursor::new(Term(1), Index(at))
    };
    let entries = vec![command(1, number, 100)];
    op(
        id,
        group(number),
        DiskWrite::Append {
            previous,
            entries: entries.into(),
        },
    )
}

fn ballot(id: u64, number: u8, term: u64) -> DiskOp {
    let ballot = Ballot {
        term: Term(term),
        voted_for: Some(member(1)),
    };
    op(id, group(number), DiskWrite::Ballot(ballot))
}

fn ids(effects: &mut StoreEffects) -> Vec<u64> {
    effects.done.drain(..).map(|done| done.id.0).collect()
}

/// Names what requests do, in short.
fn names(requests: &[FileRequest]) -> Vec<&'static str> {
    requests
        .iter()
        .map(|request| match request.op {
            FileOp::Open { .. } => "open",
            FileOp::Close { .. } => "close",
            FileOp::Write { .. } => "write",
            FileOp::Sync { .. } => "sync",
            FileOp::SyncDirectory => "sync directory",
            FileOp::Remove { .. } => "remove",
            _ => "other",
        })
        .collect()
}

/// Reports the requests handed out so far as done; returns them.
fn complete(store: &mut Store, effects: &mut StoreEffects) -> Vec<FileRequest> {
    let requests = std::mem::take(&mut effects.files);
    for request in &requests {
        assert!(
            effects.done.is_empty(),
            "before the last request of its batch"
        );
        store.completed(request.id, &Ok(FileDone::Done), effects);
    }
    requests
}

#[test]
fn one_write_and_one_sync_serve_all_that_wait() {
    let (mut store, _) = opened();
    let mut effects = StoreEffects::default();
    store.submit(append(1, 1, 0), &mut effects);
    let first = ["open", "write", "sync", "sync directory"];
    assert_eq!(names(&effects.files), first);
    let under_way = std::mem::take(&mut effects.files);
    for (id, number) in [(2, 2), (3, 1), (4, 3)] {
        store.submit(append(id, number, u64::from(id == 3)), &mut effects);
    }
    assert!(effects.files.is_empty(), "one batch at a time");
    assert!(store.gathered_bytes() > 300);
    for request in under_way {
        assert_eq!(ids(&mut effects), [] as [u64; 0]);
        store.completed(request.id, &Ok(FileDone::Done), &mut effects);
    }
    assert_eq!(ids(&mut effects), [1]);
    let second = complete(&mut store, &mut effects);
    assert_eq!(names(&second), ["write", "sync"]);
    assert_eq!(ids(&mut effects), [2, 3, 4]);
    assert!(store.is_idle());
}

#[test]
fn a_ballot_is_durable_after_the_second_copy() {
    let (mut store, _) = opened();
    let mut effects = StoreEffects::default();
    store.submit(ballot(1, 1, 5), &mut effects);
    assert_eq!(
        names(&complete(&mut store, &mut effects)),
        ["write", "sync"]
    );
    assert_eq!(ids(&mut effects), [] as [u64; 0]);
    // What comes during the rewrite goes into the next.
    store.submit(ballot(2, 2, 5), &mut effects);
    assert_eq!(
        names(&complete(&mut store, &mut effects)),
        ["write", "sync"]
    );
    assert_eq!(ids(&mut effects), [1]);
    complete(&mut store, &mut effects);
    assert_eq!(ids(&mut effects), [] as [u64; 0]);
    complete(&mut store, &mut effects);
    assert_eq!(ids(&mut effects), [2]);
}

#[test]
fn an_append_is_not_reported_before_the_ballot_it_came_after() {
    let (mut store, _) = opened();
    let mut effects = StoreEffects::default();
    store.submit_all(
        [append(1, 1, 0), ballot(2, 1, 5), append(3, 1, 1)],
        &mut effects,
    );
    store.submit(append(4, 2, 0), &mut effects);
    let mut requests = std::mem::take(&mut effects.files);
    let superblock = requests.split_off(4);
    for request in requests {
        store.completed(request.id, &Ok(FileDone::Done), &mut effects);
    }
    assert_eq!(
        ids(&mut effects),
        [1],
        "the rest of the group waits for the ballot"
    );
    complete(&mut store, &mut effects);
    assert_eq!(ids(&mut effects), [4], "another group does not");
    for request in superblock {
        store.completed(request.id, &Ok(FileDone::Done), &mut effects);
    }
    complete(&mut store, &mut effects);
    assert_eq!(ids(&mut effects), [2, 3]);
}

#[test]
fn a_failed_request_ends_the_store() {
    // Opening, writing, syncing, syncing the directory; a sync may fail for lack of space, too.
    let broken = [0, 1, 2, 3].map(|at| (at, FileError::Device));
    let full = [2, 3].map(|at| (at, FileError::NoSpace));
    for (broken, reason) in broken.into_iter().chain(full) {
        let (mut store, _) = opened();
        let mut effects = StoreEffects::default();
        store.submit(append(1, 2, 0), &mut effects);
        let requests = std::mem::take(&mut effects.files);
        store.submit(append(2, 1, 0), &mut effects);
        for (at, request) in requests.iter().enumerate() {
            let result = if at == broken {
                Err(reason)
            } else {
                Ok(FileDone::Done)
            };
            store.completed(request.id, &result, &mut effects);
        }
        store.submit(append(3, 3, 0), &mut effects);
        store.seal(&mut effects);
        store.retry(&mut effects);
        let results: Vec<_> = effects
            .done
            .iter()
            .map(|done| (done.id.0, done.result))
            .collect();
        let error = Err(DiskError::Device);
        assert_eq!(results, [(1, error), (2, error), (3, error)]);
        assert_eq!(effects.files, [], "nothing is tried again");
        assert_eq!(store.failure(), Some(DiskError::Device));
    }
}

#[test]
fn what_does_not_fit_the_log_is_never_reported_durable() {
    let base = |index, keep| DiskWrite::Base {
        base: Cursor::new(Term(1), Index(index)),
        configuration: configuration(),
        genesis: genesis(group(1), 1).id(),
        keep,
    };
    let behind_a_gap = DiskWrite::Append {
        previous: Cursor::new(Term(1), Index(3)),
        entries: vec![command(1, 1, 10)].into(),
    };
    let wrong_term = DiskWrite::Append {
        previous: Cursor::new(Term(2), Genesis::CURSOR.index),
        entries: vec![command(2, 1, 10)].into(),
    };
    let below_the_base = DiskWrite::Append {
        previous: Genesis::CURSOR,
        entries: Vec::new().into(),
    };
    let cases = [
        vec![behind_a_gap],
        vec![wrong_term],
        vec![base(5, false), below_the_base],
        vec![base(5, false), base(4, true)],
        vec![DiskWrite::Genesis(genesis(group(2), 1))],
    ];
    for writes in cases {
        let (mut store, _) = opened();
        let mut effects = StoreEffects::default();
        store.submit(
            op(0, group(1), DiskWrite::Genesis(genesis(group(1), 1))),
            &mut effects,
        );
        for (id, write) in (1..).zip(writes.clone()) {
            assert_eq!(store.failure(), None);
            store.submit(op(id, group(1), write), &mut effects);
        }
        assert_eq!(store.failure(), Some(DiskError::Device), "{writes:?}");
        let last = effects.done.last().expect("all have failed");
        assert_eq!(
            (last.id.0, last.result),
            (writes.len() as u64, Err(DiskError::Device))
        );
    }
}

#[test]
fn refusing_another_history_leaves_the_log() {
    let mut files = MemoryFiles::crashing();
    let mut driver = Driver::start(options(1 << 20), files).expect("it is new");
    let (mine, other) = (genesis(group(1), 1), genesis(group(1), 2));
    driver.submit(group(1), DiskWrite::Genesis(mine.clone()));
    driver.submit(group(1), DiskWrite::Refuse(other.id()));
    driver.settle();
    files = driver.files;
    let opened = recover_for(options(1 << 20), &mut files, u64::MAX).expect("it ends");
    let recovered = &opened.expect("it is whole").recovered.groups[0];
    assert_eq!(recovered.genesis, Some(mine.id()));
    assert_eq!(recovered.founding, Some(mine));
    assert_eq!(recovered.refused, [other.id()]);
    assert_eq!(recovered.entries.len(), 1);
}

/// Carries out what the store asks for; returns how many operations are durable.
fn settle(store: &mut Store, files: &mut MemoryFiles, effects: &mut StoreEffects) -> usize {
    while !effects.files.is_empty() {
        for request in std::mem::take(&mut effects.files) {
            let (id, result) = files.execute(request);
            store.completed(id, &result, effects);
        }
    }
    let done = effects.done.drain(..);
    done.map(|done| done.result.expect("nothing has failed"))
        .count()
}

#[test]
fn what_there_is_no_space_for_waits_until_there_is() {
    for segment_bytes in [1 << 20, 300] {
        let mut files = MemoryFiles::crashing();
        let opened = recover_for(options(segment_bytes), &mut files, u64::MAX).expect("it ends");
        let mut store = opened.expect("it is new").store;
        files.set_capacity(Some(10_000));
        let mut effects = StoreEffects::default();
        let mut durable = 0;
        for id in 0..200 {
            store.submit(append(id, 1, id), &mut effects);
            durable += settle(&mut store, &mut files, &mut effects);
        }
        assert!((10..190).contains(&durable), "{durable}");
        assert!(store.is_short_of_space() && !store.is_idle());
        store.retry(&mut effects);
        assert_eq!(settle(&mut store, &mut files, &mut effects), 0);
        assert!(store.is_short_of_space());

        // What was promised is there, and nothing of what was not.
        let mut full = files.clone();
        full.set_capacity(None);
        full.crash(|_| Fate::Lost);
        let opened = recover_for(options(segment_bytes), &mut full, u64::MAX).expect("it ends");
        let recovered = opened.expect("it is whole").recovered;
        assert_eq!(recovered.groups[0].entries.len(), durable);

        files.set_capacity(None);
        store.retry(&mut effects);
        durable += settle(&mut store, &mut files, &mut effects);
        assert_eq!(durable, 200);
        assert!(!store.is_short_of_space());
        files.crash(|_| Fate::Lost);
        let opened = recover_for(options(segment_bytes), &mut files, u64::MAX).expect("it ends");
        let opened = opened.expect("it is whole");
        assert_eq!(opened.recovered.groups[0].entries.len(), 200);
        assert_eq!(opened.report.damage, []);
    }
}

#[test]
fn a_ballot_there_is_no_space_for_waits_too() {
    let (mut store, mut effects) = (opened().0, StoreEffects::default());
    store.submit(ballot(1, 1, 5), &mut effects);
    for tries in 0..4 {
        let requests = std::mem::take(&mut effects.files);
        assert_eq!(requests.len(), 2, "one copy");
        store.retry(&mut effects);
        assert_eq!(effects.files, [], "not while it is being written");
        // The second try fails, too, and so does the first one of the second copy.
        let fits = tries % 2 == 1;
        let wrote = if fits {
            Ok(FileDone::Done)
        } else {
            Err(FileError::NoSpace)
        };
        store.completed(requests[0].id, &wrote, &mut effects);
        store.completed(requests[1].id, &Ok(FileDone::Done), &mut effects);
        assert_eq!(store.is_short_of_space(), !fits);
        assert_eq!(effects.done.is_empty(), tries < 3);
        store.retry(&mut effects);
    }
    assert_eq!(ids(&mut effects), [1]);
}

#[test]
fn one_copy_of_the_superblock_is_enough_and_none_is_the_end_of_the_incarnation() {
    for copy in NAMES {
        let mut driver =
            Driver::start(options(1 << 20), MemoryFiles::crashing()).expect("it is new");
        let ballot = Ballot {
            term: Term(9),
            voted_for: Some(member(3)),
        };
        driver.submit(group(1), DiskWrite::Ballot(ballot));
        driver.settle();
        let mut files = driver.files;
        files.replace(copy, b"not a superblock".to_vec());
        let opened = recover_for(options(1 << 20), &mut files, u64::MAX).expect("it ends");
        let opened = opened.expect("the other copy is good");
        assert_eq!(opened.recovered.groups[0].ballot, ballot);
        assert_eq!(opened.report.bad_copies, 1);
        assert!(opened.recovered.restarted);
        for copy in NAMES {
            files.replace(copy, b"not a superblock".to_vec());
        }
        let other = StoreOptions {
            incarnation: Incarnation(77),
            marker: 78,
            ..options(1 << 20)
        };
        let over = recover_for(other, &mut files, u64::MAX).expect("it ends");
        let over = over.expect("another incarnation begins");
        assert!(over.report.ended && !over.report.fresh);
        assert_eq!(over.report.bad_copies, 2);
        assert_eq!(over.recovered.incarnation, Incarnation(77));
        assert!(over.recovered.groups.is_empty(), "nothing is remembered");
        let again = recover_for(options(1 << 20), &mut files, u64::MAX).expect("it ends");
        let again = again.expect("it is whole");
        assert_eq!(again.recovered.incarnation, Incarnation(77));
        assert!(!again.report.ended);
    }
}

#[test]
fn a_segment_goes_only_after_both_copies_tell_what_it_said_and_seal_it() {
    let mut files = MemoryFiles::new();
    let opened = recover_for(options(300), &mut files, u64::MAX).expect("it ends");
    let mut store = opened.expect("it is new").store;
    let mut effects = StoreEffects::default();
    let history = genesis(group(1), 1);
    store.submit(
        op(1, group(1), DiskWrite::Genesis(history.clone())),
        &mut effects,
    );
    while !effects.files.is_empty() {
        effects.done.clear();
        complete(&mut store, &mut effects);
    }
    // The refusal frees the first segment, the append begins the second.
    effects.done.clear();
    store.submit(
        op(2, group(1), DiskWrite::Refuse(history.id())),
        &mut effects,
    );
    let refusal = std::mem::take(&mut effects.files);
    store.submit(append(3, 2, 0), &mut effects);
    for request in refusal {
        store.completed(request.id, &Ok(FileDone::Done), &mut effects);
    }
    let requests = std::mem::take(&mut effects.files);
    let batch = ["close", "open", "write", "sync", "sync directory"];
    assert_eq!(names(&requests), [&batch[..], &["write", "sync"]].concat());
    let (batch, first) = requests.split_at(6);
    for request in batch.iter().chain(first) {
        store.completed(request.id, &Ok(FileDone::Done), &mut effects);
    }
    assert_eq!(ids(&mut effects), [3]);
    assert_eq!(
        names(&complete(&mut store, &mut effects)),
        ["write", "sync"],
        "the second copy"
    );
    assert_eq!(ids(&mut effects), [2]);
    for copy in ["first", "second"] {
        let written = names(&complete(&mut store, &mut effects));
        assert_eq!(written, ["write", "sync"], "the seal, to the {copy} copy");
    }
    assert_eq!(
        names(&effects.files),
        ["remove", "remove"],
        "the genesis and its refusal"
    );
}

/// Loses power with every unsynced write torn in its first bytes.
fn tear(files: &mut MemoryFiles) {
    files.crash(|unsynced| match unsynced {
        Unsynced::Write { .. } => Fate::Torn(0..20),
        _ => Fate::Lost,
    });
}

#[test]
fn one_copy_of_the_superblock_survives_a_kill_and_then_a_power_loss() {
    let ballot = |term| Ballot {
        term: Term(term),
        voted_for: Some(member(1)),
    };
    let options = options(1 << 20);
    // The process is killed after `life` requests of a rewrite (what was written stays readable,
    // synced or not), again after `start` requests of the next start, and during the start after
    // that the power fails.
    for life in 0..=4 {
        for (start, last) in (0..16).flat_map(|start| (0..16).map(move |last| (start, last))) {
            let mut driver = Driver::start(options, MemoryFiles::crashing()).expect("it is new");
            driver.submit(group(1), DiskWrite::Ballot(ballot(1)));
            driver.settle();
            driver.submit(group(1), DiskWrite::Ballot(ballot(2)));
            driver.pump(life);
            let durable = driver.pasts[&group(1)].durable;
            let mut files = driver.files;
            recover_for(options, &mut files, start);
            recover_for(options, &mut files, last);
            tear(&mut files);
            let opened = recover_for(options, &mut files, u64::MAX).expect("it ends");
            let opened = opened.unwrap_or_else(|error| panic!("{life} {start} {last}: {error}"));
            let found = opened.recovered.groups[0].ballot;
            assert!(found == ballot(2) || (found == ballot(1) && durable == 1));
        }
    }
}

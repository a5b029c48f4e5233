//! Random operations, power lost anywhere, any part of what was not synced lost or torn: what was
//! reported durable is there after recovery, and nothing is there that was not submitted.

use proptest::prelude::*;
use quorate_core::{Ballot, DiskWrite, Entry, Genesis, GroupId, RecoveredGroup, Term};
use quorate_store::MemoryFiles;

use crate::common::{
    Dice, Driver, Log, command, configuration, fate, genesis, group, member, options, recover_for,
};

/// One thing that happens, by raw numbers that are read against what is possible then.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    group: u8,
    a: u16,
    b: u16,
}

fn step() -> impl Strategy<Value = Step> {
    (any::<u8>(), 0..3_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, group, a, b)| Step {
        kind,
        group,
        a,
        b,
    })
}

/// Reads a step as an operation that fits the group's log.
fn operation(driver: &Driver, step: Step, nonce: &mut u64) -> Option<(GroupId, DiskWrite)> {
    let id = group(step.group);
    let (log, ballot) = (driver.log(id), driver.ballot(id));
    *nonce += 1;
    let write = match step.kind % 32 {
        0..=15 => append(&log, step),
        16..=19 => {
            let higher = step.a.is_multiple_of(2);
            DiskWrite::Ballot(Ballot {
                term: Term(ballot.term.0 + u64::from(higher)),
                voted_for: if higher || ballot.voted_for.is_none() {
                    (step.b.is_multiple_of(2)).then(|| member(1 + (step.b % 3) as u8))
                } else {
                    ballot.voted_for
                },
            })
        }
        20 => DiskWrite::Genesis(genesis(id, *nonce)),
        21 if step.b.is_multiple_of(2) => DiskWrite::Refuse(genesis(id, *nonce).id()),
        22 if step.b.is_multiple_of(2) => DiskWrite::Refuse(log.genesis?),
        21 | 22 => DiskWrite::Dissolve {
            genesis: log
                .genesis
                .filter(|_| step.kind % 32 == 22)
                .unwrap_or_else(|| genesis(id, *nonce).id()),
            into: genesis(id, 1 + *nonce).id(),
        },
        23..=29 => {
            let at = step.a as usize % (log.entries.len() + 1);
            DiskWrite::Base {
                base: log.cursor(at),
                configuration: configuration(),
                genesis: log.genesis?,
                keep: !step.b.is_multiple_of(8),
            }
        }
        _ => {
            let mut base = log.end();
            base.index.0 += u64::from(step.a % 50);
            base.term.0 += u64::from(step.b % 2);
            DiskWrite::Base {
                base,
                configuration: configuration(),
                genesis: log.genesis.unwrap_or_else(|| genesis(id, *nonce).id()),
                keep: step.b.is_multiple_of(4),
            }
        }
    };
    Some((id, write))
}

fn append(log: &Log, step: Step) -> DiskWrite {
    // One in four drops part of the log, and then the entries are of a later term.
    let back = if step.a.is_multiple_of(4) {
        step.b as usize % 6
    } else {
        0
    };
    let at = log.entries.len().saturating_sub(back);
    let term = log.end().term.0 + u64::from(back > 0 || step.a % 16 == 1);
    let size = 10 + step.b as usize % 150;
    let entries: Vec<Entry> = (0..step.a / 16 % 5)
        .map(|number| {
            command(
                term,
                step.a.to_le_bytes()[0].wrapping_add(number as u8),
                size,
            )
        })
        .collect();
    DiskWrite::Append {
        previous: log.cursor(at),
        entries: entries.into(),
    }
}

/// Checks what was recovered of one group against what it was asked to write.
fn check(driver: &Driver, recovered: &[RecoveredGroup]) -> Result<(), TestCaseError> {
    for (id, past) in &driver.pasts {
        let found = recovered.iter().find(|group| group.group == *id);
        let (log, ballot) = found
            .map(|group| (Log::from(group), group.ballot))
            .unwrap_or_default();
        let possible = &past.states[past.durable..];
        prop_assert!(
            possible.iter().any(|(state, _)| *state == log),
            "{id:?}: {} of {} durable, recovered {log:?}, not one of {possible:?}",
            past.durable,
            past.ids.len(),
        );
        let raised = Ballot {
            term: log.end().term,
            voted_for: None,
        };
        let allowed =
            |state: &Ballot| *state == ballot || (raised.term > state.term && raised == ballot);
        prop_assert!(
            possible.iter().any(|(_, state)| allowed(state)),
            "{id:?}: recovered {ballot:?}, not one of {possible:?}",
        );
    }
    for group in recovered {
        prop_assert!(driver.pasts.contains_key(&group.group));
        prop_assert!(group.ballot.term >= Log::from(group).end().term);
        if let Some(founding) = &group.founding {
            prop_assert_eq!(Some(founding.id()), group.genesis);
            prop_assert_eq!(Log::from(group).end(), Genesis::CURSOR);
        }
    }
    Ok(())
}

/// Loses power or only the process, perhaps again during recovery, and goes on with what was
/// recovered.
fn crash(mut driver: Driver, dice: &mut Dice, segment_bytes: u64) -> Result<Driver, TestCaseError> {
    let options = options(segment_bytes);
    loop {
        // If only the process dies, what was written is read back, synced or not.
        if dice.below(3) != 0 {
            driver.files.crash(fate(dice));
        }
        if dice.below(3) != 0 {
            break;
        }
        let requests = dice.below(24);
        let early = recover_for(options, &mut driver.files, requests);
        if let Some(early) = early {
            check(
                &driver,
                &early.expect("a crash is not damage").recovered.groups,
            )?;
        }
    }
    let opened = recover_for(options, &mut driver.files, u64::MAX).expect("recovery ends");
    let opened = opened.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
    let groups = &opened.recovered.groups;
    check(&driver, groups)?;
    prop_assert!(opened.recovered.restarted);
    // Everything recovered is durable: losing power at once again changes nothing.
    let mut again = driver.files.clone();
    again.crash(|_| quorate_store::Fate::Lost);
    let twice = recover_for(options, &mut again, u64::MAX).expect("recovery ends");
    let twice = twice.map_err(|error| TestCaseError::fail(format!("again: {error:?}")))?;
    prop_assert_eq!(
        format!("{:?}", &twice.recovered.groups),
        format!("{groups:?}")
    );
    prop_assert_eq!(twice.report.torn, None);
    let restarted = Driver::start(options, driver.files);
    restarted.map_err(|error| TestCaseError::fail(format!("third: {error:?}")))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_crash_takes_nothing_that_was_promised(
        steps in prop::collection::vec(step(), 1..120),
        seed in any::<u64>(),
        segment_bytes in prop_oneof![Just(300_u64), Just(1_000), Just(4_000)],
    ) {
        let mut dice = Dice::new(seed);
        let mut driver = Driver::start(options(segment_bytes), MemoryFiles::crashing())
            .expect("a new directory starts");
        let mut nonce = 0;
        for step in steps {
            match step.kind {
                // Of 256: a crash now and then, a seal, a pause of the driver; else operations.
                0..=11 => {
                    driver = crash(driver, &mut dice, segment_bytes)?;
                }
                12..=19 => driver.seal(),
                20..=119 => {
                    driver.pump(u64::from(step.a % 12));
                }
                _ => {
                    if let Some((group, write)) = operation(&driver, step, &mut nonce) {
                        driver.submit(group, write);
                    }
                }
            }
        }
        let driver = crash(driver, &mut dice, segment_bytes)?;
        let mut driver = crash(driver, &mut dice, segment_bytes)?;
        driver.settle();
    }
}

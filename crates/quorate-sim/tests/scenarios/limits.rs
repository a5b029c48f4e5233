//! What happens when more is asked than a group can hold.

use std::time::Duration;

use quorate_core::{Form, limits};
use quorate_sim::{Action, Told, World};

use crate::cluster::{settle, wait, world, write};

/// Bytes of one value: a command of about a megabyte, the largest there may be.
const LARGE: u32 = 1_000_000;

/// Asks for so many large writes through a peer; returns their numbers.
fn flood(world: &mut World, peer: usize, writes: u32) -> Vec<usize> {
    let insert = |key| Action::Insert { key, size: LARGE };
    (0..writes)
        .filter_map(|key| world.ask(peer, insert(key), Duration::from_secs(2)))
        .collect()
}

/// Floods a peer whose writes cannot commit; what is beyond the cap must be refused at once, and
/// once the group decides again, so must writes go on.
fn refuses_beyond_the_cap(leads: bool) {
    let mut world = world(3, &[Form::Expect(3); 3], |_| {});
    settle(&mut world);
    let leader = world.leader().expect("a settled group has one");
    let peer = if leads { leader } else { (leader + 1) % 3 };
    let ways = world.ways_of(peer);
    world.cut(&ways);
    let fit = limits::UNCOMMITTED_BYTES / LARGE as usize;
    let asked = flood(&mut world, peer, fit as u32 + 40);
    // Before a leader without a quorum steps down, and long before any deadline.
    world.run_for(Duration::from_millis(150));
    let told: Vec<Option<Told>> = asked.iter().map(|number| world.told(*number)).collect();
    let refused = told.iter().filter(|told| **told == Some(Told::Refused));
    let (refused, open) = (refused.count(), told.iter().filter(|t| t.is_none()).count());
    assert_eq!(refused + open, asked.len(), "{told:?}");
    assert!((30..=45).contains(&refused), "{refused} were refused");
    let view = world.view(peer).expect("it runs");
    let held = view.uncommitted_bytes;
    assert!(
        !leads || held > limits::UNCOMMITTED_BYTES / 2,
        "it holds {held} bytes"
    );

    wait(&mut world, 5, "answers", |world| {
        asked.iter().all(|number| world.told(*number).is_some())
    });
    world.mend(&ways);
    settle(&mut world);
    write(&mut world, peer, 0..20, 40);
    settle(&mut world);
}

#[test]
fn a_leader_refuses_what_it_cannot_commit_beyond_the_cap_and_takes_writes_again() {
    refuses_beyond_the_cap(true);
}

#[test]
fn a_follower_refuses_what_it_cannot_pass_on_beyond_the_cap_and_takes_writes_again() {
    refuses_beyond_the_cap(false);
}

//! What the scenario tests share: small clusters on a good network, directed by hand.

use std::time::Duration;

use quorate_core::{Event, Form, GroupEvent};
use quorate_sim::{Action, Keep, Scenario, Storage, Told, World};

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(4);

/// Makes the world of a calm scenario that `change` may change; keeps all events.
pub(crate) fn world(seed: u64, forms: &[Form], change: impl FnOnce(&mut Scenario)) -> World {
    let mut scenario = Scenario::calm(seed, Storage::Memory, forms);
    change(&mut scenario);
    let mut world = World::new(scenario, Keep::LastEvents(40));
    world.listen();
    world
}

/// Runs until `wanted` holds; fails with what stands in the way after `seconds`.
#[track_caller]
pub(crate) fn wait(
    world: &mut World,
    seconds: u64,
    what: &str,
    wanted: impl FnMut(&World) -> bool,
) {
    if !world.run_until(Duration::from_secs(seconds), wanted) {
        let divided = world.divided();
        panic!("no {what} in {seconds} s: {divided:?}\n{}", world.report(0));
    }
}

/// Runs until all peers that run are one settled group, and compares all logs and states.
#[track_caller]
pub(crate) fn settle(world: &mut World) {
    wait(world, 60, "settled group", |world| {
        world.divided().is_none()
    });
    sound(world);
}

/// Checks that no invariant was violated.
#[track_caller]
pub(crate) fn sound(world: &World) {
    assert!(world.violation().is_none(), "{}", world.report(0));
}

/// Writes `keys` through `peer`, one after the other, each acknowledged.
#[track_caller]
pub(crate) fn write(world: &mut World, peer: usize, keys: std::ops::Range<u32>, size: u32) {
    let mut asked = Vec::new();
    for key in keys {
        asked.push(
            world
                .ask(peer, Action::Insert { key, size }, PATIENCE)
                .expect("the peer runs"),
        );
        world.run_for(Duration::from_micros(500));
    }
    wait(world, 10, "acknowledged writes", |world| {
        asked
            .iter()
            .all(|number| matches!(world.told(*number), Some(Told::Written(_))))
    });
}

/// Writes through `peer` until a write is acknowledged.
#[track_caller]
pub(crate) fn write_at_last(world: &mut World, peer: usize, key: u32) {
    for _ in 0..10 {
        let number = world
            .ask(peer, Action::Insert { key, size: 32 }, PATIENCE)
            .expect("the peer runs");
        wait(world, 10, "answer", |world| world.told(number).is_some());
        if matches!(world.told(number), Some(Told::Written(_))) {
            return;
        }
    }
    panic!(
        "no write through peer {peer} is acknowledged\n{}",
        world.report(0)
    );
}

/// Keeps clients writing at some peers while something else goes on.
pub(crate) struct Load {
    peers: Vec<usize>,
    next: u32,
    asked: Vec<usize>,
}

impl Load {
    pub(crate) fn new(peers: &[usize]) -> Self {
        Self {
            peers: peers.to_vec(),
            next: 0,
            asked: Vec::new(),
        }
    }

    /// Lets one client write every few milliseconds until `wanted` holds.
    #[track_caller]
    pub(crate) fn until(
        &mut self,
        world: &mut World,
        seconds: u64,
        what: &str,
        wanted: impl Fn(&World) -> bool,
    ) {
        let end = world.now() + Duration::from_secs(seconds);
        while !wanted(world) {
            let peer = self.peers[self.next as usize % self.peers.len()];
            let key = 100_000 + self.next % 500;
            self.next += 1;
            self.asked
                .extend(world.ask(peer, Action::Insert { key, size: 64 }, PATIENCE));
            world.run_for(Duration::from_millis(2));
            sound(world);
            assert!(
                world.now() < end,
                "no {what} in {seconds} s\n{}",
                world.report(0)
            );
        }
    }

    /// Returns how many writes were acknowledged.
    pub(crate) fn written(&self, world: &World) -> usize {
        self.asked
            .iter()
            .filter(|number| matches!(world.told(**number), Some(Told::Written(_))))
            .count()
    }
}

/// Returns the events of one peer's group that `pick` picks, in order.
pub(crate) fn events<T>(
    world: &World,
    peer: usize,
    pick: impl Fn(&GroupEvent) -> Option<T>,
) -> Vec<T> {
    world
        .heard()
        .iter()
        .filter(|heard| heard.peer == peer)
        .filter_map(|heard| match &heard.event {
            Event::Group { event, .. } => pick(event),
            _ => None,
        })
        .collect()
}

/// Returns how many catch-ups a peer has finished by a restore.
pub(crate) fn restores(world: &World, peer: usize) -> usize {
    events(world, peer, |event| {
        matches!(event, GroupEvent::Restored { .. }).then_some(())
    })
    .len()
}

//! Ways that carry a megabyte a second: what is on them must not bury what comes last.

use std::time::Duration;

use quorate_core::{Form, Role};
use quorate_sim::{Action, Told, World};

use crate::cluster::{settle, sound, wait, world};

const FOUNDERS: [Form; 3] = [Form::Expect(3), Form::Expect(3), Form::Expect(3)];

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(60);

fn leader(world: &World) -> Option<(usize, u64)> {
    (0..3).find_map(|peer| {
        let view = world.view(peer)?;
        (view.role == Role::Leader).then_some((peer, view.ballot.term.0))
    })
}

#[test]
fn a_read_does_not_wait_behind_a_burst_of_writes_over_slow_ways() {
    for seed in 0..10 {
        let mut world = world(seed, &FOUNDERS, |scenario| scenario.network.rate = 1 << 20);
        settle(&mut world);
        let (peer, term) = leader(&world).expect("it has settled");
        // Six seconds of what a way carries, at once.
        let asked: Vec<usize> = (0..3_000)
            .filter_map(|key| world.ask(peer, Action::Insert { key, size: 2_000 }, PATIENCE))
            .collect();
        world.run_for(Duration::from_millis(500));
        let read = Action::Read {
            key: 1,
            linearizable: true,
        };
        let (began, read) = (
            world.now(),
            world.ask(peer, read, PATIENCE).expect("it runs"),
        );
        wait(&mut world, 60, "read", |world| world.told(read).is_some());
        let took = world.now() - began;
        assert!(took < Duration::from_secs(1), "seed {seed}: {took:?}");
        wait(&mut world, 60, "acknowledged writes", |world| {
            let written = |number| matches!(world.told(number), Some(Told::Written(_)));
            asked.iter().all(|number| written(*number))
        });
        assert_eq!(leader(&world), Some((peer, term)), "seed {seed}");
        sound(&world);
    }
}

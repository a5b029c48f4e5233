//! How the lead is handed over.

use std::time::Duration;

use quorate_core::{Form, Reply};
use quorate_sim::{Action, Told, World};

use crate::cluster::{Load, settle, sound, wait, world, write, write_at_last};

const PATIENCE: Duration = Duration::from_secs(3);

/// Waits for the answer to a wish, and returns it.
#[track_caller]
fn answer(world: &mut World, wish: u64) -> Reply {
    wait(world, 4, "answer", |world| world.granted(wish).is_some());
    world.granted(wish).cloned().expect("it was waited for")
}

#[test]
fn any_peer_has_the_lead_handed_to_any_voter_under_load() {
    let mut world = world(1, &[Form::Expect(3); 3], |_| {});
    settle(&mut world);
    let mut load = Load::new(&[0, 1, 2]);
    for round in 0..12 {
        let leader = world.leader().expect("it was waited for");
        let (asked, to) = (round % 3, (leader + 1 + round % 2) % 3);
        let before = world.now();
        let wish = world.transfer(asked, Some(to), PATIENCE).expect("it runs");
        // Reads at every peer meanwhile: the checkers judge each of them.
        for peer in 0..3 {
            world.ask(
                peer,
                Action::Read {
                    key: 100_000,
                    linearizable: true,
                },
                PATIENCE,
            );
        }
        load.until(&mut world, 3, "answer", |world| {
            world.granted(wish).is_some()
        });
        assert_eq!(world.granted(wish), Some(&Reply::Done));
        let took = world.now() - before;
        // No election timeout passes in a handover.
        assert!(took < Duration::from_millis(200), "it took {took:?}");
        let until = world.now() + Duration::from_millis(50);
        load.until(&mut world, 1, "new leader", |world| {
            world.leader() == Some(to) && world.now() > until
        });
    }
    settle(&mut world);
    assert!(load.written(&world) > 200);
}

#[test]
fn without_a_name_the_lead_goes_to_another_voter() {
    for asked in 0..3 {
        let mut world = world(asked as u64, &[Form::Expect(3); 3], |_| {});
        settle(&mut world);
        let before = world.leader();
        let wish = world.transfer(asked, None, PATIENCE).expect("it runs");
        assert_eq!(answer(&mut world, wish), Reply::Done);
        settle(&mut world);
        assert_ne!(world.leader(), before);
    }
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    let forms = [Form::Alone, Form::Join];
    let mut world = world(5, &forms, |_| {});
    settle(&mut world);
    for asked in 0..2 {
        let learner = world.transfer(asked, Some(1), PATIENCE).expect("it runs");
        let nobody = world.transfer(asked, None, PATIENCE).expect("it runs");
        let itself = world.transfer(asked, Some(0), PATIENCE).expect("it runs");
        let before = world.now();
        assert_eq!(answer(&mut world, learner), Reply::NotVoter);
        assert_eq!(answer(&mut world, nobody), Reply::LastVoter);
        assert_eq!(answer(&mut world, itself), Reply::Done);
        assert!(world.now() - before < Duration::from_millis(300));
    }
    assert_eq!(world.leader(), Some(0));
    write(&mut world, 1, 0..5, 20);
}

#[test]
fn a_transfer_to_a_peer_that_dies_is_called_off_and_what_waited_goes_on() {
    let mut reached = 0;
    for step in 0..30 {
        let mut world = world(step % 3, &[Form::Expect(3); 3], |scenario| {
            scenario.profile.replace_after = Duration::from_secs(60);
        });
        settle(&mut world);
        let leader = world.leader().expect("a settled group has one");
        let (target, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let wish = world
            .transfer(other, Some(target), PATIENCE)
            .expect("it runs");
        world.run_for(Duration::from_micros(step * 100));
        world.kill(target);
        let insert = |key| Action::Insert { key, size: 40 };
        let asked: Vec<usize> = (0..20)
            .filter_map(|key| world.ask(other, insert(key), PATIENCE))
            .collect();
        wait(&mut world, 4, "answers", |world| {
            let told = |number: &usize| world.told(*number).is_some();
            world.granted(wish).is_some() && asked.iter().all(told)
        });
        // What was passed on to a target that led already may be lost with it; what waited at the
        // leader is not.
        if world.marks().contains_key("transfer.called_off") {
            reached += 1;
            let written = |number: &usize| matches!(world.told(*number), Some(Told::Written(_)));
            assert!(asked.iter().all(written), "step {step}");
        }
        write_at_last(&mut world, other, 20);
        world.start(target);
        settle(&mut world);
    }
    assert!(reached > 5, "only {reached} handovers were called off");
}

#[test]
fn a_target_that_stands_still_costs_a_pause_and_not_the_group() {
    let mut world = world(8, &[Form::Expect(3); 3], |_| {});
    settle(&mut world);
    let leader = world.leader().expect("a settled group has one");
    let target = (leader + 1) % 3;
    let ways = world.ways_of(target);
    world.cut(&ways);
    let wish = world
        .transfer(leader, Some(target), PATIENCE)
        .expect("it runs");
    write(&mut world, leader, 0..10, 40);
    assert_eq!(answer(&mut world, wish), Reply::Unavailable);
    assert_eq!(world.leader(), Some(leader));
    world.mend(&ways);
    settle(&mut world);
    sound(&world);
}

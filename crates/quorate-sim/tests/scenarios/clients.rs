//! Clients that name their commands: each write takes effect once, whatever happens around it.
//!
//! That it is applied once, and that everybody is told the same, is for the checkers; here it is
//! that the writes get through.

use std::time::Duration;

use quorate_core::{Form, Role};
use quorate_sim::{Action, FaultKind, Told, World};

use crate::cluster::{restores, settle, sound, wait, world};

const PATIENCE: Duration = Duration::from_secs(4);

/// Has named clients write through all peers, a write every few milliseconds.
struct Writers {
    asked: Vec<usize>,
}

impl Writers {
    fn for_a_while(&mut self, world: &mut World, millis: u64) {
        for _ in 0..millis / 4 {
            let next = self.asked.len() as u32;
            let action = Action::Insert {
                key: next % 50,
                size: 64,
            };
            let peer = next as usize % world.peers();
            self.asked
                .extend(world.ask_named(peer, next % 3, action, PATIENCE));
            world.run_for(Duration::from_millis(4));
        }
        sound(world);
    }

    /// Waits until all are told; returns how many were written.
    #[track_caller]
    fn written(&self, world: &mut World) -> usize {
        wait(world, 30, "answers", |world| {
            self.asked
                .iter()
                .all(|number| world.told(*number).is_some())
        });
        let told = |number: &&usize| matches!(world.told(**number), Some(Told::Written(_)));
        self.asked.iter().filter(told).count()
    }
}

fn mark(world: &World, name: &str) -> u64 {
    world.report(0).marks.get(name).copied().unwrap_or_default()
}

#[test]
fn every_write_gets_through_while_leaders_die() {
    let mut world = world(1, &[Form::Expect(5); 5], |_| {});
    settle(&mut world);
    let mut writers = Writers { asked: Vec::new() };
    for _ in 0..6 {
        writers.for_a_while(&mut world, 200);
        let leader = world.leader().expect("there is time for one");
        world.crash(leader, Duration::from_millis(700));
        writers.for_a_while(&mut world, 1_500);
        wait(&mut world, 10, "leader", |world| world.leader().is_some());
    }
    let written = writers.written(&mut world);
    assert_eq!(written, writers.asked.len(), "{}", world.report(0));
    settle(&mut world);
    assert!(mark(&world, "client table: repeated") > 20);
}

#[test]
fn every_write_gets_through_while_leaders_are_cut_off() {
    let mut world = world(2, &[Form::Expect(3); 3], |_| {});
    settle(&mut world);
    let mut writers = Writers { asked: Vec::new() };
    for _ in 0..6 {
        writers.for_a_while(&mut world, 100);
        let leader = world.leader().expect("there is time for one");
        let ways = world.ways_of(leader);
        world.cut(&ways);
        writers.for_a_while(&mut world, 1_200);
        world.mend(&ways);
        wait(&mut world, 10, "leader", |world| world.leader().is_some());
    }
    let written = writers.written(&mut world);
    assert_eq!(written, writers.asked.len(), "{}", world.report(0));
    settle(&mut world);
}

#[test]
fn a_peer_that_restored_knows_what_was_applied() {
    let (mut asked, mut restored) = (0, 0);
    for seed in 0..8 {
        // A peer that is cut off falls behind the log, with clients of its own in doubt.
        let mut world = world(seed, &[Form::Expect(3); 3], |scenario| {
            scenario.profile.reserve_entries = 32;
            scenario.profile.replace_after = Duration::from_secs(60);
        });
        settle(&mut world);
        let mut writers = Writers { asked: Vec::new() };
        for _ in 0..6 {
            writers.for_a_while(&mut world, 300);
            let leader = world.leader().expect("there is time for one");
            let ways = world.ways_of(leader);
            // What it appended last may be committed by the others, or not.
            world.cut(&ways);
            writers.for_a_while(&mut world, 600);
            wait(&mut world, 10, "pruned log", |world| {
                let last = world.view(leader).expect("it runs").last.index;
                // It is the one that leads the others whose log must not reach back.
                [1, 2].iter().any(|other| {
                    let other = world.view((leader + other) % 3).expect("it runs");
                    other.role == Role::Leader && other.base.index > last
                })
            });
            world.mend(&ways);
            // A leader that comes next may still have the entries.
            settle(&mut world);
            asked += mark(&world, "raft.asks_client_table");
        }
        restored += (0..3).map(|peer| restores(&world, peer)).sum::<usize>();
        let written = writers.written(&mut world);
        assert_eq!(written, writers.asked.len(), "{}", world.report(0));
    }
    assert!(restored > 20, "{restored} restores");
    assert!(asked > 0, "no peer was in doubt when it installed");
}

#[test]
fn an_idle_client_expires_everywhere_at_one_entry_and_registers_anew() {
    let mut world = world(4, &[Form::Expect(3); 3], |scenario| {
        scenario.client_limits.idle_entries = 100;
        scenario.client_limits.idle_time = 500;
        scenario.client_limits.step = 50;
    });
    settle(&mut world);
    let idle = 9;
    let insert = |key| Action::Insert { key, size: 16 };
    let first = world.ask_named(0, idle, insert(1), PATIENCE);
    let told = |world: &World, number: Option<usize>| world.told(number?);
    wait(&mut world, 5, "answer", |world| {
        told(world, first).is_some()
    });
    let mut writers = Writers { asked: Vec::new() };
    writers.for_a_while(&mut world, 3_000);
    let late = world.ask_named(1, idle, insert(1), PATIENCE);
    wait(&mut world, 5, "answer", |world| told(world, late).is_some());
    assert_eq!(told(&world, late), Some(Told::Forgotten));
    let anew = world.ask_named(2, idle, insert(1), PATIENCE);
    wait(&mut world, 5, "answer", |world| told(world, anew).is_some());
    assert!(matches!(told(&world, anew), Some(Told::Written(_))));
    let written = writers.written(&mut world);
    assert_eq!(written, writers.asked.len(), "those in use do not expire");
    settle(&mut world);
}

#[test]
fn clocks_a_day_apart_expire_nobody() {
    let mut world = world(5, &[Form::Expect(3); 3], |scenario| {
        scenario.client_limits.idle_entries = 50;
        for (peer, plan) in scenario.peers.iter_mut().enumerate() {
            plan.skew = (peer as i64 - 1) * 24 * 3_600 * 1_000;
        }
    });
    settle(&mut world);
    let idle = 9;
    let insert = |key| Action::Insert { key, size: 16 };
    let first = world.ask_named(0, idle, insert(1), PATIENCE);
    let mut writers = Writers { asked: Vec::new() };
    for peer in [0, 1, 2, 0, 1, 2] {
        writers.for_a_while(&mut world, 300);
        if world.leader() != Some(peer) {
            world.transfer(0, Some(peer), PATIENCE);
        }
        writers.for_a_while(&mut world, 300);
    }
    let late = world.ask_named(1, idle, insert(1), PATIENCE);
    wait(&mut world, 5, "answers", |world| {
        [first, late].iter().all(|number| {
            number.is_some_and(|number| matches!(world.told(number), Some(Told::Written(_))))
        })
    });
    settle(&mut world);
    assert_eq!(mark(&world, "client table: expired"), 0);
}

#[test]
fn frames_that_come_twice_or_late_change_nothing() {
    let mut world = world(6, &[Form::Expect(3); 3], |_| {});
    settle(&mut world);
    world.inject(FaultKind::Storm {
        weather: quorate_sim::Weather {
            loss: 20_000,
            duplication: 100_000,
            reordering: 100_000,
            lateness: quorate_sim::Span::micros(100, 200_000),
        },
        lasts: Duration::from_secs(10),
    });
    let mut writers = Writers { asked: Vec::new() };
    writers.for_a_while(&mut world, 6_000);
    let written = writers.written(&mut world);
    assert!(written * 10 > writers.asked.len() * 9, "{written} written");
    settle(&mut world);
}

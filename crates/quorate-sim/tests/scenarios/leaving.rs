//! How peers give up their seats, and what may go wrong meanwhile.

use std::time::Duration;

use quorate_core::{Form, GroupEvent, Reply, Role};
use quorate_sim::{Action, FaultKind, Told, World};

use crate::cluster::{Load, events, settle, sound, wait, world, write, write_at_last};

const PATIENCE: Duration = Duration::from_secs(5);

/// Has a peer leave; fails unless it is told within the time that it has.
#[track_caller]
fn leave(world: &mut World, peer: usize) {
    let wish = world.leave(peer, false, PATIENCE).expect("the peer runs");
    wait(world, 6, "answer", |world| world.granted(wish).is_some());
    assert_eq!(world.granted(wish), Some(&Reply::Done), "of peer {peer}");
    out(world, peer);
}

/// Checks that a peer is out by the committed configuration, and knows it.
#[track_caller]
fn out(world: &World, peer: usize) {
    let member = world.member(peer).expect("the peer runs");
    let committed = world.configurations();
    let last = committed.last().expect("there is the genesis");
    assert!(!last.contains(member), "peer {peer} is in {last:?}");
    assert!(world.view(peer).expect("the peer runs").has_left());
    let told = events(world, peer, |event| {
        matches!(event, GroupEvent::Left).then_some(())
    });
    assert_eq!(told.len(), 1, "events that it has left");
}

fn voters(world: &World) -> usize {
    let committed = world.configurations();
    committed.last().expect("there is the genesis").voters.len()
}

#[test]
fn the_leader_leaves_under_load_and_no_acknowledged_write_is_lost() {
    for seed in 0..6 {
        let mut world = world(seed, &[Form::Expect(3); 3], |_| {});
        settle(&mut world);
        let leader = world.leader().expect("a settled group has one");
        let others: Vec<usize> = (0..3).filter(|peer| *peer != leader).collect();
        // Clients at the leaver, too: what they wrote before it left counts.
        let mut load = Load::new(&[0, 1, 2]);
        load.until(&mut world, 2, "time", |world| {
            world.now() > Duration::from_secs(2)
        });
        let wish = world.leave(leader, false, PATIENCE).expect("it runs");
        let asked = world.now();
        load.until(&mut world, 5, "answer", |world| {
            world.granted(wish).is_some()
        });
        assert_eq!(world.granted(wish), Some(&Reply::Done));
        let took = world.now() - asked;
        assert!(took < Duration::from_secs(1), "leaving took {took:?}");
        out(&world, leader);
        world.stop(leader);
        let mut load = Load::new(&others);
        let until = world.now() + Duration::from_secs(1);
        load.until(&mut world, 3, "time", |world| world.now() > until);
        assert!(load.written(&world) > 300, "writes after the leader left");
        assert_eq!(voters(&world), 2);
        world.start(leader);
        settle(&mut world);
        assert_eq!(voters(&world), 3);
    }
}

#[test]
fn a_leaver_s_seat_goes_to_a_learner_that_is_ready() {
    let mut world = world(4, &[Form::Expect(3); 4], |scenario| {
        scenario.peers[3].form = Form::Join;
        scenario.profile.voters = 3;
    });
    settle(&mut world);
    let learner = world.member(3).expect("it runs");
    // Ready is who has been heard for a while.
    world.run_for(Duration::from_millis(500));
    leave(&mut world, 1);
    let committed = world.configurations();
    assert!(committed.last().expect("there are some").is_voter(learner));
    // Never fewer than three on the way: the seat changed hands in one change.
    assert!(committed.iter().all(|one| one.voters.len() == 3));
    world.stop(1);
    world.start(1);
    settle(&mut world);
}

#[test]
fn three_peers_shrink_to_one_by_leaving_and_grow_again() {
    for seed in 0..6 {
        let mut world = world(seed, &[Form::Expect(3); 3], |_| {});
        settle(&mut world);
        write(&mut world, 0, 0..50, 40);
        let first = seed as usize % 3;
        let (second, last) = ((first + 1) % 3, (first + 2) % 3);
        leave(&mut world, first);
        // Whoever has left is still there for a while, and stays out.
        world.run_for(Duration::from_secs(2));
        assert_eq!(voters(&world), 2);
        out(&world, first);
        world.stop(first);
        leave(&mut world, second);
        world.run_for(Duration::from_secs(2));
        assert_eq!(voters(&world), 1);
        world.stop(second);
        write(&mut world, last, 50..60, 40);

        let wish = world.leave(last, false, PATIENCE).expect("it runs");
        wait(&mut world, 1, "answer", |world| {
            world.granted(wish).is_some()
        });
        assert_eq!(world.granted(wish), Some(&Reply::LastVoter));
        write(&mut world, last, 60..70, 40);

        world.start(second);
        world.start(first);
        settle(&mut world);
        assert_eq!(voters(&world), 3);
        write(&mut world, first, 70..80, 40);
        settle(&mut world);
    }
}

#[test]
fn the_only_voter_gives_its_seat_to_a_learner_and_goes() {
    for seed in 0..6 {
        let mut world = world(seed, &[Form::Alone, Form::Join], |_| {});
        settle(&mut world);
        assert_eq!(voters(&world), 1);
        write(&mut world, 1, 0..50, 40);
        leave(&mut world, 0);
        world.stop(0);
        write(&mut world, 1, 50..60, 40);
        world.start(0);
        settle(&mut world);
    }
}

#[test]
fn an_only_voter_that_let_itself_go_is_elected_once_more_to_commit_that() {
    let mut elected = 0;
    for seed in 0..6 {
        let mut world = world(seed, &[Form::Alone, Form::Join, Form::Join], |scenario| {
            scenario.profile.voters = 1;
        });
        settle(&mut world);
        write(&mut world, 2, 0..20, 40);
        world.leave(0, false, PATIENCE).expect("it runs");
        wait(&mut world, 2, "joint configuration", |world| {
            (1..3).all(|peer| {
                let view = world.view(peer).expect("it runs");
                view.configuration.is_joint() && view.commit == view.last.index
            })
        });
        let view = world.view(0).expect("it runs");
        let heir = view.configuration.voters[0];
        let heir = if world.member(1) == Some(heir) { 1 } else { 2 };
        // It may not be handed to, so the only voter does the rest by itself, in vain at first.
        world.leave(heir, false, PATIENCE).expect("it runs");
        world.run_for(Duration::from_millis(1_300));
        let ways = world.ways_of(0);
        world.cut(&ways);
        wait(&mut world, 2, "configuration without it", |world| {
            let view = world.view(0).expect("it runs");
            !view.configuration.is_joint() && view.role == Role::Follower
        });
        let seen = world.view(heir).expect("it runs");
        assert!(seen.configuration.is_joint(), "the others have it already");
        // Until its links are gone, and with them what it has sent.
        world.run_for(Duration::from_secs(3));
        world.mend(&ways);
        wait(&mut world, 10, "leader", |world| world.leader().is_some());
        // It may also be that the heir has got to hear of it after all.
        let marks = world.marks();
        elected += marks.get("raft.removed_leader_steps_down").unwrap_or(&0);
        write_at_last(&mut world, 3 - heir, 30);
        world.run_for(PATIENCE);
        world.heal();
        settle(&mut world);
    }
    assert!(elected >= 4, "it was elected {elected} times");
}

#[test]
fn the_last_voter_dissolves_the_group_only_when_told_to() {
    let mut world = world(1, &[Form::Alone], |_| {});
    settle(&mut world);
    let refused = world.leave(0, false, PATIENCE).expect("it runs");
    wait(&mut world, 1, "answer", |world| {
        world.granted(refused).is_some()
    });
    assert_eq!(world.granted(refused), Some(&Reply::LastVoter));
    write(&mut world, 0, 0..5, 20);
    let told = world.leave(0, true, PATIENCE).expect("it runs");
    wait(&mut world, 1, "answer", |world| {
        world.granted(told).is_some()
    });
    assert_eq!(world.granted(told), Some(&Reply::Done));
    world.run_for(Duration::from_secs(2));
    assert!(world.leader().is_none(), "it leads a group that it left");
    sound(&world);
}

#[test]
fn two_that_leave_at_once_do_not_pass_the_lead_to_and_fro() {
    for seed in 0..40 {
        let mut world = world(seed, &[Form::Expect(2); 2], |_| {});
        settle(&mut world);
        let wishes: Vec<u64> = (0..2)
            .filter_map(|peer| world.leave(peer, false, PATIENCE))
            .collect();
        wait(&mut world, 3, "answers", |world| {
            wishes.iter().all(|wish| world.granted(*wish).is_some())
        });
        let mut answers: Vec<&Reply> = wishes
            .iter()
            .filter_map(|wish| world.granted(*wish))
            .collect();
        answers.sort_by_key(|reply| format!("{reply:?}"));
        assert_eq!(answers, [&Reply::Done, &Reply::LastVoter]);
        sound(&world);
    }
}

// A round of reads that had begun with two voters waited for the second one's word, which never
// came once it had left: the reads of a group that had shrunk to one voter waited for ever.
#[test]
fn reads_that_began_before_a_voter_left_are_answered() {
    for seed in 0..10 {
        let mut world = world(seed, &[Form::Expect(2); 2], |_| {});
        settle(&mut world);
        let leader = world.leader().expect("a settled group has one");
        let wish = world.leave(1 - leader, false, PATIENCE).expect("it runs");
        let mut asked = Vec::new();
        while world.granted(wish).is_none() {
            let read = Action::Read {
                key: 1,
                linearizable: true,
            };
            asked.extend(world.ask(leader, read, PATIENCE));
            world.run_for(Duration::from_micros(200));
        }
        assert!(asked.len() > 100, "{} reads", asked.len());
        world.run_for(Duration::from_millis(5));
        let answered = |number: &usize| matches!(world.told(*number), Some(Told::Read(_)));
        assert!(asked.iter().all(answered), "seed {seed}");
    }
}

#[test]
fn a_leave_survives_the_death_of_its_leader_at_every_step() {
    let mut done = 0;
    for step in 0..70 {
        let mut world = world(step % 5, &[Form::Expect(5); 5], |_| {});
        settle(&mut world);
        let leader = world.leader().expect("a settled group has one");
        let leaver = (leader + 1 + step as usize % 4) % 5;
        let wish = world.leave(leaver, false, PATIENCE).expect("it runs");
        world.run_for(Duration::from_millis(step * 3));
        world.kill(leader);
        wait(&mut world, 7, "answer", |world| {
            world.granted(wish).is_some()
        });
        assert_eq!(world.granted(wish), Some(&Reply::Done), "step {step}");
        out(&world, leaver);
        done += 1;
        world.stop(leaver);
        world.start(leader);
        world.start(leaver);
        settle(&mut world);
    }
    assert_eq!(done, 70);
}

#[test]
fn a_leader_that_leaves_may_die_at_every_step() {
    for step in 0..60 {
        let mut world = world(step % 5, &[Form::Expect(5); 5], |_| {});
        settle(&mut world);
        let leader = world.leader().expect("a settled group has one");
        world.leave(leader, false, PATIENCE).expect("it runs");
        world.run_for(Duration::from_millis(step * 4));
        world.kill(leader);
        let other = (leader + 1) % 5;
        wait(&mut world, 5, "another leader", |world| {
            world.leader().is_some_and(|now| now != leader)
        });
        write_at_last(&mut world, other, 1);
        world.start(leader);
        settle(&mut world);
    }
}

#[test]
fn a_leave_gets_through_bad_weather() {
    let mut done = 0;
    for seed in 0..12 {
        let mut world = world(seed, &[Form::Expect(5); 5], |_| {});
        settle(&mut world);
        world.inject(FaultKind::Storm {
            weather: quorate_sim::Weather {
                loss: 200_000,
                duplication: 200_000,
                reordering: 200_000,
                lateness: quorate_sim::Span::micros(1_000, 300_000),
            },
            lasts: Duration::from_secs(8),
        });
        let wish = world.leave(seed as usize % 5, false, PATIENCE);
        let wish = wish.expect("it runs");
        wait(&mut world, 6, "answer", |world| {
            world.granted(wish).is_some()
        });
        done += u64::from(world.granted(wish) == Some(&Reply::Done));
        world.run_for(Duration::from_secs(4));
        world.heal();
        settle(&mut world);
    }
    assert!(done > 8, "only {done} of 12 left");
}

#[test]
fn a_leave_without_a_quorum_is_unavailable_and_leaves_the_group_as_it_was() {
    let mut world = world(3, &[Form::Expect(3); 3], |_| {});
    settle(&mut world);
    let leader = world.leader().expect("a settled group has one");
    let ways = world.ways_of(leader);
    world.cut(&ways);
    let wish = world.leave(leader, false, Duration::from_secs(2));
    let wish = wish.expect("it runs");
    wait(&mut world, 3, "answer", |world| {
        world.granted(wish).is_some()
    });
    assert_eq!(world.granted(wish), Some(&Reply::Unavailable));
    world.mend(&ways);
    settle(&mut world);
    assert_eq!(voters(&world), 3);
}

#[test]
fn a_voter_does_not_leave_while_the_others_could_not_decide_without_it() {
    let mut world = world(2, &[Form::Expect(3); 3], |scenario| {
        scenario.profile.replace_after = Duration::from_secs(60);
    });
    settle(&mut world);
    let leader = world.leader().expect("a settled group has one");
    let (gone, leaver) = ((leader + 1) % 3, (leader + 2) % 3);
    let ways = world.ways_of(gone);
    world.cut(&ways);
    world.run_for(Duration::from_millis(600));
    // Without the leaver, two voters would remain, and one of them is not heard.
    let wish = world.leave(leaver, false, Duration::from_secs(2));
    let wish = wish.expect("it runs");
    wait(&mut world, 3, "answer", |world| {
        world.granted(wish).is_some()
    });
    assert_eq!(world.granted(wish), Some(&Reply::Unavailable));
    write(&mut world, leader, 0..5, 20);
    assert_eq!(voters(&world), 3);
    world.mend(&ways);
    settle(&mut world);
}

#[test]
fn a_peer_that_never_joined_anything_leaves_at_once() {
    let mut world = world(1, &[Form::Join], |_| {});
    world.run_for(Duration::from_millis(100));
    let wish = world.leave(0, false, PATIENCE).expect("it runs");
    wait(&mut world, 1, "answer", |world| {
        world.granted(wish).is_some()
    });
    assert_eq!(world.granted(wish), Some(&Reply::Done));
}

#[test]
fn a_goodbye_of_the_leader_is_heard_at_once() {
    for seed in 0..10 {
        let mut world = world(seed, &[Form::Expect(3); 3], |scenario| {
            // Memory peers that stop without leaving: their seats stay.
            scenario.profile.replace_after = Duration::from_secs(60);
        });
        settle(&mut world);
        let leader = world.leader().expect("a settled group has one");
        let shortest = world.view(leader).map(|_| Duration::from_millis(250));
        let before = world.now();
        world.stop(leader);
        wait(&mut world, 2, "next leader", |world| {
            (0..3).any(|peer| {
                let leads = |view: quorate_core::GroupView<'_>| view.role == Role::Leader;
                world.view(peer).is_some_and(leads)
            })
        });
        let took = world.now() - before;
        assert!(Some(took) < shortest, "the next leader came after {took:?}");
    }
}

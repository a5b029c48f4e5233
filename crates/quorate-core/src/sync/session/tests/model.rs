//! Whatever the links and the providers do, a session ends with every rank verified.

use std::collections::BTreeSet;

use proptest::{prelude::*, strategy::ValueTree};

use super::world::{Kind, PeerPlan, Plan, Trouble, World};
use crate::sync::session::STEPS;

/// How long after the last trouble a session may take, in milliseconds.
const PATIENCE: u64 = 1_000_000;

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Honest),
        1 => Just(Kind::Liar),
        1 => Just(Kind::Parrot),
        1 => Just(Kind::Silent),
    ]
}

fn peer(kind: impl Strategy<Value = Kind>, slowest: u64) -> impl Strategy<Value = PeerPlan> {
    let bulk = prop_oneof![3 => 0_u64..50, 1 => 0..slowest];
    let odds = (0_u64..40, 0_u64..30);
    (1_u64..150, bulk, odds, kind, 4_u64..40, 0_u64..3_000).prop_map(
        |(delay, bulk, (loss, doubled), kind, generous, lag)| PeerPlan {
            delay,
            bulk,
            loss,
            doubled,
            kind,
            generous,
            lag,
        },
    )
}

fn trouble(peers: usize) -> impl Strategy<Value = Trouble> {
    prop_oneof![
        3 => (0..peers).prop_map(Trouble::Lead),
        1 => Just(Trouble::NoLeader),
        3 => (0..peers).prop_map(Trouble::Down),
        3 => (0..peers).prop_map(Trouble::Up),
        2 => Just(Trouble::ExpireAll),
        2 => any::<bool>().prop_map(Trouble::Commits),
        1 => Just(Trouble::StagingLost),
        1 => Just(Trouble::Pruned),
        1 => Just(Trouble::InstallFails),
    ]
}

/// A group in which the first peer is honest and the others are as they are.
fn plan() -> impl Strategy<Value = Plan> {
    (0_usize..5).prop_flat_map(|others| {
        let items = prop_oneof![Just(0_u64), Just(1), 2_u64..300, 300_u64..2_500];
        let peers = (
            peer(Just(Kind::Honest), 400),
            prop::collection::vec(peer(kind(), 4_000), others),
        );
        let troubles = prop::collection::vec((0_u64..30_000, trouble(others + 1)), 0..25);
        (items, 16_u64..600, peers, troubles, any::<u64>()).prop_map(
            |(items, batch, (first, mut peers), troubles, seed)| {
                peers.insert(0, first);
                Plan {
                    items,
                    batch,
                    peers,
                    troubles,
                    calm: 30_000,
                    seed,
                }
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Short, late, doubled, reordered, refused, lost and wrong answers, new leaders, expired
    /// snapshots, markers that do not commit: it installs exactly what one anchor holds.
    #[test]
    fn a_session_always_ends_with_every_rank_verified(plan in plan()) {
        let calm = plan.calm;
        World::new(plan).run(calm + PATIENCE);
    }
}

fn quiet(items: u64, batch: u64, peers: usize) -> Plan {
    let peer = PeerPlan {
        delay: 2,
        bulk: 1,
        loss: 0,
        doubled: 0,
        kind: Kind::Honest,
        generous: 30,
        lag: 10,
    };
    Plan {
        items,
        batch,
        peers: vec![peer; peers],
        troubles: Vec::new(),
        calm: 600_000,
        seed: 1,
    }
}

#[test]
fn empty_single_and_large_states_arrive_whole_whatever_the_batch() {
    for items in [0, 1, 2, 31, 500, 3_000] {
        for batch in [1, 7, 100, 65_536] {
            let mut world = World::new(quiet(items, batch, 5));
            let took = world.run(10_000);
            assert!(
                took < 6_000,
                "{items} items in batches of {batch}: {took} ms"
            );
            assert_eq!(world.restores, 1);
            let progress = world.session.progress();
            let brought: u64 = progress.sources.iter().map(|source| source.items).sum();
            assert_eq!(
                (progress.verified, brought),
                (progress.total, progress.total)
            );
        }
    }
}

#[test]
fn a_large_state_comes_from_everybody_and_least_from_the_leader() {
    let mut world = World::new(quiet(3_000, 100, 5));
    world.run(10_000);
    let sources = world.session.progress().sources;
    assert_eq!(sources.len(), 5);
    let (leader, others) = sources.split_first().unwrap();
    for other in others {
        assert!(other.items > leader.items, "{sources:?}");
    }
}

#[test]
fn a_voter_whose_ack_the_marker_waits_for_catches_up_from_the_leader_alone() {
    let mut plan = quiet(500, 100, 1);
    plan.troubles.push((0, Trouble::Commits(false)));
    let mut world = World::new(plan);
    let took = world.run(60_000);
    assert!(world.marks.contains("requests.own_offer"));
    assert!(took < 5_000, "{took} ms");
}

#[test]
fn when_all_snapshots_expire_in_mid_fetch_it_asks_again_and_completes() {
    let mut plan = quiet(3_000, 10, 3);
    plan.troubles.push((160, Trouble::ExpireAll));
    let mut world = World::new(plan);
    world.run(30_000);
    assert!(world.marks.contains("session.no_source_remains"));
    assert_eq!(world.restores, 2);
}

/// The table of phases is what happens, no more and no less.
#[test]
fn every_step_of_the_table_is_taken() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut taken = BTreeSet::new();
    for _ in 0..150 {
        let plan = plan().new_tree(&mut runner).unwrap().current();
        let mut world = World::new(plan);
        world.run(30_000 + PATIENCE);
        taken.extend(world.session.taken);
    }
    assert_eq!(taken, STEPS.iter().copied().collect());
}

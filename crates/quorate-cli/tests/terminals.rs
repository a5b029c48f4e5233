//! Three terminals: `quorate up` in each of them, without a flag, forms one group, whatever the
//! order, the delays and the accidents. Each round is a machine of its own.
#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

use std::{
    collections::BTreeSet,
    thread::park_timeout,
    time::{Duration, Instant},
};

use common::{Request, Up, World, dice::Dice, settles};
use serde_json::Value;

/// Rounds in a row.
const ROUNDS: usize = 10;

/// The longest time between two starts: longer than a founder looks around.
const PAUSE: Duration = Duration::from_millis(900);

/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(2);

/// How a round begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// One after the other, with a pause of any length.
    Apart,
    /// All at once.
    Together,
    /// Two at once, the third whenever.
    Pair,
    /// The first one is killed before it can have founded anything, and another takes its place.
    FirstKilled,
}

#[test]
fn three_terminals_make_one_group_however_they_are_started() {
    let mut dice = Dice::thrown();
    for round in 0..ROUNDS {
        let start = match round % 5 {
            0 => Start::Together,
            1 => Start::Pair,
            2 => Start::FirstKilled,
            _ => Start::Apart,
        };
        let world = World::new();
        let mut peers = begin(&world, start, &mut dice);
        dice.shuffle(&mut peers);
        one_group(&mut peers, round, start);
        one_value(&world, &peers, round);
        for peer in &peers {
            peer.signal("INT");
        }
        let began = Instant::now();
        for peer in &mut peers {
            let status = peer.wait_end();
            let took = began.elapsed();
            assert!(took < STOP, "round {round}: stopped after {took:?}");
            assert_eq!(status.code(), Some(0), "round {round}: {status}");
        }
    }
}

/// Starts three peers; they may be on their way still.
fn begin(world: &World, start: Start, dice: &mut Dice) -> Vec<Up> {
    let one = || Up::spawn(world.command(&["up"]));
    match start {
        Start::Together => vec![one(), one(), one()],
        Start::Pair => {
            let mut peers = vec![one(), one()];
            pass(dice.time(PAUSE));
            peers.insert(dice.below(3), one());
            peers
        }
        Start::Apart => (0..3)
            .map(|at| {
                if at > 0 {
                    pass(dice.time(PAUSE));
                }
                one()
            })
            .collect(),
        Start::FirstKilled => {
            let mut first = one();
            let lives = dice.time(Duration::from_millis(450));
            let others_wait = dice.time(PAUSE);
            if others_wait < lives {
                pass(others_wait);
                let second = one();
                pass(lives - others_wait);
                first.kill();
                vec![second, one(), one()]
            } else {
                pass(lives);
                first.kill();
                vec![one(), one(), one()]
            }
        }
    }
}

/// Lets time pass, as people at terminals do.
fn pass(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        park_timeout(left);
    }
}

/// Waits until all of them are the voters of one group that one of them leads.
fn one_group(peers: &mut [Up], round: usize, start: Start) {
    for peer in peers.iter_mut() {
        peer.wait_address();
    }
    let what = format!("round {round}, {start:?}: one leader, and all are voters");
    let all = settles(&what, || {
        let all: Vec<Value> = peers.iter().map(Up::status).collect();
        let leads = all
            .iter()
            .filter(|status| status["role"] == "leader")
            .count();
        let counts = |status: &Value| status["voters"].as_array().map(Vec::len) == Some(3);
        let whole = leads == 1 && all.iter().all(counts) && each(&all, "leader").len() == 1;
        if whole {
            Ok(all)
        } else {
            Err(format!("{all:#?}"))
        }
    });
    assert_eq!(
        each(&all, "genesis").len(),
        1,
        "round {round}: more than one group"
    );
    assert_eq!(each(&all, "peer").len(), 3, "round {round}: two are one");
    let voters: Vec<&str> = all[0]["voters"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    for status in &all {
        assert!(
            voters.contains(&text(&status["peer"])),
            "round {round}: {all:#?}"
        );
    }
}

/// Returns the different values that a field has.
fn each<'a>(all: &'a [Value], field: &str) -> BTreeSet<&'a str> {
    all.iter().map(|status| text(&status[field])).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Writes and reads from a fourth terminal, and asks every peer by its own address.
fn one_value(world: &World, peers: &[Up], round: usize) {
    world.run(&["put", "hello", "world"]).code(0);
    let got = world.run(&["get", "hello"]).code(0);
    assert_eq!(got.out, "world", "round {round}");
    for peer in peers {
        let got = Request::get("/v1/kv/hello").send(peer.http).unwrap();
        assert_eq!(got.status, 200, "round {round}: {got:?}");
        assert_eq!(got.body, b"world", "round {round}");
        let named = peer.http.to_string();
        let got = world.run(&["get", "hello", "--http", &named]).code(0);
        assert_eq!(got.out, "world", "round {round}");
    }
}

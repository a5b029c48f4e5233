//! Measures how fast the simulator is at one load, with all checks on: `speed [SEEDS] [LOAD]`.
//!
//! Seeds draw loads from one operation a second to hundreds, so what a batch of them takes says
//! little about either. Here each of 5 peers' clients has its share of a fixed number of operations
//! a second for 60 simulated seconds: writes, exchanges, and reads that must be linearizable, half
//! of the writes named. Everything else is as the seeds draw it, once with their faults and once
//! with none. One thread: seconds are core-seconds.
#![allow(clippy::print_stdout, reason = "an example is for people")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures how long seeds take, and decides nothing by it"
)]
use std::time::{Duration, Instant};

use quorate_sim::{Action, Keep, Operation, Scenario, run_scenario};

/// A run allocates and frees all the time, in one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PEERS: usize = 5;
const SECONDS: u64 = 60;

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let seeds: u64 = numbers.next().unwrap_or(40);
    let per_second: u64 = numbers.next().unwrap_or(100).max(1);
    for faults in [true, false] {
        let (mut simulated, mut events, mut begun) = (Duration::ZERO, 0, 0);
        let began = Instant::now();
        for seed in 0..seeds {
            let mut scenario = Scenario::draw(seed, PEERS, SECONDS);
            scenario.operations = operations(per_second);
            if !faults {
                scenario.faults.clear();
                scenario.broken.clear();
            }
            let report = run_scenario(scenario, SECONDS, Keep::Nothing);
            assert!(report.violations.is_empty(), "{report}");
            simulated += report.simulated;
            events += report.events;
            begun += report.operations.begun;
        }
        let took = began.elapsed().as_secs_f64();
        println!(
            "{} faults: {:.0} simulated seconds per core-second ({seeds} seeds, {begun} \
             operations, {:.1} million events a second)",
            if faults { "with" } else { "without" },
            simulated.as_secs_f64() / took,
            events as f64 / took / 1e6,
        );
    }
}

/// The same operations for every seed.
fn operations(per_second: u64) -> Vec<Operation> {
    let operation = |number: u64| {
        // Far apart for neighbours, and the same on every machine.
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let key = (mixed % 1_000) as u32;
        let size = 16 + (mixed / 1_000 % 240) as u32;
        let action = match number % 4 {
            0 | 1 => Action::Insert { key, size },
            2 => Action::Exchange {
                key,
                size,
                informed: true,
            },
            _ => Action::Read {
                key,
                linearizable: true,
            },
        };
        let named = number % 2 == 1 && !matches!(action, Action::Read { .. });
        Operation {
            at: Duration::from_nanos(number * 1_000_000_000 / per_second),
            peer: (mixed % PEERS as u64) as usize,
            action,
            patience: Duration::from_secs(2),
            client: named.then_some((mixed % 8) as u32),
        }
    };
    (0..SECONDS * per_second).map(operation).collect()
}

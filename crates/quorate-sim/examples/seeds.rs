//! Runs seeds and prints what became of them: `seeds A B NODES SECONDS [more]`.
#![allow(clippy::print_stdout, reason = "an example is for people")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures how long seeds take, and decides nothing by it"
)]
use std::ops::ControlFlow;

/// A run allocates and frees all the time, in one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    let at = |place: usize, default: u64| numbers.get(place).copied().unwrap_or(default);
    let (from, to, nodes, seconds) = (at(0, 0), at(1, 1), at(2, 5), at(3, 10));
    let stop = at(4, 1);
    if stop > 1 {
        let keep = quorate_sim::Keep::LastEvents(stop as usize);
        println!(
            "{}",
            quorate_sim::run_once(from, nodes as usize, seconds, keep)
        );
        return;
    }
    let began = std::time::Instant::now();
    let batch = quorate_sim::run_batch(from..to, nodes as usize, seconds, |report| {
        println!(
            "seed {} events {} simulated {:?} {:?} compared {:?} {:x}",
            report.seed,
            report.events,
            report.simulated,
            report.operations,
            report.compared,
            report.trace_hash
        );
        if report.violations.is_empty() {
            return ControlFlow::Continue(());
        }
        println!("{report}");
        if stop == 1 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    println!("{:#?} {:#?}", batch.marks, batch.faults);
    // One thread: seconds are core-seconds.
    let took = began.elapsed().as_secs_f64();
    println!(
        "{:.0} simulated seconds per core-second",
        batch.simulated.as_secs_f64() / took
    );
    println!(
        "{} seeds, {} events, {:?}, {} failures: {:?}",
        batch.seeds,
        batch.events,
        batch.simulated,
        batch.failures.len(),
        batch
            .failures
            .iter()
            .map(|report| (report.seed, report.violations[0].invariant))
            .collect::<Vec<_>>()
    );
}

//! Hunts planted bugs and prints what it cost: `canaries [BUDGET [STARTS]] [NAME...]`.
//!
//! A hunt runs short seeds (5 peers, 20 simulated seconds) until one shows the bug; the median is
//! over STARTS ranges of seeds.
#![allow(clippy::print_stdout, reason = "an example is for people")]
use quorate_sim::{Canary, Hunt, family_of, hunt};

/// Peers and simulated seconds of a short seed.
const SHORT: (usize, u64) = (5, 20);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = words.iter().filter_map(|word| word.parse::<u64>().ok());
    let budget = numbers.next().unwrap_or(2_000);
    let starts = numbers.next().unwrap_or(1);
    let named = |canary: &Canary| words.iter().any(|word| word == canary.name());
    let all = !Canary::ALL.iter().any(named);
    for canary in Canary::ALL
        .into_iter()
        .filter(|canary| all || named(canary))
    {
        let mut hunts: Vec<Hunt> = (0..starts)
            .map(|start| hunt(canary, family_of(canary), start * 1_000_000, budget, SHORT))
            .collect();
        hunts.sort_by_key(|hunt| (hunt.caught.is_none(), hunt.seeds));
        let seeds: Vec<u64> = hunts.iter().map(|hunt| hunt.seeds).collect();
        let middle = &hunts[hunts.len() / 2];
        let caught = middle.caught.as_ref();
        let by = caught.map_or("-", |report| report.violations[0].invariant);
        println!(
            "{:<24} {:<10} {:>5} {seeds:?} {by}",
            canary.name(),
            middle.family.name(),
            middle.seeds,
        );
        if let Some(report) = caught {
            println!("    seed {}: {}", report.seed, report.violations[0].detail);
        }
    }
}

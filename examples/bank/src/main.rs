//! Finds what is wrong with a bank, in simulated clusters: `bank`, `bank mended`, `bank numbered`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // It answers on the terminal.

mod bank;
mod mended;
mod numbered;

use std::{fmt, fs};

use quorate_sim::{Simulation, Subject};
use quorate_state::{StateMachine, View};

use crate::{
    bank::{ACCOUNTS, Bank, START, Transfer, balance},
    mended::Mended,
    numbered::Numbered,
};

fn main() -> anyhow::Result<()> {
    let simulation = match std::env::args().nth(1).as_deref() {
        None => simulation(|| Bank),
        Some("mended") => simulation(|| Mended),
        Some("numbered") => simulation(Numbered::default),
        Some(other) => anyhow::bail!("no bank is called {other}: mended, numbered"),
    };
    let findings = simulation.run(0..10)?;
    println!("{findings}");
    for finding in &findings.found {
        let name = format!("{}.json", finding.violation.invariant);
        fs::write(&name, finding.file.to_json())?;
        println!("kept as {name}");
    }
    Ok(())
}

/// Clusters of five peers whose clients move money, with whatever may go wrong.
fn simulation<M>(make: fn() -> M) -> Simulation
where
    M: StateMachine<Command = Transfer>,
    M::Outcome: fmt::Debug,
{
    let bank = Subject::new(make)
        .commands(|dice| Transfer {
            from: dice.below(ACCOUNTS),
            to: dice.below(ACCOUNTS),
            amount: dice.between(1, 60),
        })
        .invariant("money-is-kept", money_is_kept);
    Simulation::of(&bank).peers(5).seconds(30).operations(20)
}

fn money_is_kept(state: View<'_>) -> Result<(), String> {
    let sum: u64 = (0..ACCOUNTS).map(|account| balance(state, account)).sum();
    let wanted = ACCOUNTS * START;
    if sum == wanted {
        return Ok(());
    }
    Err(format!("there is {sum} in all, not {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = include_str!("../kept/money-is-kept.json");

    #[test]
    fn a_transfer_to_oneself_makes_no_money() {
        let report = simulation(|| Mended).replay(KEPT).unwrap();
        assert!(report.violations.is_empty(), "{report}");
    }

    #[test]
    fn the_kept_scenario_shows_what_the_first_bank_does_wrong() {
        let report = simulation(|| Bank).replay(KEPT).unwrap();
        assert_eq!(report.violations[0].invariant, "money-is-kept");
    }
}

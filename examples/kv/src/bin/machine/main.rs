//! The same library with a state machine of one's own in the place of the maps: a bank.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // It answers on the terminal.

mod bank;

use quorate::prelude::*;

use crate::bank::{Bank, Command, Query};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let net = Network::builder("kv").build().await?;
    // The group's state is the bank's: commands, outcomes, queries and answers are its types.
    let bank = net.group(GroupKey::named("bank")).machine(Bank);
    let bank = bank.open().await?;
    bank.when().caught_up().await?;
    println!("ready: open OWNER AMOUNT, move FROM TO AMOUNT, balance OWNER, sum");
    for line in std::io::stdin().lines() {
        if let Err(error) = answer(&bank, &line?).await {
            println!("{error}");
        }
    }
    net.close().await;
    Ok(())
}

async fn answer(bank: &Group<Bank>, line: &str) -> anyhow::Result<()> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["open", owner, amount] => {
            let command = Command::Open {
                owner: owner.to_owned(),
                amount: amount.parse()?,
            };
            // `execute` answers when the command is committed and applied: with its outcome.
            println!("{:?}", bank.execute(command).await?.outcome);
        }
        ["move", from, to, amount] => {
            let command = Command::Move {
                from: from.to_owned(),
                to: to.to_owned(),
                amount: amount.parse()?,
            };
            println!("{:?}", bank.execute(command).await?.outcome);
        }
        ["balance", owner] => {
            let query = Query::Balance(owner.to_owned());
            println!("{:?}", bank.query(query, Read::Linearizable).await?);
        }
        ["sum"] => println!("{:?}", bank.query(Query::Sum, Read::Linearizable).await?),
        _ => println!("open OWNER AMOUNT, move FROM TO AMOUNT, balance OWNER, sum"),
    }
    Ok(())
}

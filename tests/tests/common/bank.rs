//! A machine of an application's own: accounts, between which money is moved but never made.

use quorate::{
    ApplyContext, Form, Group, GroupBuilder, GroupKey, GroupProfile, ItemError, Network,
    StateMachine, Table, View,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

pub struct Bank;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Order {
    Deposit {
        to: String,
        amount: u64,
    },
    Transfer {
        from: String,
        to: String,
        amount: u64,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refused {
    Balance(u64),
    Overflow,
    Item(ItemError),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    Balance(String),
    Total,
}

const BALANCES: Table<String, u64> = Table::new(1);

fn balance(state: View<'_>, of: &str) -> u64 {
    BALANCES.get(state, of).unwrap_or(0)
}

fn deposit(cx: &mut ApplyContext<'_>, to: &str, amount: u64) -> Result<u64, Refused> {
    let sum = balance(cx.view(), to).checked_add(amount);
    let sum = sum.ok_or(Refused::Overflow)?;
    BALANCES.insert(cx, to, &sum).map_err(Refused::Item)?;
    Ok(sum)
}

impl StateMachine for Bank {
    type Command = Order;
    /// What is on the account that was paid to.
    type Outcome = Result<u64, Refused>;
    type Query = Ask;
    type Answer = u64;

    fn name(&self) -> &str {
        "test.bank"
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, order: Order) -> Result<u64, Refused> {
        match order {
            Order::Deposit { to, amount } => deposit(cx, &to, amount),
            Order::Transfer { from, to, amount } => cx.transaction(|cx| {
                let had = balance(cx.view(), &from);
                let left = had.checked_sub(amount).ok_or(Refused::Balance(had))?;
                BALANCES.insert(cx, &from, &left).map_err(Refused::Item)?;
                deposit(cx, &to, amount)
            }),
        }
    }

    fn query(&self, state: View<'_>, ask: Ask) -> u64 {
        match ask {
            Ask::Balance(of) => balance(state, &of),
            Ask::Total => BALANCES.iter(state).map(|(_, balance)| balance).sum(),
        }
    }
}

pub fn deposit_to(account: &str, amount: u64) -> Order {
    Order::Deposit {
        to: account.to_owned(),
        amount,
    }
}

/// Opens the bank on a network.
pub fn bank(net: &Network) -> GroupBuilder<Bank> {
    net.group(GroupKey::named("bank")).machine(Bank)
}

/// Starts a peer of the bank that meets others in `directory`.
pub async fn banker(directory: &Path, form: Form, profile: GroupProfile) -> (Network, Group<Bank>) {
    let net = Network::builder("test").rendezvous(directory);
    let net = net.build().await.unwrap();
    let group = bank(&net).form(form).profile(profile).open().await;
    (net, group.unwrap())
}

/// Starts `n` peers that found the bank together.
pub async fn bankers(directory: &Path, n: usize) -> Vec<(Network, Group<Bank>)> {
    let mut peers = Vec::new();
    for _ in 0..n {
        let profile = GroupProfile {
            reserve_entries: 64,
            ..GroupProfile::lan()
        };
        peers.push(banker(directory, Form::Expect(n), profile).await);
    }
    for (_, group) in &peers {
        super::soon(group.when().leader_elected()).await.unwrap();
    }
    peers
}

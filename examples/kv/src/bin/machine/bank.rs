//! A bank as a state machine: what its commands do, and what its queries answer.
//!
//! A command is applied by every peer, at the same place of the log, to the same accounts. So what
//! would be a race elsewhere is a plain `if` here: nobody can spend in between. In return, `apply`
//! must follow from the accounts and the command alone: no clock, no chance, no hash order.

use quorate::{ApplyContext, ItemError, StateMachine, Table, View};
use serde::{Deserialize, Serialize};

/// Accounts, between which money is moved but never made.
pub(crate) struct Bank;

/// Who owns how much: a map in the group's state, which catch-up brings to late peers.
const BALANCES: Table<String, u64> = Table::new(1);

/// What can be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Opens an account with so much in it.
    Open { owner: String, amount: u64 },
    /// Moves money, if there is enough.
    Move {
        from: String,
        to: String,
        amount: u64,
    },
}

/// What came of it: a refusal is an outcome, the same on every peer.
pub(crate) type Outcome = Result<u64, Refusal>;

/// Why nothing was changed.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// There is such an account already.
    Exists,
    /// There is no such account.
    NoAccount(String),
    /// There is too little in it.
    Balance(u64),
    /// There would be too much in it.
    Overflow,
    /// The group's state cannot hold it: the owner's name is too long.
    Item(ItemError),
}

/// What can be asked.
pub(crate) enum Query {
    /// How much somebody owns.
    Balance(String),
    /// How much there is in all.
    Sum,
}

impl StateMachine for Bank {
    type Command = Command;
    type Outcome = Outcome;
    type Query = Query;
    type Answer = Option<u64>;

    /// Part of the group's identity: peers with another machine are in another group.
    fn name(&self) -> &str {
        "example.bank"
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: Command) -> Outcome {
        match command {
            Command::Open { owner, amount } => {
                if BALANCES.get(cx.view(), &owner).is_some() {
                    return Err(Refusal::Exists);
                }
                BALANCES
                    .insert(cx, &owner, &amount)
                    .map_err(Refusal::Item)?;
                Ok(amount)
            }
            // All of it or nothing: what was changed before an error is undone.
            Command::Move { from, to, amount } => cx.transaction(|cx| {
                let had = balance(cx, &from)?;
                let left = had.checked_sub(amount).ok_or(Refusal::Balance(had))?;
                BALANCES.insert(cx, &from, &left).map_err(Refusal::Item)?;
                let sum = balance(cx, &to)?.checked_add(amount);
                let sum = sum.ok_or(Refusal::Overflow)?;
                BALANCES.insert(cx, &to, &sum).map_err(Refusal::Item)?;
                Ok(left)
            }),
        }
    }

    fn query(&self, state: View<'_>, query: Query) -> Option<u64> {
        match query {
            Query::Balance(owner) => BALANCES.get(state, &owner),
            Query::Sum => BALANCES
                .iter(state)
                .try_fold(0_u64, |sum, (_, balance)| sum.checked_add(balance)),
        }
    }
}

fn balance(cx: &ApplyContext<'_>, owner: &str) -> Result<u64, Refusal> {
    BALANCES
        .get(cx.view(), owner)
        .ok_or_else(|| Refusal::NoAccount(owner.to_owned()))
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use quorate::prelude::*;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_spends_the_same_money_twice() {
        let net = Network::builder("test").without_rendezvous();
        let net = net.build().await.unwrap();
        let bank = net.group(GroupKey::named("bank")).machine(Bank);
        let bank = bank.form(Form::Alone).open().await.unwrap();
        for (owner, amount) in [("ada", 100), ("grace", 0), ("croesus", u64::MAX)] {
            let owner = owner.to_owned();
            let open = Command::Open { owner, amount };
            assert_eq!(bank.execute(open).await.unwrap().outcome, Ok(amount));
        }
        let to = |to: &str, amount| Command::Move {
            from: "ada".to_owned(),
            to: to.to_owned(),
            amount,
        };
        let moves = join_all((0..10).map(|_| bank.execute(to("grace", 30)))).await;
        let outcomes: Vec<Outcome> = moves.into_iter().map(|it| it.unwrap().outcome).collect();
        let left = [70, 40, 10].map(Ok);
        assert!(left.iter().all(|left| outcomes.contains(left)));
        let refused = |outcome: &&Outcome| **outcome == Err(Refusal::Balance(10));
        assert_eq!(outcomes.iter().filter(refused).count(), 7);
        // What was taken from ada before the refusal is hers again.
        let refused = bank.execute(to("croesus", 1)).await.unwrap();
        assert_eq!(refused.outcome, Err(Refusal::Overflow));
        for (owner, owns) in [("ada", 10), ("grace", 90)] {
            let query = Query::Balance(owner.to_owned());
            assert_eq!(bank.query(query, Read::Linearizable).await, Ok(Some(owns)));
        }
        net.close().await;
    }
}

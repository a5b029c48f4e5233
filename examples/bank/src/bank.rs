//! A bank as one writes it at first: look at both accounts, then change both.

use quorate_state::{ApplyContext, ItemError, StateMachine, Table, View};
use serde::{Deserialize, Serialize};

/// How many accounts there are, numbered from 0.
pub(crate) const ACCOUNTS: u64 = 4;

/// What is in an account that nothing was done with.
pub(crate) const START: u64 = 100;

/// How much is in each account.
pub(crate) const BALANCES: Table<u64, u64> = Table::new(1);

/// Moves money from one account to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) amount: u64,
}

/// Why nothing was moved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// There is only so much in the account.
    Balance(u64),
    /// The group's state cannot hold it.
    Item(ItemError),
}

/// Returns how much is in an account.
pub(crate) fn balance(state: View<'_>, account: u64) -> u64 {
    BALANCES.get(state, &account).unwrap_or(START)
}

/// Accounts, between which money is moved but never made.
pub(crate) struct Bank;

impl StateMachine for Bank {
    type Command = Transfer;
    /// What is left in the account that paid.
    type Outcome = Result<u64, Refusal>;
    type Query = u64;
    type Answer = u64;

    fn name(&self) -> &str {
        "example.tested-bank"
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: Transfer) -> Result<u64, Refusal> {
        let Transfer { from, to, amount } = command;
        let had = balance(cx.view(), from);
        let has = balance(cx.view(), to);
        let left = had.checked_sub(amount).ok_or(Refusal::Balance(had))?;
        cx.transaction(|cx| {
            BALANCES.insert(cx, &from, &left)?;
            BALANCES.insert(cx, &to, &(has + amount))
        })
        .map_err(Refusal::Item)?;
        Ok(left)
    }

    fn query(&self, state: View<'_>, account: u64) -> u64 {
        balance(state, account)
    }
}

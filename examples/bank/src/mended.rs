//! The bank, mended: it looks at the second account when the first has been changed.

use quorate_state::{ApplyContext, StateMachine, View};

use crate::bank::{BALANCES, Bank, Refusal, Transfer, balance};

/// Accounts, between which money is moved but never made.
pub(crate) struct Mended;

impl StateMachine for Mended {
    type Command = Transfer;
    type Outcome = Result<u64, Refusal>;
    type Query = u64;
    type Answer = u64;

    fn name(&self) -> &str {
        Bank.name()
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: Transfer) -> Result<u64, Refusal> {
        let Transfer { from, to, amount } = command;
        let had = balance(cx.view(), from);
        let left = had.checked_sub(amount).ok_or(Refusal::Balance(had))?;
        cx.transaction(|cx| {
            BALANCES.insert(cx, &from, &left)?;
            let has = balance(cx.view(), to);
            BALANCES.insert(cx, &to, &(has + amount))
        })
        .map_err(Refusal::Item)?;
        Ok(left)
    }

    fn query(&self, state: View<'_>, account: u64) -> u64 {
        balance(state, account)
    }
}

//! The mended bank with receipts, numbered in the wrong place: in the machine instead of its state.

use std::sync::atomic::{AtomicU64, Ordering};

use quorate_state::{ApplyContext, StateMachine, View};

use crate::{
    bank::{Bank, Refusal, Transfer, balance},
    mended::Mended,
};

/// A bank that gives out receipts.
#[derive(Default)]
pub(crate) struct Numbered {
    receipts: AtomicU64,
}

impl StateMachine for Numbered {
    type Command = Transfer;
    /// The number of the receipt.
    type Outcome = Result<u64, Refusal>;
    type Query = u64;
    type Answer = u64;

    fn name(&self) -> &str {
        Bank.name()
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: Transfer) -> Result<u64, Refusal> {
        Mended.apply(cx, command)?;
        Ok(self.receipts.fetch_add(1, Ordering::Relaxed))
    }

    fn query(&self, state: View<'_>, account: u64) -> u64 {
        balance(state, account)
    }
}

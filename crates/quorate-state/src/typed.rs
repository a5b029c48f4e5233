//! Machines as applications write them: typed commands in, typed outcomes out.
//!
//! The log, the wire and the replica know commands and outcomes as bytes; an application should
//! not. [`StateMachine`] is what it writes, [`Typed`] makes a [`Machine`] of it, and the handles
//! encode and decode with the functions here, so that both ends of the bytes are in this file.
//!
//! ```text
//! command   postcard
//! outcome   0 postcard     the command was applied and this is its outcome
//!           1              the bytes were no command: nothing was changed
//!           2              the command was applied; its outcome cannot be encoded
//! ```
//!
//! Queries are not in it: a query is answered from a snapshot in the task of whoever asks, and is
//! never encoded. So a slow query does not hold up the group, and may answer with anything.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    collections::{ValueError, decode_value, encode_value, encode_value_after},
    machine::{ApplyContext, Machine, View},
};

/// An application's own state machine: what its commands do and what its queries answer.
///
/// It has no memory but the items of the group's tree, reached through the context of one command
/// or the view of one query; `self` holds at most what is configured and equal on every peer. So
/// snapshots, digests and catch-up come by themselves. [`crate::Table`] makes items typed.
///
/// Implementations MUST be deterministic: outcome and changes follow from the context and the
/// command alone, on every platform (no clock, no randomness, no iteration over hash maps). They
/// MUST NOT panic, whatever the command: what cannot be done is an outcome.
///
/// ```
/// use quorate_state::{ApplyContext, ItemError, StateMachine, Table, View};
/// use serde::{Deserialize, Serialize};
///
/// /// Accounts, between which money is moved but never made.
/// struct Bank;
///
/// const BALANCES: Table<String, u64> = Table::new(1);
///
/// #[derive(Serialize, Deserialize)]
/// struct Transfer { from: String, to: String, amount: u64 }
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// enum Refused { Balance(u64), Item(ItemError) }
///
/// impl StateMachine for Bank {
///     type Command = Transfer;
///     type Outcome = Result<(), Refused>;
///     type Query = String;
///     type Answer = u64;
///
///     fn name(&self) -> &str {
///         "example.bank"
///     }
///
///     fn apply(&self, cx: &mut ApplyContext<'_>, transfer: Transfer) -> Result<(), Refused> {
///         let Transfer { from, to, amount } = transfer;
///         let balance = |cx: &ApplyContext<'_>, of: &str| {
///             BALANCES.get(cx.view(), of).unwrap_or(0)
///         };
///         let had = balance(cx, &from);
///         let left = had.checked_sub(amount).ok_or(Refused::Balance(had))?;
///         // All of it or nothing: an error undoes what was changed.
///         cx.transaction(|cx| {
///             BALANCES.insert(cx, &from, &left)?;
///             let sum = balance(cx, &to).saturating_add(amount);
///             BALANCES.insert(cx, &to, &sum)
///         })
///         .map_err(Refused::Item)
///     }
///
///     fn query(&self, state: View<'_>, account: String) -> u64 {
///         BALANCES.get(state, &account).unwrap_or(0)
///     }
/// }
/// ```
pub trait StateMachine: Send + Sync + 'static {
    /// What can be done.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What came of it, on every peer alike.
    type Outcome: Serialize + DeserializeOwned + Send + 'static;
    /// What can be asked.
    type Query: Send + 'static;
    /// What is answered.
    type Answer: Send + 'static;

    /// Returns the stable name that is part of the group's identity.
    ///
    /// Peers whose machines have other names are in other groups, whatever the key. Change it when
    /// commands come to mean something else.
    fn name(&self) -> &str;

    /// Returns the versions of the machine that this implementation can run.
    ///
    /// A program whose commands do something else than its predecessor's adds a version, does by
    /// [`ApplyContext::version`] what each version did, and reads what its predecessor left behind.
    /// The group upgrades by itself, to the highest version that all of its members can run. Every
    /// history begins at version 1.
    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    /// Does what `command` says and returns its outcome.
    fn apply(&self, cx: &mut ApplyContext<'_>, command: Self::Command) -> Self::Outcome;

    /// Answers `query` from `state`, changing nothing.
    fn query(&self, state: View<'_>, query: Self::Query) -> Self::Answer;
}

/// A typed machine, as one of bytes.
pub struct Typed<M>(pub Arc<M>);

/// Bytes that are no outcome of a command.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The machine could not read the command, and changed nothing.
    #[error("the command is none that this machine knows")]
    Malformed,
    /// The command was applied, but its outcome could not be encoded.
    #[error("the outcome cannot be encoded")]
    Unencodable,
    /// The command was applied, but its outcome is of another type.
    #[error("the outcome is of another type: {0}")]
    Foreign(String),
}

const DONE: u8 = 0;
const MALFORMED: u8 = 1;
const UNENCODABLE: u8 = 2;

/// Encodes a command.
///
/// # Errors
/// The command does not know its length.
pub fn encode_command(command: &impl Serialize) -> Result<Bytes, ValueError> {
    Ok(encode_value(command)?.into())
}

/// Decodes what a command answered.
///
/// # Errors
/// See [`TypedError`].
pub fn decode_outcome<O: DeserializeOwned>(outcome: &[u8]) -> Result<O, TypedError> {
    match outcome.split_first() {
        Some((&DONE, outcome)) => {
            decode_value(outcome).map_err(|error| TypedError::Foreign(error.to_string()))
        }
        Some((&MALFORMED, [])) => Err(TypedError::Malformed),
        Some((&UNENCODABLE, [])) => Err(TypedError::Unencodable),
        _ => Err(TypedError::Foreign(
            "not the outcome of a typed machine".to_owned(),
        )),
    }
}

impl<M: StateMachine> Machine for Typed<M> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn versions(&self) -> RangeInclusive<u32> {
        self.0.versions()
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: &[u8]) -> Bytes {
        let Ok(command) = decode_value(command) else {
            return Bytes::from_static(&[MALFORMED]);
        };
        let outcome = self.0.apply(cx, command);
        if !cx.is_heard() {
            return Bytes::new();
        }
        match encode_value_after(&[DONE], &outcome) {
            Ok(outcome) => outcome.into(),
            Err(_) => Bytes::from_static(&[UNENCODABLE]),
        }
    }
}

impl<M> fmt::Debug for Typed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_core::{Cursor, Index, Term};

    use super::*;
    use crate::{
        Table,
        tree::{Salt, Tree},
    };

    struct Adder;

    const SUM: Table<(u8, u8), u64> = Table::new(7);

    impl StateMachine for Adder {
        type Command = u64;
        type Outcome = Option<u64>;
        type Query = ();
        type Answer = u64;

        fn name(&self) -> &str {
            "adder"
        }

        fn apply(&self, cx: &mut ApplyContext<'_>, more: u64) -> Option<u64> {
            let sum = self.query(cx.view(), ()).checked_add(more)?;
            SUM.insert(cx, &(0, 0), &sum).ok()?;
            Some(sum)
        }

        fn query(&self, state: View<'_>, (): ()) -> u64 {
            SUM.get(state, &(0, 0)).unwrap_or(0)
        }
    }

    fn apply(tree: &mut Tree, command: &[u8]) -> Bytes {
        let mut cx = ApplyContext::new(tree, Cursor::new(Term(2), Index(2)), 1, None);
        Typed(Arc::new(Adder)).apply(&mut cx, command)
    }

    #[test]
    fn typed_commands_have_typed_outcomes() {
        let mut tree = Tree::new(Salt([3; 32]));
        for (more, outcome) in [(5, Some(5)), (u64::MAX, None), (2, Some(7))] {
            let answer = apply(&mut tree, &encode_command(&more).unwrap());
            assert_eq!(decode_outcome::<Option<u64>>(&answer), Ok(outcome));
        }
        assert_eq!(Adder.query(View::new(&tree), ()), 7);
    }

    #[test]
    fn an_outcome_of_another_type_is_an_error() {
        let mut tree = Tree::new(Salt([3; 32]));
        let answer = apply(&mut tree, &encode_command(&300_u64).unwrap());
        let foreign = decode_outcome::<Option<bool>>(&answer);
        assert!(matches!(foreign, Err(TypedError::Foreign(_))));
        assert!(matches!(
            decode_outcome::<()>(&[]),
            Err(TypedError::Foreign(_))
        ));
        assert_eq!(
            decode_outcome::<()>(&[UNENCODABLE]),
            Err(TypedError::Unencodable)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_command_or_change_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..12)
        ) {
            let mut tree = Tree::new(Salt([3; 32]));
            let answer = apply(&mut tree, &bytes);
            match decode_value::<u64>(&bytes) {
                Ok(more) => prop_assert_eq!(decode_outcome(&answer), Ok(Some(more))),
                Err(_) => {
                    let refused = decode_outcome::<Option<u64>>(&answer);
                    prop_assert_eq!(refused, Err(TypedError::Malformed));
                    prop_assert!(tree.is_empty());
                }
            }
        }
    }
}

//! A user's own state machine, and what must hold of it.
//!
//! What can go wrong in a machine beside its rules is that it is no function of its state and its
//! commands: it looks at a clock, iterates over a hash map, or keeps something in `self` that
//! snapshots do not carry. On one machine with one history nothing of that shows. So every command
//! that a simulated peer applies is applied a second time, by an instance that has just been made,
//! to a copy of the state before (which a persistent tree gives for nothing), and what both
//! answered and changed is compared at once, at the command that differs. Comparing peers with each
//! other would find the same much later, at the next digest, and could not say at which command.

use std::{fmt, marker::PhantomData, panic::resume_unwind, sync::Arc};

use bytes::Bytes;
use quorate_core::{Applied, Body, Cursor, Entries, StateDone, StateOp, Versions};
use quorate_state::{
    ApplyContext, Machine, Replica, StateMachine, Typed, View,
    collections::{ValueError, decode_value},
    space,
    tree::Tree,
    typed::{decode_outcome, encode_command},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    checkers::Found, dice::Dice, hex, operation::Action, panics, scenario::Scenario, trace::Keep,
    world::World,
};

/// The invariant that a machine breaks whose outcomes or changes depend on something else than
/// state and command.
const REPEATABLE: &str = "apply-is-repeatable";

/// The invariant that a machine breaks by panicking.
pub(crate) const NO_PANIC: &str = "apply-does-not-panic";

/// A state machine to be tested, what is asked of it, and what must hold.
///
/// `make` makes an instance, equal to all others; it is called for every command that is applied,
/// so it should be cheap. Commands and outcomes must be [`fmt::Debug`]: what is found
/// is told by them.
pub struct Subject<M> {
    tested: Tested,
    machine: PhantomData<fn() -> M>,
}

/// A subject whose types are forgotten, as a world runs it.
#[derive(Clone)]
pub(crate) struct Tested {
    name: Arc<str>,
    make: Arc<dyn Fn() -> Arc<dyn Machine> + Send + Sync>,
    describe: fn(&[u8]) -> String,
    describe_outcome: fn(&[u8]) -> String,
    generate: Option<Arc<Generate>>,
    states: Vec<(&'static str, Arc<StateCheck>)>,
    transitions: Vec<(&'static str, Arc<TransitionCheck>)>,
}

type Generate = dyn Fn(&mut Dice) -> Result<Bytes, ValueError> + Send + Sync;
type StateCheck = dyn Fn(View<'_>) -> Result<(), String> + Send + Sync;
type TransitionCheck = dyn Fn(&Transition<'_, Bytes, Bytes>) -> Result<(), String> + Send + Sync;

/// One command that was applied: what it said and answered, and the state on both sides of it.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a, C, O> {
    /// The machine's items before.
    pub before: View<'a>,
    /// What was asked.
    pub command: &'a C,
    /// What was answered.
    pub outcome: &'a O,
    /// The machine's items after.
    pub after: View<'a>,
}

impl<M> Subject<M>
where
    M: StateMachine,
    M::Command: fmt::Debug,
    M::Outcome: fmt::Debug,
{
    /// Names the machine to test.
    pub fn new(make: impl Fn() -> M + Send + Sync + 'static) -> Self {
        let name = make().name().into();
        Self {
            tested: Tested {
                name,
                make: Arc::new(move || Arc::new(Typed(Arc::new(make())))),
                describe: describe::<M::Command>,
                describe_outcome: describe_outcome::<M::Outcome>,
                generate: None,
                states: Vec::new(),
                transitions: Vec::new(),
            },
            machine: PhantomData,
        }
    }

    /// Says how a command is drawn: what a client may ask, likely or not.
    ///
    /// It must use no other chance than the dice. Called for every operation of a scenario, each
    /// time with dice of its own, before the run.
    #[must_use]
    pub fn commands(
        mut self,
        draw: impl Fn(&mut Dice) -> M::Command + Send + Sync + 'static,
    ) -> Self {
        self.tested.generate = Some(Arc::new(move |dice| encode_command(&draw(dice))));
        self
    }

    /// Says what must hold of the machine's items at any time; `name` is kebab-case, and the error
    /// says what was seen. A panic of `check` counts as an error.
    ///
    /// Called at every peer after every command and after every snapshot that is installed.
    #[must_use]
    pub fn invariant(
        mut self,
        name: &'static str,
        check: impl Fn(View<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.tested.states.push((name, Arc::new(check)));
        self
    }

    /// Says what must hold of every command that is applied: of what it answered and changed;
    /// `name` and the error are as those of [`Subject::invariant`].
    ///
    /// Called at every peer after every command.
    #[must_use]
    pub fn transition(
        mut self,
        name: &'static str,
        check: impl Fn(&Transition<'_, M::Command, M::Outcome>) -> Result<(), String>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let check = move |transition: &Transition<'_, Bytes, Bytes>| {
            // What does not decode was not applied, and changed nothing.
            let Ok(command) = decode_value::<M::Command>(transition.command) else {
                return Ok(());
            };
            let outcome = decode_outcome::<M::Outcome>(transition.outcome);
            let outcome = outcome.map_err(|error| format!("the outcome: {error}"))?;
            check(&Transition {
                before: transition.before,
                command: &command,
                outcome: &outcome,
                after: transition.after,
            })
        };
        self.tested.transitions.push((name, Arc::new(check)));
        self
    }
}

impl<M> Subject<M> {
    /// Returns it without its types.
    pub(crate) fn tested(&self) -> Tested {
        self.tested.clone()
    }
}

impl<M> fmt::Debug for Subject<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tested.fmt(f)
    }
}

impl fmt::Debug for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invariants: Vec<&str> = self.names().collect();
        f.debug_struct("Subject")
            .field("name", &self.name)
            .field("invariants", &invariants)
            .finish_non_exhaustive()
    }
}

fn describe<C: DeserializeOwned + fmt::Debug>(command: &[u8]) -> String {
    decode_value::<C>(command).map_or_else(
        |_| format!("no command: {}", hex::write(command)),
        |command| format!("{command:?}"),
    )
}

fn describe_outcome<O: DeserializeOwned + fmt::Debug>(outcome: &[u8]) -> String {
    decode_outcome::<O>(outcome).map_or_else(
        |error| format!("{}, {error}", hex::write(outcome)),
        |outcome| format!("{outcome:?}"),
    )
}

impl Tested {
    /// Returns the machine's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names of what must hold.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let states = self.states.iter().map(|(name, _)| *name);
        states.chain(self.transitions.iter().map(|(name, _)| *name))
    }

    /// Returns a command as text.
    pub(crate) fn describe(&self, command: &[u8]) -> String {
        (self.describe)(command)
    }

    /// Draws a command; nothing if nobody said how.
    pub(crate) fn draw(&self, dice: &mut Dice) -> Option<Result<Bytes, ValueError>> {
        self.generate.as_ref().map(|generate| generate(dice))
    }

    /// Makes an instance of the machine, whose panics say by what command.
    pub(crate) fn machine(&self) -> Arc<dyn Machine> {
        Arc::new(Guarded {
            machine: (self.make)(),
            describe: self.describe,
        })
    }

    /// Has a replica carry out an operation, and looks at what it does to the machine's items.
    pub(crate) fn execute(
        &self,
        replica: &mut Replica,
        op: StateOp,
    ) -> (Option<StateDone>, Result<(), Found>) {
        match op {
            StateOp::Apply {
                first,
                entries,
                outcomes,
            } => match self.apply(replica, first, &entries, outcomes) {
                Ok(done) => (done, Ok(())),
                Err(found) => (None, Err(found)),
            },
            op => {
                let done = replica.execute(op);
                let installed = matches!(
                    done,
                    Some(StateDone::Installed {
                        restored: Some(_),
                        ..
                    })
                );
                let result = if installed {
                    self.judge_state(replica.view(), &|| {
                        format!("a snapshot at {}", replica.applied())
                    })
                } else {
                    Ok(())
                };
                (done, result)
            }
        }
    }

    /// Has a replica apply entries, and looks at each command that takes effect.
    fn apply(
        &self,
        replica: &mut Replica,
        first: Cursor,
        entries: &Entries,
        wanted: bool,
    ) -> Result<Option<StateDone>, Found> {
        if entries.is_empty() {
            return Ok(replica.execute(StateOp::Apply {
                first,
                entries: entries.clone(),
                outcomes: wanted,
            }));
        }
        let mut all = Vec::new();
        let mut done = None;
        let mut index = first.index;
        for entry in entries.iter() {
            let cursor = Cursor::new(entry.term, index);
            let before = replica.tree().clone();
            done = replica.execute(StateOp::Apply {
                first: cursor,
                entries: vec![entry.clone()].into(),
                outcomes: true,
            });
            let command = match &entry.body {
                Body::Command(command) => Some(command),
                Body::Named(named) => Some(&named.bytes),
                _ => None,
            };
            let Some(StateDone::Applied { outcomes, .. }) = &mut done else {
                return Ok(done);
            };
            if let (Some(command), [Applied::Outcome(outcome)]) = (command, &outcomes[..]) {
                self.examine(cursor, &before, command, outcome, replica.tree())?;
            }
            all.append(outcomes);
            index = index.next();
        }
        if let Some(StateDone::Applied { outcomes, .. }) = &mut done
            && wanted
        {
            *outcomes = all;
        }
        Ok(done)
    }

    /// Applies a command again, and judges what it did.
    fn examine(
        &self,
        cursor: Cursor,
        before: &Tree,
        command: &Bytes,
        outcome: &Bytes,
        after: &Tree,
    ) -> Result<(), Found> {
        let mut again = before.clone();
        let version = space::machine_version(before);
        let mut cx = ApplyContext::new(&mut again, cursor, version, None);
        let second = panics::catch(|| (self.make)().apply(&mut cx, command));
        let named = || format!("{} at {cursor}", self.describe(command));
        let second =
            second.map_err(|told| Found::new(NO_PANIC, format!("{}, again: {told}", named())))?;
        if second != *outcome {
            let say = self.describe_outcome;
            let detail = format!(
                "{} answers {}, and from the same state in a new instance {}",
                named(),
                say(outcome),
                say(&second)
            );
            return Err(Found::new(REPEATABLE, detail));
        }
        let (again, after) = (View::new(&again), View::new(after));
        if let Some(difference) = again.differences(after).next() {
            let key = hex::write(difference.key);
            let detail = format!(
                "{} leaves another item {key} than from the same state in a new instance",
                named()
            );
            return Err(Found::new(REPEATABLE, detail));
        }
        let transition = Transition {
            before: View::new(before),
            command,
            outcome,
            after,
        };
        for (name, check) in &self.transitions {
            judge(name, || check(&transition), &named)?;
        }
        self.judge_state(after, &named)
    }

    fn judge_state(&self, state: View<'_>, named: &dyn Fn() -> String) -> Result<(), Found> {
        self.states
            .iter()
            .try_for_each(|(name, check)| judge(name, || check(state), named))
    }
}

impl Action {
    /// Makes the operation that asks a user's machine for a command.
    ///
    /// # Errors
    /// The command cannot be encoded: it does not know its length.
    pub fn command(command: &(impl Serialize + fmt::Debug)) -> Result<Self, ValueError> {
        Ok(Self::Command {
            hex: encode_command(command)?,
            text: format!("{command:?}"),
        })
    }
}

impl World {
    /// Returns a peer's items, if it runs: what its machine has made of the entries applied so far.
    pub fn items(&self, peer: usize) -> Option<View<'_>> {
        let life = self.nodes.get(peer)?.life.as_ref()?;
        Some(life.replica.view())
    }

    /// Builds the world of a scenario whose peers run a user's machine; nothing has happened yet.
    ///
    /// A scenario that names another subject is a violation from the start.
    pub fn of<M>(subject: &Subject<M>, scenario: Scenario, keep: Keep) -> Self {
        Self::of_tested(subject.tested(), scenario, keep)
    }

    /// Builds the world of a scenario whose peers run a user's machine.
    pub(crate) fn of_tested(tested: Tested, mut scenario: Scenario, keep: Keep) -> Self {
        let name = || tested.name().to_owned();
        scenario.subject.get_or_insert_with(name);
        // The machine runs what it says, at every start.
        let runs = Versions::new(tested.machine().versions());
        for plan in &mut scenario.peers {
            plan.reads = runs.into_iter().collect();
        }
        Self::build(scenario, Some(tested), keep)
    }

    /// Says so if the peers do not run what the scenario is of.
    pub(crate) fn check_subject(&mut self) {
        let here = self.tested.as_ref().map(Tested::name);
        let wanted = self.scenario.subject.as_deref();
        if here != wanted {
            let detail = format!("the scenario is of {wanted:?}, and the peers run {here:?}");
            self.found("subject-is-there", detail);
        }
    }
}

/// Makes of what a check says, or panics with, what is reported.
fn judge(
    name: &'static str,
    check: impl FnOnce() -> Result<(), String>,
    named: &dyn Fn() -> String,
) -> Result<(), Found> {
    panics::catch(check)
        .unwrap_or_else(Err)
        .map_err(|told| Found::new(name, format!("after {}: {told}", named())))
}

/// A machine whose panics say which command they are about.
struct Guarded {
    machine: Arc<dyn Machine>,
    describe: fn(&[u8]) -> String,
}

impl Machine for Guarded {
    fn name(&self) -> &str {
        self.machine.name()
    }

    fn apply(&self, cx: &mut ApplyContext<'_>, command: &[u8]) -> Bytes {
        let cursor = cx.cursor();
        panics::catch(|| self.machine.apply(cx, command)).unwrap_or_else(|told| {
            let command = (self.describe)(command);
            resume_unwind(Box::new(format!("{command} at {cursor}: {told}")))
        })
    }
}

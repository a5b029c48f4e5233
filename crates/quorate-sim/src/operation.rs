//! What the clients do: plain data, drawn before the run.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    dice::{Dice, Span},
    hex,
    swarm::Features,
};

/// One thing that a client does at a certain time at a certain peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// When, since the start of the run.
    pub at: Duration,
    /// At which peer.
    pub peer: usize,
    /// What.
    pub action: Action,
    /// How long the client waits.
    pub patience: Duration,
    /// Which named client does it, if it is a write; else one whose commands have no name.
    pub client: Option<u32>,
}

/// What a client does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Writes a value that nobody else writes.
    Insert {
        /// The key's number.
        key: u32,
        /// How many bytes the value has, at least 8.
        size: u32,
    },
    /// Removes a key.
    Remove {
        /// The key's number.
        key: u32,
    },
    /// Writes a value if the present one is as expected.
    Exchange {
        /// The key's number.
        key: u32,
        /// How many bytes the value has, at least 8.
        size: u32,
        /// Whether the expected value is the last committed one, which usually succeeds; else it
        /// is that the key is absent.
        informed: bool,
    },
    /// Reads a key.
    Read {
        /// The key's number.
        key: u32,
        /// Whether the read must see every write acknowledged before it began; else it must see
        /// what the clients of its peer have been told.
        linearizable: bool,
    },
    /// Asks a user's own state machine for something.
    Command {
        /// The command, encoded.
        #[serde(with = "hex")]
        hex: Bytes,
        /// What it says, for people; nothing is made of it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
    },
}

impl Action {
    /// Tells whether it reads, and changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. })
    }
}

/// What the clients of a run do on average.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OperationPlan {
    per_second: u64,
    keys: u64,
    largest: u64,
    reads: u64,
    exchanges: u64,
    removes: u64,
    on: Features,
}

impl OperationPlan {
    /// Draws how much is done, and of what.
    pub(crate) fn draw(on: &Features, dice: &mut Dice) -> Self {
        let share = |name, drawn| if on.has(name) { drawn } else { 0 };
        Self {
            per_second: dice.scaled(4, 200),
            keys: dice.scaled(1, 1_000),
            largest: dice.scaled(8, 2_048),
            reads: dice.below(60),
            exchanges: share("exchanges", dice.below(20)),
            removes: share("removes", dice.below(15)),
            on: on.clone(),
        }
    }

    /// Draws a plan of little but reads, many of them.
    pub(crate) fn reading(dice: &mut Dice) -> Self {
        Self {
            per_second: dice.scaled(50, 200),
            reads: dice.between(40, 80),
            keys: dice.scaled(1, 10),
            largest: 16,
            exchanges: 0,
            removes: 0,
            on: Features::all(),
        }
    }

    /// Draws the operations themselves.
    pub(crate) fn operations(&self, nodes: usize, whole: Duration, seed: u64) -> Vec<Operation> {
        let mut dice = Dice::new(seed, "operations", 0);
        let mut names = Dice::new(seed, "named operations", 0);
        let clients = names.scaled(1, 8);
        let named = self.on.has("named-clients");
        let share = names.between(10, 100);
        let whole = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        let between = 2_000_000 / self.per_second.max(1);
        let mut operations = Vec::new();
        let mut at = dice.below(between);
        while at < whole {
            operations.push(Operation {
                at: Duration::from_micros(at),
                peer: dice.index(nodes),
                action: self.action(&mut dice),
                patience: dice.span(Span::micros(100_000, 5_000_000)),
                client: {
                    let (whether, who) = (names.below(100) < share, names.below(clients) as u32);
                    (whether && named).then_some(who)
                },
            });
            // Bursts: every now and then a few operations come at one instant.
            let (burst, pause) = (dice.below(8) == 0, dice.between(1, between));
            if !(burst && self.on.has("bursts")) {
                at += pause;
            }
        }
        operations
    }

    fn action(&self, dice: &mut Dice) -> Action {
        let key = dice.below(self.keys) as u32;
        // One value in a few hundred is too large for a leaf of the tree.
        let (large, huge) = (dice.below(300) == 0, dice.scaled(16 << 10, 300 << 10));
        let usual = dice.scaled(8, self.largest.max(9));
        let size = if large && self.on.has("large-values") {
            huge
        } else {
            usual
        } as u32;
        let what = dice.below(100);
        // Drawn whether used or not: what one operation is must not re-roll the next.
        let (coin, informed) = (dice.coin(), dice.below(4) > 0);
        let (fresh, local) = (
            self.on.has("linearizable-reads"),
            self.on.has("local-reads"),
        );
        if what < self.reads && (fresh || local) {
            Action::Read {
                key,
                linearizable: fresh && (coin || !local),
            }
        } else if (self.reads..self.reads + self.exchanges).contains(&what) {
            Action::Exchange {
                key,
                size,
                informed,
            }
        } else if (self.reads + self.exchanges..self.reads + self.exchanges + self.removes)
            .contains(&what)
        {
            Action::Remove { key }
        } else {
            Action::Insert { key, size }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_fill_the_run_and_name_peers_that_exist() {
        let mut kinds = [0; 4];
        for seed in 0..20 {
            let plan = OperationPlan::draw(&Features::all(), &mut Dice::new(seed, "load", 0));
            let operations = plan.operations(3, Duration::from_secs(10), seed);
            assert!(operations.len() > 10, "{} operations", operations.len());
            assert!(operations.is_sorted_by_key(|operation| operation.at));
            for operation in &operations {
                assert!(operation.peer < 3 && operation.at < Duration::from_secs(10));
                kinds[match operation.action {
                    Action::Insert { size, .. } => {
                        assert!(size >= 8);
                        0
                    }
                    Action::Remove { .. } => 1,
                    Action::Exchange { .. } => 2,
                    Action::Read { .. } => 3,
                    Action::Command { .. } => unreachable!(),
                }] += 1;
            }
        }
        assert!(kinds.iter().all(|count| *count > 50), "{kinds:?}");
    }
}

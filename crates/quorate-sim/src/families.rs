//! Families: named ways of drawing a scenario from a seed.
//!
//! Most bugs are found by the wide draw of [`Scenario::draw`]. A few need a course of events that
//! it reaches once in many thousand seeds; for those a family narrows the draw to what leads there
//! and leaves the rest to the seed. A family knows nothing of the bug: it is a kind of weather, and
//! every invariant holds in it.

use crate::scenario::Scenario;

/// A way of drawing scenarios.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Everything, as [`Scenario::draw`] does.
    General,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::General];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::General => "general",
        }
    }

    /// Draws the scenario of `seed` for `nodes` peers and `seconds` simulated seconds.
    pub fn draw(self, seed: u64, nodes: usize, seconds: u64) -> Scenario {
        match self {
            Self::General => Scenario::draw(seed, nodes, seconds),
        }
    }
}

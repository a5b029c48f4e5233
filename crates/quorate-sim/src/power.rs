//! The power of all machines fails at once.
//!
//! What each of them had synced is there afterwards, and nothing that was acknowledged may rest on
//! anything else. No memory survives it, so a state that nobody could make again from a log would
//! be gone: where the log of no whole voter begins at the beginning, or none reaches as far as all
//! the others need it, the fault is left out.

use std::time::Duration;

use quorate_core::{Form, Genesis};

use crate::{disk::Loses, inject::Lift, scenario::Storage, world::World};

impl World {
    /// Has the power of all machines fail; they start again after `away`, each `apart` later than
    /// the one before.
    pub(crate) fn fail_power(&mut self, away: Duration, apart: Duration) {
        if !self.survives_darkness() {
            return self.leave_out("fault left out: not survivable");
        }
        self.mark("power: fails everywhere at once");
        let mut after = away;
        for number in 0..self.peers() {
            if self.nodes[number].life.is_none() {
                continue;
            }
            self.nodes[number].loses = Loses::Any;
            self.end(number, "loses power", None);
            self.lift_after(after, Lift::Start(number));
            after += apart;
        }
    }

    /// Tells whether what is synced is enough to go on from.
    fn survives_darkness(&self) -> bool {
        let founded = self.checkers.committed() > Genesis::CURSOR.index;
        let Some(living) = self.checkers.living_one().filter(|_| founded) else {
            return false;
        };
        if self.scenario.storage == Storage::Memory || self.at_large.is_some() {
            return false;
        }
        let orderly = (0..self.peers()).all(|peer| {
            let node = &self.nodes[peer];
            // Whoever comes back first and is in no history sees none, and would found one.
            let founds = matches!(node.plan.again, Form::Auto { .. }) && !self.comes_back(peer);
            node.kept.hurt().is_none() && self.at >= node.leaving_until && !founds
        });
        let Some(configuration) = self.checkers.configuration_in(living) else {
            return false;
        };
        orderly && !self.is_shrinking() && self.has_whole_log(living, &configuration.all_voters())
    }
}

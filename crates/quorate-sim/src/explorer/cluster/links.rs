//! Links: two hosts get one, lose it, or are kept from having one.

use super::{Cluster, Flight, State};
use crate::{
    checkers::Found,
    explorer::{action::PAIRS, host::Happening},
};

impl Cluster {
    /// Takes the links of a host away; it gets none until it is allowed to.
    pub(in crate::explorer) fn isolate(
        &mut self,
        state: &mut State,
        host: usize,
    ) -> Result<(), Found> {
        for (pair, (one, other)) in PAIRS.into_iter().enumerate() {
            if one == host || other == host {
                state.apart |= 1 << pair;
                if state.links & (1 << pair) != 0 {
                    self.part(state, pair)?;
                }
            }
        }
        Ok(())
    }

    /// Has a process die, and its links with it.
    pub(super) fn stop(
        &mut self,
        state: &mut State,
        host: usize,
        happening: &Happening,
    ) -> Result<(), Found> {
        self.happen(state, host, happening)?;
        for (pair, (one, other)) in PAIRS.into_iter().enumerate() {
            if (one == host || other == host) && state.links & (1 << pair) != 0 {
                self.part(state, pair)?;
            }
        }
        Ok(())
    }

    /// Takes the link of a pair away; both see it, and what was on its way is lost.
    pub(super) fn part(&mut self, state: &mut State, pair: usize) -> Result<(), Found> {
        let (one, other) = PAIRS[pair];
        state.links &= !(1 << pair);
        drop(take_between(state, one, other));
        for (here, there) in [(one, other), (other, one)] {
            if self.host(state, here).peer.is_some() {
                self.happen(state, here, &Happening::Down(there))?;
            }
        }
        // What they say on their last breath goes nowhere.
        drop(take_between(state, one, other));
        Ok(())
    }

    /// Gives a pair a link; what follows the greetings is on its way then.
    pub(super) fn join(&mut self, state: &mut State, pair: usize) -> Result<(), Found> {
        let (one, other) = PAIRS[pair];
        state.links |= 1 << pair;
        self.happen(state, one, &Happening::Up(other))?;
        self.happen(state, other, &Happening::Up(one))?;
        for flight in take_between(state, one, other) {
            self.deliver(state, flight)?;
        }
        Ok(())
    }
}

fn take_between(state: &mut State, one: usize, other: usize) -> Vec<Flight> {
    let between = |flight: &Flight| {
        let ends = (usize::from(flight.from), usize::from(flight.to));
        ends == (one, other) || ends == (other, one)
    };
    let taken = state.flights.iter().copied().filter(between).collect();
    state.flights.retain(|flight| !between(flight));
    taken
}

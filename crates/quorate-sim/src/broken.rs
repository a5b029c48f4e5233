//! What stays broken when a quorum is healed: plain data, drawn before the run.
//!
//! A cluster that comes back once everything is mended proves less than it seems: whoever is well
//! may be waiting for whoever is not. So the scenario lists peers that stay broken, and how; at the
//! end of the safety phase each of them does, in this order, if those who are well can decide
//! without it ([`crate::heal`]).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::dice::Dice;

/// A peer that stays broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaysBroken {
    /// Which peer.
    pub peer: usize,
    /// In what way, if it runs; one that does not run stays down.
    pub how: Ailment,
}

/// In what way a peer stays broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ailment {
    /// It is down.
    Down,
    /// It stands still, as if stopped by a signal.
    Paused,
    /// It hears nobody, and nobody hears it.
    Apart,
    /// It hears nobody, and the others hear it.
    Deaf,
    /// It hears the others, and nobody hears it.
    Mute,
    /// Its disk has no space; down, if it has no disk.
    NoSpace,
    /// Its disk takes about as long as an election timeout, or longer.
    SlowDisk,
}

impl Ailment {
    const ALL: [Self; 7] = [
        Self::Down,
        Self::Paused,
        Self::Apart,
        Self::Deaf,
        Self::Mute,
        Self::NoSpace,
        Self::SlowDisk,
    ];
}

/// Draws who stays broken, and how: in one seed of three nobody, so that the rest takes no longer.
pub(crate) fn draw(seed: u64, nodes: usize) -> Vec<StaysBroken> {
    let mut dice = Dice::new(seed, "broken", 0);
    if dice.below(3) == 0 {
        return Vec::new();
    }
    let mut peers: Vec<usize> = (0..nodes).collect();
    dice.shuffle(&mut peers);
    peers.truncate(1 + dice.index(nodes));
    let how = |peer| StaysBroken {
        peer,
        how: Ailment::ALL[dice.index(Ailment::ALL.len())],
    };
    peers.into_iter().map(how).collect()
}

/// Returns the list with other numbers; without the peers for which `change` gives none.
pub(crate) fn renumber(
    list: &[StaysBroken],
    change: &dyn Fn(usize) -> Option<usize>,
) -> Vec<StaysBroken> {
    let renumbered = |one: &StaysBroken| {
        let peer = change(one.peer)?;
        Some(StaysBroken { peer, ..*one })
    };
    list.iter().filter_map(renumbered).collect()
}

/// Returns the first peer that is listed twice.
pub(crate) fn twice(list: &[StaysBroken]) -> Option<usize> {
    let mut seen = BTreeSet::new();
    let mut peers = list.iter().map(|one| one.peer);
    peers.find(|peer| !seen.insert(*peer))
}

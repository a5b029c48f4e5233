//! One peer: everything its groups share, and the groups.

mod view;

use std::collections::BTreeMap;

use crate::{
    disk_op::Recovered,
    effect::Effects,
    id::{GroupId, NetworkId, PeerId},
    input::Input,
    time::{Now, Time},
};

pub use view::{GroupView, MemberView, SessionView};

/// What a peer is started with.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its public key.
    pub peer: PeerId,
    /// Its network.
    pub network: NetworkId,
    /// The seed of its random numbers; from the operating system outside of simulations.
    pub seed: u64,
    /// Tells this process from another one with the same boot number.
    pub nonce: u64,
}

/// The sans-IO state machine of one peer.
///
/// A driver calls [`Peer::step`] for each thing that happened, then [`Peer::settle`] once its
/// inbox is empty, and executes the effects in order. What a batch of inputs has in common (one
/// frame of entries, one disk write, one read round) is done by `settle`, so that a busy peer
/// batches and an idle one does not wait.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    groups: BTreeMap<GroupId, ()>,
}

impl Peer {
    /// Starts a peer from what its durable log held.
    pub fn new(config: PeerConfig, _recovered: Recovered) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
        }
    }

    /// Returns the peer's public key.
    pub fn id(&self) -> PeerId {
        self.config.peer
    }

    /// Takes one input; pushes what must be done at once to `effects`.
    pub fn step(&mut self, _now: Now, _input: Input, _effects: &mut Effects) {}

    /// Pushes what the inputs since the last call have in common.
    pub fn settle(&mut self, _now: Now, _effects: &mut Effects) {}

    /// Returns when [`Input::Wake`] is due, if ever.
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// Returns the groups opened here, in order.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.groups.keys().copied()
    }

    /// Looks into one group.
    pub fn view(&self, _group: GroupId) -> Option<GroupView<'_>> {
        None
    }
}

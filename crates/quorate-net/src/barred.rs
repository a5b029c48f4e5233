//! The peers that there are to be no links to: a cut network, for tests.

use std::{collections::BTreeSet, sync::RwLock};

use quorate_core::PeerId;

/// Why a lock is never poisoned.
const NEVER_POISONED: &str = "nothing panics while it holds the barred";

/// Who is barred until it is said anew.
#[derive(Debug, Default)]
pub(crate) struct Barred(RwLock<BTreeSet<PeerId>>);

impl Barred {
    /// Bars these peers, and nobody else.
    pub(crate) fn set(&self, peers: BTreeSet<PeerId>) {
        *self.0.write().expect(NEVER_POISONED) = peers;
    }

    /// Tells whether there is to be no link to `peer`.
    pub(crate) fn holds(&self, peer: PeerId) -> bool {
        self.0.read().expect(NEVER_POISONED).contains(&peer)
    }
}

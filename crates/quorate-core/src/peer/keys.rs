//! The keys of the groups opened here, and what proves them to the other side of a link.
//!
//! A proof comes with a label: a hash of what people call the group and of what runs in it. It
//! tells which proof is of which group, so that one costs a hash only if it may be right, and
//! that two sides mean the same group and have different keys, which is worth a word of its own.

use std::collections::BTreeMap;

use crate::{
    id::{GroupId, GroupKey, derive},
    input::OpenGroup,
    wire::Proof,
};

/// The keys of the groups opened here.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Keys {
    groups: BTreeMap<GroupId, Labelled>,
}

/// A key, and what it is looked for by.
#[derive(Clone, Hash, Debug)]
struct Labelled {
    key: GroupKey,
    label: [u8; 8],
}

/// The TLS session of one link, as this side sees it.
#[derive(Clone, Hash, Debug)]
pub(crate) struct TlsSession {
    /// Keying material that both ends know, and nobody else.
    pub(crate) exporter: [u8; 32],
    /// Whether this side dialed.
    pub(crate) dialed: bool,
}

/// What a proof is worth to one group; of several the greatest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Verdict {
    /// It is of another group.
    Other,
    /// The other side means this group, and has another key.
    Wrong,
    /// The other side has the key.
    Proven,
}

impl Keys {
    /// Adds the key of a group that is opened.
    pub(crate) fn add(&mut self, group: GroupId, open: &OpenGroup) {
        let key = open.key.clone();
        let label = label(&key, &open.machine);
        self.groups.insert(group, Labelled { key, label });
    }

    /// Returns the groups, in order.
    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.groups.keys().copied()
    }

    /// Returns what proves one group to the other side, if it is opened here.
    pub(crate) fn proof(&self, group: GroupId, tls: &TlsSession) -> Option<Proof> {
        let Labelled { key, label } = self.groups.get(&group)?;
        Some(Proof {
            label: *label,
            proof: key.proof(group, &tls.exporter, tls.dialed),
        })
    }

    /// Judges what the other side says to prove.
    pub(crate) fn judge(&self, group: GroupId, tls: &TlsSession, proof: &Proof) -> Verdict {
        let Some(Labelled { key, label }) = self.groups.get(&group) else {
            return Verdict::Other;
        };
        if *label != proof.label {
            return Verdict::Other;
        }
        let expected = key.proof(group, &tls.exporter, !tls.dialed);
        // Compared in constant time.
        if blake3::Hash::from(proof.proof) == blake3::Hash::from(expected) {
            Verdict::Proven
        } else {
            Verdict::Wrong
        }
    }
}

fn label(key: &GroupKey, machine: &str) -> [u8; 8] {
    let parts = [key.label().as_bytes(), machine.as_bytes()];
    let hash = derive("quorate 2026 group label", &parts);
    let mut label = [0; 8];
    label.copy_from_slice(&hash[..8]);
    label
}

//! The entries of a group's log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    configuration::Configuration,
    cursor::{Cursor, Index, Term},
    id::{GenesisId, GroupId, Member, SessionId, derive},
    time::Wall,
};

/// One entry of the log: the term it was proposed in and what it says.
///
/// Its index is its place. Clones share the command's bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The term in which a leader proposed it.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Body {
    /// Nothing: the first entry of a leader's term, whose commit proves all before it committed.
    Noop,
    /// Who belongs to the group from here on.
    Configuration(Box<Configuration>),
    /// A write for the state machine that nobody may repeat.
    Command(Bytes),
    /// A write for the state machine under a name, applied at most once.
    Named(Box<Named>),
    /// Registers a client: its id is the index of this entry.
    Register {
        /// What the leader's wall clock showed when it appended the entry.
        at: Wall,
    },
    /// Cuts a snapshot on every peer that applies it.
    Marker(Box<Marker>),
    /// Gives this history up for another one, unless a user command precedes it
    /// ([`crate::Fate`]).
    Dissolve {
        /// The history that the members go to.
        into: GenesisId,
    },
    /// Has every command after it applied by a higher version of the state machine; without an
    /// effect if it is not higher than the one in effect.
    Upgrade {
        /// The version.
        version: u32,
    },
}

impl Body {
    /// Returns the version of the state machine in effect after this entry, `before` it was
    /// another one.
    pub fn version_after(&self, before: u32) -> u32 {
        match self {
            Self::Upgrade { version } => before.max(*version),
            _ => before,
        }
    }

    /// Tells whether this is one of the kinds that are looked for among entries on their way: those
    /// that change the configuration, cut a snapshot or raise the version of the machine.
    pub(crate) fn is_special(&self) -> bool {
        matches!(
            self,
            Self::Configuration(_) | Self::Marker(_) | Self::Upgrade { .. }
        )
    }

    /// Tells whether the state machine runs this entry.
    pub fn is_command(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Named(_))
    }
}

/// A write for the state machine as a client sends it, with the name under which it may repeat it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Command {
    /// Who sent it; [`ClientSequence::ANONYMOUS`] if it must never be repeated.
    pub client: ClientSequence,
    /// The write, in the machine's own encoding.
    pub bytes: Bytes,
}

/// A write under a name, as it stands in the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Named {
    /// Its name.
    pub client: ClientSequence,
    /// What the leader's wall clock showed when it appended the entry; by these stamps clients
    /// expire, on every peer alike.
    pub at: Wall,
    /// The write, in the machine's own encoding.
    pub bytes: Bytes,
}

/// A client's name for one of its commands.
///
/// `client` is the index of the entry that registered the client (its id is that index within the
/// genesis), `sequence` is the client's own number for the command. A command with a name may be
/// sent any number of times, through any peers; it is applied at most once.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ClientSequence {
    /// The index of the entry that registered the client; 0 for nobody.
    pub client: Index,
    /// The number of the command among those of its client.
    pub sequence: u64,
    /// The lowest number that the client may still repeat: what is below is forgotten.
    pub open: u64,
}

impl ClientSequence {
    /// The name of a command that nobody may repeat.
    pub const ANONYMOUS: Self = Self {
        client: Index(0),
        sequence: 0,
        open: 0,
    };

    /// Tells whether this names nothing.
    pub fn is_anonymous(self) -> bool {
        self.client == Index(0)
    }
}

impl Command {
    /// Makes a command that nobody may repeat.
    pub fn anonymous(bytes: Bytes) -> Self {
        Self {
            client: ClientSequence::ANONYMOUS,
            bytes,
        }
    }
}

/// The entry that cuts a snapshot: every peer takes one exactly at the marker's index.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Marker {
    /// Who asked for it.
    pub requesters: Vec<Requester>,
    /// When the leader's driver proposed it; for people, never compared with a clock.
    pub requested_at: Wall,
}

/// A peer that asks for a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Requester {
    /// Who asks, as its authenticated link or a member that vouches for it says.
    pub member: Member,
    /// Its session.
    pub session: SessionId,
    /// The last cursor it has applied.
    pub have: Cursor,
}

/// The beginning of one history of a group: what its first members agree on.
///
/// It is the log's first entry at [`Genesis::CURSOR`], and it fixes the salt of the state's tree.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Genesis {
    /// The group that begins.
    pub group: GroupId,
    /// Tells two beginnings of the same members apart.
    pub nonce: u64,
    /// The first voters, sorted.
    pub voters: Vec<Member>,
}

impl Genesis {
    /// The cursor of the genesis entry. No leader is ever elected in its term.
    pub const CURSOR: Cursor = Cursor::new(Term(1), Index(1));

    /// Returns the name of the history that begins here.
    pub fn id(&self) -> GenesisId {
        let mut voters = Vec::with_capacity(self.voters.len() * 40);
        for member in &self.voters {
            voters.extend_from_slice(&member.peer.0);
            voters.extend_from_slice(&member.incarnation.0.to_le_bytes());
        }
        GenesisId(derive(
            "quorate 2026 genesis",
            &[&self.group.0, &self.nonce.to_le_bytes(), &voters],
        ))
    }

    /// Returns the salt of the history's tree: the key of the hash that makes its boundaries.
    pub fn salt(id: GenesisId) -> [u8; 32] {
        blake3::derive_key("quorate 2026 tree salt", &id.0)
    }

    /// Returns the first configuration.
    pub fn configuration(&self) -> Configuration {
        Configuration::of_voters(self.voters.clone())
    }
}

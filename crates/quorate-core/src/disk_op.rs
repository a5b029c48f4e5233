//! What the core asks of the durable log, and what comes back.
//!
//! These operations are logical; `quorate-store` turns them into records and block writes. They
//! are submitted in order, take effect in that order, and may finish in any order. A completion
//! counts only for what its operation wrote: the core keeps, per group, which appends are still
//! under way, and nothing at or above the lowest of them counts as durable
//! (<https://github.com/databendlabs/openraft/issues/1960> is what happens otherwise).

use serde::{Deserialize, Serialize};

use crate::{
    boot::{Boot, Lineage},
    configuration::Configuration,
    cursor::{Cursor, Term},
    entries::Entries,
    entry::{Entry, Genesis},
    id::{GenesisId, GroupId, Incarnation, Member},
};

/// Numbers the disk operations of one peer; never re-used in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct DiskId(pub u64);

/// The promise a peer has given in elections: its term, and for whom it voted in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Ballot {
    /// The latest term the peer has heard of.
    pub term: Term,
    /// For whom it voted in that term.
    pub voted_for: Option<Member>,
}

/// One operation on the durable log of one group.
#[derive(Clone, Hash, Debug)]
pub struct DiskOp {
    /// Names the operation in its completion.
    pub id: DiskId,
    /// The group whose log it is.
    pub group: GroupId,
    /// What to write.
    pub write: DiskWrite,
}

/// What a disk operation writes.
#[derive(Clone, Hash, Debug)]
pub enum DiskWrite {
    /// Replaces the group's ballot.
    Ballot(Ballot),
    /// Starts the group's log with the genesis entry; whatever the group had before is dropped.
    Genesis(Genesis),
    /// Remembers never to accept this history; if it is the one the group has accepted, drops it
    /// with the log.
    Refuse(GenesisId),
    /// Remembers that this history dissolved into another one, and never to take part in it again;
    /// if it is the one the group has accepted, drops it with the log.
    Dissolve {
        /// The history that is no more.
        genesis: GenesisId,
        /// The one that its members go to.
        into: GenesisId,
    },
    /// Remembers that the present boot is taken: a member of the group has talked to it.
    Taken,
    /// Forgets the floor of the log ([`RecoveredGroup::floor`]): what it stood for is here again.
    Whole,
    /// Puts entries behind `previous`, dropping whatever was there.
    Append {
        /// The cursor of the entry before the first one.
        previous: Cursor,
        /// The entries.
        entries: Entries,
    },
    /// Makes the log start after `base`: a snapshot stands for everything up to it.
    Base {
        /// The last cursor that the log no longer holds.
        base: Cursor,
        /// The configuration at `base`.
        configuration: Box<Configuration>,
        /// The history, for a log that begins with a snapshot.
        genesis: GenesisId,
        /// Whether the entries after `base` stay; an install over a conflicting log drops them.
        keep: bool,
    },
}

/// Why a disk operation did not finish.
///
/// Each is final for the store: nothing after it may be taken for durable. (That no space is left
/// is no error here: the operation waits, see [`crate::Input::Space`].)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The device reported an error; what was written since the last sync is in doubt.
    #[error("the device reported an error")]
    Device,
}

/// What the durable log of one peer held when the peer was started.
#[derive(Clone, Hash, Debug)]
pub struct Recovered {
    /// Which life of the data directory this is.
    pub incarnation: Incarnation,
    /// The starts of this life, this one included.
    pub lineage: Lineage,
    /// Whether this life was started before.
    pub restarted: bool,
    /// The latest boots that this peer has heard of, of others.
    pub remembered: Vec<(Member, Boot)>,
    /// Whether an earlier life of the directory ended. What it founded may live on with others, so
    /// this one founds nothing.
    pub succeeds: bool,
    /// The groups it knows, in order of their ids.
    pub groups: Vec<RecoveredGroup>,
}

/// What the durable log held of one group.
#[derive(Clone, Hash, Debug)]
pub struct RecoveredGroup {
    /// The group.
    pub group: GroupId,
    /// The history it takes part in, if it has accepted one.
    pub genesis: Option<GenesisId>,
    /// The accepted genesis in full, while the log holds nothing after it.
    pub founding: Option<Genesis>,
    /// Histories it has promised never to accept.
    pub refused: Vec<GenesisId>,
    /// Histories that have dissolved, each with the one it dissolved into.
    pub tombstones: Vec<(GenesisId, GenesisId)>,
    /// Its ballot.
    pub ballot: Ballot,
    /// The cursor before the first entry it holds.
    pub base: Cursor,
    /// The configuration at `base`; empty at [`Cursor::ZERO`].
    pub configuration: Configuration,
    /// The entries after `base`.
    pub entries: Vec<Entry>,
    /// Where the log once ended, or later, if damage has taken the end of it.
    ///
    /// Until the log ends there again (by term, then index), the peer votes as if it did and does
    /// not campaign: what it has acknowledged is not there, and a vote for a candidate without it
    /// could undo it.
    pub floor: Option<Cursor>,
}

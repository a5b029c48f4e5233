//! What the core asks of a group's state, and what comes back.
//!
//! The core orders entries and runs state sync; the state itself (machine, tree, snapshots, the
//! parts of a restore) lives outside, in a replica that executes these operations in the order in
//! which they were asked, one at a time, per group. Each operation has one answer, an input of a
//! later step. Bytes of chunks pass through the core unread: it moves them, the state verifies
//! them.

use bytes::Bytes;

use crate::{
    configuration::Configuration,
    cursor::Cursor,
    entries::Entries,
    entry::ClientSequence,
    fate::Fate,
    id::{Digest, GenesisId, SessionId},
};

/// One operation on a group's state.
#[derive(Clone, Hash, Debug)]
pub enum StateOp {
    /// Starts the empty state of a history; answered by [`StateDone::Begun`]. Always the first
    /// operation; what was asked before it was of another history.
    Begin {
        /// The history, from which the tree's salt follows.
        genesis: GenesisId,
    },
    /// Applies committed entries in order, the first right after the last applied one.
    ///
    /// Answered by [`StateDone::Applied`]. A batch never crosses a marker that is to be cut.
    Apply {
        /// The cursor of the first entry.
        first: Cursor,
        /// The entries; their indexes are consecutive.
        entries: Entries,
        /// Whether the outcomes are wanted (somebody here waits for one of them).
        outcomes: bool,
    },
    /// Asks the client table what became of commands; answered by [`StateDone::Recalled`].
    Recall {
        /// The commands' names.
        names: Vec<ClientSequence>,
    },
    /// Keeps a snapshot of the state as it is now, at `anchor`, the last applied cursor.
    ///
    /// O(1). Answered by [`StateDone::Cut`].
    Cut {
        /// The last applied cursor.
        anchor: Cursor,
    },
    /// Hashes a bounded slice of the snapshot at `anchor`; answered by [`StateDone::Hashed`].
    Hash {
        /// Which snapshot.
        anchor: Cursor,
    },
    /// Forgets the snapshot at `anchor`; freed in slices by [`StateOp::Sweep`].
    ///
    /// Answered by nothing.
    Forget {
        /// Which snapshot.
        anchor: Cursor,
    },
    /// Frees a bounded slice of what was forgotten; answered by [`StateDone::Swept`].
    Sweep,
    /// Reads a range of the snapshot at `anchor` for a fetch; answered by [`StateDone::Read`].
    Read {
        /// Names the fetch in the answer.
        fetch: FetchId,
        /// Which snapshot.
        anchor: Cursor,
        /// What to read, already checked against the snapshot's length.
        part: Part,
        /// At most this many items, rounded up to whole leaves.
        max_items: u64,
        /// At most this many bytes, but at least one leaf or piece.
        max_bytes: u64,
    },
    /// Starts the restore of `session` from the snapshot described; answered by nothing.
    ///
    /// Parts verified for another anchor may be re-used.
    Restore {
        /// The catch-up that restores.
        session: SessionId,
        /// The cursor at which the providers cut their snapshots.
        anchor: Cursor,
        /// How many items it has.
        items: u64,
        /// Its root digest.
        digest: Digest,
        /// The history, from which the tree's salt follows.
        genesis: GenesisId,
    },
    /// Verifies and keeps a chunk that a provider sent; answered by [`StateDone::Verified`].
    ///
    /// A piece is verified only against the piece that was asked for. A range that brings nothing
    /// new and does not begin where it was asked to is wrong too, though it belongs to the
    /// snapshot: a provider must not get away with sending what it likes. What is new is true and
    /// kept, whoever asked for it, and is told as kept: a session never learns otherwise that it
    /// need not ask for it.
    Verify {
        /// The catch-up it is for.
        session: SessionId,
        /// Names the fetch in the answer.
        fetch: FetchId,
        /// What was asked for.
        part: Part,
        /// The chunk as it came.
        chunk: Bytes,
    },
    /// Replaces the state by the restored one; answered by [`StateDone::Installed`].
    Install {
        /// The catch-up that has every part.
        session: SessionId,
    },
    /// Drops what the catch-up has gathered; answered by nothing.
    Abandon {
        /// Which catch-up.
        session: SessionId,
    },
}

/// Numbers the fetches of one peer's group, as provider or as session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct FetchId(pub u64);

/// A part of a snapshot, as sessions ask for it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
pub enum Part {
    /// Items by rank, `start` included, `end` excluded.
    Items {
        /// The rank of the first item.
        start: u64,
        /// The rank after the last item.
        end: u64,
        /// Where to go on within a leaf that is too large for one chunk, else 0.
        offset: u64,
    },
    /// One piece of a value that is too large for a leaf.
    Piece {
        /// The rank of the item.
        rank: u64,
        /// Which piece of its value.
        piece: u64,
    },
}

/// The answer to one operation on a group's state.
#[derive(Clone, Hash, Debug)]
pub enum StateDone {
    /// Entries were applied.
    Applied {
        /// The cursor of the last one.
        last: Cursor,
        /// What came of each entry of the batch, or nothing if that was not wanted.
        outcomes: Vec<Applied>,
        /// What has become of the history.
        fate: Fate,
        /// Items now in the state.
        items: u64,
        /// Bytes of keys and values now in the state.
        bytes: u64,
    },
    /// The empty state of a history stands: every answer after this one is of that history.
    Begun {
        /// The history.
        genesis: GenesisId,
    },
    /// What the client table knows of commands.
    Recalled {
        /// What it knows of each command asked for, in order.
        recalled: Vec<(ClientSequence, Recalled)>,
    },
    /// A snapshot was cut.
    Cut {
        /// Where.
        anchor: Cursor,
        /// How many items it has.
        items: u64,
        /// How many bytes of keys and values it has.
        bytes: u64,
    },
    /// A slice of a snapshot was hashed.
    Hashed {
        /// Which snapshot.
        anchor: Cursor,
        /// Its digest, once the last slice is done.
        digest: Option<Digest>,
    },
    /// A slice of what was forgotten was freed.
    Swept {
        /// Whether there is more to free.
        more: bool,
    },
    /// The machine failed while it applied an entry: the state is in doubt and gone. Until the next
    /// [`StateOp::Begin`] nothing is done and nothing answered.
    Failed {
        /// The last entry that was applied.
        at: Cursor,
        /// What the machine said, cut to [`crate::limits::FAILURE_TEXT`] bytes.
        text: String,
    },
    /// A range was read.
    Read {
        /// The fetch.
        fetch: FetchId,
        /// The encoded chunk; nothing if the snapshot is gone or the part is not in it.
        chunk: Option<Bytes>,
        /// How many items the chunk brings.
        items: u64,
    },
    /// A chunk was verified, or not.
    Verified {
        /// The catch-up.
        session: SessionId,
        /// The fetch.
        fetch: FetchId,
        /// What it brought.
        verdict: Verdict,
    },
    /// The restored state is in place; or the parts did not make the snapshot.
    Installed {
        /// The catch-up.
        session: SessionId,
        /// What now stands, or nothing if the parts did not have the digest: start again.
        restored: Option<Box<Restored>>,
    },
}

/// What came of applying one entry.
///
/// Equal on every peer that applies the entry.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Applied {
    /// It is no command of a client's: nothing to tell.
    Silent,
    /// The command was applied, and answered this.
    Outcome(Bytes),
    /// The command had been applied before; it changed nothing this time.
    Repeated(Box<Remembered>),
    /// The client is registered; its id is the entry's index.
    Registered,
    /// The command's client is not known, or not any more; nothing changed.
    Expired,
    /// The command was answered before and the answer is no longer kept, or its client has said
    /// that it would not repeat it; nothing changed.
    Dropped,
    /// The client table has no room for it; nothing changed.
    Full,
    /// The history was given up for another one before this entry; nothing changed.
    Superseded,
}

/// What a named command answered when it was applied.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Remembered {
    /// Where it stands in the log.
    pub cursor: Cursor,
    /// What it answered.
    pub outcome: Bytes,
}

/// What the client table knows of a named command.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Recalled {
    /// It was applied, and answered this.
    Applied(Remembered),
    /// Its client is not known, or not any more.
    Expired,
    /// It was answered before and the answer is no longer kept, or its client has said that it
    /// would not repeat it.
    Dropped,
    /// It has not been applied.
    NotSeen,
}

/// What a chunk was worth.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// It was verified and is kept.
    Kept {
        /// The items it brought, by rank: start included, end excluded.
        items: (u64, u64),
        /// Where to go on, when it was a part of a leaf too large for one chunk: the rank of the
        /// leaf's first item and the offset after this part.
        unfinished: Option<(u64, u64)>,
        /// Pieces of large values that its items need: (rank, number of pieces).
        pieces: Vec<(u64, u64)>,
        /// Bytes of keys and values it brought.
        bytes: u64,
    },
    /// It brought nothing new.
    Known,
    /// It does not belong to the snapshot: the provider that sent it is wrong or lies.
    Wrong {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The state after an install.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Restored {
    /// The cursor of the snapshot.
    pub anchor: Cursor,
    /// The configuration at the anchor, which is part of the snapshot.
    pub configuration: Configuration,
    /// What has become of the history by then.
    pub fate: Fate,
    /// The version of the state machine in effect by then.
    pub version: u32,
    /// Items now in the state.
    pub items: u64,
    /// Bytes of keys and values now in the state.
    pub bytes: u64,
}

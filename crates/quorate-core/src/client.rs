//! What clients of a peer ask for, and what they are told.

use bytes::Bytes;

use crate::{cursor::Cursor, entry::Command, id::PeerId, time::Time};

/// Numbers the requests of one driver; never re-used in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct RequestId(pub u64);

/// What a client asks of a group.
#[derive(Clone, Hash, Debug)]
pub enum ClientOp {
    /// Replicate a command and say what it answered; if it has a name, apply it at most once.
    Write {
        /// The command.
        command: Command,
        /// When the client stops waiting.
        deadline: Time,
    },
    /// Register a client, which may then give its commands names.
    ///
    /// Whoever asks again, not knowing what became of it, may make another client; the one that
    /// is never used expires.
    Register {
        /// When the client stops waiting.
        deadline: Time,
    },
    /// Say when the state here is fresh enough to be read.
    Read {
        /// How fresh.
        freshness: Freshness,
        /// When the client stops waiting.
        deadline: Time,
    },
    /// Hand the lead over; at any peer. [`Reply::Done`] once the wish is seen to be fulfilled here,
    /// [`Reply::NotVoter`] or [`Reply::LastVoter`] at once if it cannot be, and
    /// [`Reply::Unavailable`] at the deadline, when a handover may still be under way.
    Transfer {
        /// To whom: a voter; else the voter that the leader finds best caught up.
        to: Option<PeerId>,
        /// When the client stops waiting.
        deadline: Time,
    },
    /// Give up this peer's seat in the group: [`Reply::Done`] once that is committed, after which
    /// the group needs nothing of this peer.
    ///
    /// A leader hands over first. If nothing could be decided by the deadline the answer is
    /// [`Reply::Unavailable`], and what has got into the log by then may still take effect.
    ///
    /// A driver that stops asks for this if the peer could not come back as itself, because its
    /// memory is all it has, and for a transfer to anybody otherwise; it waits for the answer as
    /// long as it likes, closes its links with [`crate::CloseCode::Shutdown`], and goes, whatever
    /// the answer was.
    Leave {
        /// Whether the last voter may go too, and the group with it. It is gone at once then,
        /// without a commit: nobody is left to agree with. A learner that is ready takes the seat
        /// of the last voter instead, whatever this says.
        dissolve: bool,
        /// When the client stops waiting.
        deadline: Time,
    },
}

impl ClientOp {
    /// Returns when the client stops waiting.
    pub fn deadline(&self) -> Time {
        match self {
            Self::Write { deadline, .. }
            | Self::Register { deadline }
            | Self::Read { deadline, .. }
            | Self::Transfer { deadline, .. }
            | Self::Leave { deadline, .. } => *deadline,
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Freshness {
    /// At least as fresh as this cursor of the present history.
    AtLeast(Cursor),
    /// At least as fresh as every write that was acknowledged before the read began.
    Linearizable,
}

/// What became of a client's request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reply {
    /// The command is committed and was applied at `cursor`.
    ///
    /// A repeat of a named command is told the cursor and the outcome of the one time it was
    /// applied.
    Committed {
        /// Where the command that was applied stands in the log.
        cursor: Cursor,
        /// What the state machine answered.
        outcome: Bytes,
    },
    /// The client is registered; its id is the cursor's index, within the genesis.
    Registered {
        /// Where its registration stands in the log.
        cursor: Cursor,
    },
    /// The client is not known, or not any more: the command was not applied by this request.
    Expired,
    /// The client's command was answered before and the answer is no longer kept, or the client
    /// has said that it will not repeat it: not applied by this request.
    Dropped,
    /// The command lost its place to another leader's entries and no copy of it can ever commit.
    ///
    /// Of a named command it is said only when its whole history was given up for another one:
    /// else copies of it may be under way.
    Superseded,
    /// The deadline came first: the command may still commit, now or later.
    Unknown,
    /// Surely not applied by this request: a limit was reached; try again later.
    Busy,
    /// The request was surely not carried out: no leader, or no quorum, until the deadline.
    Unavailable,
    /// The command is larger than the limit; surely not applied.
    TooLarge,
    /// The state here is fresh enough now; read it before the next step.
    Fresh {
        /// The last applied cursor.
        applied: Cursor,
    },
    /// The wish is fulfilled: somebody else leads, or this peer's seat is given up.
    Done,
    /// Refused: this peer is the last voter, and the group would end with it.
    LastVoter,
    /// Refused: the state here is of a newer version of the state machine than this peer can run.
    TooOld,
    /// Refused: the peer that was to lead does not vote in the group.
    NotVoter,
    /// The group was closed here.
    Closed,
}

//! What a step asks of the outside world.

use bytes::Bytes;

use crate::{
    boot::Boot,
    client::{Reply, RequestId},
    disk_op::DiskOp,
    event::Event,
    id::{GroupId, LinkId, Member, PeerId},
    state_op::StateOp,
};

/// Which of a link's streams a frame travels on.
///
/// Frames of one lane arrive in order; lanes do not wait for each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Small frames that must never wait behind large ones: handshake, votes, heartbeats, acks.
    Control,
    /// A group's entries, forwarded commands and their outcomes.
    Entries(GroupId),
    /// Chunks of snapshots; each frame on its own, of low priority, in no order.
    Bulk,
}

/// One thing for the driver to do, in the order in which a step asked for it.
#[derive(Clone, Hash, Debug)]
pub enum Effect {
    /// Connect to a peer; ends in [`crate::Input::LinkUp`] or [`crate::Input::DialFailed`].
    Dial(PeerId),
    /// Close a link for a reason that the other side is told; ends in no input.
    Close {
        /// Which link.
        link: LinkId,
        /// Why, for programs.
        code: CloseCode,
    },
    /// The other side has proven a group's key: lift the limits on strangers.
    Authenticated(LinkId),
    /// Send a frame; never blocks. A link that cannot keep up goes down.
    Send {
        /// Over which link.
        link: LinkId,
        /// On which lane.
        lane: Lane,
        /// The frame, without the transport's framing.
        frame: Bytes,
    },
    /// Write to the durable log.
    Disk(DiskOp),
    /// Do something with a group's state.
    State {
        /// Whose state.
        group: GroupId,
        /// What to do.
        op: StateOp,
    },
    /// Answer a client.
    Reply {
        /// Which request.
        request: RequestId,
        /// What became of it.
        reply: Reply,
    },
    /// Have the durable log remember these boots of others, and no others; ends in no input.
    Remember(Vec<(Member, Boot)>),
    /// End this incarnation durably, then start the peer anew: as the next one, with an empty log.
    ///
    /// The last effect of a peer; it does nothing any more.
    EndIncarnation,
    /// Tell the user that something happened.
    Event(Event),
    /// Note that a named situation was reached, for the coverage of simulations.
    Mark(&'static str),
}

/// The effects of one step, in order.
pub type Effects = Vec<Effect>;

/// Why a link is closed, for programs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
#[non_exhaustive]
pub enum CloseCode {
    /// The peer stops.
    Shutdown = 1,
    /// Another link to the same peer survives.
    Duplicate = 2,
    /// The other side is in another network.
    WrongNetwork = 3,
    /// The other side runs a group of the same name with another key.
    WrongKey = 4,
    /// A frame could not be read.
    BadFrame = 5,
    /// A frame was larger than its lane allows.
    TooLarge = 6,
    /// The other side speaks a version that this one does not.
    UnknownVersion = 7,
    /// The other side does not read what it is sent.
    Slow = 8,
    /// The other side asked for something no correct peer asks for.
    Misbehaved = 9,
    /// The other side did not prove a group's key in time.
    Stranger = 10,
    /// The directory of one of the two peers is a copy, or an older state that was brought back.
    Disowned = 11,
}

impl CloseCode {
    /// Returns what to tell a person.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Shutdown => "the peer stops",
            Self::Duplicate => "another link between the two peers survives",
            Self::WrongNetwork => {
                "the peer is in another network: start both with one network name"
            }
            Self::WrongKey => {
                "the peer has another key for the group: start both with the same group key"
            }
            Self::BadFrame => "a frame could not be read",
            Self::TooLarge => "a frame was larger than its lane allows",
            Self::UnknownVersion => "the peer speaks another version: run one release on both",
            Self::Slow => "the peer does not read what it is sent",
            Self::Misbehaved => "the peer asked for something no correct peer asks for",
            Self::Stranger => "the peer did not prove a group key in time",
            Self::Disowned => {
                "a directory was copied or brought back: a later start of it is known"
            }
        }
    }

    /// Returns the code with this number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Shutdown,
            Self::Duplicate,
            Self::WrongNetwork,
            Self::WrongKey,
            Self::BadFrame,
            Self::TooLarge,
            Self::UnknownVersion,
            Self::Slow,
            Self::Misbehaved,
            Self::Stranger,
            Self::Disowned,
        ]
        .into_iter()
        .find(|code| *code as u32 == number)
    }
}

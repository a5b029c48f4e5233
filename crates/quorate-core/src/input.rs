//! What the outside world tells a peer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    client::{ClientOp, RequestId},
    disk_op::{DiskError, DiskId},
    effect::{CloseCode, Lane},
    id::{GroupId, GroupKey, LinkId, PeerId},
    profile::GroupProfile,
    state_op::StateDone,
    versions::Versions,
};

/// One thing that happened outside.
#[derive(Clone, Hash, Debug)]
pub enum Input {
    /// An address of a peer of this network is known: it can be dialed.
    Found(PeerId),
    /// The peer's address is gone: it need not be dialed any more.
    Lost(PeerId),
    /// A connection to a peer stands; nothing is known of the peer but its key.
    LinkUp {
        /// The driver's number for it.
        link: LinkId,
        /// Who is at the other end, as TLS says.
        peer: PeerId,
        /// Whether this side dialed.
        dialed: bool,
        /// The TLS exporter of the connection, equal at both ends.
        exporter: [u8; 32],
    },
    /// A connection is gone.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why, if the other side or the driver closed it for a reason of ours.
        code: Option<CloseCode>,
    },
    /// A dial came to nothing.
    DialFailed(PeerId),
    /// A frame came.
    Frame {
        /// Over which link.
        link: LinkId,
        /// On which lane.
        lane: Lane,
        /// The frame, without the transport's framing.
        bytes: Bytes,
    },
    /// A disk operation finished.
    Disk {
        /// Which.
        id: DiskId,
        /// How.
        result: Result<(), DiskError>,
    },
    /// There is no space for what was to be written to the durable log, or there is again.
    Space {
        /// Whether there is.
        enough: bool,
    },
    /// An operation on a group's state was answered.
    State {
        /// Whose state.
        group: GroupId,
        /// The answer.
        done: StateDone,
    },
    /// The application opens a group.
    Open(Box<OpenGroup>),
    /// This peer holds the lock that picks the founder of a group: of all peers that open it with
    /// [`Form::Auto`] and a lock, it alone may found it.
    ///
    /// Given after the group is opened, and after everybody that the directory of the lock lists
    /// was given as [`Input::Found`]: what is known and has not answered keeps this peer from
    /// founding. A driver whose directory shows which living peers have a genesis holds this back
    /// while one has: a member that does not answer just then is a member all the same. The lock
    /// is kept for as long as the process lives.
    Founder(GroupId),
    /// A client asks something of a group.
    Client {
        /// Of which group.
        group: GroupId,
        /// Names the request in its reply.
        request: RequestId,
        /// What it asks.
        op: ClientOp,
    },
    /// The time that [`crate::Peer::deadline`] named has come.
    Wake,
}

/// How the application wants a group to be opened.
#[derive(Clone, Hash, Debug)]
pub struct OpenGroup {
    /// The group's key.
    pub key: GroupKey,
    /// The stable name of its state machine.
    pub machine: String,
    /// The versions of the machine that this peer can run.
    pub versions: Versions,
    /// How the group comes to be.
    pub form: Form,
    /// Its operational parameters, which may differ between peers.
    pub profile: GroupProfile,
}

/// How a group comes to be, where no genesis is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Form {
    /// This peer founds it alone.
    Alone,
    /// The first `n` peers in sight found it together.
    Expect(usize),
    /// Others found it; this peer joins.
    Join,
    /// Nobody said: one peer looks around for a moment and founds it alone if there is nothing to
    /// join, the others join.
    Auto {
        /// Whether that one is picked by a lock, as [`Input::Founder`] says; otherwise it is the
        /// lowest peer in sight.
        locked: bool,
    },
}

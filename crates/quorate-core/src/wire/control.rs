//! Messages of the control lane.

use serde::{Deserialize, Serialize};

use crate::{
    boot::{Boot, Lineage},
    cursor::{Cursor, Index, Term},
    entry::Genesis,
    event::Refusal,
    id::{Digest, GenesisId, GroupId, Incarnation, Member, NetworkId, PeerId, SessionId},
    state_op::Part,
    versions::Versions,
};

/// The version of everything on the wire; a peer refuses another one.
pub const PROTOCOL_VERSION: u16 = 1;

/// One message of the control lane.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Control {
    /// The first message in each direction.
    Hello(Hello),
    /// Proves the key of one more group.
    Prove(Proof),
    /// A message of one group.
    Group(Envelope),
    /// The sender knows this boot of the receiver's incarnation, which the stated one does not
    /// continue: one of the two is a boot of a copy.
    Disowned(Boot),
    /// The boot that the sender has stated is taken from now on: it may be remembered.
    Taken,
}

/// Says who speaks; the first message in each direction of a link.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol.
    pub version: u16,
    /// The network.
    pub network: NetworkId,
    /// Which life of the peer speaks.
    pub incarnation: Incarnation,
    /// The latest starts of that life.
    pub lineage: Lineage,
    /// Proofs of the first few groups.
    pub proofs: Vec<Proof>,
}

/// Proves a group's key, bound to the TLS session and to the side that proves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// A hash of what people call the group and of what runs in it: tells a wrong key from another
    /// group.
    pub label: [u8; 8],
    /// The proof.
    pub proof: [u8; 32],
}

/// A message of one group, with whom and which history it is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// For whom.
    pub address: Address,
    /// What.
    pub message: Message,
}

/// The history and the life that a message is for; anybody else drops it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Address {
    /// The group.
    pub group: GroupId,
    /// The history; zeros where the message is about which history there is.
    pub genesis: GenesisId,
    /// The life of the receiver.
    pub to: Incarnation,
}

/// What a group's peers say to each other in small.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    // Formation and membership.
    /// Where the sender stands; sent when a group is proven on a link and when it changes.
    Standing(Standing),
    /// Asks to accept this genesis and no other.
    Propose(Genesis),
    /// The genesis is accepted, durably.
    Accept(GenesisId),
    /// The genesis is refused, durably.
    Refuse(GenesisId),
    /// There is another history of the group, as a member tells its own leader.
    Met {
        /// Which.
        genesis: GenesisId,
        /// Whether it has applied user commands.
        used: bool,
    },
    /// That history, which the receiver takes for its own, is no more.
    Dissolved {
        /// Which.
        genesis: GenesisId,
        /// The one that its members have gone to.
        into: GenesisId,
    },
    /// Asks for `member` to become a learner; passed on to the leader.
    Join {
        /// Who wants in: the sender, or somebody it vouches for.
        member: Member,
    },

    /// Asks for `member` to be let go, or whether it was; passed on to the leader.
    Leave {
        /// Who wants out: the sender, or somebody it vouches for.
        member: Member,
        /// Which wish of that member it is; its process uses no number twice.
        wish: u64,
    },
    /// Answers [`Message::Leave`]: `member` is not in the committed configuration at `index`.
    Left {
        /// Who is out: the receiver, or somebody whose question it passed on.
        member: Member,
        /// The wish that it answers.
        wish: u64,
        /// The term of the leader that says so.
        term: Term,
        /// Where that configuration stands in the log.
        index: Index,
    },

    // Elections (Raft, section 5.2; pre-vote: dissertation, section 9.6).
    /// Asks whether the sender would get a vote in `term`.
    PreVote {
        /// The term it would campaign in.
        term: Term,
        /// Its last cursor.
        last: Cursor,
    },
    /// Answers [`Message::PreVote`].
    PreVoted {
        /// The term that was asked about.
        asked: Term,
        /// The voter's term.
        term: Term,
        /// Whether it would vote for the sender.
        granted: bool,
    },
    /// Asks for a vote in `term`.
    Vote {
        /// The term.
        term: Term,
        /// The candidate's last cursor.
        last: Cursor,
    },
    /// Answers [`Message::Vote`].
    Voted {
        /// The voter's term; the vote is in it if granted.
        term: Term,
        /// Whether it voted for the candidate.
        granted: bool,
    },

    // Replication. `run` names the leader's conversation with this follower.
    /// The leader lives.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// The conversation.
        run: u64,
        /// The leader's commit index.
        commit: Index,
        /// The read sequence to confirm.
        read: u64,
    },
    /// Everything up to `matched` is durable here and equal to the leader's log.
    Ack {
        /// The follower's term.
        term: Term,
        /// The conversation.
        run: u64,
        /// The last such index; 0 if none is known to match.
        matched: Index,
        /// The highest read sequence seen from this leader.
        read: u64,
        /// Whether the follower never wants to vote.
        reader: bool,
        /// Whether only a snapshot can bring its state on.
        stateless: bool,
        /// Which versions of the state machine it can run.
        versions: Versions,
    },
    /// The entry before those sent is not here.
    Reject {
        /// The follower's term.
        term: Term,
        /// The conversation.
        run: u64,
        /// The cursor that was looked for.
        previous: Cursor,
        /// Where to look next: the last cursor here, or the one before the conflicting term's.
        hint: Cursor,
    },
    /// The leader no longer has the entries that the follower needs.
    Behind {
        /// The leader's term.
        term: Term,
        /// The conversation.
        run: u64,
        /// The leader's first log index.
        first: Index,
        /// The leader's commit index.
        commit: Index,
    },
    /// The follower restores from `anchor`: send what follows it, to be staged.
    StageFrom {
        /// The follower's term.
        term: Term,
        /// The conversation.
        run: u64,
        /// The anchor.
        anchor: Cursor,
    },
    /// Entries up to `upto` are staged; that is flow control, not an ack.
    Staged {
        /// The follower's term.
        term: Term,
        /// The conversation.
        run: u64,
        /// The last staged index.
        upto: Index,
    },
    /// The receiver should campaign at once: the leader hands over.
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },

    /// Asks the leader of `term` to hand over.
    Transfer {
        /// The term.
        term: Term,
        /// To whom; nothing if any voter will do.
        to: Option<PeerId>,
    },
    /// Answers [`Message::Transfer`]: the leader cannot do that.
    TransferRefused {
        /// To whom it was asked to hand over.
        to: Option<PeerId>,
        /// Whether there is no other voter; else whoever was named is none.
        last_voter: bool,
    },

    // Linearizable reads (dissertation, section 6.4).
    /// Asks for an index that covers every write acknowledged so far.
    ReadIndex {
        /// The sender's name for the question.
        id: u64,
    },
    /// Answers [`Message::ReadIndex`].
    ReadAt {
        /// The question.
        id: u64,
        /// The index; nothing if the receiver of the question does not lead.
        index: Option<Index>,
    },

    // State sync.
    /// Asks for a snapshot; passed on to the leader.
    SnapshotRequest {
        /// Who asks: the sender, or somebody it vouches for.
        member: Member,
        /// Its session.
        session: SessionId,
        /// Its last applied cursor.
        have: Cursor,
    },
    /// No snapshot now.
    SnapshotRefused {
        /// The session that asked.
        session: SessionId,
        /// Why.
        reason: Refusal,
        /// When to ask again, in milliseconds.
        retry_after_ms: u32,
    },
    /// The sender keeps a snapshot for the receiver.
    Offer {
        /// The session that asked.
        session: SessionId,
        /// Where it was cut.
        anchor: Cursor,
        /// How many items it has.
        items: u64,
        /// How many bytes of keys and values it has.
        bytes: u64,
        /// Its root digest.
        digest: Digest,
    },
    /// Asks the leader whether `anchor` is one of this history and what follows it is still there.
    Authorize {
        /// The session.
        session: SessionId,
        /// The anchor.
        anchor: Cursor,
    },
    /// Answers [`Message::Authorize`]; also sent unasked with a leader's offer.
    Authorized {
        /// The leader's term.
        term: Term,
        /// The session.
        session: SessionId,
        /// The anchor.
        anchor: Cursor,
        /// Whether it may be restored from.
        good: bool,
        /// The voters whose digests weigh.
        voters: Vec<Member>,
    },
    /// Asks a provider for a part of its snapshot.
    Fetch {
        /// The session.
        session: SessionId,
        /// The session's name for the fetch.
        fetch: u64,
        /// Which snapshot.
        anchor: Cursor,
        /// Which part of it.
        part: Part,
        /// At most this many items.
        max_items: u64,
        /// At most this many bytes.
        max_bytes: u64,
    },
    /// The provider does not serve that fetch.
    FetchRefused {
        /// The session.
        session: SessionId,
        /// The fetch.
        fetch: u64,
        /// Why.
        reason: Refusal,
    },
}

/// Where a peer stands in a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// The history it takes part in, or has accepted.
    pub genesis: Option<GenesisId>,
    /// Whether its log holds anything after the genesis: the history exists.
    pub established: bool,
    /// Whether it has applied a user command of that history: then the history stays.
    pub used: bool,
    /// Whom it follows, or itself if it leads.
    pub leader: Option<Member>,
    /// Whether it may found the group, where it takes part in no history.
    pub founding: Founding,
}

/// Whether and how a peer founds the group, if it sees nothing to join.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Founding {
    /// It waits for others.
    Never,
    /// At once, alone.
    Alone,
    /// Together with others, this many in all.
    Together(u16),
    /// Alone, if it is the lowest of its kind in sight, or holds the lock.
    Perhaps,
}

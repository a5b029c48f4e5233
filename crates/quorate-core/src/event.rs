//! What happens in a group, for people and programs that watch.

use crate::{
    configuration::Configuration,
    cursor::{Cursor, Term},
    effect::CloseCode,
    id::{GenesisId, GroupId, Member, PeerId, SessionId},
    versions::Versions,
};

/// Something that happened, with the group it happened in.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A link to a peer stands and the peer has proven a group's key.
    PeerUp {
        /// Which peer.
        peer: PeerId,
    },
    /// The link to a peer is gone.
    PeerDown {
        /// Which peer.
        peer: PeerId,
        /// Why, if known.
        code: Option<CloseCode>,
    },
    /// A peer was refused.
    PeerRefused {
        /// Which peer.
        peer: PeerId,
        /// Why.
        code: CloseCode,
    },
    /// This peer's directory is a copy, or an older state that was brought back: its incarnation is
    /// over, and the peer starts anew as the next one, a learner.
    IncarnationEnded,
    /// Something happened in a group.
    Group {
        /// In which group.
        group: GroupId,
        /// What.
        event: GroupEvent,
    },
}

/// Something that happened in one group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum GroupEvent {
    /// The group has a history here from now on.
    Formed {
        /// Which history.
        genesis: GenesisId,
    },
    /// The history here was given up for another one, which this peer joins; nothing was ever
    /// applied in it.
    Dissolved {
        /// The history that is no more.
        genesis: GenesisId,
        /// The one that its members go to.
        into: GenesisId,
    },
    /// Another history of the group is in sight, and both have applied user commands: they do not
    /// mix, and both go on.
    Conflict {
        /// The other history.
        other: GenesisId,
    },
    /// This peer follows another leader, or none.
    LeaderChanged {
        /// In which term.
        term: Term,
        /// Who leads, if known.
        leader: Option<Member>,
    },
    /// The role of this peer changed.
    RoleChanged {
        /// In which term.
        term: Term,
        /// What it is now.
        role: Role,
    },
    /// A configuration took effect here.
    ConfigurationChanged {
        /// The configuration.
        configuration: Configuration,
        /// Whether it is committed.
        committed: bool,
    },
    /// Commands are applied by another version of the state machine from here on.
    Upgraded {
        /// The version.
        version: u32,
    },
    /// The state machine here cannot run the version in effect: this peer keeps its log and votes,
    /// and applies no more commands.
    CannotRun {
        /// The version in effect.
        version: u32,
        /// What the machine here runs.
        runs: Versions,
    },
    /// This peer has given up its seat: it is in the group no more, in this life.
    Left,
    /// A snapshot was cut for somebody who lags.
    SnapshotCut {
        /// Where.
        anchor: Cursor,
        /// How many items it has.
        items: u64,
    },
    /// A snapshot was forgotten: unused for its TTL, or over a limit.
    SnapshotForgotten {
        /// Where it was cut.
        anchor: Cursor,
    },
    /// A snapshot of this peer was refused to somebody.
    FetchRefused {
        /// To whom.
        peer: PeerId,
        /// Why.
        reason: Refusal,
    },
    /// This peer lags behind what the leader still has, and asks for a snapshot.
    SessionStarted {
        /// The catch-up.
        session: SessionId,
    },
    /// The catch-up restores from a snapshot.
    RestoreStarted {
        /// The catch-up.
        session: SessionId,
        /// Where the snapshot was cut.
        anchor: Cursor,
        /// How many items it has.
        items: u64,
        /// How many bytes of keys and values it has.
        bytes: u64,
        /// How many peers offer it so far.
        providers: usize,
        /// Whether a majority of voters, or the leader and one other, state the digest.
        confirmed: bool,
    },
    /// A provider brought a part of the snapshot.
    RestoreProgress {
        /// The catch-up.
        session: SessionId,
        /// Who brought it.
        from: PeerId,
        /// How many items it brought.
        items: u64,
        /// How many bytes of keys and values it brought.
        bytes: u64,
        /// How many items are verified by now.
        verified: u64,
        /// How many items the snapshot has.
        total: u64,
    },
    /// A provider is set aside for a time.
    ProviderSetAside {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: Refusal,
    },
    /// The restored state is in place.
    Restored {
        /// The catch-up.
        session: SessionId,
        /// The cursor of the snapshot.
        anchor: Cursor,
    },
    /// The catch-up is over: this peer follows the live log.
    CaughtUp {
        /// The catch-up.
        session: SessionId,
        /// The last applied cursor.
        applied: Cursor,
    },
    /// Two peers state different digests at one anchor.
    Diverged {
        /// Where.
        anchor: Cursor,
        /// Who states another digest than this peer's session or snapshot has.
        peer: PeerId,
    },
    /// A leader asked to drop what is committed; nothing was changed.
    CommittedTruncationRefused {
        /// Who asked.
        peer: PeerId,
    },
    /// The machine failed at the entry after `at`. The log and the ballot are whole, so this peer
    /// votes and acknowledges on; its state begins anew, from the log or from the others'
    /// snapshots. If it fails again before that is beyond the entry, the group is poisoned here.
    /// Reads of what is here see how it is made anew.
    StateLost {
        /// The last entry that was applied.
        at: Cursor,
        /// What the machine said.
        text: String,
    },
    /// This peer's own durable state contradicts itself; it takes no part any more.
    Poisoned {
        /// What is wrong.
        reason: &'static str,
    },
}

/// What a peer is in a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be voted for.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Orders entries.
    Leader,
}

/// Why a provider did not serve, or is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// It does not have a snapshot at that anchor, or no longer.
    UnknownAnchor,
    /// The range is empty or reversed.
    EmptyRange,
    /// The range starts after the snapshot's end.
    OutOfRange,
    /// Too much is asked of it at once; ask again later.
    Busy,
    /// It does not lead, or not any more.
    NotLeader,
    /// It did not answer in time.
    TimedOut,
    /// What it sent does not belong to the snapshot.
    WrongChunk,
}

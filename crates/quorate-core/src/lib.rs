//! Vocabulary and sans-IO protocols of Quorate.
//!
//! One state machine per peer, [`Peer`], with one per group inside. It owns no socket, no disk, no
//! clock and no source of randomness: what happens comes in as [`Input`]s with the time, what is
//! to be done goes out as [`Effect`]s. The same inputs give the same effects, byte for byte, on
//! every platform; that is what the simulator runs by the thousand and what the real driver runs
//! over QUIC.
//!
//! Read in this order: [`id`], [`cursor`], [`entry`], [`configuration`] (the words), [`input`],
//! [`effect`], [`state_op`], [`disk_op`] (the contract), [`wire`] (what peers say), then the
//! protocols: `peer` (links, handshake, formation), `raft` (one log), `sync` (state sync).

#![forbid(unsafe_code)]

pub mod boot;
pub mod canary;
pub mod client;
pub mod configuration;
pub mod cursor;
pub mod disk_op;
pub mod effect;
pub mod entries;
pub mod entry;
pub mod event;
pub mod fate;
pub mod id;
pub mod input;
pub mod limits;
mod out;
pub mod peer;
pub mod profile;
mod raft;
pub mod random;
mod scratch;
pub mod state_op;
pub mod sync;
pub mod time;
pub mod versions;
pub mod wire;

pub use boot::{Boot, Lineage};
pub use canary::{Canary, Planted};
pub use client::{ClientOp, Freshness, Reply, RequestId};
pub use configuration::Configuration;
pub use cursor::{Cursor, Index, Term};
pub use disk_op::{Ballot, DiskError, DiskId, DiskOp, DiskWrite, Recovered, RecoveredGroup};
pub use effect::{CloseCode, Effect, Effects, Lane};
pub use entries::{Entries, LogEntries};
pub use entry::{Body, ClientSequence, Command, Entry, Genesis, Marker, Named, Requester};
pub use event::{Event, GroupEvent, Refusal, Role};
pub use fate::Fate;
pub use id::{
    Digest, GenesisId, GroupId, GroupKey, Incarnation, LinkId, Member, NetworkId, PeerId, SessionId,
};
pub use input::{Form, Input, OpenGroup};
pub use peer::{FollowerView, GroupView, MemberView, Peer, PeerConfig, SessionView, WhyLearner};
pub use profile::GroupProfile;
pub use random::{Purpose, Random};
pub use state_op::{
    Applied, FetchId, Part, Recalled, Remembered, Restored, StateDone, StateOp, Verdict,
};
pub use time::{Now, Time, Wall};
pub use versions::Versions;

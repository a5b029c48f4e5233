//! Quorate: groups of peers that organize themselves and never lose an acknowledged write.
//!
//! Peers that share a network's name find each other, form groups, elect a leader, replicate a log
//! of commands, and bring a lagging peer up to date from every healthy peer at once.
//!
//! ```no_run
//! use quorate::prelude::*;
//!
//! # async fn shop() -> Result<(), Box<dyn std::error::Error>> {
//! let net = Network::builder("shop").build().await?;
//! let group = net.group(GroupKey::named("orders")).form(Form::Expect(3)).open().await?;
//! group.when().leader_elected().await?;
//! let stock = group.map::<String, u64>("stock");
//! let done = stock.insert("apple".to_owned(), 7).await?;
//! assert_eq!(stock.get("apple", Read::AtLeast(done.cursor)).await?, Some(7));
//! # Ok(())
//! # }
//! ```
//!
//! Durability today is that of memory: an acknowledged write survives while a majority of the
//! group's voters keeps running.
//!
//! What happens is said as [`Events`], and to whoever listens to `tracing`, under targets that
//! stay: `quorate::group` (histories, leaders, members), `quorate::link` (links to peers),
//! `quorate::sync` (snapshots and catch-ups); `quorate` for the rest of this crate, and
//! `quorate_net` for the transport. INFO and above are rare; DEBUG follows a peer step by step.
//!
//! Read in this order: [`Network`], [`Group`], [`Map`], [`Write`] and [`Reading`] (the operations),
//! [`Changes`], [`When`], then [`testing`].

#![forbid(unsafe_code)]

mod ask;
mod changes;
mod client;
mod driver;
mod event;
mod feed;
mod group;
mod hall;
pub mod limits;
mod machine;
mod map;
mod meter;
mod metrics;
mod name;
mod network;
mod open;
mod position;
pub mod prelude;
mod progress;
mod read;
pub mod rendezvous;
mod replacement;
mod sight;
mod snapshot;
mod standstill;
mod status;
pub mod testing;
mod ticket;
mod when;
mod wish;
mod write;

pub use changes::{Change, Changes, ChangesError, Since};
pub use client::{Client, ClientError, ClientWrite};
pub use event::{Events, EventsClosed, EventsLagged};
pub use group::{Group, StateDigest};
pub use machine::Querying;
pub use map::{Exchange, Map};
pub use metrics::Metrics;
pub use name::{ClientId, NameError, RequestName};
pub use network::{BuildError, Network, NetworkBuilder};
pub use open::{GroupBuilder, OpenError};
pub use position::{Position, PositionError};
pub use progress::{SessionPhase, SessionProgress, SourceProgress};
pub use quorate_core::{
    CloseCode, Configuration, Cursor, Digest, Event, Form, GenesisId, GroupEvent, GroupId,
    GroupKey, GroupProfile, Incarnation, Index, Member, NetworkId, PeerId, Refusal, Role,
    SessionId, SessionView, Term, WhyLearner,
};
pub use quorate_net::{ALPN, Address, Transport, Tuning, iroh, presets};
pub use quorate_state::collections::{Key, KeyReader, KeyWriter, Lookup, Refusal as WriteRefusal};
pub use quorate_state::{ApplyContext, Collections, ItemError, StateMachine, Table, View};
pub use read::{Read, ReadError, Reading};
pub use sight::{LinkState, PeerStatus};
pub use snapshot::{MapIter, Snapshot};
pub use standstill::{Standstill, StandstillCause};
pub use status::GroupStatus;
pub use ticket::{Ticket, TicketError};
pub use when::{When, WhenClosed};
pub use wish::{LeaveError, TransferError, Wish};
pub use write::{Committed, Write, WriteError};

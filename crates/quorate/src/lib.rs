//! Quorate: groups of peers that organize themselves and never lose an acknowledged write.
//!
//! Peers that share a network's name find each other, form groups, elect a leader, replicate a log
//! of commands, and bring a lagging peer up to date from every healthy peer at once. This page is a
//! guide; each item says what it costs, how it fails, and what dropping its future means.
//!
//! ```no_run
//! use quorate::prelude::*;
//!
//! # async fn shop() -> Result<(), Box<dyn std::error::Error>> {
//! let net = Network::builder("shop").build().await?;
//! let group = net.group(GroupKey::named("orders")).open().await?;
//! group.when().leader_elected().await?;
//! let stock = group.map::<String, u64>("stock");
//! let done = stock.insert("apple".to_owned(), 7).await?;
//! assert_eq!(stock.get("apple", Read::AtLeast(done.cursor)).await?, Some(7));
//! net.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Durability today is that of memory: an acknowledged write survives while a majority of the
//! group's voters keeps running.
//!
//! # A peer, and how it finds others
//!
//! A [`Network`] is one peer: a key, an endpoint, and a driver. On one machine peers meet in a
//! directory of the user ([`NetworkBuilder::rendezvous`] names another). Beyond it a peer is let in
//! by a [`Ticket`], or told of others by [`NetworkBuilder::know`]. An application that has an iroh
//! endpoint of its own mounts the network on it: [`NetworkBuilder::mount`].
//!
//! # A group, and how it comes to be
//!
//! A [`Group`] is named by its key and its machine. Opened without a [`Form`], one peer founds it
//! and the others join; [`Form::Expect`] has several found it together. A group grows by itself,
//! from one voter to three to five, and replaces those that are gone for long. [`Group::when`] has
//! its conditions as futures, [`Group::status`] says how it stands and why it may not decide, and
//! [`Group::events`] what happens.
//!
//! # Writing and reading
//!
//! A [`Map`] is one of many in a group. A write ends in [`Committed`]: a quorum has it, at a
//! cursor, with an outcome that is the same on every peer. Or it ends in a [`WriteError`], which
//! says whether anything may have changed, and gives the value back where trying again makes sense.
//! A read says how fresh it must be: [`Read`]. [`Map::changes`] follows a map from any cursor on.
//!
//! A write whose answer was lost is [`WriteError::Unknown`]. A [`Client`] spares its user that
//! doubt: its writes are applied once, whatever happens to leaders and links on the way.
//!
//! ```no_run
//! # use quorate::prelude::*;
//! # async fn pay(group: Group) -> Result<(), Box<dyn std::error::Error>> {
//! let client = group.client().await?;
//! let stock = group.map::<String, u64>("stock");
//! client.write(stock.insert("pear".to_owned(), 3)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # A machine of one's own
//!
//! Where maps are not enough, a group runs the application's own [`StateMachine`]: commands with
//! outcomes, queries with answers, and [`Table`]s for a memory. Snapshots, digests and catch-up
//! come by themselves.
//!
//! ```no_run
//! use quorate::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! /// Hands out numbers, each of them once.
//! struct Numbers;
//!
//! const NEXT: Table<String, u64> = Table::new(1);
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Draw { series: String }
//!
//! impl StateMachine for Numbers {
//!     type Command = Draw;
//!     type Outcome = Result<u64, ItemError>;
//!     type Query = String;
//!     type Answer = u64;
//!
//!     fn name(&self) -> &str {
//!         "example.numbers"
//!     }
//!
//!     fn apply(&self, cx: &mut ApplyContext<'_>, draw: Draw) -> Result<u64, ItemError> {
//!         let number = self.query(cx.view(), draw.series.clone()) + 1;
//!         NEXT.insert(cx, &draw.series, &number)?;
//!         Ok(number)
//!     }
//!
//!     fn query(&self, state: View<'_>, series: String) -> u64 {
//!         NEXT.get(state, &series).unwrap_or(0)
//!     }
//! }
//!
//! # async fn draw(net: Network) -> Result<(), Box<dyn std::error::Error>> {
//! let group = net.group(GroupKey::named("numbers")).machine(Numbers).open().await?;
//! let series = || "invoices".to_owned();
//! let drawn = group.execute(Draw { series: series() }).await?.outcome?;
//! let last = group.query(series(), Read::Linearizable).await?;
//! assert!(last >= drawn);
//! # Ok(())
//! # }
//! ```
//!
//! # Stopping
//!
//! [`Network::close`] hands leadership over and says goodbye, within two seconds; a peer without a
//! data directory gives up its seats, too. [`Group::leave`] gives up one seat,
//! [`Group::transfer_leader`] only the lead.
//! Dropping all handles of a network is a crash to the others.
//!
//! # What happens
//!
//! What happens is said as [`Events`], and to whoever listens to `tracing`, under targets that
//! stay: `quorate::group` (histories, leaders, members), `quorate::link` (links to peers),
//! `quorate::sync` (snapshots and catch-ups), `quorate::disk` (data directories); `quorate` for
//! the rest of this crate, and `quorate_net` for the transport. INFO and above are rare; DEBUG
//! follows a peer step by step.
//!
//! # Futures, queues and tests
//!
//! The futures of all operations are `Send` and `'static`, and do nothing before they are polled.
//! Every queue is bounded: see [`limits`]. [`testing::Cluster`] is a whole group in one process,
//! over real QUIC, whose peers can be killed, paused and cut off.

#![forbid(unsafe_code)]

mod ask;
mod changes;
mod client;
pub mod data_dir;
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
mod recovery;
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
    SessionId, SessionView, Term, Versions, WhyLearner,
};
pub use quorate_net::{ALPN, Address, Switchboard, Transport, Tuning, iroh, presets};
pub use quorate_state::collections::{Key, KeyReader, KeyWriter, Lookup, Refusal as WriteRefusal};
pub use quorate_state::{ApplyContext, Collections, ItemError, StateMachine, Table, View};
pub use read::{Read, ReadError, Reading};
pub use recovery::RecoveryReport;
pub use sight::{LinkState, PeerStatus};
pub use snapshot::{MapIter, Snapshot};
pub use standstill::{Standstill, StandstillCause};
pub use status::GroupStatus;
pub use ticket::{Ticket, TicketError};
pub use when::{When, WhenClosed};
pub use wish::{LeaveError, TransferError, Wish};
pub use write::{Committed, Write, WriteError};

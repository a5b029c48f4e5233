//! Endpoint, links and finding peers: the only crate of Quorate that names iroh.
//!
//! All that this crate does is move bytes and find addresses. Decisions are taken elsewhere: it
//! tells what happens ([`Events`]) and does what it is told ([`Transport`]).
//!
//! ```text
//! peer A                                                       peer B
//! driver -- send(link, lane, frame) -> queue -> stream ~~~> reader -> Events -> driver
//!           never waits                bounded   QUIC                 bounded
//! ```
//!
//! One connection per pair of peers carries everything; [`Lane`]s keep what must not wait for
//! each other apart. A peer that sends nonsense, too much, or reads nothing loses its own link,
//! and nothing else happens.
//!
//! Peers of one process can do without sockets: they plug in at a [`Switchboard`], and frames are
//! handed over. What drives a peer takes either as a [`Carrier`].
//!
//! A process that runs several peers on few cores should give its tokio runtime a small
//! `event_interval` (7, say): with the default of 61 a busy runtime looks at its sockets so seldom
//! that what comes to a quiet one waits for tens of milliseconds while another is loaded.

#![forbid(unsafe_code)]

mod address;
mod barred;
mod carrier;
mod codes;
mod deframer;
mod inbox;
mod introduction;
pub mod limits;
mod line;
mod link;
mod memory;
mod outlet;
pub mod presets;
mod reader;
pub mod rendezvous;
mod transport;
mod writer;

pub use address::{Address, AddressError};
pub use carrier::{Carrier, CarrierBatch};
pub use inbox::{Event, Events};
/// The endpoint's own crate, for applications that bring their endpoint or router.
pub use iroh;
pub use link::{LinkFigures, SendError};
pub use memory::{AlreadyPluggedIn, Plug, Switchboard};
pub use presets::{BindError, Tuning, bind};
pub use quorate_core::{CloseCode, GroupId, Lane, LinkId, NetworkId, PeerId};
pub use transport::{ALPN, Batch, TooManyDials, Transport};

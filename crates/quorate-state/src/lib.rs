//! State machines, the canonical tree and typed collections of Quorate.
//!
//! The core orders commands; what they do happens here. All state of a group is one [`tree::Tree`]:
//! a snapshot is a clone, a digest is its root hash, and a peer that lags behind fetches ranges of
//! it from whoever has them.
//!
//! Read in this order: [`tree`] (the structure under everything), [`tree::chunk`] and
//! [`tree::assembly`] (moving it between peers), [`space`] (who owns which keys), [`machine`] (what
//! commands may do, in bytes), [`typed`] and [`table`] (machines as applications write them),
//! [`collections`] (the machine most groups run), [`replica`] (what the core talks to).

#![forbid(unsafe_code)]

pub mod clients;
pub mod collections;
pub mod limits;
pub mod machine;
pub mod replica;
pub mod space;
pub mod table;
pub mod tree;
pub mod typed;

pub use clients::ClientLimits;
pub use collections::Collections;
pub use machine::{ApplyContext, Change, Machine, View};
pub use replica::Replica;
pub use table::{ItemError, Table};
pub use typed::{StateMachine, Typed};

//! State machines, the canonical tree and typed collections of Quorate.
//!
//! The core orders commands; what they do happens here. All state of a group is one [`tree::Tree`]:
//! a snapshot is a clone, a digest is its root hash, and a peer that lags behind fetches ranges of
//! it from whoever has them.
//!
//! Read in this order: [`tree`] (the structure under everything), [`tree::chunk`] and
//! [`tree::assembly`] (moving it between peers), [`space`] (who owns which keys), [`machine`] (what
//! commands may do), [`collections`] (the machine most groups run), [`replica`] (what the core
//! talks to).

#![forbid(unsafe_code)]

pub mod collections;
pub mod limits;
pub mod machine;
pub mod replica;
pub mod space;
pub mod tree;

pub use collections::Collections;
pub use machine::{ApplyContext, Change, StateMachine, View};
pub use replica::Replica;

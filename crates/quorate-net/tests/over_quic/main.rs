//! The links, against peers that behave and peers that do not; over QUIC unless a module says else.
//!
//! All in one program: linked once, they are built in a fraction of the time.
#![allow(clippy::unwrap_used)] // All of it is tests.

mod common;

mod hostile;
mod lanes;
mod memory;
mod mounting;
mod rendezvous;

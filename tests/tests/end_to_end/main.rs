//! Groups of peers in one process, end to end: over QUIC on loopback, or at a switchboard.
//!
//! All in one program: linked once, they are built in a fraction of the time. What needs a process
//! of its own stands beside this directory.
#![allow(clippy::unwrap_used)] // All of it is tests.

#[path = "../common/mod.rs"]
mod common;

mod catch_up;
mod clients;
mod data_dir;
mod faults;
mod formation;
mod hostile;
mod leaving;
mod machine_panic;
mod machines;
mod maps;
mod memory;
mod metrics;
mod movable;
mod restart;
mod standstill;
mod tickets;

//! The program as people and scripts use it: its commands and its HTTP, in processes of their own.
//!
//! All in one program: linked once, they are built in a fraction of the time.
#![allow(clippy::unwrap_used)] // All of it is tests.

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod data_dir;
mod demo;
mod groups;
mod http_clients;
mod http_kv;
mod http_watch;
mod leftovers;
mod simulate;
mod usage;

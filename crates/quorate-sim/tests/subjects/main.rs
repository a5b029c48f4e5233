//! Users' state machines in simulations: what they do wrong is found, told and cut down.
#![allow(clippy::unwrap_used)] // All of it is tests.

mod bank;
mod careless;
mod refused;

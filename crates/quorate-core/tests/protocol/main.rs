//! Peers wired to each other in one thread, and what is on the wire between them.
//!
//! All in one program: linked once, they are built in a fraction of the time.

mod common;

mod clients;
mod leading;
mod three_peers;
mod wire;

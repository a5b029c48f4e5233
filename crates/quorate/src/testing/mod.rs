//! Whole clusters in one process, over real QUIC on loopback.
//!
//! For tests and demonstrations: peers with keys from a seed that find each other in a directory
//! of their own, so that any number of clusters run side by side. Everything else is what an
//! application gets: each peer has its own endpoint, driver and state.

mod cluster;
mod directory;

pub use cluster::{Cluster, ClusterBuilder, ClusterError, ClusterPeer};

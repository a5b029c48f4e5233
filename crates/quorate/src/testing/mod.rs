//! Whole clusters in one process, over real QUIC on loopback or without sockets.
//!
//! For tests and demonstrations: peers with keys from a seed that find each other in a directory
//! of their own, so that any number of clusters run side by side. Everything else is what an
//! application gets: each peer has its own endpoint, driver and state. [`Cluster::memory`] links
//! them within the process instead, which is faster and needs nothing of the machine.
//!
//! A test of an application starts a cluster, gives the application the handles that it would
//! have, lets things go wrong, and waits for conditions:
//!
//! ```
//! use quorate::{prelude::*, testing::Cluster};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a test of yours: #[tokio::test] async fn orders_survive_the_leader() { ...
//! let mut cluster = Cluster::local(3).await?;
//! let (leader, _) = cluster.leader().await?;
//! let follower = (leader + 1) % 3;
//!
//! let orders = cluster.peer(follower).group.map::<u64, String>("orders");
//! orders.insert(1, "tea".to_owned()).await?;
//!
//! // The leader is cut off from the others, who go on without it.
//! let rest: Vec<usize> = (0..3).filter(|i| *i != leader).collect();
//! cluster.partition(&[&[leader], &rest]);
//! let (next, _) = cluster.leader_among(&rest).await?;
//! assert_ne!(next, leader);
//! orders.insert(2, "coffee".to_owned()).await?;
//!
//! // Once the network is whole again, all hold the same.
//! cluster.heal();
//! cluster.converged().await?;
//! let orders = cluster.peer(leader).group.map::<u64, String>("orders");
//! assert_eq!(orders.get(&2, Read::Linearizable).await?.as_deref(), Some("coffee"));
//! cluster.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! What can go wrong: [`Cluster::kill`] and [`Cluster::restart`] a peer, [`Cluster::pause`] and
//! [`Cluster::resume`] one, [`Cluster::partition`] and [`Cluster::heal`] the network. What can be
//! waited for: [`Cluster::leader`], [`Cluster::caught_up`], [`Cluster::applied`],
//! [`Cluster::converged`], and everything that [`crate::When`] offers. Nothing here takes a
//! deadline: put a timeout around what a test waits for.

mod cluster;
mod directory;

pub use cluster::{Cluster, ClusterBuilder, ClusterError, ClusterPeer};

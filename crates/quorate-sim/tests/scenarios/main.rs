//! Scenarios directed by hand, each after a story that a cluster must get through.

mod catch_up;
mod changes;
mod clients;
mod cluster;
mod copied;
mod disks;
mod formation;
mod founders;
mod leaving;
mod limits;
mod machine_failure;
mod meeting;
mod membership;
mod quorum_alone;
mod slow_ways;
mod transfer;
mod upgrade;

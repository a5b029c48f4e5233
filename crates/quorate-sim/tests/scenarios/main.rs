//! Scenarios directed by hand, each after a story that a cluster must get through.

mod catch_up;
mod cluster;
mod membership;

//! Whole Quorate clusters in one deterministic thread, with faults, checkers and a seed.
//!
//! A distributed system fails in interleavings that no test written by hand comes upon and that no
//! test on real machines can repeat. Here a cluster of the real core, codec, record format,
//! recovery and state runs on one queue of events: the network, the disks, the clocks and the
//! crashes are ours, and one number, the seed, decides them all. Thousands of seeds run where a
//! real cluster would run once, and a seed that fails fails again.
//!
//! Read in this order: [`Scenario`] (what will be done, as data), [`FaultKind`] and [`Operation`],
//! [`World`] (the queue; `turn` drives a peer as the real driver does, `network` and `disk` stand
//! for the outside), `checkers` (what must hold), `liveness` (what must come back), and
//! [`run_seed`]. Users test their own machine with a [`Subject`] and a [`Simulation`] of it.

#![forbid(unsafe_code)]

mod apart;
mod atlas;
mod broken;
mod canaries;
mod checkers;
mod clock;
mod copied;
mod dice;
mod disk;
mod duration_text;
mod explorer;
mod families;
mod fault;
mod findings;
mod hash;
mod heal;
mod hex;
pub mod history;
mod hostile;
mod inject;
pub mod limits;
mod liveness;
mod lock;
mod machine;
mod named;
mod narrate;
mod network;
mod node;
mod operation;
mod operator;
mod panics;
mod power;
mod queue;
mod rot;
mod run;
mod scenario;
mod scenario_file;
mod shrink;
mod simulation;
mod start;
mod subject;
mod swarm;
mod trace;
mod turn;
mod world;

pub use broken::{Ailment, StaysBroken};
pub use canaries::{BUDGET, Hunt, SHORT, family_of, hunt, planted};
pub use checkers::{Told, Violation};
pub use dice::{Dice, Span};
pub use explorer::{
    Bounds, Explored, Lapse, Planting, bounds, explorations, explore, other_bounds, plantings,
};
pub use families::Family;
pub use fault::{Fault, FaultKind};
pub use findings::{Finding, Findings};
pub use network::{NetworkPlan, Weather};
pub use operation::{Action, Operation};
pub use run::{
    Batch, Operations, Report, run_batch, run_drawn, run_once, run_scenario, run_seed, run_told,
    run_world,
};
pub use scenario::{PeerPlan, Scenario, Storage};
pub use scenario_file::{ScenarioError, ScenarioFile};
pub use shrink::{Shrunk, TRIALS, shrink};
pub use simulation::{Simulation, SimulationError};
pub use subject::{Subject, Transition};
pub use swarm::{Drawing, Kinds};
pub use trace::{Keep, first_difference};
pub use world::{Heard, World};

pub use quorate_core::Canary;

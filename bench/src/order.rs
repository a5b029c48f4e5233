//! What ordering costs without a network: the core beside the crate `raft`.
//!
//! Both order the same commands for the same machine on one thread, in rounds that alternate, so
//! that whatever else the machine does meets both.

use crate::{core_loop, raft_rs, sample::median};

const ROUNDS: usize = 9;

/// What one round orders, with how many commands under way.
struct Load {
    depth: usize,
    commands: u64,
}

/// Both libraries' commands per second.
pub(crate) struct Pair {
    pub(crate) quorate: f64,
    pub(crate) raft_rs: f64,
}

/// Measures one command at a time.
pub(crate) fn depth1_per_s() -> anyhow::Result<Pair> {
    measure(&Load {
        depth: 1,
        commands: 30_000,
    })
}

/// Measures with 256 commands under way.
pub(crate) fn depth256_per_s() -> anyhow::Result<Pair> {
    measure(&Load {
        depth: 256,
        commands: 256_000,
    })
}

fn measure(load: &Load) -> anyhow::Result<Pair> {
    let mut ours = core_loop::Trio::start()?;
    let mut theirs = raft_rs::Trio::start()?;
    let (mut quorate, mut raft_rs) = (Vec::new(), Vec::new());
    // One round more, for the logs to reach the length at which they are cut back.
    for round in 0..=ROUNDS {
        let one = ours.run(load.depth, load.commands)?;
        let other = theirs.run(load.depth, load.commands)?;
        if round > 0 {
            quorate.push(one);
            raft_rs.push(other);
        }
    }
    ours.finish()?;
    theirs.finish()?;
    Ok(Pair {
        quorate: median(quorate),
        raft_rs: median(raft_rs),
    })
}

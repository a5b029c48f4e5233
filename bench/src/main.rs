//! Quorate beside the raw transport and other libraries of consensus, in one run, on one machine.
//!
//! Every figure that the documentation gives comes from here. The raw rows move the same bytes
//! through plain iroh between two endpoints of the same process, so that the others can be judged
//! against what the transport allows on the machine at hand rather than against a number from
//! somewhere else. The rows of the core have no network at all and stand beside those of the crate
//! `raft`, the rows of the driver beside those of `openraft`. Each value is the median of several
//! rounds.

#![forbid(unsafe_code)]

mod catch_up;
mod cluster;
mod core_loop;
mod durable;
mod in_process;
mod memory;
mod openraft_nodes;
mod order;
mod raft_rs;
mod raw;
mod row;
mod sample;
mod start;
mod summing;
mod sums;
mod table;
mod version;
mod write;

use clap::Parser;

// The allocator that the command has, see the map's list of dependencies.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Quorate beside the raw transport and other libraries.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print one JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure only the rows whose names start with this; may be given more than once.
    #[arg(long, value_name = "PREFIX")]
    only: Vec<String>,
    /// Is the process whose memory is measured.
    #[arg(long = memory::ARGUMENT, hide = true)]
    measure_memory: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // As the command sets it up.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .event_interval(7)
        .enable_all()
        .build()?;
    // On a worker, as an application's tasks are: the main thread is woken at a higher price, and
    // that price would be in the raw rows too.
    runtime.block_on(async { tokio::spawn(measure(arguments)).await })?
}

async fn measure(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.measure_memory {
        println!("{}", memory::measure_here().await?);
        return Ok(());
    }
    let wanted = row::select(&arguments.only)?;
    let mut output = table::Output::new(arguments.json);
    let mut measured = row::Measured::default();
    for row in wanted {
        let value = measured.value_of(row).await?;
        let target = measured.target_of(row).await?;
        output.print(row, value, target);
    }
    Ok(())
}

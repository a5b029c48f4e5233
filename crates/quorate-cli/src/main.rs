//! The `quorate` command.
//!
//! Data goes to stdout, everything else to stderr; exit codes are 0 (well), 1 (failed) and 2
//! (called the wrong way). Every error says what to do next.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // The only crate that prints.

mod demo;
mod outcome;
mod simulate;

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};

// What one task allocates (a frame, a command), another one frees; the system's allocator spends
// almost half of a busy peer's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Groups of peers that organize themselves and never lose an acknowledged write.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the main job on this machine: five peers, and a sixth that catches up from all of them.
    Demo(demo::DemoArgs),
    /// Run clusters in a deterministic simulator, with faults, and check them after every step.
    Simulate(simulate::SimulateArgs),
}

fn main() -> ExitCode {
    let started = Instant::now();
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(args, started),
        Command::Simulate(args) => simulate::run(&args),
    };
    outcome.report()
}

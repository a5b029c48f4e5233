//! The `quorate` command.
//!
//! Data goes to stdout, everything else to stderr. Every error says what to do next, and the exit
//! code says what kind it is: 0 well, 1 failed, 2 called the wrong way, 3 not found, 4 no quorum,
//! 5 deadline, 6 data damaged or not matching, 7 in use by somebody else. (`demo` and `simulate`
//! know only the first three.)

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // The only crate that prints.

mod blob;
mod client;
mod completions;
mod data_dir;
mod demo;
mod http;
mod limits;
mod log;
mod names;
mod outcome;
mod output;
mod secret_file;
mod simulate;
mod up;
mod words;

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};

// What one task allocates (a frame, a command), another one frees; the system's allocator spends
// almost half of a busy peer's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Groups of peers that organize themselves and never lose an acknowledged write.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Three terminals make a group:
  quorate up                    in each of them
Then, in a fourth:
  quorate put hello world
  quorate get hello
  quorate status
";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a peer of a group of keys and values.
    Up(up::UpArgs),
    /// Write a value.
    Put(client::PutArgs),
    /// Read a value: its bytes, as they are.
    Get(client::GetArgs),
    /// Remove a value.
    Delete(client::DeleteArgs),
    /// Print changes as they come.
    Watch(client::WatchArgs),
    /// Say how the group stands, and why it cannot decide if it cannot.
    Status(client::StatusArgs),
    /// List who belongs to the group.
    Members(client::MembersArgs),
    /// Change who does what in the group.
    Member(client::MemberArgs),
    /// Have a peer give up its seat and stop.
    Leave(client::LeaveArgs),
    /// Look into a data directory, and change nothing in it.
    Log(log::LogArgs),
    /// Run the main job on this machine: five peers, and a sixth that catches up from all of them.
    Demo(demo::DemoArgs),
    /// Run clusters in a deterministic simulator, with faults, and check them after every step.
    Simulate(simulate::SimulateArgs),
    /// Print what makes a shell complete this command's words.
    Completions(completions::CompletionsArgs),
}

fn main() -> ExitCode {
    let started = Instant::now();
    let outcome = match Cli::parse().command {
        Command::Up(args) => up::run(args),
        Command::Put(args) => client::put(args),
        Command::Get(args) => client::get(args),
        Command::Delete(args) => client::delete(args),
        Command::Watch(args) => client::watch(args),
        Command::Status(args) => client::status(args),
        Command::Members(args) => client::members(args),
        Command::Member(args) => client::member(args),
        Command::Leave(args) => client::leave(args),
        Command::Log(args) => log::run(&args),
        Command::Demo(args) => demo::run(args, started),
        Command::Simulate(args) => simulate::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    outcome.report()
}

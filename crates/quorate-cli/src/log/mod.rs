//! `quorate log`: looks into a data directory, and changes nothing in it.

mod report;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate::data_dir;

use crate::{
    data_dir::failure,
    outcome::{Code, Failure, Outcome},
    output::{self, Format, OutputArgs},
};
use report::Report;

/// Options of `quorate log`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Say what a data directory holds: whose it is, segments, groups, and what is wrong.
    Inspect(LookArgs),
    /// Check every byte of a data directory, and say only what is wrong.
    Verify(LookArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Both read the whole log, write nothing, and may be used while a peer runs in the directory. The
exit code is 6 if something that was promised is damaged or gone.

Examples:
  quorate log inspect DIR
  quorate log verify DIR && echo whole
")]
struct LookArgs {
    /// The data directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Looks into a data directory.
pub(crate) fn run(args: &LogArgs) -> Outcome {
    let looked = match &args.command {
        LogCommand::Inspect(look) => print(look, Report::table),
        LogCommand::Verify(look) => print(look, Report::verdict),
    };
    looked.into()
}

fn print(look: &LookArgs, text: fn(&Report, bool) -> String) -> Result<(), Failure> {
    let inspection = data_dir::inspect(&look.directory).map_err(|error| failure(&error))?;
    let report = Report::of(&look.directory, &inspection);
    let text = match look.output.format() {
        Format::Table => text(&report, look.output.full_ids),
        Format::Json | Format::Jsonl => output::line(&report),
    };
    output::print(text.as_bytes())
        .map_err(|error| Failure::new(Code::Failed, error.to_string(), "try again"))?;
    if report.is_whole() {
        return Ok(());
    }
    Err(Failure::new(
        Code::Damaged,
        format!("{} is damaged", look.directory.display()),
        "start its peer while a majority of its group runs: it gets what is missing from them",
    ))
}

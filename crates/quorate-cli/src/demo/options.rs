//! What the user wants the demonstration to do, checked.

use std::path::PathBuf;

use clap::Args;

use super::entries::Entries;

/// Options of `quorate demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many peers found the group.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 5,
        value_parser = peers
    )]
    pub(crate) peers: usize,
    /// How many entries of 100 bytes to generate.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 100_000,
        value_parser = entries
    )]
    pub(crate) entries: u64,
    /// Take the lines of this file as entries instead: line number -> line.
    #[arg(long, value_name = "FILE", conflicts_with = "entries")]
    pub(crate) input: Option<PathBuf>,
    /// Where the peers' keys and the generated entries follow from.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 1
    )]
    pub(crate) seed: u64,
    /// Kill the leader while the late peer catches up.
    #[arg(long)]
    pub(crate) kill_leader: bool,
    /// Print one JSON object as the last line of stdout; the story goes to stderr.
    #[arg(long)]
    pub(crate) json: bool,
}

impl DemoArgs {
    /// Reads the input, or prepares to generate it.
    ///
    /// # Errors
    /// What is wrong with the options together, and what to do.
    pub(crate) fn source(&self) -> Result<Entries, String> {
        if self.kill_leader && self.peers < 3 {
            return Err(format!(
                "--kill-leader with --peers {} would leave no majority: use --peers 3 or more",
                self.peers
            ));
        }
        match &self.input {
            None => Ok(Entries::generated(self.entries, self.seed)),
            Some(path) => Entries::lines_of(path),
        }
    }
}

fn peers(text: &str) -> Result<usize, String> {
    let most = quorate::limits::FOUNDERS;
    match text.parse() {
        Ok(0) => Err("somebody has to hold the entries: use --peers 1 or more".to_owned()),
        Ok(n) if n > most => Err(format!("at most {most} peers found a group: use fewer")),
        Ok(n) => Ok(n),
        Err(_) => Err(format!("expected a number of peers from 1 to {most}")),
    }
}

fn entries(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("there must be something to catch up on: use --entries 1 or more".to_owned()),
        Ok(n) if n > MOST_ENTRIES => Err(format!(
            "{MOST_ENTRIES} entries at most: six copies of them are kept in memory"
        )),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a number of entries, such as 100000".to_owned()),
    }
}

/// Entries that may be generated: six copies are kept in memory.
const MOST_ENTRIES: u64 = 100_000_000;

//! `quorate completions`: the script that makes a shell complete this command's words.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{Cli, outcome::Outcome, output};

/// Options of `quorate completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(quorate completions bash)
  quorate completions zsh > ~/.zfunc/_quorate
  quorate completions fish > ~/.config/fish/completions/quorate.fish
")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "quorate", &mut script);
    match output::print(&script) {
        Ok(()) => Outcome::Well,
        Err(error) => Outcome::Failed(error.into()),
    }
}

//! How a command ends.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything is well.
    Well,
    /// The command did what it was asked for, and the result is bad; it has said so itself.
    Bad,
    /// The command failed.
    Failed(anyhow::Error),
    /// The command was called the wrong way; the text says what to do instead.
    Usage(String),
}

impl Outcome {
    /// Tells the user, and the shell.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Well => ExitCode::SUCCESS,
            Self::Bad => ExitCode::from(1),
            Self::Failed(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(1)
            }
            Self::Usage(what) => {
                eprintln!("error: {what}");
                ExitCode::from(2)
            }
        }
    }
}

//! How a command ends: what the user reads, and what the shell is told.

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
    /// The command ended early; what, why, and what to run next.
    Stopped(Failure),
}

/// Why a command could not do what it was asked for, and what to run next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// The kind, as the shell is told it.
    pub(crate) code: Code,
    /// What happened.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: String,
}

/// The kinds of failure, by exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    /// Nothing more can be said.
    Failed = 1,
    /// The command was called the wrong way.
    Usage = 2,
    /// What was asked for is not there.
    NotFound = 3,
    /// The group has no leader or no quorum.
    NoQuorum = 4,
    /// The deadline came first.
    Timeout = 5,
    /// Data is damaged, or belongs to something else.
    Damaged = 6,
    /// Somebody else has it.
    Locked = 7,
}

impl Failure {
    /// Says what failed, and what to do about it.
    pub(crate) fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// Says that the command was called the wrong way.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Code::Usage, message, hint)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Stopped(failure)
    }
}

impl From<Result<(), Failure>> for Outcome {
    fn from(ended: Result<(), Failure>) -> Self {
        match ended {
            Ok(()) => Self::Well,
            Err(failure) => Self::Stopped(failure),
        }
    }
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
            Self::Stopped(failure) => {
                eprintln!("error: {}", failure.message);
                eprintln!("hint: {}", failure.hint);
                ExitCode::from(failure.code as u8)
            }
        }
    }
}

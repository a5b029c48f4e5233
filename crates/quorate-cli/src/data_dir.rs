//! What `quorate` says of data directories that cannot be used.

use std::{io::ErrorKind, path::Path};

use quorate::data_dir::DataDirError;

use crate::outcome::{Code, Failure};

/// Says why a data directory cannot be used, and the way out.
pub(crate) fn failure(error: &DataDirError) -> Failure {
    let (code, hint) = match error {
        DataDirError::Locked { .. } => (
            Code::Locked,
            "stop that process, or name another directory: --data-dir DIR",
        ),
        DataDirError::OtherNetwork { .. } => (
            Code::Damaged,
            "name the directory's network with --network, or another directory with --data-dir",
        ),
        DataDirError::OtherPeer { .. } => (
            Code::Damaged,
            "leave the key out: the directory has its peer's own",
        ),
        DataDirError::Foreign { .. } => (
            Code::Damaged,
            "name the directory that an earlier --data-dir made, or one that is empty or not there",
        ),
        DataDirError::Format { .. } => (
            Code::Damaged,
            "use the version of quorate that wrote it, or a newer one",
        ),
        DataDirError::Damaged { .. } => (
            Code::Damaged,
            "move the directory away and start with another one: the peer joins as a new one and \
             gets the group's state from the others",
        ),
        DataDirError::Log { source, .. } => of_log(source),
        DataDirError::Io { source, .. } => (Code::Failed, of_io(source.kind())),
        _ => (Code::Failed, "try again"),
    };
    Failure::new(code, chain(error), hint)
}

/// Says that a directory holds another group's log.
pub(crate) fn other_group(path: &Path, group: &str) -> Failure {
    Failure::new(
        Code::Damaged,
        format!(
            "{} holds the log of another group than {group:?}, or of one of a network of the same \
             name with another secret",
            path.display()
        ),
        "name its group with --group and its network's secret with --key-file, or another \
         directory with --data-dir",
    )
}

/// Says that a peer was refused as a copy and has stopped.
pub(crate) fn disowned() -> Failure {
    Failure::new(
        Code::Damaged,
        "the other peers know a later start of this data directory: it was copied, or brought back \
         from an older day, so what it promised since is not in it; its life is over",
        "start it again: it joins as a new member and gets the state from the others",
    )
}

fn of_log(error: &quorate::data_dir::RecoveryError) -> (Code, &'static str) {
    match error {
        quorate::data_dir::RecoveryError::Format(_) => (
            Code::Damaged,
            "use the version of quorate that wrote it, or a newer one",
        ),
        _ => (
            Code::Failed,
            "nothing was changed: see to the disk, then start again",
        ),
    }
}

fn of_io(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "name a directory that is there",
        ErrorKind::PermissionDenied => {
            "give this user the right to read and write it, or name another: --data-dir DIR"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "that is a file: name a directory, with --data-dir DIR"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk",
        _ => "nothing was changed: see to the disk, then start again",
    }
}

/// Tells an error with what is behind it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text
}

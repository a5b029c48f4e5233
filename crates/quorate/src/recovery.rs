//! What a peer found in its data directory when it started, for people.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use quorate_core::{GroupId, Incarnation};
use quorate_store::{Damage, Opened, Torn};

/// What a peer found in its data directory when it started.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The data directory.
    pub path: PathBuf,
    /// Whether it was new.
    pub fresh: bool,
    /// Whether the life that it held had ended, so that this peer starts another one, as a new
    /// member: it was copied or brought back, or both copies of its superblock were bad.
    pub ended: bool,
    /// Which life it is now.
    pub incarnation: Incarnation,
    /// The groups that were in it, in the order of their ids.
    pub groups: Vec<GroupId>,
    /// The entries of all of them.
    pub entries: u64,
    /// The end of a log that a crash left in pieces, and that was cut; nobody was told that it is
    /// durable.
    pub torn: Option<Torn>,
    /// What had been promised and is bad or gone; this peer gets it again from the others.
    pub damage: Vec<Damage>,
    /// Copies of the superblock that were bad and are written anew.
    pub bad_copies: usize,
    /// How long reading and mending took.
    pub took: Duration,
}

impl RecoveryReport {
    pub(crate) fn new(path: &Path, opened: &Opened, took: Duration) -> Self {
        let (report, recovered) = (&opened.report, &opened.recovered);
        let entries = recovered.groups.iter().map(|group| group.entries.len());
        Self {
            path: path.to_owned(),
            fresh: report.fresh,
            ended: report.ended,
            incarnation: recovered.incarnation,
            groups: recovered.groups.iter().map(|group| group.group).collect(),
            entries: entries.sum::<usize>() as u64,
            torn: report.torn,
            damage: report.damage.clone(),
            bad_copies: report.bad_copies,
            took,
        }
    }

    pub(crate) fn trace(&self) {
        let path = self.path.display();
        let (entries, took) = (self.entries, self.took);
        tracing::debug!(target: "quorate::disk", %path, entries, ?took, "the log is read");
        if let Some(torn) = self.torn {
            tracing::info!(
                target: "quorate::disk",
                %path,
                segment = torn.at.segment,
                offset = torn.at.offset,
                bytes = torn.bytes,
                "a torn tail is cut: what was being written when the process ended"
            );
        }
        for damage in &self.damage {
            tracing::warn!(target: "quorate::disk", %path, ?damage, "the log is damaged");
        }
        if self.ended {
            tracing::warn!(target: "quorate::disk", %path, "another life of the directory begins");
        } else if self.bad_copies > 0 {
            tracing::warn!(target: "quorate::disk", %path, "a copy of the superblock was bad");
        }
    }
}

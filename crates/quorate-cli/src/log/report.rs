//! What a data directory holds, as it is printed.

use std::path::Path;

use quorate::data_dir::{Damage, Inspection};
use serde::Serialize;

use crate::{output::columns, words};

/// What a data directory holds, as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    directory: String,
    network: String,
    peer: String,
    /// Which life of the directory it is, in hexadecimal.
    incarnation: Option<String>,
    /// Its latest start, counting those that a member has talked to.
    boot: u64,
    in_use: bool,
    segments: Vec<SegmentReport>,
    groups: Vec<GroupReport>,
    /// What was promised and is damaged or gone.
    damage: Vec<String>,
    /// What costs nothing: the next start mends it.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SegmentReport {
    number: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct GroupReport {
    group: String,
    genesis: Option<String>,
    term: u64,
    /// The index before the first entry.
    base: u64,
    /// The index of the last entry.
    last: u64,
}

impl Report {
    pub(super) fn of(directory: &Path, inspection: &Inspection) -> Self {
        let log = &inspection.log;
        let segments = log.segments.iter().map(|segment| SegmentReport {
            number: segment.number,
            bytes: segment.bytes,
        });
        let groups = log.groups.iter().map(|group| GroupReport {
            group: group.group.to_string(),
            genesis: group.genesis.map(|genesis| genesis.to_string()),
            term: group.ballot.term.0,
            base: group.base.index.0,
            last: group.last.index.0,
        });
        Self {
            directory: directory.display().to_string(),
            network: inspection.network.clone(),
            peer: inspection.peer.to_string(),
            incarnation: log.incarnation.map(|life| format!("{:016x}", life.0)),
            boot: log.boot,
            in_use: inspection.in_use,
            segments: segments.collect(),
            groups: groups.collect(),
            damage: damage(inspection),
            notes: notes(inspection),
        }
    }

    /// Tells whether nothing that was promised is damaged or gone.
    pub(super) fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    /// Returns all of it, for people.
    pub(super) fn table(&self, full: bool) -> String {
        let id = |id: &str| words::id(id, full).to_owned();
        let life = match &self.incarnation {
            Some(life) => format!("{}, boot {}", id(life), self.boot),
            None => "none yet".to_owned(),
        };
        let bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let range = match (self.segments.first(), self.segments.last()) {
            (Some(first), Some(last)) => format!(", {} to {}", first.number, last.number),
            _ => String::new(),
        };
        let segments = count(self.segments.len() as u64, "segment");
        let rows = [
            ("directory", self.directory.clone()),
            ("network", self.network.clone()),
            ("peer", id(&self.peer)),
            ("life", life),
            ("in use", if self.in_use { "yes" } else { "no" }.to_owned()),
            ("log", format!("{segments}{range}, {bytes} bytes")),
        ];
        let mut text = columns(&rows.map(|(name, text)| vec![name.to_owned(), text]));
        if !self.groups.is_empty() {
            let head = ["GROUP", "HISTORY", "TERM", "AFTER", "UP TO"];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(self.groups.iter().map(|group| {
                vec![
                    id(&group.group),
                    group.genesis.as_deref().map_or("none".to_owned(), id),
                    group.term.to_string(),
                    group.base.to_string(),
                    group.last.to_string(),
                ]
            }));
            text.push('\n');
            text.push_str(&columns(&rows));
        }
        text.push('\n');
        text + &self.verdict(full)
    }

    /// Returns what is wrong, for people; one line if nothing is.
    pub(super) fn verdict(&self, _full: bool) -> String {
        let mut text = String::new();
        for problem in &self.damage {
            text.push_str(&format!("DAMAGED  {problem}\n"));
        }
        for note in &self.notes {
            text.push_str(&format!("note     {note}\n"));
        }
        if self.is_whole() {
            let entries = self.groups.iter().map(|group| group.last - group.base);
            text.push_str(&format!(
                "whole    {}, {}, {}\n",
                count(self.segments.len() as u64, "segment"),
                count(self.groups.len() as u64, "group"),
                count(entries.sum(), "entry").replace("entrys", "entries"),
            ));
        }
        text
    }
}

fn damage(inspection: &Inspection) -> Vec<String> {
    let log = &inspection.log;
    if log.is_forgotten() {
        let text = "both copies of the superblock: the ballot is forgotten, so this life is over, \
                    and the next start joins as a new member";
        return vec![text.to_owned()];
    }
    log.damage.iter().map(told).collect()
}

fn told(damage: &Damage) -> String {
    let place = damage.at.map(|at| {
        let (segment, offset) = (at.segment, at.offset);
        format!("segment {segment} at byte {offset}")
    });
    let whose = match (damage.group, damage.index) {
        (Some(group), Some(index)) => Some(format!("group {group} from index {} on", index.0)),
        (Some(group), None) => Some(format!("group {group}")),
        _ => None,
    };
    match (place, whose) {
        (Some(place), Some(whose)) => format!("{place}: {whose}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "a part of the log that cannot be named".to_owned(),
    }
}

fn notes(inspection: &Inspection) -> Vec<String> {
    let log = &inspection.log;
    let mut notes = Vec::new();
    if let Some(torn) = log.torn {
        let (segment, offset) = (torn.at.segment, torn.at.offset);
        notes.push(format!(
            "segment {segment} at byte {offset}: a torn tail of {}, which nobody was told of; the \
             next start cuts it",
            count(torn.bytes, "byte"),
        ));
    }
    if log.bad_copies == 1 && log.incarnation.is_some() {
        notes.push("one copy of the superblock is bad; the other one has it all".to_owned());
    }
    if inspection.bad_identity {
        notes.push("one copy of the identity is bad; the other one has it all".to_owned());
    }
    if log.ended {
        notes.push("this life is over: the next start joins as a new member".to_owned());
    }
    let left_over = log.segments.iter().filter(|segment| segment.left_over);
    let left_over = left_over.count() as u64;
    if left_over > 0 {
        let what = count(left_over, "segment");
        notes.push(format!(
            "{what} of an older log, which the next start removes"
        ));
    }
    notes
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

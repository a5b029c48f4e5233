//! What one machine keeps across a crash, by the logical disk operations.
//!
//! Records, torn writes and recovery are the simulator's business; here an operation on the log
//! has reached the disk or has not. The log and the ballot lie apart, as they do in the store: each
//! takes effect in order, neither waits for the other, and a crash leaves what has finished and any
//! number of the operations after it, of either.

use std::collections::VecDeque;

use quorate_core::{
    Ballot, Boot, Configuration, Cursor, DiskId, DiskOp, DiskWrite, Entry, GenesisId, GroupId,
    Index, Member, RecoveredGroup,
};
use quorate_store::genesis_entry;

/// Where an operation goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Place {
    /// The log, with the accepted and the refused histories.
    Log,
    /// The ballot.
    Ballot,
}

/// One group's durable log and ballot, and what is on its way there.
#[derive(Clone, Hash, Debug)]
pub(super) struct Shelf {
    kept: RecoveredGroup,
    /// The boots of others; written at once.
    remembered: Vec<(Member, Boot)>,
    log: VecDeque<(DiskId, DiskWrite)>,
    ballots: VecDeque<(DiskId, Ballot)>,
}

impl Shelf {
    /// Makes an empty one.
    pub(super) fn new(group: GroupId) -> Self {
        Self {
            kept: RecoveredGroup {
                group,
                genesis: None,
                founding: None,
                refused: Vec::new(),
                tombstones: Vec::new(),
                ballot: Ballot::default(),
                base: Cursor::ZERO,
                configuration: Configuration::default(),
                entries: Vec::new(),
                floor: None,
            },
            remembered: Vec::new(),
            log: VecDeque::new(),
            ballots: VecDeque::new(),
        }
    }

    /// Keeps the boots of others.
    pub(super) fn remember(&mut self, boots: Vec<(Member, Boot)>) {
        self.remembered = boots;
    }

    /// Returns the boots of others.
    pub(super) fn remembered(&self) -> &[(Member, Boot)] {
        &self.remembered
    }

    /// Returns what is there for sure.
    pub(super) fn kept(&self) -> &RecoveredGroup {
        &self.kept
    }

    /// Takes an operation.
    pub(super) fn submit(&mut self, op: DiskOp) {
        match op.write {
            DiskWrite::Ballot(ballot) => self.ballots.push_back((op.id, ballot)),
            write => self.log.push_back((op.id, write)),
        }
    }

    /// Returns how many operations are under way at a place.
    pub(super) fn under_way(&self, place: Place) -> usize {
        match place {
            Place::Log => self.log.len(),
            Place::Ballot => self.ballots.len(),
        }
    }

    /// Finishes the oldest operation of a place.
    pub(super) fn finish(&mut self, place: Place) -> Option<DiskId> {
        match place {
            Place::Log => {
                let (id, write) = self.log.pop_front()?;
                self.apply(write);
                Some(id)
            }
            Place::Ballot => {
                let (id, ballot) = self.ballots.pop_front()?;
                self.kept.ballot = ballot;
                Some(id)
            }
        }
    }

    /// Crashes: of what is under way, that many operations of each place have reached the disk.
    pub(super) fn crash(&mut self, log: usize, ballots: usize) {
        for _ in 0..log {
            self.finish(Place::Log);
        }
        for _ in 0..ballots {
            self.finish(Place::Ballot);
        }
        self.log.clear();
        self.ballots.clear();
        // Whoever has entries of a term has heard of the term.
        let heard = self.last().term;
        if heard > self.kept.ballot.term {
            self.kept.ballot = Ballot {
                term: heard,
                voted_for: None,
            };
        }
    }

    fn last(&self) -> Cursor {
        let RecoveredGroup { base, entries, .. } = &self.kept;
        let index = Index(base.index.0 + entries.len() as u64);
        entries
            .last()
            .map_or(*base, |last| Cursor::new(last.term, index))
    }

    /// Drops the log, if it is of this history.
    fn drop_history(&mut self, genesis: GenesisId) {
        let kept = &mut self.kept;
        if kept.genesis == Some(genesis) {
            kept.genesis = None;
            kept.founding = None;
            kept.base = Cursor::ZERO;
            kept.configuration = Configuration::default();
            kept.entries.clear();
        }
    }

    fn apply(&mut self, write: DiskWrite) {
        let kept = &mut self.kept;
        match write {
            DiskWrite::Genesis(genesis) => {
                kept.genesis = Some(genesis.id());
                kept.base = Cursor::ZERO;
                kept.configuration = Configuration::default();
                kept.entries = vec![genesis_entry(&genesis)];
                kept.founding = Some(genesis);
            }
            DiskWrite::Refuse(genesis) => {
                if !kept.refused.contains(&genesis) {
                    kept.refused.push(genesis);
                }
                self.drop_history(genesis);
            }
            DiskWrite::Dissolve { genesis, into } => {
                kept.tombstones.push((genesis, into));
                self.drop_history(genesis);
            }
            DiskWrite::Append { previous, entries } => {
                let place = previous.index.since(kept.base.index);
                kept.entries
                    .truncate(usize::try_from(place).unwrap_or(usize::MAX));
                kept.entries.extend(entries.iter().cloned());
                kept.founding = None;
            }
            DiskWrite::Base {
                base,
                configuration,
                genesis,
                keep,
            } => {
                kept.entries = entries_after(kept, base, keep);
                kept.base = base;
                kept.configuration = *configuration;
                kept.genesis = Some(genesis);
                kept.founding = None;
            }
            DiskWrite::Ballot(ballot) => kept.ballot = ballot,
            DiskWrite::Whole => kept.floor = None,
            DiskWrite::Taken => {}
        }
    }
}

fn entries_after(kept: &RecoveredGroup, base: Cursor, keep: bool) -> Vec<Entry> {
    let gone = usize::try_from(base.index.since(kept.base.index)).unwrap_or(usize::MAX);
    if keep && gone <= kept.entries.len() {
        kept.entries[gone..].to_vec()
    } else {
        Vec::new()
    }
}

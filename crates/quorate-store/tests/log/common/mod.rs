//! A plain model of the durable log, and a driver that can stop anywhere.

#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, VecDeque};

use quorate_core::{
    Ballot, Body, Boot, Configuration, Cursor, DiskId, DiskOp, DiskWrite, Entry, Genesis,
    GenesisId, GroupId, Incarnation, Index, Lineage, Member, PeerId, RecoveredGroup, Term,
};
use quorate_store::{
    DiskCompletion, Fate, FileRequest, MemoryFiles, Opened, Recovery, RecoveryError, Store,
    StoreEffects, StoreOptions, Unsynced, genesis_entry,
};

/// A small deterministic generator (xorshift64*), so that a case repeats from its numbers alone.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n.max(1)
    }
}

pub fn options(segment_bytes: u64) -> StoreOptions {
    StoreOptions {
        segment_bytes,
        planted: Default::default(),
        ..StoreOptions::new(
            Incarnation(0x1111_2222),
            0x0bad_cafe_f00d_5eed,
            0x0123_4567_89ab_cdef,
        )
    }
}

pub fn group(number: u8) -> GroupId {
    GroupId([number; 16])
}

pub fn member(number: u8) -> Member {
    Member {
        peer: PeerId([number; 32]),
        incarnation: Incarnation(u64::from(number) << 8),
    }
}

pub fn command(term: u64, fill: u8, size: usize) -> Entry {
    Entry {
        term: Term(term),
        body: Body::Command(vec![fill; size].into()),
    }
}

pub fn genesis(group: GroupId, nonce: u64) -> Genesis {
    Genesis {
        group,
        nonce,
        voters: vec![member(1), member(2), member(3)],
    }
}

/// One group's durable state, as plainly as it can be said.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Log {
    pub genesis: Option<GenesisId>,
    pub refused: Vec<GenesisId>,
    pub tombstones: Vec<(GenesisId, GenesisId)>,
    pub base: Cursor,
    pub configuration: Configuration,
    pub entries: Vec<Entry>,
}

impl Log {
    pub fn end(&self) -> Cursor {
        self.cursor(self.entries.len())
    }

    /// The cursor of the entry before position `at`.
    pub fn cursor(&self, at: usize) -> Cursor {
        match at.checked_sub(1) {
            None => self.base,
            Some(last) => Cursor::new(
                self.entries[last].term,
                Index(self.base.index.0 + at as u64),
            ),
        }
    }

    fn drop_if(&mut self, genesis: GenesisId) {
        if self.genesis == Some(genesis) {
            *self = Self {
                refused: std::mem::take(&mut self.refused),
                tombstones: std::mem::take(&mut self.tombstones),
                ..Self::default()
            };
        }
    }

    pub fn apply(&mut self, write: &DiskWrite) {
        match write {
            DiskWrite::Ballot(_) | DiskWrite::Whole | DiskWrite::Taken => {}
            DiskWrite::Genesis(genesis) => {
                *self = Self {
                    genesis: Some(genesis.id()),
                    refused: std::mem::take(&mut self.refused),
                    tombstones: std::mem::take(&mut self.tombstones),
                    entries: vec![genesis_entry(genesis)],
                    ..Self::default()
                };
            }
            DiskWrite::Refuse(id) => {
                if !self.refused.contains(id) {
                    self.refused.push(*id);
                }
                self.drop_if(*id);
            }
            DiskWrite::Dissolve { genesis, into } => {
                if self.tombstones.iter().all(|(known, _)| known != genesis) {
                    self.tombstones.push((*genesis, *into));
                }
                self.drop_if(*genesis);
            }
            DiskWrite::Append { previous, entries } => {
                let at = (previous.index.0 - self.base.index.0) as usize;
                assert_eq!(self.cursor(at), *previous, "the case itself is wrong");
                self.entries.truncate(at);
                self.entries.extend(entries.iter().cloned());
            }
            DiskWrite::Base {
                base,
                configuration,
                genesis,
                keep,
            } => {
                let gone = base.index.since(self.base.index) as usize;
                if *keep && gone < self.entries.len() {
                    self.entries.drain(..gone);
                } else {
                    self.entries.clear();
                }
                self.base = *base;
                self.configuration = (**configuration).clone();
                self.genesis = Some(*genesis);
            }
        }
    }
}

impl From<&RecoveredGroup> for Log {
    fn from(group: &RecoveredGroup) -> Self {
        Self {
            genesis: group.genesis,
            refused: group.refused.clone(),
            tombstones: group.tombstones.clone(),
            base: group.base,
            configuration: group.configuration.clone(),
            entries: group.entries.clone(),
        }
    }
}

/// What one group was asked to write since the last start, and what of it is promised.
#[derive(Clone, Debug)]
pub struct Past {
    /// The log and the ballot after each operation, the first before any.
    pub states: Vec<(Log, Ballot)>,
    /// How many of the operations were reported durable.
    pub durable: usize,
    pub ids: Vec<DiskId>,
}

impl Default for Past {
    fn default() -> Self {
        Self::of(Log::default(), Ballot::default())
    }
}

impl Past {
    pub fn of(log: Log, ballot: Ballot) -> Self {
        Self {
            states: vec![(log, ballot)],
            durable: 0,
            ids: Vec::new(),
        }
    }

    pub fn now(&self) -> &(Log, Ballot) {
        self.states.last().expect("there is a first state")
    }
}

/// A store, its files, and requests that have not been carried out yet.
pub struct Driver {
    pub store: Store,
    pub files: MemoryFiles,
    pub effects: StoreEffects,
    pub queue: VecDeque<FileRequest>,
    pub pasts: BTreeMap<GroupId, Past>,
    pub lineage: Lineage,
    pub next: u64,
}

/// Carries out at most `requests` of a recovery's requests.
pub fn recover_for(
    options: StoreOptions,
    files: &mut MemoryFiles,
    requests: u64,
) -> Option<Result<Opened, RecoveryError>> {
    let mut out = Vec::new();
    let mut recovery = Recovery::new(options, &mut out);
    let mut queue = VecDeque::from(std::mem::take(&mut out));
    for _ in 0..requests {
        let (id, result) = files.execute(queue.pop_front()?);
        if let Some(ended) = recovery.completed(id, result, &mut out) {
            return Some(ended);
        }
        queue.extend(out.drain(..));
    }
    None
}

impl Driver {
    pub fn start(options: StoreOptions, mut files: MemoryFiles) -> Result<Self, RecoveryError> {
        let opened = recover_for(options, &mut files, u64::MAX).expect("recovery ends")?;
        let pasts = opened.recovered.groups.iter().map(|group| {
            let past = Past::of(group.into(), group.ballot);
            (group.group, past)
        });
        Ok(Self {
            pasts: pasts.collect(),
            lineage: opened.recovered.lineage,
            store: opened.store,
            files,
            effects: StoreEffects::default(),
            queue: VecDeque::new(),
            next: 0,
        })
    }

    pub fn log(&self, group: GroupId) -> Log {
        self.pasts
            .get(&group)
            .map(|past| past.now().0.clone())
            .unwrap_or_default()
    }

    pub fn ballot(&self, group: GroupId) -> Ballot {
        self.pasts
            .get(&group)
            .map(|past| past.now().1)
            .unwrap_or_default()
    }

    pub fn submit(&mut self, group: GroupId, write: DiskWrite) {
        self.submit_all(vec![(group, write)]);
    }

    /// Appends entries behind `previous` and waits until they are durable.
    pub fn append(&mut self, group: GroupId, previous: Cursor, entries: Vec<Entry>) {
        let entries = entries.into();
        self.submit(group, DiskWrite::Append { previous, entries });
        self.settle();
    }

    pub fn submit_all(&mut self, writes: Vec<(GroupId, DiskWrite)>) {
        let mut ops = Vec::new();
        for (group, write) in writes {
            let id = DiskId(self.next);
            self.next += 1;
            let past = self.pasts.entry(group).or_default();
            let (mut log, mut ballot) = past.now().clone();
            log.apply(&write);
            if let DiskWrite::Ballot(new) = write {
                ballot = new;
            }
            past.states.push((log, ballot));
            past.ids.push(id);
            ops.push(DiskOp { id, group, write });
        }
        self.store.submit_all(ops, &mut self.effects);
        self.note();
    }

    pub fn seal(&mut self) {
        self.store.seal(&mut self.effects);
        self.note();
    }

    pub fn remember(&mut self, boots: Vec<(Member, Boot)>) {
        self.store.remember(boots, &mut self.effects);
        self.note();
    }

    pub fn end_incarnation(&mut self) {
        self.store.end_incarnation(&mut self.effects);
        self.note();
    }

    /// Carries out at most `requests` requests; returns whether there are none left.
    pub fn pump(&mut self, requests: u64) -> bool {
        for _ in 0..requests {
            let Some(request) = self.queue.pop_front() else {
                return true;
            };
            let (id, result) = self.files.execute(request);
            self.store.completed(id, &result, &mut self.effects);
            self.note();
        }
        self.queue.is_empty()
    }

    pub fn settle(&mut self) {
        while !self.pump(64) {}
        assert!(self.store.is_idle());
    }

    /// Takes note of completions, which come in order for each group.
    fn note(&mut self) {
        self.queue.extend(self.effects.files.drain(..));
        for DiskCompletion { id, result } in self.effects.done.drain(..) {
            assert_eq!(result, Ok(()));
            let past = self
                .pasts
                .values_mut()
                .find(|past| past.ids.get(past.durable) == Some(&id));
            past.expect("a group's completions come in order").durable += 1;
        }
    }
}

/// Decides what a crash keeps, by `dice`.
pub fn fate(dice: &mut Dice) -> impl FnMut(Unsynced<'_>) -> Fate + '_ {
    // A mood for the whole crash, so that "all lost" and "all kept" come up too.
    let mood = dice.below(4);
    move |unsynced| match (mood, dice.below(4)) {
        (0, _) => Fate::Lost,
        (1, _) => Fate::Kept,
        (_, 0) => Fate::Lost,
        (_, 1) => Fate::Kept,
        _ => match unsynced {
            Unsynced::Write { length, .. } => {
                let a = dice.below(length as u64 + 1) as usize;
                let b = dice.below(length as u64 + 1) as usize;
                Fate::Torn(if dice.below(2) == 0 {
                    0..a
                } else {
                    a.min(b)..a.max(b)
                })
            }
            _ if dice.below(2) == 0 => Fate::Kept,
            _ => Fate::Lost,
        },
    }
}

/// The first configuration of `genesis`, for a base.
pub fn configuration() -> Box<Configuration> {
    Box::new(Configuration::of_voters(vec![
        member(1),
        member(2),
        member(3),
    ]))
}

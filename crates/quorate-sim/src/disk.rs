//! A peer's disk: the real store over files in memory that a crash may tear.
//!
//! The store hands out requests to files; here each sync takes its time, and everything before it
//! is done at once, as an operating system's cache would. So a crash finds writes that no sync has
//! covered, and each of them, and each name, is kept, lost or torn by a draw of its own. Now and
//! then a peer crashes again while it recovers.

use std::collections::VecDeque;

use quorate_core::{Boot, DiskOp, Incarnation, Member, Planted, Recovered};
use quorate_store::{
    DiskCompletion, Fate, FileError, FileOp, FileOpId, FileRequest, FileResult, MemoryFiles,
    Opened, Recovery, RecoveryError, Report, Store, StoreEffects, StoreOptions, Unsynced,
};

use crate::{
    dice::Dice,
    rot::{self, Damage},
    scenario::Storage,
};

/// The disk of one machine.
#[derive(Debug)]
pub(crate) struct Disk {
    storage: Storage,
    segment_bytes: u64,
    planted: Planted,
    files: MemoryFiles,
    running: Option<Running>,
    ills: Ills,
}

/// What is wrong with a disk just now.
#[derive(Debug, Default)]
struct Ills {
    unreadable: bool,
    /// What the next write or sync, if any, comes to.
    fails: Option<Fails>,
}

/// What fails, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fails {
    /// A write.
    Write,
    /// A sync; what it was to cover may or may not be on the disk.
    Sync,
}

impl Ills {
    /// Carries a request out, as well as the disk can.
    fn execute(&mut self, request: FileRequest, files: &mut MemoryFiles) -> (FileOpId, FileResult) {
        let fails = match &request.op {
            FileOp::Read { .. } => self.unreadable,
            FileOp::Write { .. } => self.fails == Some(Fails::Write),
            FileOp::Sync { .. } => self.fails == Some(Fails::Sync),
            _ => false,
        };
        if !fails {
            return files.execute(request);
        }
        self.fails = None;
        if let FileOp::Sync { file } = request.op {
            files.fail_sync(file);
        }
        (request.id, Err(FileError::Device))
    }
}

/// The store of the peer that runs now.
#[derive(Debug)]
struct Running {
    store: Store,
    effects: StoreEffects,
    queue: VecDeque<FileRequest>,
}

impl Disk {
    /// Makes an empty disk with segments of `segment_bytes`.
    pub(crate) fn new(storage: Storage, segment_bytes: u64, planted: Planted) -> Self {
        Self {
            storage,
            segment_bytes,
            planted,
            files: empty(storage),
            running: None,
            ills: Ills::default(),
        }
    }

    /// Starts the store from what the disk holds.
    pub(crate) fn open(
        &mut self,
        nonce: u64,
        dice: &mut Dice,
    ) -> Result<(Recovered, Report), RecoveryError> {
        // Drawn at every start and used at the first, so that no start re-rolls another's draws.
        let options = StoreOptions {
            incarnation: Incarnation(dice.draw()),
            marker: dice.draw(),
            nonce,
            segment_bytes: self.segment_bytes,
            planted: self.planted,
        };
        let mut patience = dice.coin().then(|| dice.below(12));
        loop {
            match self.recover(options, patience.take()) {
                Some(Ok(opened)) => {
                    self.running = Some(Running {
                        store: opened.store,
                        effects: StoreEffects::default(),
                        queue: VecDeque::new(),
                    });
                    return Ok((opened.recovered, opened.report));
                }
                Some(Err(error)) => return Err(error),
                None => self.crash(Loses::Any, dice),
            }
        }
    }

    /// Recovers; stops after `patience` requests, if that comes first.
    fn recover(
        &mut self,
        options: StoreOptions,
        mut patience: Option<u64>,
    ) -> Option<Result<Opened, RecoveryError>> {
        let mut requests = Vec::new();
        let mut recovery = Recovery::new(options, &mut requests);
        while !requests.is_empty() {
            for request in std::mem::take(&mut requests) {
                if let Some(left) = &mut patience {
                    *left = left.checked_sub(1)?;
                }
                let (id, result) = self.ills.execute(request, &mut self.files);
                if let Some(ended) = recovery.completed(id, result, &mut requests) {
                    return Some(ended);
                }
            }
        }
        Some(Err(RecoveryError::Driver))
    }

    /// Takes an operation; what is finished at once is added to `done`.
    pub(crate) fn submit(&mut self, op: DiskOp, done: &mut Vec<DiskCompletion>) {
        if let Some(running) = &mut self.running {
            running.store.submit(op, &mut running.effects);
            running.run_cached(&mut self.files, &mut self.ills, done);
        }
    }

    /// Has the store remember boots of others.
    pub(crate) fn remember(&mut self, boots: Vec<(Member, Boot)>, done: &mut Vec<DiskCompletion>) {
        if let Some(running) = &mut self.running {
            running.store.remember(boots, &mut running.effects);
            running.run_cached(&mut self.files, &mut self.ills, done);
        }
    }

    /// Returns the latest boot of a member that is remembered durably.
    pub(crate) fn remembers(&self, member: Member) -> Option<Boot> {
        self.running.as_ref()?.store.remembers(member)
    }

    /// Ends the incarnation.
    pub(crate) fn end_incarnation(&mut self, done: &mut Vec<DiskCompletion>) {
        if let Some(running) = &mut self.running {
            running.store.end_incarnation(&mut running.effects);
            running.run_cached(&mut self.files, &mut self.ills, done);
        }
    }

    /// Tells whether the incarnation has ended, durably.
    pub(crate) fn has_ended(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.store.has_ended())
    }

    /// Copies the files as a program would that reads them.
    pub(crate) fn copy(&self) -> MemoryFiles {
        self.files.clone()
    }

    /// Puts other files in the place of these, while nothing runs.
    pub(crate) fn replace(&mut self, files: MemoryFiles) {
        self.files = files;
    }

    /// Empties the disk, while nothing runs.
    pub(crate) fn wipe(&mut self) {
        self.files = empty(self.storage);
    }

    /// Tells whether a sync is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| !running.queue.is_empty())
    }

    /// Tells whether the store should be sealed when it has been idle for a while.
    pub(crate) fn needs_seal(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.store.needs_seal())
    }

    /// Seals the store, if it still needs that.
    pub(crate) fn seal(&mut self, done: &mut Vec<DiskCompletion>) {
        if let Some(running) = &mut self.running {
            running.store.seal(&mut running.effects);
            running.run_cached(&mut self.files, &mut self.ills, done);
        }
    }

    /// Finishes the sync under way, and what follows up to the next one.
    pub(crate) fn work(&mut self, done: &mut Vec<DiskCompletion>) {
        if let Some(running) = &mut self.running {
            if let Some(request) = running.queue.pop_front() {
                running.execute(request, &mut self.files, &mut self.ills);
            }
            running.run_cached(&mut self.files, &mut self.ills, done);
        }
    }

    /// Tells whether a request has failed, which ends the store.
    pub(crate) fn has_failed(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.store.failure().is_some())
    }

    /// Tells whether there was no space for a write.
    pub(crate) fn is_short_of_space(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.store.is_short_of_space())
    }

    /// Tries again what there was no space for.
    pub(crate) fn retry(&mut self, done: &mut Vec<DiskCompletion>) {
        if let Some(running) = &mut self.running {
            running.store.retry(&mut running.effects);
            running.run_cached(&mut self.files, &mut self.ills, done);
        }
    }

    /// Lets no file grow any more, or any again.
    pub(crate) fn set_full(&mut self, full: bool) {
        let bytes = self.files.bytes();
        self.files.set_capacity(full.then_some(bytes));
    }

    /// Lets no file be read, or any again.
    pub(crate) fn set_unreadable(&mut self, unreadable: bool) {
        self.ills.unreadable = unreadable;
    }

    /// Lets the next write or sync fail.
    pub(crate) fn fail(&mut self, fails: Fails) {
        self.ills.fails = Some(fails);
    }

    /// Tells whether the store has failed, or will at the next write or sync.
    pub(crate) fn fails(&self) -> bool {
        self.ills.fails.is_some() || self.has_failed()
    }

    /// Mends everything but what is lost.
    pub(crate) fn mend(&mut self) {
        self.ills = Ills::default();
        self.set_full(false);
    }

    /// Damages what was synced, while nothing runs; tells whether there was anything to damage.
    pub(crate) fn damage(&mut self, damage: Damage) -> bool {
        rot::damage(&mut self.files, damage)
    }

    /// Ends what runs; what was not synced is lost as far as `loses` says.
    pub(crate) fn crash(&mut self, loses: Loses, dice: &mut Dice) {
        self.running = None;
        match self.storage {
            Storage::Memory => self.files = empty(Storage::Memory),
            Storage::Disk if loses == Loses::Nothing => {}
            Storage::Disk => {
                let unsynced = self.files.unsynced();
                let mut place = 0;
                self.files.crash(|one| {
                    place += 1;
                    loses.fate(one, place == unsynced, dice)
                });
            }
        }
    }
}

/// What of that which was not synced is lost when a peer dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Loses {
    /// Each write or name may be there, be lost, or be torn.
    #[default]
    Any,
    /// Nothing: only the process has ended.
    Nothing,
    /// A part of the last write.
    PartOfLast,
    /// Everything.
    All,
    /// Earlier writes, but not the last.
    Earlier,
}

impl Loses {
    fn fate(self, unsynced: Unsynced<'_>, last: bool, dice: &mut Dice) -> Fate {
        match (self, unsynced) {
            (Self::Any, unsynced) => draw_fate(unsynced, dice),
            (Self::PartOfLast, Unsynced::Write { length, .. }) if last => {
                Fate::Torn(0..dice.index(length.max(1)))
            }
            (Self::Nothing | Self::PartOfLast, _) => Fate::Kept,
            (Self::All, _) => Fate::Lost,
            (Self::Earlier, _) if last || dice.below(4) == 0 => Fate::Kept,
            (Self::Earlier, _) => Fate::Lost,
        }
    }
}

impl Running {
    /// Carries requests out up to the next sync.
    fn run_cached(
        &mut self,
        files: &mut MemoryFiles,
        ills: &mut Ills,
        done: &mut Vec<DiskCompletion>,
    ) {
        self.take_requests();
        while let Some(request) = self.queue.front() {
            if matches!(request.op, FileOp::Sync { .. } | FileOp::SyncDirectory) {
                break;
            }
            if let Some(request) = self.queue.pop_front() {
                self.execute(request, files, ills);
            }
        }
        done.append(&mut self.effects.done);
    }

    fn execute(&mut self, request: FileRequest, files: &mut MemoryFiles, ills: &mut Ills) {
        let (id, result) = ills.execute(request, files);
        self.store.completed(id, &result, &mut self.effects);
        self.take_requests();
    }

    fn take_requests(&mut self) {
        if self.effects.files.is_empty() {
            return;
        }
        self.queue.extend(self.effects.files.drain(..));
    }
}

fn empty(storage: Storage) -> MemoryFiles {
    match storage {
        Storage::Memory => MemoryFiles::new(),
        Storage::Disk => MemoryFiles::crashing(),
    }
}

/// Draws what a crash makes of something unsynced.
fn draw_fate(unsynced: Unsynced<'_>, dice: &mut Dice) -> Fate {
    match (dice.below(3), unsynced) {
        (0, _) => Fate::Kept,
        (1, Unsynced::Write { length, .. }) => {
            let from = dice.index(length + 1);
            let to = from + dice.index(length + 1 - from);
            // Half of the tears leave the beginning, as a write that was cut short does.
            let from = if dice.coin() { 0 } else { from };
            Fate::Torn(from..to)
        }
        _ => Fate::Lost,
    }
}

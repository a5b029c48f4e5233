//! A store over files in memory: operations finish while they are submitted.

use quorate_core::{Boot, DiskOp, Member, Recovered};

use crate::{
    memory::MemoryFiles,
    recovery::{Opened, RecoveryError, StoreOptions, recover_with},
    store::{DiskCompletion, Store, StoreEffects},
};

/// A store and its files in memory.
///
/// For memory peers, demos and tests. The log takes the same path as on a disk, and as little of it
/// stays in memory as would stay on the disk: a base frees the segments below it.
#[derive(Debug)]
pub struct MemoryStore {
    store: Store,
    files: MemoryFiles,
    effects: StoreEffects,
}

impl MemoryStore {
    /// Starts a store in an empty directory: the first boot of a new incarnation.
    pub fn new(options: StoreOptions) -> (Self, Recovered) {
        Self::open(options, MemoryFiles::new())
            .expect("an empty directory in memory recovers to an empty log")
    }

    /// Starts a store over `files`.
    ///
    /// # Errors
    ///
    /// As [`crate::Recovery::completed`].
    pub fn open(
        options: StoreOptions,
        mut files: MemoryFiles,
    ) -> Result<(Self, Recovered), RecoveryError> {
        let opened = recover(options, &mut files)?;
        let store = Self {
            store: opened.store,
            files,
            effects: StoreEffects::default(),
        };
        Ok((store, opened.recovered))
    }

    /// Carries one operation out.
    pub fn submit(&mut self, op: DiskOp) -> Vec<DiskCompletion> {
        let mut done = Vec::new();
        self.submit_all([op], &mut done);
        done
    }

    /// Carries operations out together and adds their completions to `done`.
    pub fn submit_all(
        &mut self,
        ops: impl IntoIterator<Item = DiskOp>,
        done: &mut Vec<DiskCompletion>,
    ) {
        self.store.submit_all(ops, &mut self.effects);
        self.settle();
        done.append(&mut self.effects.done);
    }

    /// Remembers the latest boots of others; see [`Store::remember`].
    pub fn remember(&mut self, boots: Vec<(Member, Boot)>) {
        self.store.remember(boots, &mut self.effects);
        self.settle();
    }

    /// Ends the incarnation; see [`Store::end_incarnation`].
    pub fn end_incarnation(&mut self) {
        self.store.end_incarnation(&mut self.effects);
        self.settle();
    }

    /// Returns how many bytes the files hold.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the files.
    pub fn files(&self) -> &MemoryFiles {
        &self.files
    }

    /// Stops, leaving the files.
    pub fn into_files(self) -> MemoryFiles {
        self.files
    }

    fn settle(&mut self) {
        let mut requests = std::mem::take(&mut self.effects.files);
        while !requests.is_empty() {
            for request in requests.drain(..) {
                let (id, result) = self.files.execute(request);
                self.store.completed(id, &result, &mut self.effects);
            }
            std::mem::swap(&mut requests, &mut self.effects.files);
        }
        self.effects.files = requests;
    }
}

/// Starts a store over files in memory, which stay with the caller.
///
/// # Errors
///
/// As [`crate::Recovery::completed`].
pub fn recover(options: StoreOptions, files: &mut MemoryFiles) -> Result<Opened, RecoveryError> {
    recover_with(options, |request| files.execute(request))
}

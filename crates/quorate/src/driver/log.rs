//! The peer's log, as the driver sees it: in memory, or on the disk of a data directory.
//!
//! The store itself is the same (`quorate-store`); what differs is who carries its requests out. In
//! memory that is done at once. On a disk it is one thread per data directory, in the order of the
//! requests, and results come back through a queue that wakes the driver. The thread hands results
//! back after each sync, so that what is durable is told before the next thing is written.
//!
//! The thread ends once the driver's end of the queue is gone and what was asked is done; the lock
//! on the directory goes with it, so nobody else opens a directory that is still written to.

use std::{path::PathBuf, sync::mpsc as std_mpsc, thread};

use quorate_core::{Boot, DiskOp, Member, Time};
use quorate_store::{
    DiskCompletion, FileOp, FileOpId, FileRequest, FileResult, MemoryStore, Store, StoreEffects,
    limits::{SEAL_IDLE, SPACE_RETRY},
};
use tokio::sync::mpsc;

use crate::{
    data_dir::{DirLock, RealFiles},
    limits::DISK_MESSAGES,
};

/// The peer's log.
#[derive(Debug)]
pub(crate) enum Log {
    /// In memory: gone with the process.
    Memory(Box<MemoryStore>),
    /// On a disk.
    Disk(Box<DiskLog>),
}

type Results = Vec<(FileOpId, FileResult)>;

/// A log on a disk.
#[derive(Debug)]
pub(crate) struct DiskLog {
    path: PathBuf,
    store: Store,
    effects: StoreEffects,
    requests: Option<std_mpsc::SyncSender<Vec<FileRequest>>>,
    results: mpsc::Receiver<Results>,
    /// What woke the driver and was taken from the queue by it.
    first: Option<Results>,
    /// When to seal, if nothing is written until then.
    seal_at: Option<Time>,
    /// When to try again what there was no space for.
    retry_at: Option<Time>,
    /// Whether the core was told that there is no space.
    full: bool,
    /// The last request of what is tried again for lack of space: until its result has come nobody
    /// knows whether there is some.
    retrying: Option<FileOpId>,
    /// Whether it was said that the disk has failed.
    failed: bool,
}

impl Log {
    /// Carries operations out together; adds those that are finished to `done`.
    pub(super) fn submit_all(
        &mut self,
        ops: impl IntoIterator<Item = DiskOp>,
        now: Time,
        done: &mut Vec<DiskCompletion>,
    ) {
        match self {
            Self::Memory(store) => store.submit_all(ops, done),
            Self::Disk(log) => {
                log.store.submit_all(ops, &mut log.effects);
                log.pass_on(now, done);
            }
        }
    }

    /// Remembers the latest boots of others; see [`Store::remember`].
    pub(super) fn remember(&mut self, boots: Vec<(Member, Boot)>) {
        match self {
            Self::Memory(store) => store.remember(boots),
            Self::Disk(log) => log.store.remember(boots, &mut log.effects),
        }
    }

    /// Ends the incarnation; see [`Store::end_incarnation`].
    pub(super) fn end_incarnation(&mut self) {
        match self {
            Self::Memory(store) => store.end_incarnation(),
            Self::Disk(log) => log.store.end_incarnation(&mut log.effects),
        }
    }

    /// Tells whether something is to go out that no operation took along.
    pub(super) fn has_more(&self) -> bool {
        matches!(self, Self::Disk(log) if !log.effects.files.is_empty())
    }

    /// Takes what the disk has done, and does what is due.
    pub(super) fn work(&mut self, now: Time, done: &mut Vec<DiskCompletion>) {
        if let Self::Disk(log) = self {
            log.work(now, done);
        }
    }

    /// Returns whether there is space, if that has changed since it was last asked.
    pub(super) fn space(&mut self) -> Option<bool> {
        let Self::Disk(log) = self else {
            return None;
        };
        if log.retrying.is_some() {
            return None;
        }
        let full = log.store.is_short_of_space();
        let before = std::mem::replace(&mut log.full, full);
        (before != full).then_some(!full)
    }

    /// Returns when there is something to do, if nothing happens until then.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Memory(_) => None,
            Self::Disk(log) => log.seal_at.into_iter().chain(log.retry_at).min(),
        }
    }

    /// Waits until the disk has done something; for ever in memory. Cancel-safe.
    pub(super) async fn ready(&mut self) {
        let results = match self {
            Self::Memory(_) => None,
            Self::Disk(log) if log.first.is_some() => return,
            Self::Disk(log) => log.results.recv().await,
        };
        match (self, results) {
            (Self::Disk(log), Some(results)) => log.first = Some(results),
            (Self::Disk(log), None) => {
                // Whoever waits for the disk waits for ever, as for one that does not answer.
                if !std::mem::replace(&mut log.failed, true) {
                    let path = log.path.display();
                    tracing::error!(target: "quorate::disk", %path, "the disk's thread has ended");
                }
                std::future::pending().await
            }
            _ => std::future::pending().await,
        }
    }

    /// Writes what is still to be written, seals it, and lets go of the directory.
    pub(super) async fn close(&mut self, now: Time) {
        let Self::Disk(log) = self else {
            return;
        };
        let mut done = Vec::new();
        log.pass_on(now, &mut done);
        loop {
            log.store.seal(&mut log.effects);
            log.pass_on(now, &mut done);
            let hopeless = log.store.failure().is_some() || log.store.is_short_of_space();
            if log.store.is_idle() || hopeless {
                break;
            }
            let Some(results) = log.results.recv().await else {
                break;
            };
            log.take(&results);
        }
        log.requests = None;
        // Ends when the thread has.
        while log.results.recv().await.is_some() {}
    }
}

impl DiskLog {
    /// Starts the thread that carries out what `store` asks of `files`.
    pub(crate) fn start(
        path: PathBuf,
        store: Store,
        files: RealFiles,
        lock: DirLock,
    ) -> std::io::Result<Self> {
        let (requests, asked) = std_mpsc::sync_channel(DISK_MESSAGES);
        let (told, results) = mpsc::channel(DISK_MESSAGES);
        let name = "quorate-disk".to_owned();
        thread::Builder::new().name(name).spawn(move || {
            carry_out(files, &asked, &told);
            drop(lock);
        })?;
        Ok(Self {
            path,
            store,
            effects: StoreEffects::default(),
            requests: Some(requests),
            results,
            first: None,
            seal_at: None,
            retry_at: None,
            full: false,
            retrying: None,
            failed: false,
        })
    }

    fn work(&mut self, now: Time, done: &mut Vec<DiskCompletion>) {
        let mut next = self.first.take().or_else(|| self.results.try_recv().ok());
        while let Some(results) = next {
            self.take(&results);
            next = self.results.try_recv().ok();
        }
        if self.seal_at.is_some_and(|at| at <= now) {
            self.seal_at = None;
            self.store.seal(&mut self.effects);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.store.retry(&mut self.effects);
            self.retrying = self.effects.files.last().map(|request| request.id);
        }
        self.pass_on(now, done);
    }

    fn take(&mut self, results: &Results) {
        let last = results.last().map(|(id, _)| *id);
        self.retrying = self.retrying.filter(|retried| last < Some(*retried));
        for (id, result) in results {
            self.store.completed(*id, result, &mut self.effects);
        }
    }

    /// Hands requests to the thread and completions to the driver, and sees what will be due.
    fn pass_on(&mut self, now: Time, done: &mut Vec<DiskCompletion>) {
        done.append(&mut self.effects.done);
        if !self.effects.files.is_empty()
            && let Some(requests) = &self.requests
        {
            let files = std::mem::take(&mut self.effects.files);
            // The store waits for results before it asks for more, so the queue is never full for
            // long; what does not fit goes with the next results.
            if let Err(std_mpsc::TrySendError::Full(files)) = requests.try_send(files) {
                self.effects.files = files;
            }
        }
        let needs_seal = self.store.needs_seal();
        let seal_at = self.seal_at.unwrap_or_else(|| now.after(SEAL_IDLE));
        self.seal_at = needs_seal.then_some(seal_at);
        let short = self.store.is_short_of_space();
        let retry_at = self.retry_at.unwrap_or_else(|| now.after(SPACE_RETRY));
        self.retry_at = short.then_some(retry_at);
        if self.store.failure().is_some() && !std::mem::replace(&mut self.failed, true) {
            let path = self.path.display();
            tracing::error!(
                target: "quorate::disk",
                %path,
                "the disk has failed: what was written last may not be on it; this peer takes no \
                 part any more until it is started again"
            );
        }
    }
}

/// Carries requests out until nobody can ask for more.
fn carry_out(
    mut files: RealFiles,
    asked: &std_mpsc::Receiver<Vec<FileRequest>>,
    told: &mpsc::Sender<Results>,
) {
    while let Ok(requests) = asked.recv() {
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            let synced = matches!(request.op, FileOp::Sync { .. });
            results.push(files.execute(request));
            if synced {
                // A driver that is gone does not want to know; what it asked for is done all the
                // same.
                told.blocking_send(std::mem::take(&mut results))
                    .unwrap_or_default();
            }
        }
        if !results.is_empty() {
            told.blocking_send(results).unwrap_or_default();
        }
    }
}

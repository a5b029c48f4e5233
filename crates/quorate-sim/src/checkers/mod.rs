//! What must hold, whatever goes wrong: one file per invariant.
//!
//! Checkers look at a peer after each of its steps through its view, at what it sends and writes,
//! and at what its clients are told. They keep their own books and trust nothing that a peer says
//! of itself. What one finds is a [`Violation`]; a run ends with the first.

pub(crate) mod bounds;
mod chatter;
mod clients;
mod copies;
pub(crate) mod dissolved;
mod effective;
mod election;
mod fold;
mod ledger;
mod matching;
mod names;
mod order;
pub(crate) mod promises;
mod succession;
pub(crate) mod synced;
mod table;
mod telling;
mod upgrades;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use quorate_core::{
    Configuration, Cursor, DiskId, DiskOp, DiskWrite, Fate, GenesisId, GroupId, GroupProfile,
    GroupView, Index, Lane, Member, PeerId, Recovered, Reply, StateDone, StateOp, Versions, wire,
};
use quorate_state::{ClientLimits, Replica};

use crate::{machine, subject::NO_PANIC};
use bounds::Bounds;
use chatter::Chatter;
pub use clients::Told;
pub(crate) use clients::{Asked, Clients};
use copies::Copies;
use effective::Effective;
use election::Elections;
use fold::Fold;
use matching::{Matching, Mirror};
pub(crate) use order::Cursors;
use succession::Succession;
use synced::DurableLog;
pub(crate) use synced::Synced;
use upgrades::Upgrades;

use crate::subject::Tested;

/// What a checker found, before it is known where.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    invariant: &'static str,
    detail: String,
}

impl Found {
    /// Returns the invariant's name and what was seen.
    pub(crate) fn parts(&self) -> (&'static str, String) {
        (self.invariant, self.detail.clone())
    }

    /// Says that `invariant` does not hold.
    pub(crate) fn new(invariant: &'static str, detail: String) -> Self {
        Self { invariant, detail }
    }
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
    /// At which peer, if at one.
    pub peer: Option<usize>,
    /// When, since the start of the run.
    pub at: Duration,
    /// After how many events.
    pub event: u64,
}

/// Everything the checkers know of one history.
#[derive(Debug)]
struct History {
    matching: Matching,
    elections: Elections,
    succession: Succession,
    fold: Fold,
}

/// Everything the checkers know of one start of a peer.
#[derive(Debug, Default)]
struct Life {
    member: Option<Member>,
    versions: Option<Versions>,
    genesis: Option<GenesisId>,
    /// The history that the replica is of: it follows the peer's.
    state: Option<GenesisId>,
    bounds: Bounds,
    mirror: Mirror,
    cursors: Cursors,
    copies: Copies,
    effective: Effective,
    chatter: Chatter,
    /// Whether its disk failed under it.
    disk_failed: bool,
    /// Whether its machine is to fail more than once.
    machine_fails: bool,
}

/// The checkers of a run.
#[derive(Debug)]
pub(crate) struct Checkers {
    group: GroupId,
    histories: BTreeMap<GenesisId, History>,
    lives: Vec<Life>,
    /// Peers whose disk was damaged since they were last started.
    damaged: BTreeSet<usize>,
    /// Whose directory it is that a machine was started with, if that is a copy.
    copied: BTreeMap<usize, Member>,
    /// By member; what it acknowledged stays in its own book, whatever a copy of it holds.
    synced: BTreeMap<Member, Synced>,
    twin: BTreeMap<Member, Synced>,
    upgrades: Upgrades,
    limits: ClientLimits,
    /// The user's machine, if there is one.
    tested: Option<Tested>,
    /// Whether the group may be founded more than once.
    apart: bool,
    /// The clients' operations.
    pub(crate) clients: Clients,
    /// The first thing that did not hold.
    pub(crate) violation: Option<Violation>,
}

/// Where and when a checker looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) at: u64,
    pub(crate) event: u64,
    pub(crate) peer: usize,
}

impl Checkers {
    /// Makes the checkers for `peers` peers that share one group.
    pub(crate) fn new(
        group: GroupId,
        peers: usize,
        limits: ClientLimits,
        apart: bool,
        tested: Option<Tested>,
    ) -> Self {
        let mut clients = Clients::new(limits);
        clients.has_map = tested.is_none();
        Self {
            group,
            histories: BTreeMap::new(),
            lives: (0..peers).map(|_| Life::default()).collect(),
            damaged: BTreeSet::new(),
            synced: BTreeMap::new(),
            copied: BTreeMap::new(),
            twin: BTreeMap::new(),
            upgrades: Upgrades::default(),
            limits,
            apart,
            clients,
            tested,
            violation: None,
        }
    }

    /// Notes what a checker found.
    pub(crate) fn note(&mut self, spot: Spot, result: Result<(), Found>) {
        if let (Err(found), None) = (result, &self.violation) {
            self.violation = Some(Violation {
                invariant: found.invariant,
                detail: found.detail,
                peer: (spot.peer < self.lives.len()).then_some(spot.peer),
                at: Duration::from_nanos(spot.at),
                event: spot.event,
            });
        }
    }

    /// Takes the start of a peer and what its disk held.
    pub(crate) fn started(
        &mut self,
        spot: Spot,
        (member, versions): (Member, Versions),
        recovered: &Recovered,
    ) {
        self.upgrades.started(member, versions);
        let life = &mut self.lives[spot.peer];
        *life = Life {
            member: Some(member),
            versions: Some(versions),
            ..Life::default()
        };
        let damaged = self.damaged.remove(&spot.peer);
        let result = self
            .book(spot.peer, member)
            .recovered(&recovered.groups, damaged)
            .map_err(|detail| Found::new("synced-is-recovered", detail));
        self.note(spot, result);
    }

    /// Takes note that a peer's disk was damaged: what it recovers may be less than was synced.
    pub(crate) fn damaged(&mut self, peer: usize) {
        self.damaged.insert(peer);
    }

    /// Takes note that a peer's disk failed under it; tells whether that is news.
    pub(crate) fn disk_failed(&mut self, peer: usize) -> bool {
        !std::mem::replace(&mut self.lives[peer].disk_failed, true)
    }

    /// Takes note that a peer's machine is to fail so often that the peer is poisoned.
    pub(crate) fn machine_fails(&mut self, peer: usize) {
        self.lives[peer].machine_fails = true;
    }

    /// Returns how far the history that lives is committed.
    pub(crate) fn committed(&self) -> Index {
        self.living()
            .map_or(Index(0), |history| history.matching.committed())
    }

    /// Tells whether a peer would start, from what its disk holds for sure, with the end of its log
    /// missing.
    pub(crate) fn lacks_its_end(&self, member: Member) -> bool {
        let log = self
            .synced
            .get(&member)
            .and_then(|book| book.log(self.group));
        log.is_some_and(DurableLog::lacks_its_end)
    }

    /// Returns what the disk of a machine holds for sure.
    fn book(&mut self, peer: usize, member: Member) -> &mut Synced {
        let copied = self.copied.get(&peer) == Some(&member);
        let books = if copied {
            &mut self.twin
        } else {
            &mut self.synced
        };
        books.entry(member).or_default()
    }

    /// Returns what the disk of a peer holds for sure, for when an older state of it comes back.
    pub(crate) fn copy_book(&self, member: Member) -> Synced {
        self.synced.get(&member).cloned().unwrap_or_default()
    }

    /// Takes note that a machine's disk holds what `member`'s held when the book was copied.
    pub(crate) fn put_book_back(&mut self, peer: usize, member: Member, book: Synced) {
        self.copied.insert(peer, member);
        self.twin.insert(member, book);
    }

    /// Takes the end of a peer.
    pub(crate) fn died(&mut self, peer: usize) {
        self.clients.died(peer);
    }

    /// Takes a disk operation that a peer asked for.
    pub(crate) fn submitted(&mut self, spot: Spot, op: &DiskOp) {
        let peer = spot.peer;
        if let Some(member) = self.lives[peer].member {
            let group = self.group;
            let book = self.book(peer, member);
            let result = dissolved::judge_founding(member, &op.write, book.log(group));
            book.submitted(op);
            self.note(spot, result);
        }
        if let DiskWrite::Dissolve { genesis, into } = op.write {
            let result = dissolved::judge_burial(genesis, into, self.fate(genesis));
            self.note(spot, result);
        }
    }

    fn fate(&self, genesis: GenesisId) -> Option<Fate> {
        Some(self.histories.get(&genesis)?.fold.fate())
    }

    /// Returns the history that a peer takes part in, or took part in last.
    pub(crate) fn genesis(&self, peer: usize) -> Option<GenesisId> {
        self.lives.get(peer)?.genesis
    }

    /// Takes a disk operation that has finished well.
    pub(crate) fn finished(&mut self, peer: usize, id: DiskId) {
        if let Some(member) = self.lives[peer].member {
            self.book(peer, member).finished(id);
        }
    }

    /// Looks at a peer after a step.
    pub(crate) fn observe(&mut self, spot: Spot, view: &GroupView<'_>) {
        let result = self.look(spot.peer, view);
        self.note(spot, result);
    }

    fn look(&mut self, peer: usize, view: &GroupView<'_>) -> Result<(), Found> {
        if let Some(reason) = view.poisoned {
            // Until then it is looked at: what was synced before may commit at the same moment.
            if self.lives[peer].disk_failed || self.lives[peer].machine_fails {
                return Ok(());
            }
            return Err(Found::new("not-poisoned", reason.to_owned()));
        }
        self.lives[peer].bounds.observe(view)?;
        let Some(genesis) = view.genesis else {
            return Ok(());
        };
        let life = &mut self.lives[peer];
        if life.member != Some(view.me) {
            return Err(Found::new(
                "one-life",
                format!("{:?} became {:?}", life.member, view.me),
            ));
        }
        let (limits, tested) = (self.limits, self.tested.as_ref());
        if life.genesis != Some(genesis) {
            // A genesis that was accepted and came to nothing leaves no trace.
            life.mirror = Mirror::default();
            life.cursors = Cursors::default();
            life.copies = Copies::default();
            life.effective = Effective::default();
            life.genesis = Some(genesis);
            self.histories.entry(genesis).or_insert_with(|| History {
                matching: Matching::new(genesis),
                elections: Elections::default(),
                succession: Succession::default(),
                fold: Fold::new(genesis, limits, tested),
            });
        }
        let history = self.histories.get_mut(&genesis);
        let history = history.expect("made when the life was first seen in it");
        history.elections.observe(view)?;
        let (before, fate) = (history.matching.committed(), history.fold.fate());
        let mut folded = Ok(());
        let (fold, clients) = (&mut history.fold, &mut self.clients);
        let upgrades = &self.upgrades;
        history
            .matching
            .observe(&mut life.mirror, view, |cursor, entry| {
                if folded.is_ok() {
                    folded = fold
                        .commit(cursor, entry)
                        .and_then(|applied| clients.commit(genesis, cursor, entry, &applied))
                        .and_then(|()| upgrades.commit(cursor, entry, fold));
                }
            })?;
        folded?;
        life.cursors.observe(view)?;
        life.effective
            .observe(view, &mut history.succession, |index| {
                history.fold.configuration_at(index)
            })?;
        let (synced, twin) = (&self.synced, &self.twin);
        let book = |member: Member| synced.get(&member).or_else(|| twin.get(&member));
        life.copies.observe(self.group, view, book)?;
        let more = history.matching.committed() > before;
        let ended = history.fold.fate().dissolved_into();
        if let Some(into) = ended.filter(|_| fate == Fate::Empty) {
            dissolved::judge_end(genesis, into, self.fate(into))?;
        }
        if more {
            self.one_history()?;
        }
        Ok(())
    }

    /// At most one history of the group lives (has committed more than its genesis), unless it was
    /// founded by peers that could not see each other.
    fn one_history(&self) -> Result<(), Found> {
        if self.apart {
            return Ok(());
        }
        let living: Vec<GenesisId> = self
            .histories
            .iter()
            .filter(|(_, history)| history.matching.committed() > Index(1))
            .map(|(genesis, _)| *genesis)
            .collect();
        if living.len() > 1 {
            return Err(Found::new(
                "one-history",
                format!("{living:?} live side by side"),
            ));
        }
        Ok(())
    }

    /// Counts a frame that a peer sends.
    pub(crate) fn count_frame(&mut self, spot: Spot) {
        let result = self.lives[spot.peer].chatter.count(spot.at);
        self.note(spot, result);
    }

    /// Looks at a frame that a peer sends to another.
    pub(crate) fn sent(&mut self, spot: Spot, to: PeerId, lane: Lane, frame: &Bytes) {
        let Some(from) = self.lives[spot.peer].member else {
            return;
        };
        if lane != Lane::Control {
            return;
        }
        let copied = self.copied.get(&spot.peer) == Some(&from);
        let synced = if copied { &self.twin } else { &self.synced }.get(&from);
        let log = synced.and_then(|synced| synced.log(self.group));
        let judge = |message: &wire::Control| {
            dissolved::judge_promise(from, message, log)?;
            promises::judge(from, to, message, log)
        };
        let result = match wire::decode_control(frame) {
            Ok(messages) => messages.iter().try_for_each(judge),
            Err(error) => Err(Found::new(
                "frames-are-readable",
                format!("{from:?} sends a frame to {to:?} that is {error}"),
            )),
        };
        self.note(spot, result);
    }

    /// Looks at a replica that has carried out an operation.
    pub(crate) fn executed(
        &mut self,
        spot: Spot,
        replica: &Replica,
        before: Cursor,
        done: &StateDone,
    ) {
        if let StateDone::Begun { genesis } = done {
            self.lives[spot.peer].state = Some(*genesis);
        }
        if let StateDone::Failed { text, .. } = done
            && text != machine::FAILS
        {
            self.note(spot, Err(Found::new(NO_PANIC, text.clone())));
        }
        let genesis = self.lives[spot.peer].state;
        let history = genesis.and_then(|genesis| self.histories.get_mut(&genesis));
        if let Some(history) = history {
            let result = history.fold.observe(replica, before, done);
            self.note(spot, result);
        }
    }

    /// Looks at what a replica is about to do.
    pub(crate) fn asked(&mut self, spot: Spot, replica: &Replica, op: &StateOp) {
        if let Some(versions) = self.lives[spot.peer].versions {
            let result = upgrades::judge(versions, replica, op);
            self.note(spot, result);
        }
    }

    /// Looks at what a client is told.
    pub(crate) fn replied(&mut self, spot: Spot, number: usize, reply: &Reply, replica: &Replica) {
        let genesis = self.genesis(spot.peer).unwrap_or(GenesisId([0; 16]));
        let result = self.clients.reply(number, genesis, reply, replica);
        self.note(spot, result);
    }

    /// Compares all of a peer's log and state, not only what has changed.
    pub(crate) fn verify(&mut self, spot: Spot, view: &GroupView<'_>, replica: &Replica) {
        let history = view
            .genesis
            .and_then(|genesis| self.histories.get_mut(&genesis));
        if let Some(history) = history {
            let result = history
                .matching
                .verify(view)
                .and_then(|()| history.fold.observe_state(replica.applied(), replica));
            self.note(spot, result);
        }
    }

    /// Looks at what a peer keeps after it had nothing to do for a while.
    pub(crate) fn observe_idle(
        &mut self,
        spot: Spot,
        view: &GroupView<'_>,
        profile: &GroupProfile,
    ) {
        let result = bounds::observe_idle(view, profile);
        self.note(spot, result);
    }

    /// Returns the configuration after the last committed entry of the history that lives.
    pub(crate) fn configuration(&self) -> Option<&Configuration> {
        self.living()?.fold.configurations().next_back()
    }

    /// Returns the configuration after the last committed entry of one history.
    pub(crate) fn configuration_in(&self, genesis: GenesisId) -> Option<&Configuration> {
        self.histories
            .get(&genesis)?
            .fold
            .configurations()
            .next_back()
    }

    /// Returns every committed configuration of one history, in order.
    pub(crate) fn configurations_in(&self, genesis: GenesisId) -> Vec<&Configuration> {
        let history = self.histories.get(&genesis).into_iter();
        history
            .flat_map(|history| history.fold.configurations())
            .collect()
    }

    /// Returns every committed configuration of the history that lives, in order.
    pub(crate) fn configurations(&self) -> Vec<Configuration> {
        let fold = self.living().map(|history| &history.fold);
        fold.into_iter()
            .flat_map(Fold::configurations)
            .cloned()
            .collect()
    }

    fn living(&self) -> Option<&History> {
        self.histories.values().max_by_key(|history| {
            let fate = history.fold.fate();
            let dissolved = fate.dissolved_into().is_some();
            (fate.is_used(), !dissolved, history.matching.committed())
        })
    }

    /// Returns the one history that has committed more than its genesis, if there is one.
    pub(crate) fn living_one(&self) -> Option<GenesisId> {
        let lives = |history: &History| history.matching.committed() > Index(1);
        let mut living = self.histories.iter().filter(|(_, history)| lives(history));
        match (living.next(), living.next()) {
            (Some((genesis, _)), None) => Some(*genesis),
            _ => None,
        }
    }

    /// Returns how many states were compared with the fold of the log, and how many could not be.
    pub(crate) fn compared(&self) -> (u64, u64) {
        self.histories.values().fold((0, 0), |sum, history| {
            let (compared, missed) = history.fold.counts();
            (sum.0 + compared, sum.1 + missed)
        })
    }
}

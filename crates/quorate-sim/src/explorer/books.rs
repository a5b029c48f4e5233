//! What must hold in every state of the cluster, and what has to be remembered to tell.
//!
//! Most is told by the three hosts as they are. The rest is kept in books that belong to the state:
//! who has led which term, what was committed, what a disk held that was lost. Two ways to one
//! state of the hosts with different books are two states.
//!
//! | invariant | |
//! |---|---|
//! | one-leader-per-term | in each history (Raft, figure 3: Election Safety) |
//! | log-matching | equal entries before an equal cursor (Log Matching) |
//! | committed-same, committed-immutable | who commits an index commits one entry there |
//! | leader-completeness | a later term's leader has what was committed (figure 3) |
//! | commits-its-own-term, committed-on-a-quorum | what a leader counts, as the disks hold it |
//! | configuration-is-the-logs-latest | that of the log, or of what its base stands for |
//! | changes-overlap | voters change by a joint configuration; no half has two lives of a peer |
//! | state-machine | the state, also an installed one, is the fold of the committed log |
//! | one-history | at most one history commits more than its genesis, unless founded apart |
//! | what follows from a dissolve and from a conflict | see [`endings`] |
//!
//! What one peer can be judged by alone (monotone cursors, promises after their sync, bounds) is
//! judged in [`super::host`].

mod endings;

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::{
    Body, Configuration, Cursor, Digest, Entry, Fate, GenesisId, Index, Member, Role, StateOp,
    Term, canary::Planted,
};
use quorate_state::{ClientLimits, Replica};

use super::{
    host::{Ground, Host},
    stable::Stable,
};
use crate::{
    checkers::{Found, synced::DurableLog},
    machine,
};

/// An entry, as far as states are judged by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Trace {
    term: Term,
    hash: u128,
}

impl Trace {
    fn of(entry: &Entry) -> Self {
        Self {
            term: entry.term,
            hash: Stable::of(entry),
        }
    }
}

/// What the other hosts and the books are compared with.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Tells facts that differ apart.
    pub(super) name: u128,
    pub(super) me: Member,
    genesis: Option<GenesisId>,
    term: Term,
    leads: bool,
    base: Cursor,
    entries: Vec<Entry>,
    log: Vec<Trace>,
    commit: Index,
    pub(super) configuration: Configuration,
    applied: Cursor,
    digest: Digest,
    durable: DurableLog,
    /// Histories that are no more, as far as the host knows, and what each dissolved into.
    tombstones: BTreeMap<GenesisId, GenesisId>,
    /// Histories that it says its own is in conflict with.
    conflicts: BTreeSet<GenesisId>,
}

impl Facts {
    /// Reads them off a host.
    pub(super) fn of(host: &Host, ground: &Ground) -> Self {
        let durable = DurableLog::of(host.shelf.kept());
        let replica = &host.kept.replica;
        let view = host.view(ground);
        let mut facts = Self {
            name: 0,
            me: host.member(),
            genesis: None,
            term: Term(0),
            leads: false,
            base: Cursor::ZERO,
            entries: Vec::new(),
            log: Vec::new(),
            commit: Index(0),
            configuration: Configuration::default(),
            applied: Cursor::ZERO,
            digest: replica.tree().digest(),
            durable,
            tombstones: BTreeMap::new(),
            conflicts: BTreeSet::new(),
        };
        if let Some(view) = view {
            facts.genesis = view.genesis;
            if view.genesis == host.kept.genesis {
                facts.applied = replica.applied();
            }
            facts.term = view.ballot.term;
            facts.leads = view.role == Role::Leader;
            facts.base = view.base;
            facts.entries = view.entries.iter().cloned().collect();
            facts.log = view.entries.iter().map(Trace::of).collect();
            facts.commit = view.commit;
            facts.configuration = view.configuration.clone();
            facts.tombstones = view.tombstones().clone();
            facts.conflicts = view.conflicts().clone();
        }
        facts.name = Stable::of(&(
            (facts.me, facts.genesis, facts.term, facts.leads),
            (facts.base, &facts.log, facts.commit, &facts.configuration),
            (facts.applied, facts.digest, &facts.durable),
            (&facts.tombstones, &facts.conflicts),
        ));
        facts
    }

    fn at(&self, index: Index) -> Option<Trace> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.log.get(usize::try_from(offset).ok()?).copied()
    }

    fn entry(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.at(index).map(|trace| trace.term)
    }

    fn last(&self) -> Index {
        Index(self.base.index.0 + self.log.len() as u64)
    }
}

/// An index that somebody has committed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Committed {
    trace: Trace,
    /// A hash over this entry and all before it.
    chain: u128,
    /// The term of whoever was seen to commit it first: that of its leader, or a later one.
    seen: Term,
    /// A hash over the latest configuration with it.
    configuration: u128,
    /// What the history has become with it.
    fate: Fate,
    /// What it writes, if it is a write of a client that takes effect.
    writes: Option<u8>,
}

/// What is remembered of the way to a state.
#[derive(Clone, Hash, Debug, Default)]
pub(super) struct Books {
    leaders: BTreeMap<(GenesisId, Term), Member>,
    histories: BTreeMap<GenesisId, Vec<Committed>>,
    /// What disks held that are lost: a life kept its word as long as it could.
    lost: BTreeMap<Member, DurableLog>,
    /// Which writes were acknowledged, and where they stand.
    acknowledged: BTreeMap<u8, (GenesisId, Cursor)>,
    /// Of which writes it was said that they never take effect.
    superseded: BTreeSet<u8>,
}

/// The state after each committed prefix of a log, by its chain; shared by all states.
#[derive(Clone, Default)]
pub(super) struct Models {
    states: BTreeMap<u128, (Replica, Digest)>,
}

impl Models {
    /// Returns the digest of the state after `entry`, which follows `before`.
    fn apply(&mut self, genesis: GenesisId, before: u128, after: u128, at: (Cursor, &Entry)) {
        if self.states.contains_key(&after) {
            return;
        }
        let mut replica = match self.states.get(&before) {
            Some((replica, _)) => replica.clone(),
            None => {
                let mut empty = machine::replica(None, ClientLimits::default(), Planted::default());
                empty.execute(StateOp::Begin { genesis });
                empty
            }
        };
        let (first, entry) = at;
        replica.execute(StateOp::Apply {
            first,
            entries: vec![entry.clone()].into(),
            outcomes: false,
        });
        let digest = replica.tree().digest();
        self.states.insert(after, (replica, digest));
    }
}

impl Books {
    /// Takes note that a host's disk is lost.
    pub(super) fn lose(&mut self, facts: &Facts) {
        self.lost.insert(facts.me, facts.durable.clone());
    }

    /// Judges the state in which the facts of the host `changed` were others before.
    pub(super) fn judge(
        &mut self,
        changed: usize,
        before: &Facts,
        all: &[&Facts],
        models: &mut Models,
    ) -> Result<(), Found> {
        let facts = all[changed];
        self.judge_burials(facts, before)?;
        let Some(genesis) = facts.genesis else {
            return Ok(());
        };
        self.judge_leader(genesis, facts)?;
        for (number, other) in all.iter().enumerate() {
            if number != changed && other.genesis == facts.genesis {
                matches(facts, other)?;
            }
        }
        overlap(&facts.entries)?;
        self.commit(genesis, (facts, before), all, models)?;
        let same = before.genesis == facts.genesis && before.me == facts.me;
        if facts.leads && !(same && facts.commit <= before.commit) {
            self.judge_copies(facts, all)?;
        }
        self.judge_completeness(genesis, facts)?;
        self.judge_configuration(genesis, facts)?;
        self.judge_state(genesis, facts, models)?;
        self.judge_conflicts(genesis, facts)
    }

    fn judge_leader(&mut self, genesis: GenesisId, facts: &Facts) -> Result<(), Found> {
        if !facts.leads {
            return Ok(());
        }
        let first = *self
            .leaders
            .entry((genesis, facts.term))
            .or_insert(facts.me);
        if first == facts.me {
            return Ok(());
        }
        let detail = format!("{:?} leads {:?} as {first:?} did", facts.me, facts.term);
        Err(Found::new("one-leader-per-term", detail))
    }

    /// Compares what a host has committed with what was committed, and adds to it.
    fn commit(
        &mut self,
        genesis: GenesisId,
        (facts, before): (&Facts, &Facts),
        all: &[&Facts],
        models: &mut Models,
    ) -> Result<(), Found> {
        let fate = self.fate(genesis);
        let committed = self.histories.entry(genesis).or_default();
        // What was committed and dropped in one turn is known from before it, or from others.
        let known_at = |index: Index| {
            [facts, before]
                .into_iter()
                .chain(all.iter().copied())
                .filter(|one| one.genesis == Some(genesis))
                .find_map(|one| Some((one.at(index)?, one.entry(index)?)))
        };
        let from = (committed.len() as u64).min(facts.base.index.0);
        for index in from + 1..=facts.commit.0 {
            let index = Index(index);
            let place = usize::try_from(index.0 - 1).unwrap_or(usize::MAX);
            let Some((trace, entry)) = known_at(index) else {
                let detail = format!("{index:?} is committed and not in the log");
                return Err(Found::new("committed-same", detail));
            };
            if let Some(known) = committed.get(place) {
                if known.trace != trace {
                    let detail =
                        format!("{index:?} is committed twice, as {known:?} and {trace:?}");
                    return Err(Found::new("committed-same", detail));
                }
                continue;
            }
            let before = committed
                .last()
                .map_or_else(|| Stable::of(&genesis), |last| last.chain);
            let chain = Stable::of(&(before, trace));
            let cursor = Cursor::new(trace.term, index);
            models.apply(genesis, before, chain, (cursor, entry));
            let last = committed.last();
            let fate = last.map_or(Fate::Empty, |last| last.fate);
            let configuration = match &entry.body {
                Body::Configuration(configuration) => Stable::of(&**configuration),
                _ => last.map_or(0, |last| last.configuration),
            };
            committed.push(Committed {
                trace,
                chain,
                seen: facts.term,
                configuration,
                fate: fate.after(&entry.body),
                writes: endings::written(fate, entry),
            });
        }
        let base = usize::try_from(facts.base.index.0).unwrap_or(usize::MAX);
        let at_base = base.checked_sub(1).map(|place| committed.get(place));
        if at_base.is_some_and(|at| at.is_none_or(|at| at.trace.term != facts.base.term)) {
            let detail = format!(
                "a log starts after {:?}, which nobody committed",
                facts.base
            );
            return Err(Found::new("committed-same", detail));
        }
        self.judge_end(genesis, fate)
    }

    /// A leader moves its commit index to an entry of its own term that a quorum holds durably.
    fn judge_copies(&self, facts: &Facts, all: &[&Facts]) -> Result<(), Found> {
        let Some(term) = facts.term_at(facts.commit) else {
            return Ok(());
        };
        let cursor = Cursor::new(term, facts.commit);
        if term != facts.term {
            let detail = format!("the leader of {:?} commits {cursor:?}", facts.term);
            return Err(Found::new("commits-its-own-term", detail));
        }
        let holds = |member: Member| {
            let durable = all
                .iter()
                .find(|other| other.me == member)
                .map(|other| &other.durable)
                .or_else(|| self.lost.get(&member));
            durable.is_some_and(|log| {
                // Nothing behind the entry that gives a history up has an effect.
                let buried = |genesis| log.tombstones.contains(&genesis);
                (log.genesis == facts.genesis && log.covers(cursor))
                    || facts.genesis.is_some_and(buried)
            })
        };
        if facts.configuration.quorum(holds) {
            return Ok(());
        }
        let detail = format!(
            "{cursor:?} is committed by its leader without a quorum of {:?}",
            facts.configuration
        );
        Err(Found::new("committed-on-a-quorum", detail))
    }

    /// The leader of a term has everything that was committed in earlier ones.
    fn judge_completeness(&self, genesis: GenesisId, facts: &Facts) -> Result<(), Found> {
        let committed = self.histories.get(&genesis).filter(|_| facts.leads);
        for (place, known) in committed.into_iter().flatten().enumerate() {
            let index = Index(place as u64 + 1);
            let has = index <= facts.base.index || facts.at(index) == Some(known.trace);
            if known.seen < facts.term && !has {
                let detail = format!(
                    "{:?} leads {:?} without {index:?}, committed in {:?}",
                    facts.me, facts.term, known.seen
                );
                return Err(Found::new("leader-completeness", detail));
            }
        }
        Ok(())
    }

    /// A host goes by the latest configuration in its log, or by the one at its base.
    fn judge_configuration(&self, genesis: GenesisId, facts: &Facts) -> Result<(), Found> {
        let in_log = facts
            .entries
            .iter()
            .rev()
            .find_map(|entry| match &entry.body {
                Body::Configuration(configuration) => Some(Stable::of(&**configuration)),
                _ => None,
            });
        let at_base = || {
            let place = usize::try_from(facts.base.index.0.checked_sub(1)?).ok()?;
            Some(self.histories.get(&genesis)?.get(place)?.configuration)
        };
        let latest = in_log.or_else(at_base);
        let latest = latest.unwrap_or_else(|| Stable::of(&Configuration::default()));
        if latest == Stable::of(&facts.configuration) {
            return Ok(());
        }
        let detail = format!("{:?} goes by {:?}", facts.me, facts.configuration);
        Err(Found::new("configuration-is-the-logs-latest", detail))
    }

    /// The state at a cursor is the fold of the committed log up to it.
    fn judge_state(&self, genesis: GenesisId, facts: &Facts, models: &Models) -> Result<(), Found> {
        let Some(place) = facts.applied.index.0.checked_sub(1) else {
            return Ok(());
        };
        let committed = self.histories.get(&genesis);
        let known = committed.and_then(|known| known.get(usize::try_from(place).ok()?));
        let model = known.and_then(|known| Some((known, models.states.get(&known.chain)?)));
        let agrees = model.is_some_and(|(known, (_, digest))| {
            known.trace.term == facts.applied.term && *digest == facts.digest
        });
        if agrees {
            return Ok(());
        }
        let detail = format!(
            "the state of {:?} at {:?} is not the fold of the log",
            facts.me, facts.applied
        );
        Err(Found::new("state-machine", detail))
    }

    /// At most one history commits more than its genesis, where all can see each other.
    pub(super) fn judge_histories(&self) -> Result<(), Found> {
        let histories = self.histories.values();
        let living = histories.filter(|log| log.len() > 1).count();
        if living <= 1 {
            return Ok(());
        }
        let detail = format!("{:?} live side by side", self.histories.keys());
        Err(Found::new("one-history", detail))
    }
}

/// Two logs of one history that agree at a cursor agree before it.
fn matches(one: &Facts, other: &Facts) -> Result<(), Found> {
    let first = one.base.index.max(other.base.index).next();
    let mut agreed = false;
    for index in (first.0..=one.last().min(other.last()).0).rev() {
        let index = Index(index);
        let (Some(left), Some(right)) = (one.at(index), other.at(index)) else {
            continue;
        };
        agreed |= left.term == right.term;
        if agreed && left != right {
            let detail = format!(
                "the logs of {:?} and {:?} differ at {index:?} and agree after it",
                one.me, other.me
            );
            return Err(Found::new("log-matching", detail));
        }
    }
    Ok(())
}

/// From one configuration of a log to the next, every two quorums have a member in common.
fn overlap(entries: &[Entry]) -> Result<(), Found> {
    let mut before: Option<&Configuration> = None;
    for entry in entries {
        let Body::Configuration(next) = &entry.body else {
            continue;
        };
        for half in [&next.voters, &next.outgoing] {
            if half.windows(2).any(|pair| pair[0].peer == pair[1].peer) {
                let detail = format!("two lives of one peer count in {next:?}");
                return Err(Found::new("changes-overlap", detail));
            }
        }
        if let Some(before) = before {
            let same = before.voters == next.voters && before.outgoing == next.outgoing;
            let enters = !before.is_joint() && next.outgoing == before.voters;
            let leaves = before.is_joint() && !next.is_joint() && before.voters == next.voters;
            if !(same || enters || leaves) {
                let detail = format!("{before:?} is followed by {next:?}");
                return Err(Found::new("changes-overlap", detail));
            }
        }
        before = Some(next);
    }
    Ok(())
}

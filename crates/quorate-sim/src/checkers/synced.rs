//! What each life of a peer has on its disk for sure, kept beside the store.
//!
//! This is the yardstick of two checkers (copies on a quorum, promises after their sync), so it is
//! folded from the operations as they were submitted and completed, and owes nothing to what the
//! core or the store believe. An operation counts once it and all before it have finished.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_core::{
    Ballot, Cursor, DiskId, DiskOp, DiskWrite, Entry, Genesis, GenesisId, GroupId, Index,
    RecoveredGroup, Term,
};

/// One group's durable log, folded from operations.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct DurableLog {
    /// The ballot.
    pub(crate) ballot: Ballot,
    /// The accepted history.
    pub(crate) genesis: Option<GenesisId>,
    /// The cursor before the first entry.
    pub(crate) base: Cursor,
    /// The terms of the entries after `base`.
    pub(crate) terms: VecDeque<Term>,
    /// Histories that are no more.
    pub(crate) tombstones: BTreeSet<GenesisId>,
    /// Where it once ended, if damage has taken that: a vote counts it as if it were there.
    pub(crate) floor: Option<Cursor>,
}

impl DurableLog {
    /// Returns the durable log that a recovered one is.
    pub(crate) fn of(recovered: &RecoveredGroup) -> Self {
        Self {
            ballot: recovered.ballot,
            genesis: recovered.genesis,
            base: recovered.base,
            terms: recovered.entries.iter().map(|entry| entry.term).collect(),
            tombstones: recovered.tombstones.iter().map(|(one, _)| *one).collect(),
            floor: recovered.floor,
        }
    }

    /// Returns the last index it covers.
    pub(crate) fn last(&self) -> Index {
        Index(self.base.index.0 + self.terms.len() as u64)
    }

    /// Returns the term of the last entry.
    fn last_term(&self) -> Term {
        self.terms.back().copied().unwrap_or(self.base.term)
    }

    /// Returns the last cursor it covers.
    fn end(&self) -> Cursor {
        Cursor::new(self.last_term(), self.last())
    }

    /// Tells whether the entry named by `cursor` is here, by itself or below the base, or was and
    /// is still voted for.
    pub(crate) fn covers(&self, cursor: Cursor) -> bool {
        let voted_for = self.lacks_its_end() && self.floor.is_some_and(|floor| cursor <= floor);
        if cursor.index <= self.base.index || voted_for {
            return true;
        }
        let offset = cursor.index.0 - self.base.index.0 - 1;
        usize::try_from(offset)
            .ok()
            .and_then(|offset| self.terms.get(offset))
            .is_some_and(|term| *term == cursor.term)
    }

    /// Tells whether its end is missing, or may be: its peer votes as if it were there.
    pub(crate) fn lacks_its_end(&self) -> bool {
        self.floor.is_some_and(|floor| self.end() < floor)
    }

    fn apply(&mut self, write: &DiskWrite) {
        match write {
            DiskWrite::Ballot(ballot) => self.ballot = *ballot,
            DiskWrite::Whole => self.floor = None,
            DiskWrite::Taken => {}
            DiskWrite::Genesis(genesis) => {
                self.genesis = Some(genesis.id());
                self.base = Cursor::ZERO;
                self.terms = VecDeque::from([Genesis::CURSOR.term]);
            }
            DiskWrite::Refuse(genesis) | DiskWrite::Dissolve { genesis, .. } => {
                if matches!(write, DiskWrite::Dissolve { .. }) {
                    self.tombstones.insert(*genesis);
                }
                // Only with its own history goes a log.
                if self.genesis == Some(*genesis) {
                    self.genesis = None;
                    self.base = Cursor::ZERO;
                    self.terms.clear();
                }
            }
            DiskWrite::Append { previous, entries } => self.append(*previous, entries),
            DiskWrite::Base {
                base,
                genesis,
                keep,
                ..
            } => self.rebase(*base, *genesis, *keep),
        }
    }

    fn append(&mut self, previous: Cursor, entries: &[Entry]) {
        let below = self.base.index.since(previous.index);
        let kept = previous.index.since(self.base.index);
        self.terms
            .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        let skip = usize::try_from(below).unwrap_or(usize::MAX);
        self.terms
            .extend(entries.iter().skip(skip).map(|entry| entry.term));
    }

    fn rebase(&mut self, base: Cursor, genesis: GenesisId, keep: bool) {
        let gone = base.index.since(self.base.index);
        if !keep || gone > self.terms.len() as u64 {
            self.terms.clear();
        } else {
            self.terms.drain(..usize::try_from(gone).unwrap_or(0));
        }
        self.base = base;
        self.genesis = Some(genesis);
    }
}

/// What one life's disk holds for sure, and what is on its way there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Synced {
    logs: BTreeMap<GroupId, DurableLog>,
    pending: VecDeque<(DiskOp, bool)>,
}

impl Synced {
    /// Returns what is durable of one group.
    pub(crate) fn log(&self, group: GroupId) -> Option<&DurableLog> {
        self.logs.get(&group)
    }

    /// Takes a submitted operation.
    pub(crate) fn submitted(&mut self, op: &DiskOp) {
        self.pending.push_back((op.clone(), false));
    }

    /// Takes a completion.
    pub(crate) fn finished(&mut self, id: DiskId) {
        for (op, done) in &mut self.pending {
            if op.id == id {
                *done = true;
            }
        }
        while let Some((op, true)) = self.pending.front() {
            self.logs.entry(op.group).or_default().apply(&op.write);
            self.pending.pop_front();
        }
    }

    /// Compares what a restart found with what was durable; returns what is missing.
    ///
    /// More than was durable may be there: an operation can reach the disk without its completion
    /// reaching anybody. What is found stands from now on.
    ///
    /// From a disk that was `damaged` less may come back, but never without a word: the log ends
    /// where it ended, or there is a floor at or above that place. The ballot does not suffer.
    pub(crate) fn recovered(
        &mut self,
        found: &[RecoveredGroup],
        damaged: bool,
    ) -> Result<(), String> {
        let pending = std::mem::take(&mut self.pending);
        for (group, log) in &self.logs {
            let Some(recovered) = found.iter().find(|one| one.group == *group) else {
                return Err(format!("nothing is left of {group:?}"));
            };
            if damaged {
                admitted(log, recovered)?;
            } else {
                compare(log, recovered, *group, &pending)?;
            }
        }
        self.logs = found
            .iter()
            .map(|recovered| (recovered.group, DurableLog::of(recovered)))
            .collect();
        Ok(())
    }
}

/// Checks that what damage has taken of `durable` is admitted.
fn admitted(durable: &DurableLog, recovered: &RecoveredGroup) -> Result<(), String> {
    let found = DurableLog::of(recovered);
    if found.ballot.term < durable.ballot.term {
        return Err(format!(
            "{:?} is found, of {:?}",
            found.ballot, durable.ballot
        ));
    }
    let reached = found.floor.unwrap_or_default().max(found.end());
    if found.genesis == durable.genesis && reached < durable.end() {
        return Err(format!(
            "damage that nobody admits: the log ended at {:?}, and is found to end at {:?} with \
             floor {:?}",
            durable.end(),
            found.end(),
            found.floor,
        ));
    }
    Ok(())
}

/// Checks that `recovered` holds everything durable, but for what a pending operation replaced.
fn compare(
    durable: &DurableLog,
    recovered: &RecoveredGroup,
    group: GroupId,
    pending: &VecDeque<(DiskOp, bool)>,
) -> Result<(), String> {
    let found = DurableLog::of(recovered);
    if !durable.tombstones.is_subset(&found.tombstones) {
        return Err(format!(
            "of the tombstones {:?} some are gone",
            durable.tombstones
        ));
    }
    // The ballot lies apart from the log: the one may have reached the disk without the other.
    let mut ballots = vec![durable.ballot];
    for (op, _) in pending.iter().filter(|(op, _)| op.group == group) {
        if let DiskWrite::Ballot(ballot) = &op.write {
            ballots.push(*ballot);
        }
    }
    // A log that ends in a later term proves that the peer had heard of it.
    let heard = Ballot {
        term: found.last_term(),
        voted_for: None,
    };
    let raised = ballots.iter().any(|ballot| ballot.term < heard.term) && found.ballot == heard;
    if !raised && !ballots.contains(&found.ballot) {
        return Err(format!("{:?} is found, of {ballots:?}", found.ballot));
    }
    // Each operation on the log that was under way may have taken effect, wholly or (entries) in
    // part, as long as all before it did.
    let mut allowed = durable.clone();
    if reaches(&allowed, &found) {
        return Ok(());
    }
    for (op, _) in pending.iter().filter(|(op, _)| op.group == group) {
        if let DiskWrite::Append { previous, entries } = &op.write {
            for kept in 0..=entries.len() {
                let mut torn = allowed.clone();
                torn.append(*previous, &entries[..kept]);
                if reaches(&torn, &found) {
                    return Ok(());
                }
            }
        }
        allowed.apply(&op.write);
        if reaches(&allowed, &found) {
            return Ok(());
        }
    }
    Err(format!(
        "durable was base {:?} last {:?} genesis {:?}, found is base {:?} last {:?} genesis {:?}",
        durable.base,
        durable.last(),
        durable.genesis,
        found.base,
        found.last(),
        found.genesis,
    ))
}

/// Tells whether two logs hold the same.
fn reaches(expected: &DurableLog, found: &DurableLog) -> bool {
    expected.genesis == found.genesis
        && expected.base == found.base
        && expected.terms == found.terms
}

#[cfg(test)]
mod tests {
    use quorate_core::{Body, Configuration, Member};

    use super::*;

    const GROUP: GroupId = GroupId([7; 16]);

    fn noop(term: u64) -> Entry {
        Entry {
            term: Term(term),
            body: Body::Noop,
        }
    }

    fn append(id: u64, previous: (u64, u64), terms: &[u64]) -> DiskOp {
        DiskOp {
            id: DiskId(id),
            group: GROUP,
            write: DiskWrite::Append {
                previous: Cursor::new(Term(previous.0), Index(previous.1)),
                entries: terms.iter().map(|term| noop(*term)).collect(),
            },
        }
    }

    fn genesis(id: u64) -> DiskOp {
        let voter = Member {
            peer: quorate_core::PeerId([1; 32]),
            incarnation: quorate_core::Incarnation(1),
        };
        DiskOp {
            id: DiskId(id),
            group: GROUP,
            write: DiskWrite::Genesis(Genesis {
                group: GROUP,
                nonce: 1,
                voters: vec![voter],
            }),
        }
    }

    fn found(synced: &Synced, terms: &[u64]) -> Vec<RecoveredGroup> {
        vec![RecoveredGroup {
            group: GROUP,
            genesis: synced.logs[&GROUP].genesis,
            refused: Vec::new(),
            tombstones: Vec::new(),
            founding: None,
            ballot: Ballot::default(),
            base: Cursor::ZERO,
            configuration: Configuration::default(),
            entries: terms.iter().map(|term| noop(*term)).collect(),
            floor: None,
        }]
    }

    fn three_durable_two_pending() -> Synced {
        let mut synced = Synced::default();
        for op in [
            genesis(1),
            append(2, (1, 1), &[2, 2]),
            append(3, (2, 3), &[2, 2]),
        ] {
            synced.submitted(&op);
        }
        synced.finished(DiskId(2));
        assert!(
            synced.log(GROUP).is_none(),
            "a completion overtook one before it"
        );
        synced.finished(DiskId(1));
        assert_eq!(synced.log(GROUP).unwrap().last(), Index(3));
        synced
    }

    #[test]
    fn a_torn_append_may_leave_any_part_of_itself() {
        for kept in 0..=2 {
            let mut synced = three_durable_two_pending();
            let terms = [1, 2, 2, 2, 2];
            let found = found(&synced, &terms[..3 + kept]);
            synced.recovered(&found, false).unwrap();
            assert_eq!(synced.log(GROUP).unwrap().last(), Index(3 + kept as u64));
        }
    }

    #[test]
    fn losing_a_synced_entry_or_finding_another_one_is_noticed() {
        for terms in [&[1, 2][..], &[1, 2, 3], &[1, 2, 2, 3], &[1, 2, 2, 2, 2, 2]] {
            let mut synced = three_durable_two_pending();
            let found = found(&synced, terms);
            assert!(
                synced.recovered(&found, false).is_err(),
                "{terms:?} was accepted"
            );
        }
        assert!(three_durable_two_pending().recovered(&[], false).is_err());
    }
}

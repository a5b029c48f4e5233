//! Log matching and committed entries, by a chain of hashes (Raft, figure 3: Log Matching, Leader
//! Completeness, and the part of State Machine Safety that is about the log).
//!
//! Each entry's link hashes the entry and the link before it, so two logs whose links at one index
//! are equal are equal up to there, and comparing two logs costs one comparison. The first peer
//! that has an entry (index, term) defines its link; everybody else must have the same. The first
//! peer that commits an index defines the committed link; everybody else must commit the same.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::{Cursor, Entry, GenesisId, GroupView, Index, Term};

use super::Found;
use crate::{hash::Rolling, trace::hash_entry};

/// One history's entries, wherever they stand.
#[derive(Debug)]
pub(crate) struct Matching {
    genesis: GenesisId,
    /// Of the entries at each index, from 1 on, the one that was seen first.
    links: Vec<(Term, u128)>,
    /// Those of other terms.
    others: BTreeMap<(Index, Term), u128>,
    committed: Vec<(Term, u128)>,
    scratch: Vec<u8>,
}

/// What one life's log looked like when it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    base: Cursor,
    base_link: Option<u128>,
    links: VecDeque<(Term, u128)>,
    commit: Index,
}

impl Mirror {
    fn last(&self) -> Cursor {
        match self.links.back() {
            Some((term, _)) => {
                Cursor::new(*term, Index(self.base.index.0 + self.links.len() as u64))
            }
            None => self.base,
        }
    }

    fn link_at(&self, index: Index) -> Option<u128> {
        if index == self.base.index {
            return self.base_link;
        }
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        let (_, link) = self.links.get(usize::try_from(offset).ok()?)?;
        Some(*link)
    }
}

impl Matching {
    /// Starts with nothing known of `genesis`.
    pub(crate) fn new(genesis: GenesisId) -> Self {
        Self {
            genesis,
            links: Vec::new(),
            others: BTreeMap::new(),
            committed: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Returns the last index that anybody committed.
    pub(crate) fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// Looks at one life's log; gives newly committed entries to `commit`.
    pub(crate) fn observe(
        &mut self,
        mirror: &mut Mirror,
        view: &GroupView<'_>,
        commit: impl FnMut(Cursor, &Entry),
    ) -> Result<(), Found> {
        if mirror.base != view.base || mirror.last() != view.last {
            self.follow(mirror, view)?;
        }
        if mirror.commit != view.commit {
            self.commit(mirror, view, commit)?;
        }
        Ok(())
    }

    /// Compares a life's whole log, entry by entry, with what is known.
    ///
    /// Looking only at the ends would miss a log whose middle was changed in place.
    pub(crate) fn verify(&mut self, view: &GroupView<'_>) -> Result<(), Found> {
        let mut fresh = Mirror::default();
        self.follow(&mut fresh, view)
    }

    fn follow(&mut self, mirror: &mut Mirror, view: &GroupView<'_>) -> Result<(), Found> {
        if mirror.base != view.base || mirror.base_link.is_none() {
            self.rebase(mirror, view.base)?;
        }
        let reach = mirror.links.len().min(view.entries.len());
        let mut kept = reach;
        while kept > 0 && mirror.links[kept - 1].0 != view.entries[kept - 1].term {
            kept -= 1;
        }
        let kept_to = Index(mirror.base.index.0 + kept as u64);
        if kept < mirror.links.len() && kept_to < mirror.commit {
            return Err(Found::new(
                "committed-immutable",
                format!(
                    "the log was cut back to {kept_to:?}, below its commit index {:?}",
                    mirror.commit
                ),
            ));
        }
        mirror.links.truncate(kept);
        let mut link = mirror.link_at(kept_to).unwrap_or_default();
        let mut index = kept_to;
        for entry in view.entries.iter_from(kept) {
            index = index.next();
            link = self.link(link, entry);
            if self.learn(index, entry.term, link) != link {
                return Err(Found::new(
                    "log-matching",
                    format!(
                        "two logs differ at or before {:?}, where both have an entry of {:?}",
                        index, entry.term
                    ),
                ));
            }
            mirror.links.push_back((entry.term, link));
        }
        Ok(())
    }

    /// Returns the link of an entry that somebody had.
    fn known(&self, index: Index, term: Term) -> Option<u128> {
        let first = self
            .links
            .get(usize::try_from(index.0.checked_sub(1)?).ok()?);
        match first {
            Some((seen, link)) if *seen == term => Some(*link),
            _ => self.others.get(&(index, term)).copied(),
        }
    }

    /// Returns the link of an entry that somebody had before, or remembers that it is `link`.
    fn learn(&mut self, index: Index, term: Term, link: u128) -> u128 {
        if let Some(known) = self.known(index, term) {
            return known;
        }
        // Whoever has an entry has, or had, all before it.
        if index.0 == self.links.len() as u64 + 1 {
            self.links.push((term, link));
        } else {
            self.others.insert((index, term), link);
        }
        link
    }

    /// Moves a mirror's base to where its log now starts.
    fn rebase(&self, mirror: &mut Mirror, base: Cursor) -> Result<(), Found> {
        let link = if base == Cursor::ZERO {
            let mut start = Rolling::new(1);
            start.bytes(&self.genesis.0);
            start.value()
        } else {
            match self.known(base.index, base.term) {
                Some(link) => link,
                None => {
                    return Err(Found::new(
                        "log-matching",
                        format!("the log starts after {base:?}, an entry that nobody had"),
                    ));
                }
            }
        };
        let gone = base.index.since(mirror.base.index);
        if mirror.link_at(base.index) == Some(link) && base.index >= mirror.base.index {
            mirror.links.drain(..usize::try_from(gone).unwrap_or(0));
        } else {
            mirror.links.clear();
        }
        mirror.base = base;
        mirror.base_link = Some(link);
        Ok(())
    }

    fn commit(
        &mut self,
        mirror: &mut Mirror,
        view: &GroupView<'_>,
        mut commit: impl FnMut(Cursor, &Entry),
    ) -> Result<(), Found> {
        mirror.commit = view.commit;
        let known = view.commit.min(self.committed());
        if let Some(link) = mirror.link_at(known)
            && known.0 > 0
            && link != self.committed[usize::try_from(known.0 - 1).unwrap_or(0)].1
        {
            return Err(Found::new(
                "committed-same",
                format!("another entry is committed elsewhere at or before {known:?}"),
            ));
        }
        while self.committed() < view.commit {
            let index = self.committed().next();
            let offset = index.0.checked_sub(view.base.index.0 + 1);
            let entry = offset
                .and_then(|offset| usize::try_from(offset).ok())
                .and_then(|offset| view.entries.get(offset));
            let (Some(entry), Some(link)) = (entry, mirror.link_at(index)) else {
                return Err(Found::new(
                    "committed-same",
                    format!("{index:?} is committed here first, and this log does not hold it"),
                ));
            };
            self.committed.push((entry.term, link));
            commit(Cursor::new(entry.term, index), entry);
        }
        Ok(())
    }

    fn link(&mut self, before: u128, entry: &Entry) -> u128 {
        let mut link = Rolling::resume(before);
        hash_entry(&mut link, &mut self.scratch, entry);
        link.value()
    }
}

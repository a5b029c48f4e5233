//! The configurations in the log: effective when appended, gone when truncated.

use crate::{
    configuration::Configuration,
    cursor::Index,
    entries::Entries,
    entry::{Body, Entry},
    id::Member,
};

/// The configuration at the log's base and those after it, by index.
///
/// Never empty; a joiner's first one has no members.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Configurations {
    history: Vec<(Index, Configuration)>,
    me: Member,
    /// Whether this peer is a voter of the latest one: asked for after every step.
    votes: bool,
}

impl Configurations {
    /// Collects the configurations of a recovered log.
    pub(crate) fn recovered(
        me: Member,
        base: Index,
        at_base: Configuration,
        entries: &[Entry],
    ) -> Self {
        let votes = at_base.is_voter(me);
        let mut configurations = Self {
            history: vec![(base, at_base)],
            me,
            votes,
        };
        configurations.collect(base.next(), entries);
        configurations
    }

    /// Returns the latest one and its index.
    pub(crate) fn latest(&self) -> (Index, &Configuration) {
        let (index, configuration) = self
            .history
            .last()
            .expect("there is always the one at the base");
        (*index, configuration)
    }

    /// Tells whether this peer is a voter of the latest one.
    pub(crate) fn votes(&self) -> bool {
        self.votes
    }

    /// Tells whether this peer is a voter of the one before the latest, as far as that is known.
    pub(crate) fn voted(&self) -> bool {
        let before = self.history.iter().rev().nth(1);
        before.is_some_and(|(_, configuration)| configuration.is_voter(self.me))
    }

    /// Returns the one in effect at `index`.
    pub(crate) fn at(&self, index: Index) -> &Configuration {
        let after = self.history.partition_point(|(at, _)| *at <= index);
        &self.history[after.saturating_sub(1)].1
    }

    /// Notes the configurations among `entries`, the first of which has index `first`; returns
    /// whether there was one.
    pub(crate) fn note(&mut self, first: Index, entries: &Entries) -> bool {
        !entries.are_plain() && self.collect(first, entries)
    }

    fn collect(&mut self, first: Index, entries: &[Entry]) -> bool {
        let before = self.history.len();
        for (offset, entry) in (0..).zip(entries) {
            if let Body::Configuration(configuration) = &entry.body {
                self.history
                    .push((Index(first.0 + offset), (**configuration).clone()));
            }
        }
        self.votes = self.latest().1.is_voter(self.me);
        self.history.len() > before
    }

    /// Drops those after `last`; returns whether there was one.
    pub(crate) fn truncate(&mut self, last: Index) -> bool {
        let before = self.history.len();
        self.history.retain(|(index, _)| *index <= last);
        self.votes = self.latest().1.is_voter(self.me);
        self.history.len() < before
    }

    /// Drops those that are no longer in effect at `base`.
    pub(crate) fn prune(&mut self, base: Index) {
        let after = self.history.partition_point(|(at, _)| *at <= base);
        self.history.drain(..after.saturating_sub(1));
    }

    /// Starts anew from a snapshot.
    pub(crate) fn reset(&mut self, base: Index, configuration: Configuration) {
        self.votes = configuration.is_voter(self.me);
        self.history = vec![(base, configuration)];
    }
}

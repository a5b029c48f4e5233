//! Who counts: the latest configuration in a peer's own log, committed or not (dissertation,
//! section 4.3).
//!
//! The other checkers ask a peer which configuration it goes by; this one reads it from the log
//! itself, and from what was committed where the log begins after a snapshot.

use quorate_core::{Body, Configuration, Cursor, GroupView, Index};

use super::{Found, succession::Succession};

/// The configurations in the log of one start of a peer.
#[derive(Debug, Default)]
pub(crate) struct Effective {
    base: Cursor,
    /// Up to where the log was read.
    read: Cursor,
    known: Vec<(Index, Configuration)>,
}

impl Effective {
    /// Looks at one peer; `committed` tells the configuration at a committed index, and where it
    /// stands.
    pub(crate) fn observe<'a>(
        &mut self,
        view: &GroupView<'_>,
        succession: &mut Succession,
        committed: impl Fn(Index) -> Option<(Index, &'a Configuration)>,
    ) -> Result<(), Found> {
        if (view.base, view.last) != (self.base, self.read) {
            self.follow(view, succession, &committed)?;
        }
        let known = self.known.last().map(|(_, configuration)| configuration);
        let empty = Configuration::default();
        let Some(expected) = known
            .or_else(|| Some(committed(view.base.index)?.1))
            .or_else(|| (view.base == Cursor::ZERO).then_some(&empty))
        else {
            return Ok(());
        };
        if view.configuration == expected {
            return Ok(());
        }
        Err(Found::new(
            "configuration-is-the-logs-latest",
            format!(
                "the log up to {:?} says {expected:?}, the peer goes by {:?}",
                view.last, view.configuration
            ),
        ))
    }

    /// Reads what is new in the log. Logs that have an entry in common have all before it.
    fn follow<'a>(
        &mut self,
        view: &GroupView<'_>,
        succession: &mut Succession,
        committed: impl Fn(Index) -> Option<(Index, &'a Configuration)>,
    ) -> Result<(), Found> {
        let grown = view.base.index <= self.read.index
            && view.term_at(self.read.index) == Some(self.read.term);
        let from = if grown {
            self.read.index
        } else {
            view.base.index
        };
        self.known
            .retain(|(index, _)| *index > view.base.index && *index <= from);
        let skip = usize::try_from(from.since(view.base.index)).unwrap_or(usize::MAX);
        let entries = view.entries.iter_from(skip);
        for (offset, entry) in (1..).zip(entries) {
            if let Body::Configuration(configuration) = &entry.body {
                let at = Cursor::new(entry.term, Index(from.0 + offset));
                let last = self.known.last().map(|(index, last)| (*index, last));
                let before = last.or_else(|| committed(view.base.index));
                succession.learn(before, at, configuration)?;
                self.known.push((at.index, (**configuration).clone()));
            }
        }
        (self.base, self.read) = (view.base, view.last);
        Ok(())
    }
}

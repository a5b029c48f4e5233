//! What a restore still needs, as work that can be handed out.
//!
//! Invariant: every rank that is not verified is in exactly one of three places: to be handed out,
//! behind a leaf that was received in part, or with somebody who was asked for it. Work that comes
//! back, for whatever reason, is reduced by what was verified meanwhile, so an answer that is
//! short, late or doubled can neither lose a rank nor stall the rest.

use std::collections::BTreeMap;

use super::ranges::Ranges;
use crate::state_op::Part;

/// The parts of one snapshot that are not verified yet.
#[derive(Clone, Hash, Debug)]
pub(super) struct Missing {
    total: u64,
    verified: Ranges,
    /// Ranks nobody has been asked for.
    todo: Ranges,
    /// Leaves received in part: (where the range that began with it ends, offset) by first rank.
    resume: BTreeMap<u64, (u64, u64)>,
    /// Pieces of large values that are not kept, by rank.
    wanted: BTreeMap<u64, Ranges>,
    /// Those of them that nobody has been asked for.
    pieces: BTreeMap<u64, Ranges>,
}

/// What the state kept of one chunk.
#[derive(Clone, Hash, Debug)]
pub(super) struct Kept {
    /// The ranks it brought.
    pub(super) items: (u64, u64),
    /// The leaf it brought a part of: first rank, offset of what is missing.
    pub(super) unfinished: Option<(u64, u64)>,
    /// Large values it names: rank, number of pieces.
    pub(super) pieces: Vec<(u64, u64)>,
}

impl Missing {
    /// Starts with all of `total` items missing.
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            verified: Ranges::default(),
            todo: Ranges::of(0, total),
            resume: BTreeMap::new(),
            wanted: BTreeMap::new(),
            pieces: BTreeMap::new(),
        }
    }

    /// Returns how many items are verified.
    pub(super) fn verified(&self) -> u64 {
        self.verified.count()
    }

    /// Tells whether every item and every piece is verified.
    pub(super) fn is_complete(&self) -> bool {
        self.verified.count() == self.total && self.wanted.is_empty()
    }

    /// Tells whether there is anything to hand out.
    pub(super) fn has_work(&self) -> bool {
        !self.todo.is_empty() || !self.resume.is_empty() || !self.pieces.is_empty()
    }

    /// Returns how many ranks wait to be handed out.
    pub(super) fn waiting(&self) -> u64 {
        self.todo.count()
    }

    /// Hands out the next work: leaves begun, then pieces (so that few are remembered), then up to
    /// `max_items` ranks.
    pub(super) fn take(&mut self, max_items: u64) -> Option<Part> {
        if let Some((start, (end, offset))) = self.resume.pop_first() {
            return Some(Part::Items { start, end, offset });
        }
        if let Some(mut entry) = self.pieces.first_entry() {
            let rank = *entry.key();
            let (piece, _) = entry.get().first()?;
            entry.get_mut().remove(piece, piece.saturating_add(1));
            if entry.get().is_empty() {
                entry.remove();
            }
            return Some(Part::Piece { rank, piece });
        }
        let (start, end) = self.todo.first()?;
        let end = end.min(start.saturating_add(max_items.max(1)));
        self.todo.remove(start, end);
        Some(Part::Items {
            start,
            end,
            offset: 0,
        })
    }

    /// Returns what is still missing of `part`, from its first missing rank on.
    pub(super) fn rest_of(&self, part: Part) -> Option<Part> {
        match part {
            Part::Piece { rank, piece } => {
                let open = self.wanted.get(&rank).is_some_and(|w| w.contains(piece));
                open.then_some(part)
            }
            Part::Items { start, offset, .. } if offset > 0 && !self.verified.contains(start) => {
                Some(part)
            }
            Part::Items { start, end, .. } => {
                let (start, end) = *self.verified.gaps(start, end).first()?;
                Some(Part::Items {
                    start,
                    end,
                    offset: 0,
                })
            }
        }
    }

    /// Takes back work that `part` did not finish, unless it is with somebody else (`elsewhere`).
    pub(super) fn put_back(&mut self, part: Part, elsewhere: &[Part]) {
        match part {
            Part::Piece { rank, piece } => {
                let open = self.wanted.get(&rank).is_some_and(|w| w.contains(piece));
                if open && !elsewhere.contains(&part) {
                    let pieces = self.pieces.entry(rank).or_default();
                    pieces.insert(piece, piece.saturating_add(1));
                }
            }
            Part::Items { start, end, offset } => {
                if !self.resume.contains_key(&start) {
                    self.begin_leaf(start, end, offset, elsewhere);
                }
                self.put_back_ranks(start, end, elsewhere);
            }
        }
    }

    /// Takes in what the state kept of the answer to `part`.
    pub(super) fn keep(&mut self, part: Part, kept: &Kept, elsewhere: &[Part]) {
        let (start, end) = (kept.items.0, kept.items.1.min(self.total));
        for (rank, pieces) in &kept.pieces {
            if !self.verified.contains(*rank) && *pieces > 0 {
                self.wanted.insert(*rank, Ranges::of(0, *pieces));
                self.pieces.insert(*rank, Ranges::of(0, *pieces));
            }
        }
        self.verified.insert(start, end);
        self.todo.remove(start, end);
        self.close_leaves(start, end, elsewhere);
        if let Part::Piece { rank, piece } = part {
            self.keep_piece(rank, piece);
            return;
        }
        if let Some((rank, offset)) = kept.unfinished {
            let end = match part {
                Part::Items { end, .. } => end,
                Part::Piece { .. } => 0,
            };
            self.begin_leaf(rank, end, offset, elsewhere);
        }
        self.put_back(part, elsewhere);
    }

    /// Takes note that the answer to `part` brought nothing new.
    pub(super) fn known(&mut self, part: Part, elsewhere: &[Part]) {
        match part {
            Part::Piece { rank, piece } => self.keep_piece(rank, piece),
            Part::Items { .. } => self.put_back(part, elsewhere),
        }
    }

    /// Tells whether `part` has had its answer, from whomever: what it begins with is there, or
    /// the leaf it begins with has gone beyond the offset.
    ///
    /// Every true answer does that much, so what does not is no answer, and whoever sends true
    /// chunks that nobody asked for cannot keep a session busy for ever.
    pub(super) fn is_answered(&self, part: Part, unfinished: Option<(u64, u64)>) -> bool {
        match part {
            Part::Piece { .. } => true,
            Part::Items { start, offset, .. } => {
                self.verified.contains(start)
                    || unfinished.is_some_and(|(leaf, next)| leaf <= start && next > offset)
            }
        }
    }

    fn keep_piece(&mut self, rank: u64, piece: u64) {
        for list in [&mut self.wanted, &mut self.pieces] {
            if let Some(pieces) = list.get_mut(&rank) {
                pieces.remove(piece, piece.saturating_add(1));
                if pieces.is_empty() {
                    list.remove(&rank);
                }
            }
        }
    }

    /// Notes a leaf received up to `offset`; the ranks from it to `end` wait for it.
    ///
    /// The leaf may begin before the range that was asked for, never behind it. If somebody was
    /// asked for what follows already, their answer decides.
    fn begin_leaf(&mut self, rank: u64, end: u64, offset: u64, elsewhere: &[Part]) {
        let further = |part: &Part| match part {
            Part::Items {
                start, offset: o, ..
            } => *start == rank && *o >= offset,
            Part::Piece { .. } => false,
        };
        if rank >= self.total
            || offset == 0
            || self.verified.contains(rank)
            || elsewhere.iter().any(further)
        {
            return;
        }
        let end = end.max(rank.saturating_add(1)).min(self.total);
        let leaf = self.resume.entry(rank).or_insert((end, offset));
        *leaf = (leaf.0.max(end), leaf.1.max(offset));
        let end = leaf.0;
        self.todo.remove(rank, end);
    }

    /// Frees the ranks that waited for leaves which are verified now.
    fn close_leaves(&mut self, start: u64, end: u64, elsewhere: &[Part]) {
        let closed: Vec<(u64, u64)> = self
            .resume
            .range(start..end.max(start))
            .map(|(rank, (end, _))| (*rank, *end))
            .collect();
        for (rank, end) in closed {
            self.resume.remove(&rank);
            self.put_back_ranks(rank, end, elsewhere);
        }
    }

    /// Puts the unverified ranks of a range back, but those that somebody has or that wait for a
    /// leaf.
    fn put_back_ranks(&mut self, start: u64, end: u64, elsewhere: &[Part]) {
        for (start, end) in self.verified.gaps(start, end.min(self.total)) {
            self.todo.insert(start, end);
        }
        for part in elsewhere {
            if let Part::Items { start, end, .. } = part {
                self.todo.remove(*start, *end);
            }
        }
        for (rank, (end, _)) in &self.resume {
            self.todo.remove(*rank, *end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(start: u64, end: u64) -> Part {
        Part::Items {
            start,
            end,
            offset: 0,
        }
    }

    fn kept(start: u64, end: u64) -> Kept {
        Kept {
            items: (start, end),
            unfinished: None,
            pieces: Vec::new(),
        }
    }

    #[test]
    fn a_short_answer_puts_the_rest_back() {
        let mut missing = Missing::new(100);
        let part = missing.take(60).unwrap();
        assert_eq!(part, items(0, 60));
        missing.keep(part, &kept(0, 33), &[]);
        assert_eq!(missing.verified(), 33);
        assert_eq!(missing.take(1_000), Some(items(33, 100)));
    }

    #[test]
    fn what_somebody_else_was_asked_for_is_not_handed_out_twice() {
        let mut missing = Missing::new(100);
        let part = missing.take(50).unwrap();
        let twin = part;
        missing.put_back(part, &[twin]);
        assert_eq!(missing.take(1_000), Some(items(50, 100)));
        missing.put_back(twin, &[items(50, 100)]);
        assert_eq!(missing.take(1_000), Some(items(0, 50)));
    }

    #[test]
    fn a_leaf_in_parts_holds_the_ranks_behind_it_until_it_is_whole() {
        let mut missing = Missing::new(100);
        let part = missing.take(100).unwrap();
        let begun = Kept {
            unfinished: Some((10, 4_096)),
            ..kept(0, 10)
        };
        missing.keep(part, &begun, &[]);
        let part = missing.take(1).unwrap();
        let next = Part::Items {
            start: 10,
            end: 100,
            offset: 4_096,
        };
        assert_eq!(part, next);
        assert!(!missing.has_work());
        // Lost on the way: it goes on where it stopped.
        missing.put_back(part, &[]);
        assert_eq!(missing.take(1), Some(next));
        missing.keep(next, &kept(10, 14), &[]);
        assert_eq!(missing.take(1_000), Some(items(14, 100)));
    }

    #[test]
    fn a_leaf_that_somebody_else_completed_is_not_asked_for_again() {
        let mut missing = Missing::new(100);
        let part = missing.take(100).unwrap();
        let begun = Kept {
            unfinished: Some((10, 4_096)),
            ..kept(0, 10)
        };
        missing.keep(part, &begun, &[]);
        missing.keep(part, &kept(10, 14), &[]);
        assert_eq!(missing.take(1_000), Some(items(14, 100)));
        assert!(!missing.has_work());
    }

    #[test]
    fn a_leaf_is_not_begun_again_behind_somebody_who_is_further_in_it() {
        let mut missing = Missing::new(100);
        let part = missing.take(100).unwrap();
        let begun = |offset| Kept {
            unfinished: Some((10, offset)),
            ..kept(10, 10)
        };
        missing.keep(part, &kept(0, 10), &[]);
        let rest = missing.take(100).unwrap();
        missing.keep(rest, &begun(8_192), &[]);
        let further = missing.take(1).unwrap();
        missing.keep(rest, &begun(4_096), &[further]);
        assert!(!missing.has_work());
        missing.put_back(further, &[]);
        assert_eq!(missing.take(1), Some(further));
    }

    #[test]
    fn pieces_are_fetched_once_each_and_the_restore_waits_for_them() {
        let mut missing = Missing::new(2);
        let part = missing.take(10).unwrap();
        let large = Kept {
            pieces: vec![(1, 2)],
            ..kept(0, 2)
        };
        missing.keep(part, &large, &[]);
        assert!(!missing.is_complete());
        let first = missing.take(10).unwrap();
        assert_eq!(first, Part::Piece { rank: 1, piece: 0 });
        missing.put_back(first, &[first]);
        assert_eq!(missing.take(10), Some(Part::Piece { rank: 1, piece: 1 }));
        missing.known(Part::Piece { rank: 1, piece: 1 }, &[]);
        missing.keep(first, &kept(1, 1), &[]);
        assert!(missing.is_complete());
        // The same leaf again names the same pieces; they are not wanted twice.
        missing.keep(part, &large, &[]);
        assert!(missing.is_complete() && !missing.has_work());
    }

    #[test]
    fn answers_beyond_the_end_are_cut() {
        let mut missing = Missing::new(5);
        let part = missing.take(u64::MAX).unwrap();
        missing.keep(part, &kept(0, u64::MAX), &[]);
        assert_eq!(missing.verified(), 5);
        assert!(missing.is_complete());
    }
}

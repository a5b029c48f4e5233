//! A state of the test's own: what its snapshots look like, and how chunks of them are verified.
//!
//! It shares nothing with the session but the contract: leaves with boundaries that nobody chose,
//! some too large for one chunk, some items with values in pieces; what is kept is a plain list of
//! booleans per rank.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    id::Digest,
    state_op::{Part, Verdict},
};

/// Bytes of one part of a leaf that is too large for one chunk.
const STEP: u64 = 4_096;

fn mix(rank: u64) -> u64 {
    let x = rank.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

/// Returns the leaf that holds `rank`, of `len` items.
fn leaf(rank: u64, len: u64) -> (u64, u64) {
    let begins = |rank: &u64| *rank == 0 || mix(*rank).is_multiple_of(9);
    let start = (0..=rank).rev().find(begins).unwrap_or(0);
    let end = (rank + 1..len).find(begins).unwrap_or(len);
    (start, end)
}

/// Returns in how many parts the leaf that begins at `rank` comes.
fn parts(rank: u64) -> u64 {
    let hash = mix(rank ^ 0x5555);
    if hash.is_multiple_of(13) {
        2 + hash % 4
    } else {
        1
    }
}

/// Returns how many pieces the value at `rank` has beside its leaf.
fn pieces(rank: u64) -> u64 {
    let hash = mix(rank ^ 0xaaaa);
    if hash.is_multiple_of(41) {
        1 + hash % 3
    } else {
        0
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Chunk {
    digest: Digest,
    body: Body,
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Body {
    Leaves { start: u64, end: u64 },
    Parts { rank: u64, first: u64, after: u64 },
    Piece { rank: u64, piece: u64 },
}

/// Reads a part of a snapshot of `len` items; `generous` says how many leaves come beyond the
/// first.
pub(super) fn read(
    (len, digest): (u64, Digest),
    part: Part,
    max_items: u64,
    generous: u64,
) -> Option<(Bytes, u64)> {
    let body = match part {
        Part::Piece { rank, piece } if rank < len && piece < pieces(rank) => {
            Body::Piece { rank, piece }
        }
        Part::Piece { .. } => return None,
        Part::Items { start, .. } if start >= len => return None,
        Part::Items { start, end, offset } => {
            let (first, mut after) = leaf(start, len);
            if parts(first) > 1 {
                let from = offset / STEP;
                let after = (from + 1 + generous % 2).min(parts(first));
                (from < after).then_some(Body::Parts {
                    rank: first,
                    first: from,
                    after,
                })?
            } else if offset > 0 {
                return None;
            } else {
                let end = end.min(start.saturating_add(max_items));
                for _ in 0..generous {
                    if after >= end || parts(after) > 1 {
                        break;
                    }
                    after = leaf(after, len).1;
                }
                Body::Leaves {
                    start: first,
                    end: after,
                }
            }
        }
    };
    let items = match body {
        Body::Leaves { start, end } => end - start,
        _ => 0,
    };
    let chunk = postcard::to_stdvec(&Chunk { digest, body }).unwrap();
    Some((chunk.into(), items))
}

/// What a restoring peer has of one snapshot.
#[derive(Debug)]
pub(super) struct Assembly {
    digest: Digest,
    /// How often each rank came with a verdict of being kept.
    kept: Vec<u32>,
    parts: BTreeSet<(u64, u64)>,
    pieces: BTreeSet<(u64, u64)>,
}

impl Assembly {
    pub(super) fn new(digest: Digest, items: u64) -> Self {
        Self {
            digest,
            kept: vec![0; items as usize],
            parts: BTreeSet::new(),
            pieces: BTreeSet::new(),
        }
    }

    fn len(&self) -> u64 {
        self.kept.len() as u64
    }

    /// Tells whether every rank and every piece is there, each once.
    pub(super) fn is_whole(&self) -> bool {
        let wanted: u64 = (0..self.len()).map(pieces).sum();
        self.kept.iter().all(|times| *times == 1) && self.pieces.len() as u64 == wanted
    }

    /// Keeps what is new of a chunk. What is neither new nor what was asked for is wrong.
    pub(super) fn verify(&mut self, part: Part, chunk: &[u8]) -> Verdict {
        let wrong = |reason| Verdict::Wrong { reason };
        let Ok(chunk) = postcard::from_bytes::<Chunk>(chunk) else {
            return wrong("unreadable");
        };
        if chunk.digest != self.digest {
            return wrong("another digest");
        }
        let answers = match (&chunk.body, part) {
            (Body::Leaves { start, end }, Part::Items { start: rank, .. }) => {
                (start..end).contains(&&rank)
            }
            (Body::Parts { rank: first, .. }, Part::Items { start: rank, .. }) => {
                leaf(rank, self.len()).0 == *first
            }
            (Body::Piece { rank, piece }, part) => {
                part == Part::Piece {
                    rank: *rank,
                    piece: *piece,
                }
            }
            _ => false,
        };
        if matches!(part, Part::Piece { .. }) && !answers {
            return wrong("another piece");
        }
        match self.keep(chunk.body) {
            Verdict::Known if !answers => wrong("another part"),
            verdict => verdict,
        }
    }

    fn keep(&mut self, body: Body) -> Verdict {
        match body {
            Body::Leaves { start, end } => self.keep_leaves(start, end),
            Body::Parts { rank, first, after } => self.keep_parts(rank, first, after),
            Body::Piece { rank, piece } => {
                if self.kept[rank as usize] == 0 {
                    Verdict::Wrong { reason: "no leaf" }
                } else if self.pieces.insert((rank, piece)) {
                    kept((rank, rank), None, Vec::new())
                } else {
                    Verdict::Known
                }
            }
        }
    }

    fn keep_leaves(&mut self, start: u64, end: u64) -> Verdict {
        let (mut large, mut new) = (Vec::new(), false);
        for rank in start..end {
            // Whole leaves only: a rank is kept with its leaf or not at all.
            if self.kept[rank as usize] == 0 {
                self.kept[rank as usize] = 1;
                new = true;
                if pieces(rank) > 0 {
                    large.push((rank, pieces(rank)));
                }
            }
        }
        if new {
            kept((start, end), None, large)
        } else {
            Verdict::Known
        }
    }

    fn keep_parts(&mut self, rank: u64, first: u64, after: u64) -> Verdict {
        if self.kept[rank as usize] > 0 {
            return Verdict::Known;
        }
        self.parts.extend((first..after).map(|part| (rank, part)));
        let missing = (0..parts(rank)).find(|part| !self.parts.contains(&(rank, *part)));
        match missing {
            None => {
                let (start, end) = leaf(rank, self.len());
                self.keep_leaves(start, end)
            }
            // Also of what is known: it says where to go on.
            Some(missing) => kept((rank, rank), Some((rank, missing * STEP)), Vec::new()),
        }
    }
}

fn kept(items: (u64, u64), unfinished: Option<(u64, u64)>, pieces: Vec<(u64, u64)>) -> Verdict {
    Verdict::Kept {
        items,
        unfinished,
        pieces,
        bytes: (items.1 - items.0) * 10 + 1,
    }
}

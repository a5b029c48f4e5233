//! The items of the client table in the tree, and their encodings.
//!
//! All integers are eight bytes, big-endian, so that items lie in the order of what they name:
//!
//! ```text
//! 0 3                   the table's clock and what it holds in all
//! 0 4 client            a client: last use, lowest open number, bytes of outcomes
//! 0 5 client number     the index at which the number was applied
//! 0 6 index             client, number, term and outcome of the command applied there
//! 0 7 client index      the same indexes by client: which of its outcomes is the oldest
//! 0 8 index             the client whose last use was there: who is idle longest
//! ```
//!
//! An outcome is found by its number through the index at which it was applied, and is dropped by
//! that index, so no item has to be searched for. A snapshot is believed by its digest alone, so
//! an item that is missing or has another length reads as absent and never as anything else.

use std::ops::Deref;

use bytes::{Buf, Bytes};
use quorate_core::{ClientSequence, Cursor, Index, Term, Wall};

use crate::tree::{Tree, ValueRef};

const TOTALS: [u8; 2] = [0, 3];
const RECORDS: u8 = 4;
const NUMBERS: u8 = 5;
const ANSWERS: u8 = 6;
const ANSWERS_OF: u8 = 7;
const LAST_USES: u8 = 8;

/// The key of an item: two bytes, and two integers at most.
struct Key {
    bytes: [u8; 18],
    len: usize,
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn key<const N: usize>(kind: u8, words: [u64; N]) -> Key {
    let mut bytes = [0; 18];
    bytes[1] = kind;
    let len = 2 + 8 * N;
    bytes[2..len].copy_from_slice(value(words).as_flattened());
    Key { bytes, len }
}

fn value<const N: usize>(words: [u64; N]) -> [[u8; 8]; N] {
    words.map(u64::to_be_bytes)
}

/// Returns the integers that `bytes` consists of, if there are as many.
fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: &[[u8; 8]; N] = words.try_into().ok()?;
    rest.is_empty().then(|| words.map(u64::from_be_bytes))
}

/// Returns the integers that a small value consists of, without copying it.
fn words_of<const N: usize>(value: ValueRef<'_>) -> Option<[u64; N]> {
    words(value.slices().next()?)
}

fn get<const N: usize>(tree: &Tree, key: &[u8]) -> Option<[u64; N]> {
    words_of(tree.get(key)?)
}

/// Puts an item of the table in.
fn put(tree: &mut Tree, key: &[u8], value: &[u8]) {
    tree.put(key, value, &mut |_| ())
        .expect("keys have a few bytes, and an outcome the limit of a client's outcomes");
}

/// Removes an item of the table; returns its length, if it was there.
fn take_out(tree: &mut Tree, key: &[u8]) -> Option<u64> {
    let mut len = None;
    tree.take_out(key, &mut |last| len = Some(last.len()));
    len
}

/// What the table holds in all, and its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    /// The term of the last stamp.
    term: Term,
    /// The last stamp.
    stamp: Wall,
    /// The table's clock, in milliseconds.
    pub(super) clock: u64,
    /// Clients.
    pub(super) clients: u64,
    /// Numbers remembered as applied.
    pub(super) numbers: u64,
    /// Bytes of outcomes.
    pub(super) bytes: u64,
}

impl Totals {
    pub(super) fn load(tree: &Tree) -> Self {
        let [term, stamp, clock, clients, numbers, bytes] = get(tree, &TOTALS).unwrap_or_default();
        Self {
            term: Term(term),
            stamp: Wall(stamp),
            clock,
            clients,
            numbers,
            bytes,
        }
    }

    pub(super) fn store(&self, tree: &mut Tree) {
        let words = [
            self.term.0,
            self.stamp.0,
            self.clock,
            self.clients,
            self.numbers,
            self.bytes,
        ];
        put(tree, &TOTALS, value(words).as_flattened());
    }

    /// Moves the clock by what passed between two stamps of one leader, at most `step`.
    pub(super) fn tick(&mut self, term: Term, at: Wall, step: u64) {
        if term == self.term {
            let passed = at.0.saturating_sub(self.stamp.0).min(step);
            self.clock = self.clock.saturating_add(passed);
        }
        self.term = term;
        self.stamp = at;
    }
}

/// A client in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    /// The entry that used it last.
    pub(super) used: Index,
    /// What the table's clock showed then.
    pub(super) clock: u64,
    /// The lowest number that it may still repeat.
    pub(super) open: u64,
    /// Bytes of its remembered outcomes.
    pub(super) bytes: u64,
}

impl Record {
    pub(super) fn load(tree: &Tree, client: Index) -> Option<Self> {
        let [used, clock, open, bytes] = get(tree, &key(RECORDS, [client.0]))?;
        Some(Self {
            used: Index(used),
            clock,
            open,
            bytes,
        })
    }

    pub(super) fn store(&self, tree: &mut Tree, client: Index) {
        let words = [self.used.0, self.clock, self.open, self.bytes];
        put(tree, &key(RECORDS, [client.0]), value(words).as_flattened());
    }

    pub(super) fn remove(tree: &mut Tree, client: Index) {
        take_out(tree, &key(RECORDS, [client.0]));
    }
}

/// Notes the entry of a client's last use.
pub(super) fn set_last_use(tree: &mut Tree, used: Index, client: Index) {
    put(
        tree,
        &key(LAST_USES, [used.0]),
        value([client.0]).as_flattened(),
    );
}

/// Forgets the entry of a client's last use.
pub(super) fn remove_last_use(tree: &mut Tree, used: Index) {
    take_out(tree, &key(LAST_USES, [used.0]));
}

/// Returns the client whose last use is the longest ago.
pub(super) fn least_lately_used(tree: &Tree) -> Option<Index> {
    let (_, client) = tree.first(&[0, LAST_USES])?;
    let [client] = words_of(client)?;
    Some(Index(client))
}

/// Returns where a number was applied, if it is remembered.
pub(super) fn number(tree: &Tree, name: ClientSequence) -> Option<Index> {
    let [index] = get(tree, &key(NUMBERS, [name.client.0, name.sequence]))?;
    Some(Index(index))
}

/// Notes where a number was applied.
pub(super) fn set_number(tree: &mut Tree, name: ClientSequence, index: Index) {
    let key = key(NUMBERS, [name.client.0, name.sequence]);
    put(tree, &key, value([index.0]).as_flattened());
}

/// Forgets that a number was applied.
pub(super) fn remove_number(tree: &mut Tree, client: Index, sequence: u64) {
    take_out(tree, &key(NUMBERS, [client.0, sequence]));
}

/// Returns a client's lowest applied numbers, at most `most`, and where each was applied; those
/// below `end` only, if given.
pub(super) fn numbers(
    tree: &Tree,
    client: Index,
    end: Option<u64>,
    most: u64,
) -> Vec<(u64, Index)> {
    let all = key(NUMBERS, [client.0]);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let end = end.map(|end| key(NUMBERS, [client.0, end]));
    tree.from_key(&all)
        .take_while(|(key, _)| match &end {
            Some(end) => *key < &end[..],
            None => key.starts_with(&all),
        })
        .take(most)
        .filter_map(|(key, index)| {
            let [_, sequence] = words(key.get(2..)?)?;
            let [index] = words_of(index)?;
            Some((sequence, Index(index)))
        })
        .collect()
}

/// A remembered outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The term of the entry.
    pub(super) term: Term,
    /// What the command answered.
    pub(super) outcome: Bytes,
}

/// Bytes of a remembered outcome's item before the outcome.
const BEFORE_OUTCOME: u64 = 24;

impl Answer {
    pub(super) fn store(tree: &mut Tree, cursor: Cursor, name: ClientSequence, outcome: &[u8]) {
        let before = value([name.client.0, name.sequence, cursor.term.0]);
        let item = [before.as_flattened(), outcome].concat();
        put(tree, &key(ANSWERS, [cursor.index.0]), &item);
        put(
            tree,
            &key(ANSWERS_OF, [name.client.0, cursor.index.0]),
            value([name.sequence]).as_flattened(),
        );
    }

    pub(super) fn load(tree: &Tree, index: Index) -> Option<Self> {
        let mut item = tree.get(&key(ANSWERS, [index.0]))?.to_bytes();
        let [_, _, term] = words(item.get(..BEFORE_OUTCOME as usize)?)?;
        item.advance(BEFORE_OUTCOME as usize);
        Some(Self {
            term: Term(term),
            outcome: item,
        })
    }

    /// Removes the outcome at `index`; returns its size, if it was there.
    pub(super) fn remove(tree: &mut Tree, client: Index, index: Index) -> Option<u64> {
        // In any case: whoever looks for the oldest must not find it again.
        take_out(tree, &key(ANSWERS_OF, [client.0, index.0]));
        let size = take_out(tree, &key(ANSWERS, [index.0]))?;
        Some(size.saturating_sub(BEFORE_OUTCOME))
    }
}

/// Forgets every client and all that was applied: a planted bug.
pub(crate) fn drop_all(tree: &mut Tree) {
    let table = tree.prefix_ranks(&TOTALS).start..tree.prefix_ranks(&[0, LAST_USES]).end;
    let keys: Vec<Vec<u8>> = tree.range(table).map(|(key, _)| key.to_vec()).collect();
    for key in keys {
        tree.remove(&key);
    }
}

/// Returns where the oldest remembered outcome is, and whose it is.
pub(super) fn oldest(tree: &Tree) -> Option<(Index, Index)> {
    let (key, item) = tree.first(&[0, ANSWERS])?;
    let [index] = words(key.get(2..)?)?;
    let [client] = words(item.slices().next()?.get(..8)?)?;
    Some((Index(index), Index(client)))
}

/// Returns where the oldest remembered outcome of a client is.
pub(super) fn oldest_of(tree: &Tree, client: Index) -> Option<Index> {
    let (key, _) = tree.first(&key(ANSWERS_OF, [client.0]))?;
    let [_, index] = words(key.get(2..)?)?;
    Some(Index(index))
}

//! Leaves: items in key order, packed in their canonical encoding.

use super::{
    codec::Reader,
    digest::{HASH_LEN, Hash},
    edit::Last,
    packed::Packed,
    value::{Draft, Pieces, ValueRef, nth_hash, piece_count},
};
use crate::limits;

#[derive(Clone, Default, Debug)]
pub(super) struct Leaf {
    items: Packed,
    /// The large values, in the order of their items.
    large: Vec<Pieces>,
    /// Bytes of all keys and values, large ones included.
    bytes: u64,
}

/// One item as its encoding says it.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    /// The length of the value.
    pub(super) len: u64,
    pub(super) large: bool,
    /// The value, or the hashes of its pieces.
    pub(super) body: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads one item from the front of `reader`, refusing whatever we would not have written.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let key_len = reader.varint()?;
        let tagged = reader.varint()?;
        let (len, large) = (tagged >> 1, tagged & 1 == 1);
        let fits = key_len <= limits::KEY as u64
            && len <= limits::VALUE
            && large == (len > limits::INLINE_VALUE);
        if !fits {
            return None;
        }
        let key = reader.take(key_len)?;
        let body = if large {
            reader.take(piece_count(len) * HASH_LEN as u64)?
        } else {
            reader.take(len)?
        };
        Some(Self {
            key,
            len,
            large,
            body,
        })
    }

    #[inline]
    fn of(encoded: &'a [u8]) -> Self {
        Self::read(&mut Reader::new(encoded)).expect("a leaf holds only items that it encoded")
    }

    /// Reads only the key: what a search looks at.
    #[inline]
    fn key_of(encoded: &'a [u8]) -> &'a [u8] {
        let mut reader = Reader::new(encoded);
        let key = reader.varint().and_then(|len| {
            reader.varint()?;
            reader.take(len)
        });
        key.expect("a leaf holds only items that it encoded")
    }

    pub(super) fn bytes(&self) -> u64 {
        self.key.len() as u64 + self.len
    }

    /// The hash of piece `number` of the value, if it is large and has so many.
    pub(super) fn piece_hash(&self, number: u64) -> Option<Hash> {
        self.large.then(|| nth_hash(self.body, number))?
    }
}

impl Leaf {
    /// Makes a leaf of items whose large values, if any, are still to come.
    ///
    /// Refuses bytes that are not the encoding of a leaf: keys out of order, forms that are not
    /// the shortest, anything left over. Costs one pass.
    pub(super) fn decode(encoded: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(encoded);
        let mut ends = Vec::new();
        let mut bytes = 0_u64;
        let mut last: Option<&[u8]> = None;
        while !reader.is_empty() {
            let entry = Entry::read(&mut reader)?;
            if last.is_some_and(|last| last >= entry.key) {
                return None;
            }
            last = Some(entry.key);
            bytes = bytes.checked_add(entry.bytes())?;
            ends.push(encoded.len() - reader.remaining());
        }
        ends.shrink_to_fit();
        Some(Self {
            items: Packed::from_parts(encoded.to_vec(), ends),
            large: Vec::new(),
            bytes,
        })
    }

    /// Puts the large values in place, in the order of their items.
    pub(super) fn set_large(&mut self, large: Vec<Pieces>) {
        self.large = large;
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The canonical encoding of all items.
    pub(super) fn encoded(&self) -> &[u8] {
        self.items.data()
    }

    pub(super) fn overhead(&self) -> usize {
        self.items.overhead() + self.large.capacity() * size_of::<Pieces>()
    }

    pub(super) fn entry(&self, at: usize) -> Entry<'_> {
        Entry::of(self.items.get(at))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.items.iter().map(Entry::of)
    }

    pub(super) fn key(&self, at: usize) -> &[u8] {
        Entry::key_of(self.items.get(at))
    }

    /// Where `key` is, or where it belongs.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.items.search(|item| Entry::key_of(item).cmp(key))
    }

    /// How many large values lie before position `at`.
    pub(super) fn large_before(&self, at: usize) -> usize {
        if self.large.is_empty() {
            0
        } else {
            self.items
                .iter()
                .take(at)
                .filter(|item| Entry::of(item).large)
                .count()
        }
    }

    pub(super) fn value(&self, at: usize) -> ValueRef<'_> {
        self.value_of(self.entry(at), self.large_before(at))
    }

    /// The value of `entry`, before which lie `before` large ones.
    pub(super) fn value_of<'a>(&'a self, entry: Entry<'a>, before: usize) -> ValueRef<'a> {
        if entry.large {
            ValueRef::large(entry.len, &self.large[before])
        } else {
            ValueRef::inline(entry.body)
        }
    }

    pub(super) fn insert(&mut self, at: usize, draft: Draft<'_>) {
        let before = self.large_before(at);
        self.bytes += draft.bytes();
        self.items.insert(at, &draft.parts());
        if let Some(pieces) = draft.into_pieces() {
            self.large.insert(before, pieces);
        }
    }

    /// Replaces the item at `at`; shows its value to `last` before.
    pub(super) fn replace(&mut self, at: usize, draft: Draft<'_>, last: Last<'_>) {
        let before = self.large_before(at);
        let old = self.entry(at);
        let (was_large, bytes) = (old.large, old.bytes());
        last(self.value_of(old, before));
        if was_large {
            self.large.remove(before);
        }
        self.bytes = self.bytes - bytes + draft.bytes();
        self.items.replace(at, &draft.parts());
        if let Some(pieces) = draft.into_pieces() {
            self.large.insert(before, pieces);
        }
    }

    /// Removes the item at `at`; shows its value to `last` before.
    pub(super) fn remove(&mut self, at: usize, last: Last<'_>) {
        let entry = self.entry(at);
        let (large, bytes) = (entry.large, entry.bytes());
        last(self.value_of(entry, self.large_before(at)));
        if large {
            let before = self.large_before(at);
            self.large.remove(before);
        }
        self.bytes -= bytes;
        self.items.remove(at);
    }

    /// Cuts off the items from position `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let before = self.large_before(at);
        let large = self.large.split_off(before);
        let items = self.items.split_off(at);
        let bytes = items.iter().map(|item| Entry::of(item).bytes()).sum();
        self.bytes -= bytes;
        Self {
            items,
            large,
            bytes,
        }
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.items.append(&other.items);
        self.large.append(&mut other.large);
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &[u8], tagged: u8, body: &[u8]) -> Vec<u8> {
        [&[key.len() as u8, tagged][..], key, body].concat()
    }

    #[test]
    fn only_what_a_leaf_would_write_is_read() {
        let (a, b) = (item(b"a", 2, b"1"), item(b"b", 4, b"22"));
        let good = [&a[..], &b].concat();
        let leaf = Leaf::decode(&good).unwrap();
        assert_eq!((leaf.len(), leaf.bytes()), (2, 5));
        assert_eq!(leaf.encoded(), good);
        assert_eq!(Leaf::decode(&[]).unwrap().len(), 0);

        let long = vec![0; limits::INLINE_VALUE as usize + 1];
        let long_tag = [0x82, 0x80, 0x04];
        let key_len = [0x81, 0x40];
        for (bad, why) in [
            ([&b[..], &a].concat(), "keys out of order"),
            ([&a[..], &a].concat(), "a key twice"),
            (good[..good.len() - 1].to_vec(), "cut short"),
            ([&good[..], &[0]].concat(), "something left over"),
            (item(b"a", 3, &[0; HASH_LEN]), "a small value in pieces"),
            (
                [&[1][..], &long_tag, b"a", &long].concat(),
                "a large one inside",
            ),
            ([&[1, 0x82, 0][..], b"a", b"1"].concat(), "a longer form"),
            (
                [&key_len[..], &[0], &long[..limits::KEY + 1]].concat(),
                "a long key",
            ),
        ] {
            assert!(Leaf::decode(&bad).is_none(), "{why}");
        }
        // The same large value as it should be.
        let tag = [0x83, 0x80, 0x04];
        let large = [&[1][..], &tag, b"a", &[0; HASH_LEN]].concat();
        assert_eq!(
            Leaf::decode(&large).unwrap().entry(0).len,
            long.len() as u64
        );
    }
}

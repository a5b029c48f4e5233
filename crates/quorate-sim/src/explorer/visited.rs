//! The states that were seen, by their hashes.
//!
//! Sixteen bytes a state and a quarter more: a tree or a table of the standard library would take
//! twice that, and the number of states that fit is what an exploration is worth.

/// A set of hashes, with open addressing.
#[derive(Debug)]
pub(super) struct Visited {
    /// Zero where there is nothing.
    table: Vec<u128>,
    length: usize,
}

impl Visited {
    pub(super) fn new() -> Self {
        Self {
            table: vec![0; 1 << 10],
            length: 0,
        }
    }

    /// Adds a hash; tells whether it is new.
    pub(super) fn insert(&mut self, hash: u128) -> bool {
        let hash = hash.max(1);
        if self.length * 5 >= self.table.len() * 4 {
            let bigger = vec![0; self.table.len() * 2];
            for old in std::mem::replace(&mut self.table, bigger) {
                if old != 0 {
                    let place = self.place(old);
                    self.table[place] = old;
                }
            }
        }
        let place = self.place(hash);
        let new = self.table[place] == 0;
        self.table[place] = hash;
        self.length += usize::from(new);
        new
    }

    /// Returns where a hash is, or would be.
    fn place(&self, hash: u128) -> usize {
        let mask = self.table.len() - 1;
        let mut place = hash as usize & mask;
        while self.table[place] != 0 && self.table[place] != hash {
            place = (place + 1) & mask;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_in_it_is_told_from_what_is_new_across_its_growth() {
        let (mut visited, mut model) = (Visited::new(), BTreeSet::new());
        for round in 0..20_000_u128 {
            // Many share their lowest bits, and every third comes again.
            let hash = ((round / 3 * 0x1_0001) % 9_000) << 7;
            assert_eq!(visited.insert(hash), model.insert(hash.max(1)));
        }
    }
}

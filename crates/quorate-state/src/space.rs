//! Who owns which keys of a group's tree.
//!
//! One tree holds everything a snapshot must carry, so that one digest covers it: what the runtime
//! keeps about the group itself, and what the machine keeps. The first byte of a key says whose it
//! is; a machine sees only its own keys, without that byte, so that no command can touch the rest.
//!
//! ```text
//! 0 1            the configuration at the last applied configuration entry
//! 0 2            the machine's version; absent means 1, which every history begins at
//! 0 3 to 0 8     the client table (see [`crate::clients`])
//! 0 9            what has become of the history; absent while no command was applied
//! 1 key          the machine's items
//! ```

use quorate_core::{Configuration, Fate, GenesisId};

use crate::tree::Tree;

/// The first byte of every key of the machine.
pub(crate) const MACHINE: u8 = 1;

const CONFIGURATION: [u8; 2] = [0, 1];
const VERSION: [u8; 2] = [0, 2];
const FATE: [u8; 2] = [0, 9];

/// The format of the entries written here.
const FORMAT: u8 = 1;

/// Keeps the configuration, as part of every snapshot from here on.
pub(crate) fn set_configuration(tree: &mut Tree, configuration: &Configuration) {
    let encoded = postcard::to_extend(configuration, vec![FORMAT])
        .expect("a configuration is lists of numbers and ids");
    tree.insert(&CONFIGURATION, &encoded)
        .expect("the limits of members keep a configuration far below a largest value");
}

/// Returns the configuration that the tree carries, if it carries one that can be.
pub fn configuration(tree: &Tree) -> Option<Configuration> {
    let encoded = tree.get(&CONFIGURATION)?.to_bytes();
    let (&FORMAT, rest) = encoded.split_first()? else {
        return None;
    };
    let configuration: Configuration = postcard::from_bytes(rest).ok()?;
    configuration.is_valid().then_some(configuration)
}

/// Returns the version of the machine that the group has agreed on.
pub fn machine_version(tree: &Tree) -> u32 {
    tree.get(&VERSION)
        .and_then(|value| value.slices().next()?.try_into().ok())
        .map_or(1, u32::from_be_bytes)
}

/// Keeps the version of the machine that is in effect.
pub(crate) fn set_machine_version(tree: &mut Tree, version: u32) {
    tree.insert(&VERSION, &version.to_be_bytes())
        .expect("four bytes are far below a largest value");
}

/// Keeps what has become of the history.
pub(crate) fn set_fate(tree: &mut Tree, fate: Fate) {
    let into = fate.dissolved_into();
    let encoded = into.as_ref().map_or(&[][..], |into| &into.0[..]);
    tree.insert(&FATE, encoded)
        .expect("an id is far below a largest value");
}

/// Returns what has become of the history, if the tree says what can be.
pub(crate) fn fate(tree: &Tree) -> Option<Fate> {
    let Some(value) = tree.get(&FATE) else {
        return Some(Fate::Empty);
    };
    let encoded = value.to_bytes();
    if encoded.is_empty() {
        return Some(Fate::Used);
    }
    let into = GenesisId(encoded.as_ref().try_into().ok()?);
    Some(Fate::Dissolved { into })
}

#[cfg(test)]
mod tests {
    use quorate_core::{Incarnation, Member, PeerId};

    use super::*;
    use crate::tree::Salt;

    #[test]
    fn what_has_become_of_a_history_comes_back() {
        let mut tree = Tree::new(Salt([1; 32]));
        assert_eq!(fate(&tree), Some(Fate::Empty));
        let into = GenesisId([7; 16]);
        for one in [Fate::Used, Fate::Dissolved { into }] {
            set_fate(&mut tree, one);
            assert_eq!(fate(&tree), Some(one));
        }
        tree.insert(&FATE, &[1; 15]).unwrap();
        assert_eq!(fate(&tree), None);
    }

    #[test]
    fn a_tree_without_a_version_is_at_the_first() {
        let mut tree = Tree::new(Salt([1; 32]));
        assert_eq!(machine_version(&tree), 1);
        set_machine_version(&mut tree, 7);
        assert_eq!(machine_version(&tree), 7);
    }

    #[test]
    fn a_configuration_comes_back_and_damage_does_not() {
        let member = |id: u8| Member {
            peer: PeerId([id; 32]),
            incarnation: Incarnation(id.into()),
        };
        let mut tree = Tree::new(Salt([1; 32]));
        assert_eq!(configuration(&tree), None);
        let mut wanted = Configuration::of_voters(vec![member(3), member(1), member(2)]);
        wanted.learners = vec![member(4)];
        set_configuration(&mut tree, &wanted);
        assert_eq!(configuration(&tree), Some(wanted));

        let encoded = tree.get(&CONFIGURATION).unwrap().to_bytes();
        for cut in 0..encoded.len() {
            tree.insert(&CONFIGURATION, &encoded[..cut]).unwrap();
            assert_eq!(configuration(&tree), None);
        }
        set_configuration(&mut tree, &Configuration::default());
        assert_eq!(configuration(&tree), None, "no voters");
    }
}

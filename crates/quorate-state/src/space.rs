//! Who owns which keys of a group's tree.
//!
//! One tree holds everything a snapshot must carry, so that one digest covers it: what the runtime
//! keeps about the group itself, and what the machine keeps. The first byte of a key says whose it
//! is; a machine sees only its own keys, without that byte, so that no command can touch the rest.
//!
//! ```text
//! 0 1            the configuration at the last applied configuration entry
//! 0 2            the machine's version; absent means 1
//! 0 3 to 0 8     the client table (see [`crate::clients`])
//! 1 key          the machine's items
//! ```

use quorate_core::Configuration;

use crate::tree::Tree;

/// The first byte of every key of the machine.
pub(crate) const MACHINE: u8 = 1;

const CONFIGURATION: [u8; 2] = [0, 1];
const VERSION: [u8; 2] = [0, 2];

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
        .and_then(|value| value.to_bytes().as_ref().try_into().ok())
        .map_or(1, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use quorate_core::{Incarnation, Member, PeerId};

    use super::*;
    use crate::tree::Salt;

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

//! Whatever happens to a tree, it is the tree of what it holds.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::tree::{
    Graveyard, InsertError, ValueRef,
    diff::Difference,
    node::{Child, Kind},
};

#[derive(Clone, Debug)]
enum Op {
    Insert(Index, Vec<u8>),
    Remove(Index),
    RemoveAt(Index),
    Clone,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<Index>(), prop::collection::vec(any::<u8>(), 0..6))
            .prop_map(|(key, value)| Op::Insert(key, value)),
        2 => any::<Index>().prop_map(Op::Remove),
        3 => any::<Index>().prop_map(Op::RemoveAt),
        1 => Just(Op::Clone),
    ]
}

/// A model of up to all of [`keys`].
pub(super) fn model() -> impl Strategy<Value = Model> {
    let items = (any::<Index>(), prop::collection::vec(any::<u8>(), 0..40));
    prop::collection::vec(items, 0..250).prop_map(|items| {
        items
            .into_iter()
            .map(|(key, value)| (key.get(keys()).clone(), value))
            .collect()
    })
}

proptest! {
    #[test]
    fn any_order_of_changes_gives_the_tree_of_the_content(
        ops in prop::collection::vec(op(), 0..400)
    ) {
        let mut tree = Tree::new(SALT);
        let mut model = Model::new();
        let mut kept: Vec<(Tree, Model)> = Vec::new();
        for op in ops {
            match op {
                Op::Insert(key, value) => {
                    let key = key.get(keys());
                    let old = tree.insert(key, &value).unwrap();
                    let expected = model.insert(key.clone(), value);
                    prop_assert_eq!(old.map(|v| v.into_bytes().to_vec()), expected);
                }
                Op::Remove(key) => {
                    let key = key.get(keys());
                    let old = tree.remove(key).map(|v| v.into_bytes().to_vec());
                    prop_assert_eq!(old, model.remove(key));
                }
                Op::RemoveAt(at) if !model.is_empty() => {
                    let key = model.keys().nth(at.index(model.len())).unwrap().clone();
                    prop_assert!(tree.remove(&key).is_some());
                    model.remove(&key);
                }
                Op::RemoveAt(_) => {}
                Op::Clone => {
                    // Digests of some in between: remembered hashes must not outlive a change.
                    if kept.len().is_multiple_of(2) {
                        tree.digest();
                    }
                    kept.push((tree.clone(), model.clone()));
                }
            }
        }
        kept.push((tree, model));
        for (tree, model) in kept {
            prop_assert_eq!(spec::shape(&tree), spec::shape_of(&model));
            prop_assert_eq!(tree.digest().0, spec::digest_of(&model));
            prop_assert_eq!(tree.digest(), build(&model).digest());
            prop_assert_eq!(content(&tree), model);
        }
    }

    #[test]
    fn a_bulk_build_has_the_shape_of_the_definition(model in model()) {
        let tree = build(&model);
        prop_assert_eq!(spec::shape(&tree), spec::shape_of(&model));
        prop_assert_eq!(tree.digest().0, spec::digest_of(&model));
        prop_assert_eq!(tree.len(), model.len() as u64);
        let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
        prop_assert_eq!(tree.bytes(), bytes as u64);
    }

    #[test]
    fn ranks_ranges_and_lookups_are_the_models(
        model in model(),
        start in 0_u64..300,
        end in 0_u64..300,
        key in prop::collection::vec(any::<u8>(), 0..5),
    ) {
        let tree = build(&model);
        let items: Vec<_> = model.clone().into_iter().collect();
        let range = tree.range(start..end);
        let (low, high) = (start.min(tree.len()) as usize, end.min(tree.len()) as usize);
        let expected = if low < high { &items[low..high] } else { &[] };
        prop_assert_eq!(range.len(), expected.len());
        let found: Vec<_> = range
            .map(|(key, value)| (key.to_vec(), value.to_bytes().to_vec()))
            .collect();
        prop_assert_eq!(&found[..], expected);
        for key in model.keys().chain([&key]) {
            let value = tree.get(key).map(|v| v.to_bytes().to_vec());
            prop_assert_eq!(value.as_ref(), model.get(key));
            prop_assert_eq!(tree.rank(key), model.range(..key.clone()).count() as u64);
        }
        let from: Vec<_> = tree.from_key(&key).map(|(key, _)| key.to_vec()).collect();
        let expected: Vec<_> = model.range(key.clone()..).map(|(key, _)| key.clone()).collect();
        prop_assert_eq!(from, expected);
        let prefix = &key[..key.len().min(1)];
        let found: Vec<_> = tree.prefix(prefix).map(|(key, _)| key.to_vec()).collect();
        let expected: Vec<_> = model
            .keys()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_digest_in_slices_is_the_digest(model in model(), budget in 1_usize..5_000) {
        let expected = build(&model).digest();
        let mut digesting = build(&model).digesting();
        let mut slices = 0;
        let digest = loop {
            slices += 1;
            prop_assert!(slices < 10_000);
            if let Some(digest) = digesting.advance(budget) {
                break digest;
            }
        };
        prop_assert_eq!(digest, expected);
        prop_assert!(model.len() < 100 || budget > 200 || slices > 1);
    }

    #[test]
    fn one_change_touches_one_way_from_the_root(
        model in model(), key in any::<Index>(), value in any::<u8>()
    ) {
        let before = build(&model);
        let mut after = before.clone();
        after.insert(key.get(keys()).as_slice(), &[value]).unwrap();
        // At most the way to the leaf, and on a split as many nodes again.
        let height = before.root.node.height().max(after.root.node.height());
        let fresh = nodes(&after).difference(&nodes(&before)).count();
        prop_assert!(fresh <= 2 * (usize::from(height) + 1), "{fresh} at height {height}");
        // Nothing to remove touches nothing.
        let mut same = before.clone();
        prop_assert!(same.remove(b"absent").is_none());
        prop_assert_eq!(nodes(&same), nodes(&before));
    }
}

proptest! {
    #[test]
    fn differences_are_the_models(
        model in model(), changes in prop::collection::vec((any::<Index>(), 0_u8..3), 0..30),
        rebuilt in any::<bool>(), from in any::<Index>(),
    ) {
        let old = build(&model);
        let (mut new, mut after) = (old.clone(), model.clone());
        for (key, value) in changes {
            let key = key.get(keys());
            if value == 0 {
                new.remove(key);
                after.remove(key);
            } else {
                new.insert(key, &[value]).unwrap();
                after.insert(key.clone(), vec![value]);
            }
        }
        if rebuilt {
            new = build(&after);
        }
        let bytes = |value: Option<ValueRef<'_>>| value.map(|value| value.to_bytes().to_vec());
        let owned = |d: Difference<'_>| (d.key.to_vec(), bytes(d.old), bytes(d.new));
        let found: Vec<_> = old.differences(&new).map(owned).collect();
        let all: std::collections::BTreeSet<_> = model.keys().chain(after.keys()).collect();
        let expected: Vec<_> = all
            .into_iter()
            .filter(|key| model.get(*key) != after.get(*key))
            .map(|key| (key.clone(), model.get(key).cloned(), after.get(key).cloned()))
            .collect();
        prop_assert_eq!(&found, &expected);
        let from = from.get(keys());
        let rest: Vec<_> = old.differences_from(&new, from).map(owned).collect();
        let expected: Vec<_> = expected.into_iter().filter(|(key, ..)| key >= from).collect();
        prop_assert_eq!(rest, expected);
    }
}

fn nodes(tree: &Tree) -> std::collections::BTreeSet<usize> {
    fn add(child: &Child, nodes: &mut std::collections::BTreeSet<usize>) {
        nodes.insert(std::sync::Arc::as_ptr(&child.node) as usize);
        if let Kind::Inner(inner) = &child.node.kind {
            inner.children.iter().for_each(|child| add(child, nodes));
        }
    }
    let mut nodes = std::collections::BTreeSet::new();
    add(&tree.root, &mut nodes);
    nodes
}

#[test]
fn the_test_keys_make_tall_trees() {
    let model: Model = keys().iter().map(|key| (key.clone(), vec![])).collect();
    assert!(build(&model).root.node.height() >= 3);
}

#[test]
fn prefixes_of_the_greatest_bytes_end_where_they_should() {
    let keys: [&[u8]; 6] = [
        &[1],
        &[1, 255],
        &[1, 255, 255],
        &[1, 255, 255, 0],
        &[2],
        &[255, 255],
    ];
    let tree = build(&keys.iter().map(|key| (key.to_vec(), vec![])).collect());
    for prefix in [
        &[1, 255][..],
        &[1, 255, 255],
        &[255],
        &[255, 255],
        &[255, 255, 255],
        &[],
    ] {
        let found: Vec<&[u8]> = tree.prefix(prefix).map(|(key, _)| key).collect();
        let expected: Vec<&[u8]> = keys
            .into_iter()
            .filter(|key| key.starts_with(prefix))
            .collect();
        assert_eq!(found, expected, "{prefix:?}");
    }
}

#[test]
fn large_values_come_back_and_leave() {
    let mut tree = Tree::new(SALT);
    let sizes = [
        0,
        32 << 10,
        (32 << 10) + 1,
        256 << 10,
        (256 << 10) + 1,
        1 << 20,
    ];
    let value = |size: usize, seed: u8| -> Vec<u8> {
        (0..size).map(|at| (at % 251) as u8 ^ seed).collect()
    };
    let mut model = Model::new();
    for round in 0..3_u8 {
        // In an order that puts new large values before, between and behind those that are there.
        let mut keys = inner_keys(30);
        keys.sort_by_key(|key| key[3] % 7);
        for (at, key) in keys.into_iter().enumerate() {
            let value = value(sizes[(at + usize::from(round)) % sizes.len()], round);
            let old = tree.insert(&key, &value).unwrap();
            let old = old.map(|value| value.into_bytes().to_vec());
            assert_eq!(old, model.insert(key, value));
        }
        assert_eq!(content(&tree), model);
        assert_eq!(tree.digest(), build(&model).digest());
    }
    for (key, value) in model.clone() {
        assert!(tree.get(&key).unwrap() == value[..]);
        assert_eq!(tree.remove(&key).unwrap().into_bytes(), value);
        model.remove(&key);
        assert_eq!(tree.digest(), build(&model).digest());
    }
    assert_eq!(tree.bytes(), 0);
}

#[test]
fn an_oversize_leaf_is_hashed_in_slices() {
    let mut model = Model::new();
    for key in inner_keys(40) {
        model.insert(key, vec![3; 30 << 10]);
    }
    let expected = build(&model).digest();
    let mut digesting = build(&model).digesting();
    let mut slices = 1;
    while digesting.advance(1).is_none() {
        slices += 1;
    }
    assert_eq!(digesting.advance(1), Some(expected));
    // 1,200 KiB in pieces of 256 KiB.
    assert_eq!(slices, 5);
}

#[test]
fn keys_and_values_beyond_the_limits_are_refused() {
    let mut tree = Tree::new(SALT);
    tree.insert(b"stays", b"here").unwrap();
    let before = tree.digest();
    let long = vec![1; crate::limits::KEY + 1];
    assert_eq!(
        tree.insert(&long, b"").unwrap_err(),
        InsertError::KeyTooLong { len: long.len() }
    );
    tree.insert(&long[1..], b"").unwrap();
    tree.remove(&long[1..]).unwrap();
    let long = vec![1; crate::limits::VALUE as usize + 1];
    assert_eq!(
        tree.insert(b"key", &long).unwrap_err(),
        InsertError::ValueTooLong { len: long.len() }
    );
    assert_eq!(tree.digest(), before);
}

#[test]
fn another_salt_makes_another_tree() {
    let (mut one, mut two) = (Tree::new(Salt([1; 32])), Tree::new(Salt([2; 32])));
    assert_ne!(one.digest(), two.digest());
    for tree in [&mut one, &mut two] {
        tree.insert(b"key", b"value").unwrap();
    }
    assert_ne!(one.digest(), two.digest());
}

#[test]
fn a_buried_tree_is_freed_in_slices_and_a_living_one_stays() {
    let model: Model = keys()
        .iter()
        .map(|key| (key.clone(), key.clone()))
        .collect();
    let living = build(&model);
    let mut changed = living.clone();
    for key in keys().iter().step_by(3) {
        changed.insert(key, b"other").unwrap();
    }
    let leaf = match &build(&model).root.node.kind {
        Kind::Inner(inner) => std::sync::Arc::downgrade(&inner.children[0].node),
        Kind::Leaf(_) => unreachable!("tall enough"),
    };
    assert!(leaf.upgrade().is_none(), "dropped with its tree");

    let dying = nodes(&changed).difference(&nodes(&living)).count();
    let watched = match &changed.root.node.kind {
        Kind::Inner(inner) => std::sync::Arc::downgrade(&inner.children[0].node),
        Kind::Leaf(_) => unreachable!("tall enough"),
    };
    let mut graveyard = Graveyard::default();
    graveyard.bury(changed);
    let mut slices = 1;
    while graveyard.sweep(1) {
        slices += 1;
    }
    assert!(slices >= dying, "{slices} slices for {dying} nodes");
    assert!(watched.upgrade().is_none());
    assert!(graveyard.is_empty() && !graveyard.sweep(10));
    assert_eq!(content(&living), model);
}

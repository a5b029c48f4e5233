//! Digests that must never change: peers of different versions compare them.

use super::*;

#[track_caller]
fn golden(tree: &Tree, expected: &str) {
    assert_eq!(tree.digest().to_string(), expected);
    if tree.salt() == SALT {
        assert_eq!(tree.digest().0, spec::digest_of(&content(tree)));
    }
}

fn tree(items: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Tree {
    let mut tree = Tree::new(SALT);
    for (key, value) in items {
        tree.insert(&key, &value).unwrap();
    }
    tree
}

#[test]
fn of_the_empty_tree() {
    golden(
        &tree([]),
        "5cf6333191ec2958b8a833f38daa8ea3a72fe6fb108327fdd321e1b9fcadd381",
    );
    golden(
        &Tree::new(Salt([0; 32])),
        "9c41aa220d366494cb18f7bad6fd3bc3fffc7fc2d14ac9cc76fcc9af29ca2b01",
    );
}

#[test]
fn of_one_item() {
    golden(
        &tree([(b"key".to_vec(), b"value".to_vec())]),
        "d46aafdf60f068551b569cef60576380f9c214020b4436547f44d031ea57b176",
    );
    golden(
        &tree([(vec![], vec![])]),
        "ea3f7a51a936b983233847c4e59310eb7bf2b3e38c783f7dacdf11c57790a67e",
    );
}

#[test]
fn of_ten_thousand_items() {
    let items = (0..10_000_u32).map(|i| {
        let value = format!("value {i}");
        (i.to_be_bytes().to_vec(), value.into_bytes())
    });
    golden(
        &tree(items),
        "11e7ac59291f591489d435c5ed1a46ec5fe17fa75df7bc49f651b9b39a4dea6d",
    );
}

#[test]
fn of_a_large_value() {
    let value: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
    golden(
        &tree([(b"large".to_vec(), value)]),
        "f87af8328675486a26653c8ebe707d00d624ea03bfe165c305b1c7d923a57db1",
    );
}

#[test]
fn of_an_oversize_leaf() {
    let items = inner_keys(20).into_iter().map(|key| (key, vec![5; 30_000]));
    golden(
        &tree(items),
        "f46ce2c9d73e9a0e12e2271637cde332c650031cf6cfeac1e92769d14f82babb",
    );
}

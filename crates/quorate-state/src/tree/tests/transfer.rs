//! Moving a tree in parts: any parts, any order, nothing that does not belong.

use bytes::Bytes;
use proptest::{prelude::*, sample::Index};
use quorate_core::Part;

use super::*;
use crate::{
    limits,
    tree::{
        Assembly,
        assembly::{Rejected, Unfinished},
        build::Spine,
        chunk::{ReadError, Want},
        codec::put_varint,
        leaf::Leaf,
        node::{Child, Kind},
        value::Draft,
    },
};

/// Items whose values are of all kinds: small, large, and such that leaves become oversize.
fn mixed() -> Model {
    let mut model: Model = keys()
        .iter()
        .enumerate()
        .map(|(at, key)| (key.clone(), vec![at as u8; at % 50]))
        .collect();
    let values: Vec<Vec<u8>> = keys().iter().step_by(40).cloned().collect();
    for (at, key) in values.into_iter().enumerate() {
        model.insert(key, pattern(40_000 + at * 150_000));
    }
    // Behind everything else, one leaf of some 900 KiB with a large value in it.
    for (at, key) in inner_keys(40).into_iter().enumerate() {
        let key = [&[0xff, 0xff, 0xff, 0xff][..], &key].concat();
        if SALT.level(&key) == 0 {
            model.insert(key, vec![at as u8; if at == 7 { 300_000 } else { 25_000 }]);
        }
    }
    model
}

/// Bytes that differ from piece to piece.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn want(start: u64, end: u64) -> Want {
    Want {
        start,
        end,
        offset: 0,
        max_items: u64::MAX,
        max_bytes: u64::MAX,
    }
}

fn read(tree: &Tree, part: &Part, max_items: u64, max_bytes: u64) -> Result<Bytes, ReadError> {
    match *part {
        Part::Items { start, end, offset } => tree
            .read_range(&Want {
                start,
                end,
                offset,
                max_items,
                max_bytes,
            })
            .map(|chunk| chunk.encoded),
        Part::Piece { rank, piece } => tree.read_piece(rank, piece),
    }
}

/// Asks for whatever is missing until nothing is; returns how many chunks that took.
fn fetch(assembly: &mut Assembly, tree: &Tree, mut max: impl FnMut() -> (u64, u64)) -> usize {
    let mut chunks = 0;
    while let Some(part) = assembly.missing(1).first() {
        let (items, bytes) = max();
        let chunk = read(tree, part, items, bytes).unwrap();
        let accepted = assembly.offer(&chunk).unwrap();
        assert!(accepted.new, "what was missing is new");
        chunks += 1;
        assert!(chunks < 10_000);
    }
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_parts_in_any_order_from_anybody_make_the_tree(
        cuts in prop::collection::vec((any::<Index>(), 1_u64..80, 1_u64..900_000), 0..60),
        removed in prop::collection::vec(any::<Index>(), 0..30),
        seed in any::<u64>(),
    ) {
        let mut model = mixed();
        for key in removed {
            model.remove(key.get(keys()));
        }
        // Two providers with the same content and different histories.
        let built = build(&model);
        let mut grown = Tree::new(SALT);
        for (key, value) in model.iter().rev() {
            grown.insert(key, value).unwrap();
        }
        let len = built.len();
        let mut assembly = Assembly::new(grown.digest(), len, SALT);
        for (at, (start, items, bytes)) in cuts.into_iter().enumerate() {
            let start = start.index(len as usize) as u64;
            let provider = if at % 2 == 0 { &built } else { &grown };
            let part = Part::Items { start, end: start + items, offset: 0 };
            let chunk = read(provider, &part, u64::MAX, bytes).unwrap();
            let first = assembly.offer(&chunk).unwrap();
            let kept = assembly.items();
            let again = assembly.offer(&chunk).unwrap();
            prop_assert!(!again.new && again.bytes == 0 && again.wanted.is_empty());
            prop_assert_eq!(assembly.items(), kept);
            prop_assert_eq!(again.ranks, first.ranks);
        }
        let mut state = seed;
        fetch(&mut assembly, &built, || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % 100, (state >> 40) % 600_000)
        });
        let large = model.values().filter(|value| value.len() > 32 << 10).map(Vec::len);
        let leaves: usize = spec::leaves(&built).map(|leaf| leaf.encoded().len()).sum();
        prop_assert_eq!(assembly.bytes(), (leaves + large.sum::<usize>()) as u64);
        let tree = assembly.finish().unwrap();
        prop_assert_eq!(tree.digest(), built.digest());
        prop_assert_eq!(spec::shape(&tree), spec::shape(&built));
        prop_assert_eq!(content(&tree), model);
    }

    #[test]
    fn a_received_tree_is_as_good_as_any(
        model in model::model(), changes in prop::collection::vec(any::<Index>(), 0..20)
    ) {
        let source = build(&model);
        let mut assembly = Assembly::new(source.digest(), source.len(), SALT);
        fetch(&mut assembly, &source, || (10, 1_000));
        let (mut tree, mut model) = (assembly.finish().unwrap(), model);
        for (at, key) in changes.into_iter().enumerate() {
            let key = key.get(keys());
            if at % 2 == 0 {
                tree.insert(key, b"new").unwrap();
                model.insert(key.clone(), b"new".to_vec());
            } else {
                prop_assert_eq!(tree.remove(key).is_some(), model.remove(key).is_some());
            }
        }
        prop_assert_eq!(tree.digest(), build(&model).digest());
    }

    #[test]
    fn a_chunk_covers_what_was_asked_within_its_bounds(
        model in model::model(),
        start in 0_u64..300, end in any::<u64>(), items in any::<u64>(), bytes in 0_u64..4_000,
        narrow in any::<bool>(),
    ) {
        let tree = build(&model);
        let (end, items) = if narrow { (end % 300, items % 50) } else { (end, items) };
        let want = Want { start, end, offset: 0, max_items: items, max_bytes: bytes };
        let chunk = match tree.read_range(&want) {
            Ok(chunk) => chunk,
            Err(ReadError::Reversed) => { prop_assert!(start >= end); return Ok(()); }
            Err(ReadError::OutOfRange) => { prop_assert!(start >= tree.len()); return Ok(()); }
            Err(other) => panic!("{other}"),
        };
        prop_assert!(start < end && start < tree.len());
        prop_assert!(chunk.ranks.contains(&start));
        let leaves = leaf_ranks(&tree);
        prop_assert!(leaves.contains(&chunk.ranks.start));
        prop_assert!(leaves.contains(&chunk.ranks.end));
        let asked = end.min(start.saturating_add(items.max(1))).min(tree.len());
        let leaf_of = |rank: u64| leaves.iter().rev().position(|r| *r <= rank);
        // Not beyond the leaf that holds the last item asked for ...
        prop_assert!(leaf_of(chunk.ranks.end - 1) >= leaf_of(asked - 1));
        // ... and short of it only if the next leaf does not fit the bytes.
        if chunk.ranks.end < asked {
            let at = leaves.binary_search(&chunk.ranks.end).unwrap();
            let more = encoded_len(&tree, chunk.ranks.start..leaves[at + 1]);
            prop_assert!(more + 32 * leaves.len() as u64 > bytes);
        }
        // Never over the bytes, unless it is one leaf.
        let one = leaves.binary_search(&chunk.ranks.start).unwrap() + 1;
        if chunk.ranks.end > leaves[one] {
            prop_assert!(encoded_len(&tree, chunk.ranks.clone()) <= bytes);
        }
        let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
        let accepted = assembly.offer(&chunk.encoded).unwrap();
        prop_assert_eq!(&accepted.ranks, &chunk.ranks);
        prop_assert_eq!(assembly.items().0, chunk.ranks.end - chunk.ranks.start);
    }

    #[test]
    fn a_changed_byte_is_refused(
        model in model::model(), start in any::<Index>(), at in any::<Index>(), flip in 1_u8..
    ) {
        prop_assume!(!model.is_empty());
        let tree = build(&model);
        let start = start.index(model.len()) as u64;
        let chunk = tree.read_range(&want(start, start + 30)).unwrap().encoded;
        let mut changed = chunk.to_vec();
        changed[at.index(chunk.len())] ^= flip;
        let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
        prop_assert!(assembly.offer(&changed).is_err());
        prop_assert_eq!((assembly.items().0, assembly.bytes()), (0, 0));
        let cut = at.index(chunk.len());
        prop_assert!(assembly.offer(&chunk[..cut]).is_err());
        prop_assert!(assembly.offer(&[&chunk[..], &[flip]].concat()).is_err());
        assembly.offer(&chunk).unwrap();
    }

    #[test]
    fn hostile_bytes_are_refused(
        mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..5], 0..300),
        kind in 0_u8..3, height in 0_u8..16,
    ) {
        let tree = build(&mixed_small());
        let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
        prop_assert!(assembly.offer(&bytes).is_err());
        bytes.splice(0..0, [1, kind, height]);
        prop_assert!(assembly.offer(&bytes).is_err());
        prop_assert_eq!(assembly.items().0, 0);
    }

    #[test]
    fn a_chunk_of_another_tree_is_refused(
        model in model::model(), key in any::<Index>(), start in any::<Index>()
    ) {
        let tree = build(&model);
        let mut other = tree.clone();
        other.insert(key.get(keys()).as_slice(), b"another value").unwrap();
        let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
        let start = start.index(other.len() as usize) as u64;
        let chunk = other.read_range(&want(start, start + 10)).unwrap();
        prop_assert_eq!(assembly.offer(&chunk.encoded), Err(Rejected::Digest));
        // Nor with another salt or length.
        if !model.is_empty() {
            let chunk = tree.read_range(&want(0, 5)).unwrap();
            let mut salted = Assembly::new(tree.digest(), tree.len(), Salt([8; 32]));
            prop_assert_eq!(salted.offer(&chunk.encoded), Err(Rejected::Digest));
            let mut longer = Assembly::new(tree.digest(), tree.len() + 1, SALT);
            prop_assert_eq!(longer.offer(&chunk.encoded), Err(Rejected::Digest));
        }
    }
}

fn mixed_small() -> Model {
    keys()
        .iter()
        .map(|key| (key.clone(), key.clone()))
        .collect()
}

/// The encoded length of items whose keys and values are short.
fn encoded_len(tree: &Tree, ranks: std::ops::Range<u64>) -> u64 {
    tree.range(ranks)
        .map(|(key, value)| key.len() as u64 + value.len() + 2)
        .sum()
}

/// The ranks at which leaves begin, and the length.
fn leaf_ranks(tree: &Tree) -> Vec<u64> {
    let mut ranks: Vec<u64> = tree
        .iter()
        .enumerate()
        .filter(|(at, (key, _))| *at == 0 || SALT.level(key) > 0)
        .map(|(at, _)| at as u64)
        .collect();
    ranks.push(tree.len());
    ranks
}

#[test]
fn an_oversize_leaf_comes_in_pieces_in_any_order() {
    let model = mixed();
    let tree = build(&model);
    let oversize = tree.len() - 1;
    let mut want = want(oversize, u64::MAX);
    want.max_bytes = 300_000;
    let mut chunks = Vec::new();
    loop {
        let chunk = tree.read_range(&want).unwrap();
        assert!(chunk.encoded.len() < 300_000);
        let next = chunk.next_offset;
        chunks.push(chunk);
        match next {
            Some(offset) => want.offset = offset,
            None => break,
        }
    }
    assert!(chunks.len() > 2);
    let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
    for chunk in chunks[1..].iter().rev() {
        let accepted = assembly.offer(&chunk.encoded).unwrap();
        assert_eq!(accepted.unfinished, Some((chunk.ranks.start, 0)));
        assert!(accepted.ranks.is_empty() && accepted.new);
        let rank = chunk.ranks.start;
        let first = Part::Items {
            start: rank,
            end: chunk.ranks.end,
            offset: 0,
        };
        assert!(assembly.missing(10).contains(&first));
    }
    let mut changed = chunks[0].encoded.to_vec();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(assembly.offer(&changed), Err(Rejected::Digest));
    let accepted = assembly.offer(&chunks[0].encoded).unwrap();
    assert_eq!(accepted.ranks, chunks[0].ranks);
    assert_eq!(accepted.unfinished, None);
    let [(rank, len)] = accepted.wanted[..] else {
        panic!("one large value in it: {:?}", accepted.wanted);
    };
    assert_eq!(len, 300_000);
    assert!(
        assembly
            .missing(10)
            .contains(&Part::Piece { rank, piece: 1 })
    );
    for (offset, expected) in [
        (1, ReadError::Offset),
        (limits::PIECE as u64 * 100, ReadError::Offset),
        (u64::MAX, ReadError::Offset),
    ] {
        want.offset = offset;
        assert_eq!(tree.read_range(&want), Err(expected));
    }
    want.start = 0;
    want.offset = limits::PIECE as u64;
    assert_eq!(tree.read_range(&want), Err(ReadError::Offset));
}

#[test]
fn pieces_are_verified_against_their_leaf() {
    let model = mixed();
    let tree = build(&model);
    let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
    let rank = tree
        .iter()
        .position(|(_, value)| value.len() > 500_000)
        .unwrap() as u64;
    let piece = tree.read_piece(rank, 1).unwrap();
    assert_eq!(assembly.offer(&piece), Err(Rejected::NotWanted));
    assembly
        .offer(&tree.read_range(&want(rank, rank + 1)).unwrap().encoded)
        .unwrap();
    for at in [3, piece.len() / 2, piece.len() - 1] {
        let mut changed = piece.to_vec();
        changed[at] ^= 1;
        assert!(assembly.offer(&changed).is_err());
    }
    assert_eq!(
        assembly.offer(&piece[..piece.len() - 1]),
        Err(Rejected::Digest)
    );
    assert!(assembly.offer(&piece).unwrap().new);
    assert!(!assembly.offer(&piece).unwrap().new);
    for (rank, number, error) in [
        (rank, 9, ReadError::Piece),
        (rank, u64::MAX, ReadError::Piece),
        (rank + 1, 0, ReadError::Piece),
        (tree.len(), 0, ReadError::OutOfRange),
        (u64::MAX, 0, ReadError::OutOfRange),
    ] {
        assert_eq!(tree.read_piece(rank, number), Err(error));
        assert!(assembly.offer_piece(rank, number, b"bytes").is_err());
    }
}

#[test]
fn an_empty_tree_needs_no_fetch() {
    let tree = Tree::new(SALT);
    let mut assembly = Assembly::new(tree.digest(), 0, SALT);
    assert!(assembly.is_complete() && assembly.missing(1).is_empty());
    assert_eq!(assembly.finish().unwrap().digest(), tree.digest());
    assert_eq!(tree.read_range(&want(0, 1)), Err(ReadError::OutOfRange));
    // Unless the digest says otherwise.
    let mut assembly = Assembly::new(build(&mixed_small()).digest(), 0, SALT);
    assert_eq!(assembly.finish().unwrap_err(), Unfinished::Mismatch);
}

#[test]
fn an_unfinished_assembly_keeps_what_it_has() {
    let tree = build(&mixed_small());
    let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
    assembly
        .offer(&tree.read_range(&want(0, 20)).unwrap().encoded)
        .unwrap();
    let kept = assembly.items();
    assert_eq!(assembly.finish().unwrap_err(), Unfinished::Missing);
    assert_eq!(assembly.items(), kept);
    fetch(&mut assembly, &tree, || (1_000, 1 << 20));
    assert_eq!(assembly.finish().unwrap().digest(), tree.digest());
}

#[test]
fn leaves_that_no_tree_would_have_are_refused() {
    // A provider whose digest stands for one leaf that should be several.
    let tree = Tree::new(Salt([1; 32]));
    let mut tree = tree;
    for i in 0..100_u32 {
        tree.insert(&i.to_be_bytes(), b"").unwrap();
    }
    let mut lying = Tree { salt: SALT, ..tree };
    let chunk = lying.read_range(&want(0, 100)).unwrap();
    let mut assembly = Assembly::new(lying.digest(), lying.len(), SALT);
    assert_eq!(assembly.offer(&chunk.encoded), Err(Rejected::NotCanonical));
    // Removing from it all the same does not matter here: it is not ours.
    lying.remove(&0_u32.to_be_bytes());
}

#[test]
fn a_chunk_with_a_gap_is_refused() {
    // Three leaves under one node: the middle one sealed, its neighbours whole. The digest is
    // right, but whoever reads the ranks would believe that all three came.
    let boundaries = keys().iter().filter(|key| SALT.level(key) == 1).take(3);
    let model: Model = boundaries.map(|key| (key.clone(), vec![7])).collect();
    let tree = build(&model);
    let Kind::Inner(inner) = &tree.root.node.kind else {
        panic!("three leaves");
    };
    let leaf = |out: &mut Vec<u8>, child: &Child| {
        let Kind::Leaf(leaf) = &child.node.kind else {
            panic!("a leaf");
        };
        out.extend([1, 1, child.bytes as u8, leaf.encoded().len() as u8]);
        out.extend(leaf.encoded());
    };
    let sealed = |out: &mut Vec<u8>, child: &Child| {
        out.extend([0, 1, child.bytes as u8]);
        out.extend(child.summary().hash);
    };
    type Write<'a> = &'a dyn Fn(&mut Vec<u8>, &Child);
    let encode = |parts: [Write<'_>; 3]| {
        let mut out = vec![1, 0, 1, 3, 3, 4, 4];
        for (part, child) in parts.iter().zip(&inner.children) {
            part(&mut out, child);
        }
        out
    };
    let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
    let gap = encode([&leaf, &sealed, &leaf]);
    assert_eq!(assembly.offer(&gap), Err(Rejected::Malformed));
    assert_eq!(assembly.items().0, 0);
    let nothing = encode([&sealed, &sealed, &sealed]);
    assert_eq!(assembly.offer(&nothing), Err(Rejected::Malformed));
    // The same by hand without the gap is what the tree writes.
    let whole = encode([&sealed, &leaf, &leaf]);
    assert_eq!(whole, tree.read_range(&want(1, 3)).unwrap().encoded);
    assert_eq!(assembly.offer(&whole).unwrap().ranks, 1..3);
}

#[test]
fn the_deepest_nesting_that_can_be_said_is_refused_in_peace() {
    // Every node claims as many children as a number can say, so that each halving nests once more.
    let mut deep = vec![1, 0, 13];
    for _ in 0..13 {
        deep.push(3);
        put_varint(&mut deep, u64::MAX);
        deep.extend([4; 64]);
    }
    let mut assembly = Assembly::new(Tree::new(SALT).digest(), 1, SALT);
    for len in 0..deep.len() {
        assert_eq!(assembly.offer(&deep[..len]), Err(Rejected::Malformed));
    }
}

#[test]
fn leaves_in_the_wrong_order_make_no_tree() {
    // Each leaf is as it should be, and the digest is that of both: only their order is wrong.
    let mut boundaries: Vec<&Vec<u8>> = keys().iter().filter(|key| SALT.level(key) == 1).collect();
    boundaries.sort();
    let mut spine = Spine::default();
    for key in [boundaries[1], boundaries[0]] {
        let mut leaf = Leaf::default();
        leaf.insert(0, Draft::new(key, b"value"));
        spine.push(leaf, 1);
    }
    let lying = spine.finish(SALT);
    let mut assembly = Assembly::new(lying.digest(), lying.len(), SALT);
    let chunk = lying.read_range(&want(0, 2)).unwrap();
    assembly.offer(&chunk.encoded).unwrap();
    assert_eq!(assembly.finish().unwrap_err(), Unfinished::Mismatch);
}

#[test]
fn an_oversize_leaf_does_not_come_whole() {
    let model = inner_keys(20).into_iter().map(|key| (key, vec![1; 30_000]));
    let tree = build(&model.collect());
    let leaf = spec::leaves(&tree).next().unwrap();
    let mut whole = vec![1, 0, 0, 1];
    for number in [tree.len(), tree.bytes(), leaf.encoded().len() as u64] {
        put_varint(&mut whole, number);
    }
    whole.extend(leaf.encoded());
    let mut assembly = Assembly::new(tree.digest(), tree.len(), SALT);
    assert_eq!(assembly.offer(&whole), Err(Rejected::Malformed));
}

#[test]
fn a_proof_is_small_beside_its_chunk() {
    let mut builder = Builder::new(SALT);
    for i in 0..100_000_u32 {
        builder.push(&i.to_be_bytes(), &[1; 20]).unwrap();
    }
    let tree = builder.finish();
    let chunk = tree.read_range(&want(50_000, 50_001)).unwrap();
    let items = (chunk.ranks.end - chunk.ranks.start) as usize * 26;
    let proof = chunk.encoded.len() - items;
    // Some 17 binary divisions on either side, 36 bytes each.
    assert!(proof < 1_200, "{proof} bytes of proof");
}

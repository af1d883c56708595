use super::*;

/// A tree that is hashed anew for each question.
struct Plain(Vec<Hash>);

impl Plain {
    fn of(size: u64) -> Self {
        Self(
            (0..size)
                .map(|leaf| leaf_hash(&leaf.to_be_bytes()))
                .collect(),
        )
    }

    /// As the RFC defines it.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            leaves => {
                let half = usize::try_from(split(leaves.len() as u64)).unwrap();
                node_hash(&Self::mth(&leaves[..half]), &Self::mth(&leaves[half..]))
            }
        }
    }
}

impl Subtrees for Plain {
    type Error = std::convert::Infallible;

    fn complete(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let from = usize::try_from(index << level).unwrap();
        Ok(Self::mth(&self.0[from..from + (1 << level)]))
    }
}

fn hex(text: &str) -> Hash {
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).unwrap();
    }
    Hash(hash)
}

/// The tree that implementations of RFC 6962 share as a test: eight leaves of growing length.
#[test]
fn roots_are_those_of_the_shared_test_tree() {
    let leaves: [&[u8]; 8] = [
        b"",
        &[0],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    let mut tree = Frontier::default();
    assert_eq!(
        tree.root(),
        hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
    for leaf in leaves {
        tree.push(leaf_hash(leaf));
        if tree.size() == 1 {
            assert_eq!(
                tree.root(),
                hex("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
            );
        }
    }
    assert_eq!(
        tree.root(),
        hex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
    );
}

#[test]
fn a_frontier_has_the_root_of_the_whole_tree_at_each_size() {
    let tree = Plain::of(200);
    let mut frontier = Frontier::default();
    for size in 0..=200_u64 {
        let leaves = &tree.0[..usize::try_from(size).unwrap()];
        assert_eq!(frontier.root(), Plain::mth(leaves));
        assert_eq!(root_of(&tree, 0, size).unwrap(), Plain::mth(leaves));
        if let Some(leaf) = tree.0.get(usize::try_from(size).unwrap()) {
            frontier.push(*leaf);
        }
    }
}

#[test]
fn any_set_of_leaves_is_proven_and_no_other() {
    for size in 1..=20_u64 {
        let tree = Plain::of(size);
        let root = root_of(&tree, 0, size).unwrap();
        for set in 1..(1_u64 << size.min(10)) {
            let wanted: Vec<u64> = (0..size)
                .filter(|leaf| set >> (leaf % 10) & 1 == 1)
                .collect();
            let proof = prove(&tree, size, &wanted).unwrap();
            let leaves: Vec<(u64, Hash)> = wanted
                .iter()
                .map(|leaf| (*leaf, tree.0[usize::try_from(*leaf).unwrap()]))
                .collect();
            assert_eq!(root_from(size, &leaves, &proof), Some(root));
            // One leaf changed, left out, or moved; one hash less or more.
            let mut other = leaves.clone();
            other[0].1 = Hash([9; 32]);
            assert_ne!(root_from(size, &other, &proof), Some(root));
            assert_ne!(root_from(size, &leaves[1..], &proof), Some(root));
            let mut longer = proof.clone();
            longer.push(root);
            assert_eq!(root_from(size, &leaves, &longer), None);
            if let Some((_, shorter)) = proof.split_last() {
                assert_eq!(root_from(size, &leaves, shorter), None);
            }
            let repeated: Vec<_> = leaves.iter().chain(&leaves).copied().collect();
            assert_eq!(root_from(size, &repeated, &proof), None);
        }
    }
}

#[test]
fn a_longer_tree_is_consistent_with_each_of_its_beginnings_only() {
    let tree = Plain::of(40);
    for new in 0..=40_u64 {
        let after = (new, root_of(&tree, 0, new).unwrap());
        for old in 0..=new {
            let before = (old, root_of(&tree, 0, old).unwrap());
            let proof = prove_consistency(&tree, old, new).unwrap();
            assert!(is_consistent(before, after, &proof), "{old} {new}");
            assert!(!is_consistent((old, Hash([5; 32])), after, &proof));
            if old < new {
                assert!(!is_consistent(after, before, &proof));
            }
            for place in 0..proof.len() {
                let mut other = proof.clone();
                other[place] = Hash([6; 32]);
                assert!(!is_consistent(before, after, &other), "{old} {new} {place}");
                other.remove(place);
                assert!(!is_consistent(before, after, &other), "{old} {new} {place}");
            }
        }
    }
}

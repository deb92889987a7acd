//! The tree that a beacon pins: SHA-256 over every published document of a cluster (RFC 9162 2.1).
//!
//! ```text
//! entry = kind (1) ‖ version (8, big endian) ‖ payload hash (32)        one for each document of the node
//! leaf  = SHA-256(0x00 ‖ node (16) ‖ entries by kind)
//! inner = SHA-256(0x01 ‖ left ‖ right)       a lone last one moves up as it is
//! ```
//!
//! Leaves stand in the order of their nodes, each node once, so that one set of documents has one root. One leaf has
//! all documents of a node: a path that proves it also proves that none of them was held back.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::envelope::Kind;
use crate::id::NodeId;
use crate::key::Digest;

/// One published document. Declared in the order that a leaf has them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Entry {
    /// The number of its [`Kind`]; one that this version does not know counts like the others.
    #[n(0)]
    pub kind: u8,
    #[n(1)]
    pub version: u64,
    /// The payload hash ([`crate::envelope::payload_hash`]).
    #[n(2)]
    pub hash: Digest,
}

impl Entry {
    pub fn new(kind: Kind, version: u64, hash: Digest) -> Self {
        Self {
            kind: kind.number(),
            version,
            hash,
        }
    }

    pub fn is_of(&self, kind: Kind) -> bool {
        self.kind == kind.number()
    }
}

/// Every published document of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    node: NodeId,
    entries: Vec<Entry>,
}

impl Leaf {
    /// Accepts entries in any order; of two of one kind the later counts.
    pub fn new(node: NodeId, entries: impl IntoIterator<Item = Entry>) -> Self {
        let by_kind: BTreeMap<u8, Entry> = entries.into_iter().map(|entry| (entry.kind, entry)).collect();

        Self {
            node,
            entries: by_kind.into_values().collect(),
        }
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// By kind, each kind once.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(1 + 16 + ENTRY_BYTES * self.entries.len());
        bytes.push(LEAF_PREFIX);
        bytes.extend_from_slice(self.node.as_bytes());
        for entry in &self.entries {
            bytes.push(entry.kind);
            bytes.extend_from_slice(&entry.version.to_be_bytes());
            bytes.extend_from_slice(entry.hash.as_bytes());
        }

        Digest::of(&bytes)
    }
}

/// The root over `leaves`, in any order; of two of one node the later counts.
pub fn root(leaves: impl IntoIterator<Item = Leaf>) -> Digest {
    Tree::new(leaves).root()
}

/// The tree with all its levels, so that a changed leaf and a path cost one hash or copy a level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    leaves: Vec<Leaf>,
    /// From the leaves' digests up to the root; empty without leaves.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Accepts leaves in any order; of two of one node the later counts.
    pub fn new(leaves: impl IntoIterator<Item = Leaf>) -> Self {
        let by_node: BTreeMap<NodeId, Leaf> = leaves.into_iter().map(|leaf| (leaf.node, leaf)).collect();
        let mut tree = Self {
            leaves: by_node.into_values().collect(),
            levels: Vec::new(),
        };
        tree.rehash(0, tree.leaves.len());

        tree
    }

    /// The number of leaves, which a verifier needs beside the root.
    pub fn len(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The leaves in their order.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The root; without leaves the hash of nothing (RFC 9162 2.1.1).
    pub fn root(&self) -> Digest {
        match self.levels.last() {
            Some(top) => top[0],
            None => Digest::of(&[]),
        }
    }

    /// The leaf of a node, if it has one.
    pub fn leaf(&self, node: NodeId) -> Option<&Leaf> {
        self.position(node).ok().map(|index| &self.leaves[index])
    }

    /// Puts a leaf in the place of the one of its node, or adds it.
    ///
    /// Replacing costs one hash a level; adding rehashes everything behind it.
    pub fn set(&mut self, leaf: Leaf) {
        match self.position(leaf.node) {
            Ok(index) if self.leaves[index] == leaf => {}
            Ok(index) => {
                self.leaves[index] = leaf;
                self.rehash(index, index + 1);
            }
            Err(index) => {
                self.leaves.insert(index, leaf);
                self.rehash(index, self.leaves.len());
            }
        }
    }

    /// Removes a leaf, if it is there, and rehashes everything behind it.
    pub fn remove(&mut self, node: NodeId) {
        if let Ok(index) = self.position(node) {
            self.leaves.remove(index);
            self.rehash(index, self.leaves.len());
        }
    }

    /// The proof that the leaf of a node is in the tree, if it is.
    pub fn prove(&self, node: NodeId) -> Option<Inclusion> {
        let index = self.position(node).ok()?;
        let path = self
            .levels
            .iter()
            .enumerate()
            .filter_map(|(height, level)| level.get((index >> height) ^ 1).copied())
            .collect();

        Some(Inclusion {
            index: index as u64,
            path,
        })
    }

    fn position(&self, node: NodeId) -> Result<usize, usize> {
        self.leaves.binary_search_by_key(&node, Leaf::node)
    }

    /// Brings every level up to date after a change of the leaves in `from..to`, where `to` is their end if
    /// their number changed.
    fn rehash(&mut self, from: usize, to: usize) {
        let (mut from, mut to, mut width) = (from, to, self.leaves.len());
        let mut height = 0;
        while width > 0 {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            self.levels[height].resize(width, Digest::default());
            for index in from..to {
                self.levels[height][index] = self.digest_at(height, index);
            }
            height += 1;
            if width == 1 {
                break;
            }
            (from, to, width) = (from / 2, to.div_ceil(2), width.div_ceil(2));
        }
        self.levels.truncate(height);
    }

    fn digest_at(&self, height: usize, index: usize) -> Digest {
        let Some(below) = height.checked_sub(1) else {
            return self.leaves[index].digest();
        };
        let below = &self.levels[below];
        match below.get(2 * index + 1) {
            Some(right) => parent(&below[2 * index], right),
            None => below[2 * index],
        }
    }
}

/// Where a leaf stands, and the siblings on the way from it to the root, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    pub index: u64,
    pub path: Vec<Digest>,
}

impl Inclusion {
    /// Whether `leaf` stands here among the `leaves` leaves under `root` (RFC 9162 2.1.3.2).
    pub fn proves(&self, leaf: &Leaf, root: &Digest, leaves: u64) -> bool {
        if self.index >= leaves {
            return false;
        }
        let (mut index, mut last) = (self.index, leaves - 1);
        let mut digest = leaf.digest();
        for sibling in &self.path {
            if last == 0 {
                return false;
            }
            if index % 2 == 1 {
                digest = parent(sibling, &digest);
            } else if index < last {
                digest = parent(&digest, sibling);
            } else {
                let lone = index.trailing_zeros();
                (index, last) = (index >> lone, last >> lone);
                digest = parent(sibling, &digest);
            }
            (index, last) = (index / 2, last / 2);
        }

        last == 0 && digest == *root
    }
}

/// As an array of the index and one string of 32 bytes a sibling: at most 594 bytes below 2^18 leaves.
impl<C> Encode<C> for Inclusion {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let path: Vec<u8> = self.path.iter().flat_map(|digest| *digest.as_bytes()).collect();

        e.array(2)?.u64(self.index)?.bytes(&path)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Inclusion {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let invalid = || minicbor::decode::Error::message("not an inclusion path");
        if d.array()? != Some(2) {
            return Err(invalid());
        }
        let index = d.u64()?;
        let (digests, rest) = d.bytes()?.as_chunks::<32>();
        if !rest.is_empty() || digests.len() > MAX_PATH {
            return Err(invalid());
        }

        Ok(Self {
            index,
            path: digests.iter().map(|bytes| Digest::from_bytes(*bytes)).collect(),
        })
    }
}

fn parent(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[NODE_PREFIX], left.as_bytes(), right.as_bytes()])
}

/// Siblings of one path: as many as a count of leaves has bits.
const MAX_PATH: usize = 64;
/// Of one entry in the bytes that a leaf hashes.
const ENTRY_BYTES: usize = 1 + 8 + 32;
const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Root and paths agree with the recursive definition of RFC 9162 2.1.1, which is too slow to ship.
        #[test]
        fn behaves_like_the_definition(count in 0_u64..70) {
            let leaves: Vec<Leaf> = (0..count).map(leaf).collect();
            let tree = Tree::new(leaves.iter().rev().cloned());

            prop_assert_eq!(tree.root(), naive_root(&leaves));
            prop_assert_eq!(tree.len(), count);
            for (index, leaf) in leaves.iter().enumerate() {
                let inclusion = tree.prove(leaf.node).expect("it is in the tree");
                prop_assert_eq!(inclusion.index, index as u64);
                prop_assert_eq!(&inclusion.path, &naive_path(index, &leaves));
                prop_assert!(inclusion.proves(leaf, &tree.root(), count));
            }
        }

        /// However a tree came to be, it is the tree of its leaves.
        #[test]
        fn changes_lead_where_building_anew_does(steps in prop::collection::vec(step(), 0..60)) {
            let mut tree = Tree::default();
            let mut model = BTreeMap::new();
            for (place, version) in steps {
                let leaf = at_version(place, version.unwrap_or(0));
                match version {
                    Some(_) => {
                        tree.set(leaf.clone());
                        model.insert(leaf.node, leaf);
                    }
                    None => {
                        tree.remove(leaf.node);
                        model.remove(&leaf.node);
                    }
                }
                prop_assert_eq!(&tree, &Tree::new(model.values().cloned()));
            }
        }

        #[test]
        fn a_path_proves_nothing_else(count in 1_u64..40, index in 0_u64..40, other in 0_u64..40, cut in 0_usize..6) {
            let (index, other) = (index % count, other % count);
            let tree = Tree::new((0..count).map(leaf));
            let (root, proof) = (tree.root(), inclusion(&tree, index));
            let wrong_version = at_version(index, 99);
            let with_less = Leaf::new(leaf(index).node, leaf(index).entries[1..].to_vec());
            let outside = Inclusion { index: count, path: proof.path.clone() };
            let longer = Inclusion { path: [proof.path.clone(), vec![root]].concat(), index };

            prop_assert!(!proof.proves(&wrong_version, &root, count));
            prop_assert!(!proof.proves(&with_less, &root, count));
            prop_assert!(!proof.proves(&leaf(index), &Digest::default(), count));
            prop_assert!(!longer.proves(&leaf(index), &root, count));
            prop_assert!(!outside.proves(&leaf(index), &root, count));
            prop_assert_eq!(proof.proves(&leaf(other), &root, count), index == other);
            if cut < proof.path.len() {
                let shorter = Inclusion { path: proof.path[..cut].to_vec(), index };
                prop_assert!(!shorter.proves(&leaf(index), &root, count));
            }
        }
    }

    #[test]
    fn no_leaves_hash_to_the_hash_of_nothing() {
        assert_eq!(
            root([]).to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let nothing = Inclusion {
            index: 0,
            path: Vec::new(),
        };
        assert!(!nothing.proves(&leaf(0), &root([]), 0));
    }

    #[test]
    fn a_proof_holds_for_the_trees_own_count_of_leaves() {
        for count in [1, 4, 8] {
            let tree = Tree::new((0..count).map(leaf));
            let proof = inclusion(&tree, 0);

            assert!(proof.proves(&leaf(0), &tree.root(), count));
            assert!(!proof.proves(&leaf(0), &tree.root(), 2 * count));
        }
    }

    #[test]
    fn an_inner_node_is_not_a_leaf() {
        let tree = Tree::new((0..2).map(leaf));
        let unprefixed = Digest::of_parts(&[leaf(0).digest().as_bytes(), leaf(1).digest().as_bytes()]);

        assert_ne!(tree.root(), unprefixed);
    }

    #[test]
    fn of_two_leaves_of_one_node_the_later_counts() {
        let newer = at_version(1, 2);
        let tree = Tree::new([leaf(0), leaf(1), newer.clone()]);

        assert_eq!(tree.leaves(), [leaf(0), newer]);
    }

    #[test]
    fn entries_stand_by_kind_and_of_two_of_one_kind_the_later_counts() {
        let entry = |kind, version| Entry::new(kind, version, Digest::default());
        let shuffled = Leaf::new(
            leaf(0).node,
            [
                entry(Kind::Routes, 1),
                entry(Kind::SyntheticConfig, 1),
                entry(Kind::Routes, 2),
            ],
        );

        assert_eq!(
            shuffled.entries(),
            [entry(Kind::SyntheticConfig, 1), entry(Kind::Routes, 2)]
        );
    }

    #[test]
    fn a_proof_for_a_hundred_thousand_nodes_fits_its_budget() {
        let leaves = 100_000;
        let tree = Tree::new((0..leaves).map(leaf));
        let inclusion = inclusion(&tree, leaves / 3);

        assert!(inclusion.proves(&leaf(leaves / 3), &tree.root(), leaves));
        assert!(crate::cbor::encode(&inclusion).len() <= 600);
    }

    #[test]
    fn an_inclusion_reads_back_and_a_ragged_or_endless_one_does_not() {
        let proof = inclusion(&Tree::new((0..9).map(leaf)), 5);
        let bytes = crate::cbor::encode(&proof);
        assert_eq!(crate::cbor::decode(&bytes), Ok(proof));

        let digests = |count: usize, extra: usize| {
            let mut e = minicbor::Encoder::new(Vec::new());
            e.array(2).and_then(|e| e.u8(0)).expect("to a Vec");
            e.bytes(&vec![0; 32 * count + extra]).expect("to a Vec");
            e.into_writer()
        };
        assert!(crate::cbor::decode::<Inclusion>(&digests(64, 0)).is_ok());
        assert!(crate::cbor::decode::<Inclusion>(&digests(65, 0)).is_err());
        assert!(crate::cbor::decode::<Inclusion>(&digests(1, 1)).is_err());
    }

    fn inclusion(tree: &Tree, index: u64) -> Inclusion {
        let leaf = leaf(index);

        tree.prove(leaf.node).expect("it is in the tree")
    }

    fn step() -> impl Strategy<Value = (u64, Option<u64>)> {
        (0_u64..24, prop::option::weighted(0.7, 0_u64..4))
    }

    fn leaf(place: u64) -> Leaf {
        at_version(place, 1)
    }

    /// Two documents a node; nodes in the order of the tree.
    fn at_version(place: u64, version: u64) -> Leaf {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&place.to_be_bytes());
        let hash = Digest::of(&place.to_be_bytes());

        Leaf::new(
            NodeId::from_bytes(id),
            [
                Entry::new(Kind::SyntheticConfig, version, hash),
                Entry::new(Kind::Routes, version, hash),
            ],
        )
    }

    fn naive_root(leaves: &[Leaf]) -> Digest {
        match leaves {
            [] => Digest::of(&[]),
            [leaf] => leaf.digest(),
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                parent(&naive_root(left), &naive_root(right))
            }
        }
    }

    fn naive_path(index: usize, leaves: &[Leaf]) -> Vec<Digest> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        match index < left.len() {
            true => [naive_path(index, left), vec![naive_root(right)]].concat(),
            false => [naive_path(index - left.len(), right), vec![naive_root(left)]].concat(),
        }
    }

    /// The largest power of two below `count`.
    fn split(count: usize) -> usize {
        count.next_power_of_two() / 2
    }
}

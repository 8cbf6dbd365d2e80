//! The RFC 6962 tree: its hashes, its proofs, and the compact range that appends to a tree without it.
//!
//! A leaf is `SHA-256(0x00 || bytes)`, a node `SHA-256(0x01 || left || right)`: with two prefixes no
//! node can be passed off as a leaf. The root of nothing is `SHA-256("")` (RFC 6962, section 2.1).

mod node;
mod proof;
mod prove;

pub use node::Node;
pub(crate) use node::fold;
pub use proof::{ProofError, verify_consistency, verify_inclusion};
pub use prove::Plan;

use eonpro_core::event::Digest;
use ring::digest::{Context, SHA256};

const LEAF: u8 = 0;
const NODE: u8 = 1;

/// SHA-256 over `parts`, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    Digest::from_bytes(out)
}

/// The hash of a leaf.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    sha256(&[&[LEAF], bytes])
}

/// The hash of a node over its two children.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    sha256(&[&[NODE], left.as_bytes(), right.as_bytes()])
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Digest {
    sha256(&[])
}

/// What must be kept of a tree in order to append to it: its size, and the roots of its perfect
/// subtrees. At most 64 hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    /// Roots of perfect subtrees, the largest first: one for each bit set in `size`.
    peaks: Vec<Digest>,
}

impl CompactRange {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves with these perfect subtrees, the largest first; `None` if there are not as
    /// many as a tree of that size has.
    #[must_use]
    pub fn restore(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        let fits = u32::try_from(peaks.len()) == Ok(size.count_ones());
        fits.then_some(Self { size, peaks })
    }

    /// The roots of its perfect subtrees, the largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the leaf with hash `leaf`. One hash on average.
    pub fn append(&mut self, leaf: Digest) {
        let mut subtree = leaf;
        // Each trailing one bit of the size is a perfect subtree of the same height as `subtree`.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                subtree = node_hash(&left, &subtree);
            }
        }
        self.peaks.push(subtree);
        self.size += 1;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        fold(&self.peaks).unwrap_or_else(empty_root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition of RFC 6962, section 2.1, word for word.
    fn by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(
                    &by_definition(&leaves[..split]),
                    &by_definition(&leaves[split..]),
                )
            }
        }
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect()
    }

    #[test]
    fn the_roots_are_those_of_the_certificate_transparency_test_tree() {
        // The tree and roots of google/certificate-transparency's merkletree tests.
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = CompactRange::new();
        for (leaf, root) in leaves.iter().zip(roots) {
            tree.append(leaf_hash(&unhex(leaf)));
            assert_eq!(tree.root().to_string(), root, "size {}", tree.size());
        }
    }

    /// All hashes of all perfect subtrees of these leaves.
    fn stored(leaves: &[Digest]) -> impl Fn(Node) -> Result<Digest, Node> {
        move |node| {
            let size = 1_usize << node.level();
            let start = usize::try_from(node.index()).unwrap() * size;
            let leaves = leaves.get(start..start + size).ok_or(node)?;
            Ok(by_definition(leaves))
        }
    }

    /// PATH of RFC 6962, section 2.1.1, word for word.
    fn path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        let (mut proof, sibling) = if index < split {
            (path(index, left), right)
        } else {
            (path(index - split, right), left)
        };
        proof.push(by_definition(sibling));
        proof
    }

    /// SUBPROOF of RFC 6962, section 2.1.2, word for word.
    fn subproof(old: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
        if old == leaves.len() {
            return if whole {
                Vec::new()
            } else {
                vec![by_definition(leaves)]
            };
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        let (mut proof, sibling) = if old <= split {
            (subproof(old, left, whole), right)
        } else {
            (subproof(old - split, right, false), left)
        };
        proof.push(by_definition(sibling));
        proof
    }

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|at| leaf_hash(&at.to_le_bytes())).collect()
    }

    /// Every proof that differs from this one by a hash: changed, missing, doubled or added.
    fn mutations(proof: &[Digest]) -> Vec<Vec<Digest>> {
        let mut all = Vec::new();
        for at in 0..=proof.len() {
            let mut longer = proof.to_vec();
            longer.insert(at, Digest::of(b"more"));
            all.push(longer);
            if at == proof.len() {
                break;
            }
            let mut changed = proof.to_vec();
            changed[at] = Digest::of(changed[at].as_bytes());
            let mut shorter = proof.to_vec();
            shorter.remove(at);
            let mut doubled = proof.to_vec();
            doubled.insert(at, proof[at]);
            all.extend([changed, shorter, doubled]);
        }
        all
    }

    /// A wrong length is seen before anything is hashed.
    fn refusal(bad: &[Digest], good: &[Digest]) -> ProofError {
        if bad.len() == good.len() {
            ProofError::Root
        } else {
            ProofError::Length
        }
    }

    #[test]
    fn a_leaf_of_a_larger_tree_is_not_passed_off_as_one_of_a_smaller() {
        // Both lead to the root, and differ in nothing but the claimed place.
        let leaves = leaves(2);
        let root = node_hash(&leaves[0], &leaves[1]);
        let verify = |index, size| verify_inclusion(&leaves[..1], index, &leaves[1], size, &root);
        assert_eq!(verify(1, 2), Ok(()));
        assert_eq!(verify(0, 1), Err(ProofError::Length));
    }

    #[test]
    fn a_proof_out_of_a_missing_node_is_none() {
        let leaves = leaves(5);
        let plan = Plan::inclusion(3, 6).unwrap();
        assert_eq!(plan.read(stored(&leaves)), Err(Node::new(1, 2).unwrap()));
        assert_eq!(plan.finish(&leaves[..2]), None);
        assert_eq!(plan.finish(&leaves[..4]), None);
    }

    #[test]
    fn proofs_that_do_not_exist_are_not_planned() {
        for (index, size) in [(0, 0), (1, 1), (2, 1), (u64::MAX, u64::MAX)] {
            assert_eq!(Plan::inclusion(index, size), Err(ProofError::Size));
        }
        for (old, new) in [(0, 0), (0, 1), (2, 1), (u64::MAX, 1)] {
            assert_eq!(Plan::consistency(old, new), Err(ProofError::Size));
        }
    }

    #[test]
    fn proofs_in_the_largest_trees_verify() {
        // All leaves are alike, so that each level has one hash.
        let mut hashes = vec![leaf_hash(b"")];
        for _ in 1..64 {
            let below = hashes[hashes.len() - 1];
            hashes.push(node_hash(&below, &below));
        }
        let read = |node: Node| Ok::<_, ProofError>(hashes[usize::from(node.level())]);
        let root = |size| Plan::root(size).read(read).unwrap()[0];
        let sizes = [
            u64::MAX,
            u64::MAX - 1,
            1 << 63,
            (1 << 63) + 1,
            (1 << 63) - 1,
        ];
        for size in sizes {
            for index in [0, 1, size / 2, size / 3, size - 1] {
                let proof = Plan::inclusion(index, size).unwrap().read(read).unwrap();
                assert!(proof.len() <= 64);
                let verified = verify_inclusion(&proof, index, &hashes[0], size, &root(size));
                assert_eq!(verified, Ok(()), "{index} of {size}");
            }
            for old in [1, 2, 3, size / 2, size / 3, size - 1, size] {
                let plan = Plan::consistency(old, size).unwrap();
                assert!(plan.nodes().len() <= 128);
                let proof = plan.read(read).unwrap();
                assert!(proof.len() <= 65);
                let (before, after) = (root(old), root(size));
                let verified = verify_consistency(&proof, old, &before, size, &after);
                assert_eq!(verified, Ok(()), "{old} to {size}");
            }
        }
    }

    #[test]
    fn nothing_is_consistent_with_nothing_to_prove() {
        let root = Digest::of(b"root");
        for (old, new) in [(0, 0), (0, 5), (6, 5)] {
            let verified = verify_consistency(&[], old, &empty_root(), new, &root);
            assert_eq!(verified, Err(ProofError::Size));
        }
        let verified = verify_inclusion(&[], 0, &root, 0, &root);
        assert_eq!(verified, Err(ProofError::Size));
        assert_eq!(verify_consistency(&[], 5, &root, 5, &root), Ok(()));
        let one_more = verify_consistency(&[root], 5, &root, 5, &root);
        assert_eq!(one_more, Err(ProofError::Length));
    }

    proptest! {
        // A case tries every proof of its size.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn inclusion_is_that_of_the_definition_and_nothing_else(size in 1_usize..=200) {
            let leaves = leaves(size);
            let root = by_definition(&leaves);
            for at in 0..size {
                let (index, count) = (at as u64, size as u64);
                let plan = Plan::inclusion(index, count).unwrap();
                let proof = plan.read(stored(&leaves)).unwrap();
                prop_assert_eq!(&proof, &path(at, &leaves));
                let verify = |proof: &[Digest], index, count| {
                    verify_inclusion(proof, index, &leaves[at], count, &root)
                };
                prop_assert_eq!(verify(&proof, index, count), Ok(()));
                for bad in mutations(&proof) {
                    let refused = verify(&bad, index, count);
                    prop_assert_eq!(refused, Err(refusal(&bad, &proof)));
                }
                for other in (0..count + 2).filter(|other| *other != index) {
                    prop_assert!(verify(&proof, other, count).is_err());
                }
                let other = leaf_hash(b"other");
                let verified = verify_inclusion(&proof, index, &other, count, &root);
                prop_assert_eq!(verified, Err(ProofError::Root));
            }
        }

        #[test]
        fn consistency_is_that_of_the_definition_and_nothing_else(new in 1_usize..=200) {
            let leaves = leaves(new);
            let new_root = by_definition(&leaves);
            for old in 1..=new {
                let old_root = by_definition(&leaves[..old]);
                let (before, after) = (old as u64, new as u64);
                let plan = Plan::consistency(before, after).unwrap();
                let proof = plan.read(stored(&leaves)).unwrap();
                prop_assert_eq!(&proof, &subproof(old, &leaves, true));
                let verify = |proof: &[Digest], old_root, new_root| {
                    verify_consistency(proof, before, old_root, after, new_root)
                };
                prop_assert_eq!(verify(&proof, &old_root, &new_root), Ok(()));
                for bad in mutations(&proof) {
                    let refused = verify(&bad, &old_root, &new_root);
                    prop_assert_eq!(refused, Err(refusal(&bad, &proof)));
                }
                let other = Digest::of(b"other");
                prop_assert!(verify(&proof, &other, &new_root).is_err());
                prop_assert!(verify(&proof, &old_root, &other).is_err());
                let backwards =
                    verify_consistency(&proof, after, &new_root, before, &old_root);
                prop_assert_eq!(backwards.is_ok(), old == new);
            }
        }

        #[test]
        fn a_root_is_planned_from_the_peaks(size in 0_usize..200) {
            let leaves = leaves(size);
            let root = Plan::root(size as u64).read(stored(&leaves)).unwrap();
            prop_assert_eq!(root, vec![by_definition(&leaves)]);
        }

        #[test]
        fn a_compact_range_has_the_root_of_the_definition(count in 0_usize..200) {
            let leaves = leaves(count);
            let mut tree = CompactRange::new();
            leaves.iter().for_each(|leaf| tree.append(*leaf));
            prop_assert_eq!(tree.root(), by_definition(&leaves));
            prop_assert_eq!(tree.size(), count as u64);
        }
    }
}

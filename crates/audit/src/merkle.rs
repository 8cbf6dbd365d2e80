//! The RFC 6962 tree: leaf and node hashes, and the compact range that appends to a tree without it.
//!
//! A leaf is `SHA-256(0x00 || bytes)`, a node `SHA-256(0x01 || left || right)`: with two prefixes no
//! node can be passed off as a leaf. The root of nothing is `SHA-256("")` (RFC 6962, section 2.1).

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
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(smallest) => peaks.fold(*smallest, |right, left| node_hash(left, &right)),
        }
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

    proptest! {
        #[test]
        fn a_compact_range_has_the_root_of_the_definition(count in 0_usize..200) {
            let leaves: Vec<Digest> =
                (0..count).map(|at| leaf_hash(&at.to_le_bytes())).collect();
            let mut tree = CompactRange::new();
            leaves.iter().for_each(|leaf| tree.append(*leaf));
            prop_assert_eq!(tree.root(), by_definition(&leaves));
            prop_assert_eq!(tree.size(), count as u64);
        }
    }
}

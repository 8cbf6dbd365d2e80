//! Our proofs against those of the crate ct-merkle, which holds a whole tree in memory.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use eonpro_audit::merkle::{
    CompactRange, Node, Plan, leaf_hash, verify_consistency, verify_inclusion,
};
use eonpro_core::event::Digest;
use sha2::Sha256;

const SIZES: u64 = 70;

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn range(from: u64, to: u64) -> Digest {
    let mut range = CompactRange::new();
    (from..to).for_each(|index| range.append(leaf_hash(&entry(index))));
    range.root()
}

fn ours(plan: &Plan) -> Vec<Digest> {
    let read = |node: Node| {
        let start = node.index() << node.level();
        Ok::<_, ()>(range(start, start + (1 << node.level())))
    };
    plan.read(read).unwrap()
}

fn bytes(proof: &[Digest]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn digests(bytes: &[u8]) -> Vec<Digest> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    assert!(rest.is_empty());
    hashes.iter().copied().map(Digest::from_bytes).collect()
}

fn theirs(size: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    (0..size).for_each(|index| tree.push(entry(index)));
    tree
}

fn root(size: u64) -> RootHash<Sha256> {
    RootHash::new((*range(0, size).as_bytes()).into(), size)
}

#[test]
fn roots_are_theirs() {
    for size in 0..SIZES {
        let tree = theirs(size);
        assert_eq!(tree.root().as_bytes().as_slice(), range(0, size).as_bytes());
    }
}

#[test]
fn inclusion_is_proven_and_verified_as_they_do() {
    for size in 1..SIZES {
        let tree = theirs(size);
        for index in 0..size {
            let found = tree.prove_inclusion(usize::try_from(index).unwrap());
            let proof = ours(&Plan::inclusion(index, size).unwrap());
            assert_eq!(digests(found.as_bytes()), proof, "{index} of {size}");
            let leaf = leaf_hash(&entry(index));
            let verified = verify_inclusion(&proof, index, &leaf, size, &range(0, size));
            assert_eq!(verified, Ok(()));
            let sent = InclusionProof::<Sha256>::from_bytes(bytes(&proof));
            let judged = root(size).verify_inclusion(&entry(index), index, &sent);
            assert!(judged.is_ok(), "{index} of {size}");
        }
    }
}

#[test]
fn consistency_is_proven_and_verified_as_they_do() {
    for new in 1..SIZES {
        let tree = theirs(new);
        for old in 1..new {
            let found = tree.prove_consistency(usize::try_from(new - old).unwrap());
            let proof = ours(&Plan::consistency(old, new).unwrap());
            assert_eq!(digests(found.as_bytes()), proof, "{old} to {new}");
            let (before, after) = (range(0, old), range(0, new));
            let verified = verify_consistency(&proof, old, &before, new, &after);
            assert_eq!(verified, Ok(()));
            let sent = ConsistencyProof::<Sha256>::try_from_bytes(bytes(&proof)).unwrap();
            let judged = root(new).verify_consistency(&root(old), &sent);
            assert!(judged.is_ok(), "{old} to {new}");
        }
    }
}

//! `docs/formats/vectors/merkle-proofs.json`: proofs of the tree for other implementations, most of
//! them wrong. In the shape of the test data of github.com/transparency-dev/merkle.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro_audit::merkle::{
    CompactRange, Node, Plan, leaf_hash, verify_consistency, verify_inclusion,
};
use eonpro_core::event::Digest;
use serde::{Deserialize, Serialize};

const ABOUT: &str = "Proofs of RFC 6962 trees over SHA-256. Leaf i is the number i in two bytes, big \
    endian. wantErr says whether a verifier has to refuse.";

#[derive(Serialize, Deserialize)]
struct File {
    about: String,
    inclusion: Vec<Inclusion>,
    consistency: Vec<Consistency>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    desc: String,
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Vec<String>,
    want_err: bool,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    desc: String,
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Vec<String>,
    want_err: bool,
}

fn path() -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/vectors");
    PathBuf::from(folder).join("merkle-proofs.json")
}

fn leaf(index: u64) -> Digest {
    let [.., high, low] = index.to_be_bytes();
    leaf_hash(&[high, low])
}

fn range(from: u64, to: u64) -> Digest {
    let mut range = CompactRange::new();
    (from..to).for_each(|index| range.append(leaf(index)));
    range.root()
}

fn root(size: u64) -> String {
    encode(&range(0, size))
}

fn encode(hash: &Digest) -> String {
    STANDARD.encode(hash.as_bytes())
}

fn decode(hash: &str) -> Digest {
    Digest::from_bytes(STANDARD.decode(hash).unwrap().try_into().unwrap())
}

fn proof(plan: &Plan) -> Vec<String> {
    let read = |node: Node| {
        let start = node.index() << node.level();
        Ok::<_, ()>(range(start, start + (1 << node.level())))
    };
    plan.read(read).unwrap().iter().map(encode).collect()
}

/// What nobody may accept in place of a proof.
fn wrong(proof: &[String]) -> Vec<(&'static str, Vec<String>)> {
    let other = encode(&Digest::of(b"other"));
    let changed = |at: usize| {
        let mut proof = proof.to_vec();
        proof[at].clone_from(&other);
        proof
    };
    let more = |at: usize, hash: &String| {
        let mut proof = proof.to_vec();
        proof.insert(at, hash.clone());
        proof
    };
    let mut all = vec![
        ("a hash more at the end", more(proof.len(), &other)),
        ("a hash more at the beginning", more(0, &other)),
        (
            "the empty tree's root at the end",
            more(proof.len(), &root(0)),
        ),
    ];
    if let [first, rest @ ..] = proof {
        let last = proof.len() - 1;
        all.push(("no hash", Vec::new()));
        all.push(("the first hash twice", more(0, first)));
        all.push(("another first hash", changed(0)));
        if !rest.is_empty() {
            all.push(("the first hash is missing", rest.to_vec()));
            all.push(("the last hash is missing", proof[..last].to_vec()));
            all.push(("another last hash", changed(last)));
            all.push(("backwards", proof.iter().rev().cloned().collect()));
        }
    }
    all
}

fn inclusion(index: u64, size: u64) -> Vec<Inclusion> {
    let good = Inclusion {
        desc: format!("leaf {index} of {size}"),
        leaf_idx: index,
        tree_size: size,
        root: root(size),
        leaf_hash: encode(&leaf(index)),
        proof: proof(&Plan::inclusion(index, size).unwrap()),
        want_err: false,
    };
    let bad = |desc: &str, change: &dyn Fn(&mut Inclusion)| {
        let mut bad = good.clone();
        bad.desc = format!("{}: {desc}", good.desc);
        bad.want_err = true;
        change(&mut bad);
        bad
    };
    let mut all = vec![
        good.clone(),
        bad("index is the size", &|bad| bad.leaf_idx = size),
        bad("index is far beyond", &|bad| bad.leaf_idx = 1 << 62),
        bad("next index", &|bad| bad.leaf_idx ^= 1),
        bad("size 0", &|bad| bad.tree_size = 0),
        bad("size 0, index 0", &|bad| {
            (bad.tree_size, bad.leaf_idx) = (0, 0)
        }),
        bad("four times the size", &|bad| bad.tree_size *= 4),
        bad("another root", &|bad| bad.root = root(size + 1)),
        bad("root of the empty tree", &|bad| bad.root = root(0)),
        bad("another leaf", &|bad| {
            bad.leaf_hash = encode(&leaf(index + 1))
        }),
        bad("the root is the leaf", &|bad| {
            bad.leaf_hash.clone_from(&bad.root);
            bad.root = root(size + 1);
        }),
    ];
    for (desc, proof) in wrong(&good.proof) {
        all.push(bad(desc, &|bad| bad.proof.clone_from(&proof)));
    }
    all
}

fn consistency(old: u64, new: u64) -> Vec<Consistency> {
    let good = Consistency {
        desc: format!("{old} to {new}"),
        size1: old,
        size2: new,
        root1: root(old),
        root2: root(new),
        proof: proof(&Plan::consistency(old, new).unwrap()),
        want_err: false,
    };
    let bad = |desc: &str, change: &dyn Fn(&mut Consistency)| {
        let mut bad = good.clone();
        bad.desc = format!("{}: {desc}", good.desc);
        bad.want_err = true;
        change(&mut bad);
        bad
    };
    let other = || encode(&Digest::of(b"other"));
    let mut all = vec![
        good.clone(),
        bad("from size 0", &|bad| bad.size1 = 0),
        bad("from size 0 and its root", &|bad| {
            (bad.size1, bad.root1) = (0, root(0));
        }),
        bad("to size 0", &|bad| bad.size2 = 0),
        bad("from a size far beyond", &|bad| bad.size1 = 1 << 62),
        bad("another first root", &|bad| bad.root1 = other()),
        bad("another second root", &|bad| bad.root2 = other()),
    ];
    if old < new {
        all.push(bad("sizes and roots swapped", &|bad| {
            (bad.size1, bad.size2) = (new, old);
            std::mem::swap(&mut bad.root1, &mut bad.root2);
        }));
        all.push(bad("roots swapped", &|bad| {
            std::mem::swap(&mut bad.root1, &mut bad.root2);
        }));
        all.push(bad("equal sizes, another root", &|bad| bad.size1 = new));
        all.push(bad("equal sizes, no hash", &|bad| {
            bad.size1 = new;
            bad.proof.clear();
        }));
    }
    for (desc, proof) in wrong(&good.proof) {
        all.push(bad(desc, &|bad| bad.proof.clone_from(&proof)));
    }
    all
}

fn render() -> String {
    let leaves = [
        (0, 1),
        (0, 2),
        (1, 2),
        (2, 3),
        (1, 5),
        (4, 5),
        (5, 7),
        (0, 8),
        (5, 8),
        (7, 8),
        (6, 13),
        (12, 13),
        (255, 256),
        (128, 257),
        (256, 257),
    ];
    let sizes = [
        (1, 1),
        (8, 8),
        (1, 2),
        (1, 3),
        (2, 3),
        (1, 8),
        (3, 7),
        (4, 7),
        (6, 8),
        (7, 8),
        (8, 13),
        (5, 13),
        (12, 13),
        (128, 256),
        (255, 257),
        (256, 257),
    ];
    let file = File {
        about: ABOUT.to_owned(),
        inclusion: leaves.iter().flat_map(|at| inclusion(at.0, at.1)).collect(),
        consistency: sizes
            .iter()
            .flat_map(|at| consistency(at.0, at.1))
            .collect(),
    };
    serde_json::to_string_pretty(&file).unwrap() + "\n"
}

#[test]
fn the_vectors_are_what_the_code_makes() {
    let found = fs::read_to_string(path()).unwrap_or_default();
    assert!(
        found == render(),
        "docs/formats/vectors/merkle-proofs.json differs; run cargo xtask codegen"
    );
}

#[test]
#[ignore = "writes docs/formats/vectors; cargo xtask codegen runs it"]
fn write_vectors() {
    fs::write(path(), render()).unwrap();
}

#[test]
fn every_vector_is_accepted_or_refused_as_it_says() {
    let file: File = serde_json::from_slice(&fs::read(path()).unwrap()).unwrap();
    let mut refused = 0;
    for case in &file.inclusion {
        let proof: Vec<Digest> = case.proof.iter().map(|hash| decode(hash)).collect();
        let (leaf, root) = (decode(&case.leaf_hash), decode(&case.root));
        let verified = verify_inclusion(&proof, case.leaf_idx, &leaf, case.tree_size, &root);
        assert_eq!(verified.is_err(), case.want_err, "{}", case.desc);
        refused += usize::from(case.want_err);
    }
    for case in &file.consistency {
        let proof: Vec<Digest> = case.proof.iter().map(|hash| decode(hash)).collect();
        let (old, new) = (decode(&case.root1), decode(&case.root2));
        let verified = verify_consistency(&proof, case.size1, &old, case.size2, &new);
        assert_eq!(verified.is_err(), case.want_err, "{}", case.desc);
        refused += usize::from(case.want_err);
    }
    let all = file.inclusion.len() + file.consistency.len();
    assert!(all > 400 && refused * 10 > all * 8, "{refused} of {all}");
}

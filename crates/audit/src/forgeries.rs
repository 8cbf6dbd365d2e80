//! Directories forged by somebody who gets every checksum right and breaks one rule.

use eonpro_core::event::Digest;
use eonpro_core::time::Timestamp;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::replay::LogState;
use crate::segment::{self, End, HEADER_BYTES, Header, Kind, Tail, push_frame};
use crate::verify::verify;
use crate::wire;

const TENANT: &str = "0190a1b2-0000-7000-8000-00000000000a";
const OTHER: &str = "0190a1b2-0000-7000-8000-00000000000b";

/// The one rule that is broken, at the second entry of the tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    Previous,
    Recorded,
    Tenant,
    Index,
    Text,
    SignedRoot,
    ForeignSignature,
    DirectoryRoot,
    Declaration,
    DeclaredTwice,
    Chain,
    Count,
}

struct Forger {
    bytes: Vec<u8>,
    chain: Digest,
    batch: u64,
    frames: Vec<u8>,
    count: u64,
    clock: i64,
}

impl Forger {
    fn new() -> Self {
        let header = Header {
            number: 1,
            first_batch: 0,
            chain: segment::genesis(),
            previous_end: 0,
            previous_tail: Tail::Zeros,
            follows: None,
        };
        Self {
            bytes: header.encode().to_vec(),
            chain: segment::genesis(),
            batch: 0,
            frames: Vec::new(),
            count: 0,
            clock: 0,
        }
    }

    fn push(&mut self, kind: Kind, log: u32, index: u64, payload: &[u8]) {
        push_frame(&mut self.frames, kind, log, index, payload);
        self.count += 1;
    }

    /// An entry of `state`, which is the log numbered `log`.
    fn entry(&mut self, log: u32, state: &mut LogState, broken: Broken) {
        let index = state.tree.size();
        self.clock += if broken == Broken::Recorded { 0 } else { 10 };
        let previous = match broken {
            Broken::Previous => Digest::of(b"another"),
            _ => state.previous,
        };
        let tenant = if broken == Broken::Tenant {
            OTHER
        } else {
            TENANT
        };
        let mut leaf = Vec::new();
        wire::push_head(&mut leaf, &previous, Timestamp::from_nanos(self.clock));
        let id = format!(
            "0190a1b2-0000-7000-8000-{:012x}",
            self.count + 100 * u64::from(log)
        );
        let tail = match broken {
            Broken::Text => "\"id\":\"nobody\"}".to_owned(),
            _ => format!("\"id\":\"{id}\",\"tenant\":\"{tenant}\"}}"),
        };
        leaf.extend_from_slice(tail.as_bytes());
        let said = index + u64::from(broken == Broken::Index);
        self.push(Kind::Leaf, log, said, &leaf);
        state.append(crate::merkle::leaf_hash(&leaf));
    }

    fn end(&mut self, broken: Broken) {
        self.chain = segment::chain(&self.chain, self.batch, &self.frames);
        let end = End {
            batch: self.batch,
            frames: self.count + u64::from(broken == Broken::Count),
            chain: match broken {
                Broken::Chain => Digest::of(b"another"),
                _ => self.chain,
            },
        };
        self.bytes.append(&mut self.frames);
        end.push(&mut self.bytes);
        self.batch += 1;
        self.count = 0;
    }
}

fn key(seed: u8) -> (Ed25519KeyPair, VerifyingKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    (pair, VerifyingKey::from_bytes(public))
}

fn signed(point: &Checkpoint, seed: u8) -> String {
    let (pair, public) = key(seed);
    let text = point.text();
    let key = public.verifier_key(point.log);
    let line = key.line(pair.sign(text.as_bytes()).as_ref());
    format!("{text}\n{line}")
}

/// A log directory with three entries of a tenant, signed, in which one rule is broken.
fn forge(broken: Broken) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    layout.create().unwrap();
    let tenant = LogId::parse(&format!("eonpro/audit/{TENANT}")).unwrap();
    let mut forger = Forger::new();
    let mut state = LogState::new(tenant);
    let mut directory = LogState::new(LogId::Directory);

    let number = u32::from(broken == Broken::Declaration);
    forger.push(Kind::Declare, number, 0, tenant.to_string().as_bytes());
    forger.entry(0, &mut state, Broken::Nothing);
    forger.end(Broken::Nothing);
    forger.entry(0, &mut state, broken);
    forger.end(broken);
    forger.entry(0, &mut state, Broken::Nothing);
    let origin = LogId::Directory.to_string();
    let doubled = if broken == Broken::DeclaredTwice {
        tenant.to_string()
    } else {
        origin
    };
    forger.push(Kind::Declare, 1, 0, doubled.as_bytes());
    let mut head = state.head();
    if broken == Broken::SignedRoot {
        head.root = Digest::of(b"another");
    }
    let seed = if broken == Broken::ForeignSignature {
        2
    } else {
        1
    };
    let leaf = signed(&head, seed);
    forger.push(Kind::Leaf, 1, 0, leaf.as_bytes());
    directory.append(crate::merkle::leaf_hash(leaf.as_bytes()));
    forger.end(Broken::Nothing);

    let mut bytes = forger.bytes;
    assert!(bytes.len() > HEADER_BYTES);
    bytes.resize(bytes.len() + 4_096, 0);
    std::fs::write(layout.segment(1), bytes).unwrap();
    let mut head = directory.head();
    if broken == Broken::DirectoryRoot {
        head.root = Digest::of(b"another");
    }
    std::fs::write(layout.checkpoint(), signed(&head, 1)).unwrap();
    let claim = format!("{}\n", key(1).1.vkey(&LogId::Directory));
    std::fs::write(layout.keys(), claim).unwrap();
    dir
}

#[test]
fn every_rule_is_checked_and_its_breach_named() {
    let (_, key) = key(1);
    let tenant = LogId::parse(&format!("eonpro/audit/{TENANT}")).unwrap();
    let entry = |index| Place::entry(tenant, index);
    let directory = Place::entry(LogId::Directory, 0);
    let cases = [
        (Broken::Previous, entry(0), Fault::Previous),
        (Broken::Recorded, entry(1), Fault::Recorded),
        (Broken::Tenant, entry(1), Fault::Tenant),
        (Broken::Index, entry(1), Fault::Gap),
        (Broken::Text, entry(1), Fault::Leaf),
        (Broken::SignedRoot, entry(2), Fault::Root),
        (
            Broken::ForeignSignature,
            directory.clone(),
            Fault::Signature,
        ),
        (Broken::DirectoryRoot, directory, Fault::Root),
    ];
    for (broken, place, fault) in cases {
        let dir = forge(broken);
        match verify(dir.path(), &[key]) {
            Err(VerifyError::Tampered {
                place: found,
                fault: named,
            }) => assert_eq!((found, named), (place, fault), "{broken:?}"),
            other => panic!("{broken:?}: {other:?}"),
        }
    }
    for (broken, fault) in [
        (Broken::Declaration, Fault::Declaration),
        (Broken::DeclaredTwice, Fault::Declaration),
        (Broken::Chain, Fault::Batch),
        (Broken::Count, Fault::Batch),
    ] {
        let dir = forge(broken);
        match verify(dir.path(), &[key]) {
            Err(VerifyError::Tampered { fault: named, .. }) => {
                assert_eq!(named, fault, "{broken:?}");
            }
            other => panic!("{broken:?}: {other:?}"),
        }
    }
}

#[test]
fn the_same_directory_with_no_rule_broken_verifies() {
    let (_, key) = key(1);
    let report = verify(forge(Broken::Nothing).path(), &[key]).unwrap();
    assert_eq!(
        (report.entries, report.unsigned, report.checkpoints),
        (3, 0, 2)
    );
}

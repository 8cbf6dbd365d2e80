//! Every parser of the transparency-log formats of audit, fed with bytes of a stranger.
//!
//! Each body takes one input, checks that whatever is accepted is written back as the same bytes, and
//! returns whether it was. The fuzzer ignores the answer; the test that replays the corpora does not.
#![allow(
    unreachable_pub,
    reason = "also a module of a test of eonpro-audit, where nothing is above it"
)]

use eonpro_audit::merkle::leaf_hash;
use eonpro_audit::tlog::{
    AddCheckpoint, Answer, Bundle, KnownLog, Note, OfflineProof, Policy, Tile, TreeHead,
    VerifierKey, parse_bundle, write_bundle,
};

/// The log of the corpora.
pub const ORIGIN: &str = "log.example/a";
/// The bytes of each of its entries.
pub const ENTRY: &[u8] = b"entry";
/// The statuses of [`tlog_answer`].
pub const STATUSES: [u16; 7] = [200, 400, 403, 404, 409, 422, 500];

/// One body.
pub type Body = fn(&[u8]) -> bool;
/// All of them, by the name of their target and of their corpus.
pub const TARGETS: &[(&str, Body)] = &[
    ("tlog_answer", tlog_answer),
    ("tlog_bundle", tlog_bundle),
    ("tlog_note", tlog_note),
    ("tlog_path", tlog_path),
    ("tlog_policy", tlog_policy),
    ("tlog_proof", tlog_proof),
    ("tlog_request", tlog_request),
    ("tlog_vkey", tlog_vkey),
];

/// The policy that notes and proofs are checked with: it is one of the corpus.
fn policy() -> Policy {
    let file = include_bytes!("../corpus/tlog_policy/valid-corpus");
    Policy::parse(file).expect("of the corpus")
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// A path of a tile or a bundle.
pub fn tlog_path(data: &[u8]) -> bool {
    let Some(path) = text(data) else {
        return false;
    };
    let tile = Tile::parse(path).map(|tile| tile.to_string());
    let bundle = Bundle::parse(path).map(|bundle| bundle.to_string());
    assert!(tile.is_none() || bundle.is_none());
    let written = tile.or(bundle);
    assert!(written.as_deref().is_none_or(|written| written == path));
    written.is_some()
}

/// A bundle of entries. The first byte of the input is their number.
pub fn tlog_bundle(data: &[u8]) -> bool {
    let Some((width, bytes)) = data.split_first() else {
        return false;
    };
    let Some(bundle) = Bundle::new(0, u16::from(*width)) else {
        return false;
    };
    let Ok(entries) = parse_bundle(bundle, bytes) else {
        return false;
    };
    assert_eq!(entries.len(), usize::from(*width));
    assert_eq!(write_bundle(&entries).as_deref(), Ok(bytes));
    true
}

/// A signed note, a checkpoint or not, with the keys of the corpus. Accepted if the policy believes it.
pub fn tlog_note(data: &[u8]) -> bool {
    let Some(Ok(note)) = text(data).map(Note::parse) else {
        return false;
    };
    assert_eq!(note.to_string().as_bytes(), data);
    if let Some(head) = TreeHead::parse(note.text()) {
        assert_eq!(head.to_string(), note.text());
    }
    policy().verify(&note).is_ok()
}

/// A verifier key.
pub fn tlog_vkey(data: &[u8]) -> bool {
    let Some(Ok(key)) = text(data).map(VerifierKey::parse) else {
        return false;
    };
    assert_eq!(key.to_string().as_bytes(), data);
    true
}

/// A policy file.
pub fn tlog_policy(data: &[u8]) -> bool {
    let Ok(policy) = Policy::parse(data) else {
        return false;
    };
    let nobody = Note::parse("a\n\n\u{2014} a AAAAAAA=\n").expect("a note");
    assert!(policy.verify(&nobody).is_err());
    true
}

/// A proof file of one entry. Accepted if it proves one of the corpus.
pub fn tlog_proof(data: &[u8]) -> bool {
    let Some(Ok(proof)) = text(data).map(OfflineProof::parse) else {
        return false;
    };
    assert_eq!(proof.to_string().as_bytes(), data);
    proof.verify(&leaf_hash(ENTRY), &policy()).is_ok()
}

/// A request to a witness. Accepted if a witness that never cosigned the log of the corpus would cosign.
pub fn tlog_request(data: &[u8]) -> bool {
    let Some(Ok(request)) = text(data).map(AddCheckpoint::parse) else {
        return false;
    };
    assert_eq!(request.to_string().as_bytes(), data);
    let keys = policy()
        .logs()
        .iter()
        .map(|log| log.key().clone())
        .collect();
    request.check(Some(&KnownLog { keys, last: None })).is_ok()
}

/// An answer of a witness. The first byte of the input chooses the status.
pub fn tlog_answer(data: &[u8]) -> bool {
    let Some((choice, body)) = data.split_first() else {
        return false;
    };
    let status = STATUSES[usize::from(*choice) % STATUSES.len()];
    let kind = Some("text/x.tlog.size");
    let Some(Ok(answer)) = text(body).map(|body| Answer::parse(status, kind, body)) else {
        return false;
    };
    assert_eq!(answer.status(), status);
    if matches!(status, 200 | 409) {
        assert_eq!(answer.body().as_bytes(), body);
    }
    true
}

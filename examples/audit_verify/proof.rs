//! The proof of one entry, checked without the log.

use std::path::Path;

use eonpro::audit::merkle::leaf_hash;
use eonpro::audit::tlog::{OfflineProof, OfflineProofError, Policy, TreeHead};
use eonpro::audit::{LogId, VerifyingKey};

use crate::{Finding, read};

/// Believes a proof whose checkpoint one of `keys` signed for the log that it names.
pub(crate) fn check(file: &Path, keys: &[VerifyingKey]) -> Result<Finding, Finding> {
    let (name, text) = read(file)?;
    let proof = OfflineProof::parse(&text).map_err(|error| Finding::unreadable(&name, &error))?;
    let head = TreeHead::parse(proof.checkpoint().text());
    let log = head.and_then(|head| LogId::parse(head.origin()));
    let log = log.ok_or_else(|| Finding::unreadable(&name, &"it is of no log of ours"))?;
    let lines = keys.iter().map(|key| format!("log {}\n", key.vkey(&log)));
    let policy = lines.collect::<String>() + "quorum none\n";
    let policy = Policy::parse(policy.as_bytes());
    let policy = policy.map_err(|error| Finding::unreadable("--key", &error))?;
    // What the file holds beside the proof is the entry, which the proof is about.
    let verified = proof.verify(&leaf_hash(proof.extra()), &policy);
    let verified = verified.map_err(|error| refused(&name, &error))?;
    let entry = String::from_utf8_lossy(proof.extra());
    let (index, size) = (proof.index(), verified.head.size());
    let text = format!("verified: {log}#{index}, in a log of {size} entries\n{entry}\n");
    Ok(Finding::new(0, text))
}

fn refused(name: &str, error: &OfflineProofError) -> Finding {
    Finding::new(1, format!("tampered: {name}: {error}\n"))
}

//! The proof of one entry, or of one disclosed field of it, checked without the log.

use std::path::Path;

use eonpro::audit::merkle::leaf_hash;
use eonpro::audit::tlog::{OfflineProof, OfflineProofError, Policy, TreeHead};
use eonpro::audit::{Disclosure, DisclosureError, LogId, VerifyingKey};

use crate::{Finding, read};

/// How a file with a disclosed field begins.
const DISCLOSURE: &str = "eonpro/audit/disclosure@v1\n";

/// Believes a proof whose checkpoint one of `keys` signed for the log that it names.
pub(crate) fn check(file: &Path, keys: &[VerifyingKey]) -> Result<Finding, Finding> {
    let (name, text) = read(file)?;
    if text.starts_with(DISCLOSURE) {
        return check_field(&name, &text, keys);
    }
    let proof = OfflineProof::parse(&text).map_err(|error| Finding::unreadable(&name, &error))?;
    let (log, policy) = trusting(&name, &proof, keys)?;
    // What the file holds beside the proof is the entry, which the proof is about.
    let verified = proof.verify(&leaf_hash(proof.extra()), &policy);
    let verified = verified.map_err(|error| refused(&name, &error))?;
    let entry = String::from_utf8_lossy(proof.extra());
    let (index, size) = (proof.index(), verified.head.size());
    let text = format!("verified: {log}#{index}, in a log of {size} entries\n{entry}\n");
    Ok(Finding::new(0, text))
}

/// Believes a disclosed field of such an entry, and prints what it said.
fn check_field(name: &str, text: &str, keys: &[VerifyingKey]) -> Result<Finding, Finding> {
    let file = Disclosure::parse(text).map_err(|error| Finding::unreadable(name, &error))?;
    let (_, policy) = trusting(name, file.proof(), keys)?;
    let disclosed = file.verify(&policy).map_err(|error| match error {
        DisclosureError::Proof(error) => refused(name, &error),
        other => Finding::new(1, format!("tampered: {name}: {other}\n")),
    })?;
    let entry = String::from_utf8_lossy(file.proof().extra());
    let value = disclosed.value.expose();
    let text = format!(
        "verified: {disclosed}\n{entry}\n{}: {value}\n",
        disclosed.field
    );
    Ok(Finding::new(0, text))
}

/// The log that a proof names, and a policy that believes it by `keys`.
fn trusting(
    name: &str,
    proof: &OfflineProof,
    keys: &[VerifyingKey],
) -> Result<(LogId, Policy), Finding> {
    let head = TreeHead::parse(proof.checkpoint().text());
    let log = head.and_then(|head| LogId::parse(head.origin()));
    let log = log.ok_or_else(|| Finding::unreadable(name, &"it is of no log of ours"))?;
    let lines = keys.iter().map(|key| format!("log {}\n", key.vkey(&log)));
    let policy = lines.collect::<String>() + "quorum none\n";
    let policy = Policy::parse(policy.as_bytes());
    let policy = policy.map_err(|error| Finding::unreadable("--key", &error))?;
    Ok((log, policy))
}

fn refused(name: &str, error: &OfflineProofError) -> Finding {
    Finding::new(1, format!("tampered: {name}: {error}\n"))
}

//! Proofs and signed heads: checked with nothing but what is read, and the keys.

use eonpro_audit::merkle::{verify_consistency, verify_inclusion};
use eonpro_audit::{AuditError, Checkpoint, LogId, Proofs, Query};

use super::{Bed, Outcome, expect_error, leaf_of, leaves, log_of, root_of, signed};
use crate::conformance::report::{Mismatch, expect, expect_eq};

/// The last signed head of `log`, verified.
async fn head(bed: &Bed, log: LogId) -> Result<Checkpoint, Mismatch> {
    let note = bed.audit().signed_head(&bed.system(), &log).await?;
    let note = note.ok_or_else(|| Mismatch(format!("{log} has no signed head")))?;
    Ok(Checkpoint::open(&note, &bed.subject.keys)?)
}

pub(super) async fn proofs_lead_from_what_is_read_to_the_signed_head(bed: Bed) -> Outcome {
    let (audit, cx, log) = (bed.audit(), bed.system(), log_of(1));
    bed.append(1, 300).await?;
    audit.checkpoint().await?;
    bed.append(1, 3).await?;
    let mut query = Query::new(log);
    query.proofs = Proofs::With;
    query.limit = 1_000;
    let page = audit.query(&cx, &query).await?;
    let note = page.head.as_deref();
    let note = note.ok_or_else(|| Mismatch("a page has no head".to_owned()))?;
    let signed = Checkpoint::open(note, &bed.subject.keys)?;
    expect_eq(&signed, &head(&bed, log).await?, "the head of the page")?;
    expect(signed.size >= 300, "the head covers too little")?;
    expect(page.hits.len() >= 303, "a page is too short")?;
    for hit in &page.hits {
        let index = hit.view.index;
        expect_eq(
            &hit.proof.is_some(),
            &(index < signed.size),
            "a hit's proof",
        )?;
        if let Some(proof) = &hit.proof {
            let leaf = leaf_of(&hit.view.bytes);
            verify_inclusion(proof, index, &leaf, signed.size, &signed.root)?;
        }
    }
    let hashes = leaves(&bed.read(log).await?);
    for (index, size) in [
        (0, 1),
        (0, 2),
        (1, 2),
        (6, 7),
        (5, 255),
        (255, 256),
        (255, 257),
        (256, 257),
        (3, 299),
        (298, 299),
        (0, signed.size),
        (signed.size - 1, signed.size),
    ] {
        let proof = audit.prove(&cx, &log, index, size).await?;
        let tree = hashes.get(..usize::try_from(size)?).map(root_of);
        let leaf = hashes.get(usize::try_from(index)?);
        let (Some(tree), Some(leaf)) = (tree, leaf) else {
            return Err(Mismatch("a proof is for more than is read".to_owned()));
        };
        verify_inclusion(&proof, index, leaf, size, &tree)?;
    }
    let none = |error: &_| matches!(error, AuditError::Proof(_));
    for (index, size) in [(0, 0), (3, 3), (0, signed.size + 1), (0, u64::MAX)] {
        let refused = audit.prove(&cx, &log, index, size).await;
        expect_error(refused, none, "a proof in a tree that is not")?;
    }
    let refused = audit.prove(&cx, &log_of(3), 0, 1).await;
    expect_error(refused, none, "a proof in a log that is not there").map(drop)
}

pub(super) async fn growth_is_proven_between_all_sizes(bed: Bed) -> Outcome {
    let (audit, cx, log) = (bed.audit(), bed.system(), log_of(1));
    bed.append(1, 270).await?;
    audit.checkpoint().await?;
    let size = head(&bed, log).await?.size;
    let hashes = leaves(&bed.read(log).await?);
    let tree = |size: u64| {
        let size = usize::try_from(size).ok()?;
        hashes.get(..size).map(root_of)
    };
    for (old, new) in [
        (1, 2),
        (1, 7),
        (4, 7),
        (6, 8),
        (7, 7),
        (3, 256),
        (256, 257),
        (255, size),
        (256, size),
        (size, size),
    ] {
        let proof = audit.prove_growth(&cx, &log, old, new).await?;
        let (Some(before), Some(after)) = (tree(old), tree(new)) else {
            return Err(Mismatch("a head covers more than is read".to_owned()));
        };
        verify_consistency(&proof, old, &before, new, &after)?;
    }
    let none = |error: &_| matches!(error, AuditError::Proof(_));
    for (old, new) in [(0, 5), (6, 5), (1, size + 1), (1, u64::MAX)] {
        let refused = audit.prove_growth(&cx, &log, old, new).await;
        expect_error(refused, none, "growth between sizes that are not")?;
    }
    Ok(())
}

pub(super) async fn a_signed_head_is_the_last_one_in_the_directory(bed: Bed) -> Outcome {
    let (audit, cx) = (bed.audit(), bed.system());
    let none = audit.signed_head(&cx, &log_of(1)).await?;
    expect_eq(&none, &None, "the signed head of a log that is not there")?;
    for round in 1..=3 {
        bed.append(1, 2).await?;
        let directory = audit.checkpoint().await?;
        let found = head(&bed, LogId::Directory).await?;
        expect_eq(
            &(found.size, found.root),
            &(directory.size, directory.root),
            "the signed head of the directory",
        )?;
        let all = signed(&bed, &bed.read(LogId::Directory).await?)?;
        let last = all.iter().rev().find(|point| point.log == log_of(1));
        let found = head(&bed, log_of(1)).await?;
        expect_eq(&Some(&found), &last, "the signed head of a log")?;
        expect(found.size >= 2 * round, "a signed head is old")?;
    }
    Ok(())
}

//! Proofs by the open log hold for whoever has the signing key, and are refused where nothing was signed.

use eonpro_audit::merkle::{
    CompactRange, ProofError, leaf_hash, verify_consistency, verify_inclusion,
};
use eonpro_audit::tlog::{OfflineProof, Policy};
use eonpro_audit::{
    AuditError, AuditLog as _, Checkpoint, EmbeddedAudit, EntryView, LogId, Proofs, Query,
};
use eonpro_core::component::Component as _;
use eonpro_core::event::Digest;
use eonpro_testkit::tenant_id;

use crate::house::House;
use crate::queries::{mixed, pages};

/// The root of the first `size` entries.
fn root(entries: &[EntryView], size: u64) -> Digest {
    let mut tree = CompactRange::new();
    let leaves = entries.iter().map(|view| leaf_hash(&view.bytes));
    leaves
        .take(usize::try_from(size).unwrap())
        .for_each(|leaf| tree.append(leaf));
    tree.root()
}

async fn head(house: &House, audit: &EmbeddedAudit, log: &LogId) -> Checkpoint {
    let note = audit.signed_head(&house.system(), log).await.unwrap();
    Checkpoint::open(&note.unwrap(), &[house.key()]).unwrap()
}

#[tokio::test]
async fn an_entry_is_proven_in_every_tree_that_a_signed_head_covers() {
    let house = House::new();
    let audit = house.open().await;
    let log = LogId::Tenant(tenant_id(1));
    let entries = mixed(&house, &audit, 1, 1_100).await.entries;
    audit.checkpoint().await.unwrap();
    let cx = house.cx(1);
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 600, 1_023, 1_024, 1_100] {
        let root = root(&entries, size);
        let indexes = [0, 1, 128, 255, 256, 511, 512, size / 2, size - 1];
        for index in indexes.into_iter().filter(|index| *index < size) {
            let proof = audit.prove(&cx, &log, index, size).await.unwrap();
            let at = usize::try_from(index).unwrap();
            let leaf = entries[at].leaf();
            let verified = verify_inclusion(&proof, index, &leaf, size, &root);
            assert_eq!(verified, Ok(()), "{index} of {size}");
        }
    }
    audit.close().await;
}

#[tokio::test]
async fn a_log_is_proven_to_have_only_grown() {
    let house = House::new();
    let audit = house.open().await;
    let log = LogId::Tenant(tenant_id(1));
    let entries = mixed(&house, &audit, 1, 700).await.entries;
    audit.checkpoint().await.unwrap();
    let cx = house.cx(1);
    let sizes = [1, 2, 3, 255, 256, 257, 512, 699, 700];
    for old in sizes {
        for new in sizes.into_iter().filter(|new| *new >= old) {
            let proof = audit.prove_growth(&cx, &log, old, new).await.unwrap();
            let (before, after) = (root(&entries, old), root(&entries, new));
            let verified = verify_consistency(&proof, old, &before, new, &after);
            assert_eq!(verified, Ok(()), "{old} to {new}");
        }
    }
    audit.close().await;
}

#[tokio::test]
async fn a_witness_is_shown_that_the_directory_log_grew() {
    let house = House::new();
    let audit = house.open().await;
    let directory = LogId::Directory;
    let mut before: Option<Checkpoint> = None;
    for tenant in [1, 2, 3, 1, 1, 2] {
        let event = house.viewed();
        audit.append(&house.cx(tenant), &event).await.unwrap();
        audit.checkpoint().await.unwrap();
        let now = head(&house, &audit, &directory).await;
        if let Some(old) = before {
            assert!(now.size > old.size);
            let proof = audit
                .prove_growth(&house.system(), &directory, old.size, now.size)
                .await
                .unwrap();
            verify_consistency(&proof, old.size, &old.root, now.size, &now.root).unwrap();
        }
        before = Some(now);
    }
    audit.close().await;
}

#[tokio::test]
async fn there_is_no_proof_of_what_is_not_signed_or_not_there() {
    let house = House::new();
    let audit = house.open().await;
    let log = LogId::Tenant(tenant_id(1));
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let cx = house.cx(1);
    let refused = |result: Result<Vec<Digest>, AuditError>| {
        assert!(
            matches!(result, Err(AuditError::Proof(ProofError::Size))),
            "{result:?}"
        );
    };
    // Durable, but not signed yet.
    refused(audit.prove(&cx, &log, 0, 1).await);
    assert_eq!(audit.signed_head(&cx, &log).await.unwrap(), None);
    audit.checkpoint().await.unwrap();
    assert_eq!(audit.prove(&cx, &log, 0, 1).await.unwrap(), []);
    for (index, size) in [(0, 0), (1, 1), (0, 2), (u64::MAX, u64::MAX), (0, u64::MAX)] {
        refused(audit.prove(&cx, &log, index, size).await);
    }
    for (old, new) in [(0, 0), (0, 1), (1, 2), (2, 1), (1, u64::MAX)] {
        refused(audit.prove_growth(&cx, &log, old, new).await);
    }
    let nobody = LogId::Tenant(tenant_id(3));
    refused(audit.prove(&house.cx(3), &nobody, 0, 1).await);
    audit.close().await;
}

#[tokio::test]
async fn every_hit_that_a_head_covers_carries_a_proof_that_lasts_without_the_log() {
    let house = House::new();
    let audit = house.open().await;
    let log = LogId::Tenant(tenant_id(1));
    mixed(&house, &audit, 1, 300).await;
    audit.checkpoint().await.unwrap();
    let covered = head(&house, &audit, &log).await.size;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();

    let file = format!("log {}\nquorum none\n", house.key().vkey(&log));
    let policy = Policy::parse(file.as_bytes()).unwrap();
    let mut query = Query::new(log);
    query.proofs = Proofs::With;
    let (pages, found) = pages(&audit, &house.cx(1), &query).await;
    assert_eq!(found.len() as u64, covered + 1);
    for page in &pages {
        let note = page.head.as_ref().unwrap();
        for hit in &page.hits {
            if hit.view.index >= covered {
                assert_eq!(hit.proof, None);
                assert!(hit.offline_proof(note).is_err());
                continue;
            }
            let proof = hit.offline_proof(note).unwrap().to_string();
            let proof = OfflineProof::parse(&proof).unwrap();
            let trusted = proof.verify(&hit.view.leaf(), &policy).unwrap();
            assert_eq!(trusted.head.size(), covered);
            assert_eq!(proof.extra(), hit.view.bytes);
            // No other entry has that proof, nor is it one under another log's head.
            let mut other = hit.clone();
            other.view.bytes.push(b' ');
            assert!(other.offline_proof(note).is_err());
            let system = audit.signed_head(&house.system(), &LogId::System).await;
            assert!(hit.offline_proof(&system.unwrap().unwrap()).is_err());
        }
    }
    audit.close().await;
}

#[tokio::test]
async fn the_signed_head_of_each_log_is_there_also_after_a_restart() {
    let house = House::new();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.append(&house.cx(2), &house.viewed()).await.unwrap();
    audit.close().await;

    let audit = house.open().await;
    let mut sizes = Vec::new();
    for log in [
        LogId::System,
        LogId::Tenant(tenant_id(1)),
        LogId::Tenant(tenant_id(2)),
        LogId::Directory,
    ] {
        let head = head(&house, &audit, &log).await;
        assert_eq!(head.log, log);
        sizes.push(head.size);
    }
    // The system log was signed again when the log was opened.
    assert_eq!(sizes, [2, 1, 1, 4]);
    let log = LogId::Tenant(tenant_id(2));
    assert_eq!(audit.prove(&house.cx(2), &log, 0, 1).await.unwrap(), []);
    audit.close().await;
}

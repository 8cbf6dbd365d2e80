//! What is published is what other tools read, and proves single entries without the log.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use eonpro_audit::merkle::leaf_hash;
use eonpro_audit::tlog::{OfflineProof, OfflineProofError, Policy};
use eonpro_audit::{
    AuditLog as _, Fault, LogId, PublishError, Published, VerifyError, prove, publish,
};
use eonpro_core::component::Component as _;
use eonpro_testkit::tenant_id;

use crate::ages::{Ages, YEAR};
use crate::house::House;

async fn append(house: &House, tenant: u128, entries: usize) {
    let audit = house.open().await;
    for _ in 0..entries.div_ceil(100) {
        let events: Vec<_> = (0..entries.min(100)).map(|_| house.viewed()).collect();
        let appended = audit.append_batch(&house.cx(tenant), &events).await;
        appended.unwrap();
    }
    audit.close().await;
}

fn published(house: &House) -> PathBuf {
    house.dir.path().join("published")
}

fn run(house: &House) -> Result<Published, PublishError> {
    publish(&house.log(), &[house.key()], &published(house))
}

/// Every file below `dir`, by its path.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn policy(house: &House, log: LogId) -> Policy {
    let file = format!("log {}\nquorum none\n", house.key().vkey(&log));
    Policy::parse(file.as_bytes()).unwrap()
}

fn verified(house: &House, log: LogId, proof: &OfflineProof) -> Result<u64, OfflineProofError> {
    let policy = policy(house, log);
    let trusted = proof.verify(&leaf_hash(proof.extra()), &policy)?;
    Ok(trusted.head.size())
}

#[tokio::test]
async fn every_entry_of_every_log_is_proven_by_a_file_of_its_own() {
    let house = House::new();
    append(&house, 1, 300).await;
    append(&house, 2, 1).await;
    let done = run(&house).unwrap();
    assert_eq!(done.logs, 4);
    for (log, sizes) in [
        (LogId::Tenant(tenant_id(1)), 300),
        (LogId::Tenant(tenant_id(2)), 1),
    ] {
        for index in [0, 1, 254, 255, 256, 299]
            .into_iter()
            .filter(|at| *at < sizes)
        {
            let proof = prove(&published(&house), &[house.key()], log, index).unwrap();
            let read = OfflineProof::parse(&proof.to_string()).unwrap();
            assert_eq!(verified(&house, log, &read).unwrap(), sizes);
            assert_eq!(read.index(), index);
            let entry: serde_json::Value = serde_json::from_slice(read.extra()).unwrap();
            assert_eq!(entry["code"], "PHI-001");
            let other = LogId::System;
            assert!(verified(&house, other, &read).is_err());
        }
        let beyond = prove(&published(&house), &[house.key()], log, sizes);
        assert!(matches!(beyond, Err(PublishError::Proof(_))), "{beyond:?}");
    }
    let stranger = House::new();
    let log = LogId::Tenant(tenant_id(1));
    assert!(matches!(
        prove(&published(&house), &[stranger.key()], log, 0),
        Err(PublishError::Checkpoint(_))
    ));
}

#[tokio::test]
async fn a_repeat_writes_what_grew_and_leaves_nothing_outgrown() {
    let house = House::new();
    append(&house, 1, 200).await;
    run(&house).unwrap();
    let before = files(&published(&house));
    assert_eq!(run(&house).unwrap().files, 0);
    assert_eq!(files(&published(&house)), before);

    append(&house, 1, 100).await;
    run(&house).unwrap();
    let origin = format!("eonpro/audit/{}", tenant_id(1));
    let now = files(&published(&house));
    let of_tenant: Vec<&str> = now
        .keys()
        .filter_map(|name| name.strip_prefix(&origin))
        .collect();
    assert_eq!(
        of_tenant,
        [
            "/checkpoint",
            "/tile/0/000",
            "/tile/0/001.p/44",
            "/tile/1/000.p/1",
            "/tile/entries/000",
            "/tile/entries/001.p/44",
        ]
    );
    // As if everything had been published at once.
    let fresh = house.dir.path().join("fresh");
    publish(&house.log(), &[house.key()], &fresh).unwrap();
    assert_eq!(files(&fresh), now);
}

#[tokio::test]
async fn another_log_is_not_published_over_one_that_is() {
    let house = House::new();
    append(&house, 1, 3).await;
    run(&house).unwrap();
    let before = files(&published(&house));
    fs::remove_dir_all(house.log()).unwrap();
    eonpro_audit::forget_head(&*house.state).await.unwrap();
    append(&house, 1, 4).await;
    match run(&house) {
        Err(PublishError::Log(VerifyError::Tampered { fault, .. })) => {
            assert_eq!(fault, Fault::Anchor);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(files(&published(&house)), before);
}

#[tokio::test]
async fn whatever_is_changed_in_what_was_published_proves_nothing() {
    let house = House::new();
    append(&house, 1, 300).await;
    run(&house).unwrap();
    let log = LogId::Tenant(tenant_id(1));
    let origin = published(&house).join(log.to_string());
    for name in files(&origin).keys() {
        let path = origin.join(name);
        let good = fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let proofs =
                [0, 299].map(|index| prove(&published(&house), &[house.key()], log, index));
            assert!(proofs.iter().any(Result::is_err), "{name} at {at}");
            // Nor is it written over.
            assert!(run(&house).is_err(), "{name} at {at}");
        }
        fs::write(&path, good).unwrap();
    }
    run(&house).unwrap();
}

#[tokio::test]
async fn of_a_pruned_log_the_hashes_are_published_and_the_bundles_that_are_whole() {
    let ages = Ages::new();
    let house = &ages.house;
    let audit = house.open().await;
    for _ in 0..12 {
        ages.views(&audit, 1, 50).await;
    }
    ages.time.advance(6 * YEAR);
    ages.new_segment(&audit).await;
    ages.views(&audit, 1, 50).await;
    audit.close().await;
    run(house).unwrap();
    let log = LogId::Tenant(tenant_id(1));
    let origin = published(house).join(log.to_string());
    let before = files(&origin);
    let kept = prove(&published(house), &[house.key()], log, 610).unwrap();

    let audit = house.open().await;
    assert_eq!(ages.prune(&audit).await.unwrap().entries, 512);
    audit.close().await;
    let done = run(house).unwrap();
    assert_eq!((done.logs, done.pruned), (4, 512));
    let now = files(&origin);
    let whole = |name: &&String| !name.contains(".p/");
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    let gone: Vec<_> = gone.filter(whole).collect();
    assert_eq!(gone, ["tile/entries/000", "tile/entries/001"]);
    // Nothing else that never changes is another.
    for (name, bytes) in now.iter().filter(|(name, _)| *name != "checkpoint") {
        assert!(before.get(name).is_none_or(|was| was == bytes), "{name}");
    }
    assert_eq!(run(house).unwrap().files, 0);
    // As if it had been pruned before it was ever published.
    let fresh = house.dir.path().join("fresh");
    publish(&house.log(), &[house.key()], &fresh).unwrap();
    assert_eq!(files(&fresh.join(log.to_string())), now);

    // What is gone cannot be proven any more, what was proven still is, and so is what stays.
    let none = prove(&published(house), &[house.key()], log, 511);
    assert!(matches!(none, Err(PublishError::Pruned)), "{none:?}");
    assert!(verified(house, log, &kept).is_ok());
    let proof = prove(&published(house), &[house.key()], log, 512).unwrap();
    assert!(verified(house, log, &proof).is_ok());
}

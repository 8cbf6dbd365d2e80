//! A replica holds what it has verified, goes forward or stops, and can be read by anybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::archive::{
    ArchiveError, ArchiveSource, PublishedSource, Pulled, Replica, ReplicaParts, StopReason,
    TileSource, local, verify_archive, verify_published,
};
use eonpro_audit::forget_head;
use eonpro_audit::tlog::{
    Bundle, Cosignature, KeyKind, KeyName, Note, Policy, VerifierKey, parse_bundle,
};
use eonpro_audit::{AuditLog as _, LogId, VerifyingKey, prove, publish};
use eonpro_core::component::Component as _;
use eonpro_core::port::NoObserver;
use eonpro_core::time::{ManualClock, SharedClock, Timestamp};
use eonpro_testkit::servers::{require, tool};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::ages::Ages;
use crate::archiving::{aged, append, archive, store, tenant};
use crate::house::House;
use crate::rotation::{move_in, public, signer};
use crate::stores::{FaultStore, Kind, files, forge};

fn parts(house: &House, from: Arc<dyn TileSource>, to: Arc<dyn ObjectStore>) -> ReplicaParts {
    ReplicaParts {
        source: from,
        store: to,
        prefix: String::new(),
        keys: vec![house.key()],
        policy: None,
        clock: Arc::clone(&house.clock),
        observer: Arc::new(NoObserver),
    }
}

fn published_at(dir: &Path) -> Arc<dyn TileSource> {
    Arc::new(PublishedSource::new(local(dir).unwrap(), "").unwrap())
}

fn replica(house: &House, from: &Path, to: &Path) -> Replica {
    Replica::new(parts(house, published_at(from), local(to).unwrap())).unwrap()
}

fn place(house: &House, name: &str) -> PathBuf {
    house.dir.path().join(name)
}

/// Appends these entries of each tenant, with a checkpoint for each, and publishes.
async fn grow(house: &House, rounds: &[(u128, usize)], to: &str) {
    let log = house.open().await;
    for (number, entries) in rounds {
        append(house, &log, *number, *entries).await;
        log.checkpoint().await.unwrap();
    }
    log.close().await;
    publish(&house.log(), &[house.key()], &place(house, to)).unwrap();
}

fn why(result: Result<Pulled, ArchiveError>) -> StopReason {
    match result {
        Err(ArchiveError::Stopped(evidence)) => evidence.why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_replica_follows_and_is_the_same_as_what_was_published() {
    let house = House::new();
    let (from, to) = (place(&house, "published"), place(&house, "replica"));
    grow(&house, &[(1, 300), (2, 1)], "published").await;
    let following = replica(&house, &from, &to);
    let pulled = following.pull().await.unwrap();
    assert_eq!(pulled.entries, 303);
    assert_eq!(files(&to), files(&from));
    assert_eq!(following.pull().await.unwrap().entries, 0);

    for (number, entries) in [(1, 10), (1, 500), (3, 256), (2, 255)] {
        grow(&house, &[(number, entries)], "published").await;
        following.pull().await.unwrap();
        assert_eq!(files(&to), files(&from));
        // Another process goes on with the same store.
        assert_eq!(replica(&house, &from, &to).pull().await.unwrap().entries, 0);
        assert_eq!(files(&to), files(&from));
    }
    let proof = prove(&to, &[house.key()], tenant(1), 809).unwrap();
    assert_eq!(proof.index(), 809);
    let own = local(&to).unwrap();
    verify_published(own, "", &[house.key()], &[])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_replica_of_an_archive_is_verified_by_a_stranger() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    let archive = archive(&house, &log, store(&house)).await;
    let source = Arc::new(ArchiveSource::new(store(&house), "", None).unwrap());
    let to = place(&house, "replica");
    let replica = Replica::new(parts(&house, source, local(&to).unwrap())).unwrap();
    for entries in [300, 7, 600] {
        append(&house, &log, 1, entries).await;
        let cut = archive.run_with_tail().await.unwrap().cut;
        assert_eq!(replica.pull().await.unwrap().size, cut);
    }
    log.close().await;
    let report = verify_published(local(&to).unwrap(), "", &[house.key()], &[])
        .await
        .unwrap();
    assert!(report.entries >= 907, "{report:?}");

    let able = |python: &PathBuf| {
        let mut probe = Command::new(python);
        let output = probe.args(["-c", "import cryptography"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = tool("python").filter(able);
    let Some(python) = require(found, "cryptography", "python3-cryptography") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(script.join("../../examples/foreign-verifier/verify.py"))
        .arg(&to)
        .args(["--key", &house.key().vkey(&LogId::Directory)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn a_source_that_was_put_back_stops_the_replica_for_good() {
    let house = House::new();
    let (old, from, to) = (
        place(&house, "old"),
        place(&house, "new"),
        place(&house, "replica"),
    );
    grow(&house, &[(1, 300)], "old").await;
    grow(&house, &[(1, 300)], "new").await;
    replica(&house, &from, &to).pull().await.unwrap();
    let held = files(&to);
    assert_eq!(
        why(replica(&house, &old, &to).pull().await),
        StopReason::Shrunk
    );

    // The evidence is kept, all else is as it was, and a sound source does not help.
    let mut now = files(&to);
    let evidence = now.remove("evidence").unwrap();
    assert_eq!(now, held);
    let evidence = String::from_utf8(evidence).unwrap();
    assert!(evidence.contains("shrunk"), "{evidence}");
    let stopped = replica(&house, &from, &to);
    assert_eq!(why(stopped.pull().await), StopReason::Shrunk);
    let kept = stopped.stopped().await.unwrap().unwrap();
    let notes = [&kept.ours, &kept.theirs];
    for note in notes {
        eonpro_audit::Checkpoint::open(note, &[house.key()]).unwrap();
    }
    fs::remove_file(to.join("evidence")).unwrap();
    replica(&house, &from, &to).pull().await.unwrap();
}

#[tokio::test]
async fn a_history_that_was_rewritten_and_signed_again_is_refused() {
    // Fewer, as many and more checkpoints than the replica has seen.
    for (rounds, expected) in [
        (1, StopReason::Shrunk),
        (2, StopReason::Forked),
        (4, StopReason::Rewritten),
    ] {
        let house = House::new();
        let (from, to) = (place(&house, "published"), place(&house, "replica"));
        grow(&house, &[(1, 300), (1, 300)], "published").await;
        replica(&house, &from, &to).pull().await.unwrap();
        let held = files(&to);
        fs::remove_dir_all(house.log()).unwrap();
        forget_head(&*house.state).await.unwrap();
        grow(&house, &vec![(1, 300); rounds], "rewritten").await;
        let pulled = replica(&house, &place(&house, "rewritten"), &to)
            .pull()
            .await;
        assert_eq!(why(pulled), expected);
        let mut now = files(&to);
        assert!(now.remove("evidence").is_some());
        assert_eq!(now, held);
    }
}

/// The leaves of a published log.
fn leaves(dir: &Path, log: LogId, size: u64) -> Vec<Vec<u8>> {
    let mut leaves = Vec::new();
    for index in 0..=size >> 8 {
        let Some(bundle) = Bundle::in_tree(index, size) else {
            break;
        };
        let bytes = fs::read(dir.join(format!("{log}/{bundle}"))).unwrap();
        leaves.extend(
            parse_bundle(bundle, &bytes)
                .unwrap()
                .iter()
                .map(|leaf| leaf.to_vec()),
        );
    }
    leaves
}

#[tokio::test]
async fn one_log_rewritten_below_an_honest_directory_is_refused() {
    let house = House::new();
    let (from, to) = (place(&house, "published"), place(&house, "replica"));
    grow(&house, &[(1, 300)], "published").await;
    let first = replica(&house, &from, &to).pull().await.unwrap();
    let held = files(&to);
    let mut directory = leaves(&from, LogId::Directory, first.size);
    let mut entries = leaves(&from, tenant(1), 300);

    // The directory goes on from what it was; the tenant's log does not, though all of it is signed.
    entries[17][200] ^= 1;
    entries.push(b"one more".to_vec());
    let note = forge(&from, tenant(1), &entries, &house.signer()).await;
    directory.push(note.into_bytes());
    forge(&from, LogId::Directory, &directory, &house.signer()).await;
    let result = replica(&house, &from, &to).pull().await;
    let Err(ArchiveError::Stopped(evidence)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(
        (evidence.why, evidence.log),
        (StopReason::Rewritten, tenant(1))
    );
    assert!(!evidence.proof.is_empty());
    let mut now = files(&to);
    assert!(now.remove("evidence").is_some());
    assert_eq!(now, held);
}

#[tokio::test]
async fn a_promise_within_the_new_leaves_that_does_not_hold_is_refused() {
    let house = House::new();
    let (from, to) = (place(&house, "published"), place(&house, "replica"));
    grow(&house, &[(1, 3)], "published").await;
    let first = replica(&house, &from, &to).pull().await.unwrap();
    let mut directory = leaves(&from, LogId::Directory, first.size);
    let entries = leaves(&from, tenant(1), 3);
    let mut other = entries.clone();
    other.push(b"shown to somebody else".to_vec());
    let promise = forge(&from, tenant(1), &other, &house.signer()).await;
    let mut longer = entries.clone();
    longer.extend([b"four".to_vec(), b"five".to_vec()]);
    let last = forge(&from, tenant(1), &longer, &house.signer()).await;
    directory.extend([promise.into_bytes(), last.into_bytes()]);
    forge(&from, LogId::Directory, &directory, &house.signer()).await;
    assert_eq!(
        why(replica(&house, &from, &to).pull().await),
        StopReason::Rewritten
    );
}

#[tokio::test]
async fn what_is_changed_or_missing_at_the_source_is_not_stored() {
    let house = House::new();
    let from = place(&house, "published");
    grow(&house, &[(1, 300), (2, 3)], "published").await;
    let good = files(&from);
    let checkpoint = format!("{}/checkpoint", LogId::Directory);
    for (name, bytes) in &good {
        // The logs' own checkpoints are not asked for: the directory's leaves have them.
        if name.ends_with("/checkpoint") && *name != checkpoint {
            continue;
        }
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        for bad in [
            Some(flipped),
            Some(bytes[1..].to_vec()),
            Some(Vec::new()),
            None,
        ] {
            match &bad {
                Some(bad) => fs::write(from.join(name), bad).unwrap(),
                None => fs::remove_file(from.join(name)).unwrap(),
            }
            let to = tempfile::tempdir().unwrap();
            let following = replica(&house, &from, to.path());
            let pulled = following.pull().await;
            let behind = !matches!(pulled, Ok(_) | Err(ArchiveError::Stopped(_)));
            assert!(behind, "{name}: {pulled:?}");
            let stored = files(to.path());
            assert!(!stored.contains_key(&checkpoint), "{name}");
            for (name, bytes) in &stored {
                assert_eq!(good.get(name), Some(bytes), "{name}");
            }
            fs::write(from.join(name), bytes).unwrap();
            following.pull().await.unwrap();
            assert_eq!(files(to.path()), good, "{name}");
        }
    }
}

#[tokio::test]
async fn a_replica_that_is_interrupted_at_any_call_goes_on_with_the_next_pull() {
    let house = House::new();
    grow(&house, &[(1, 300)], "first").await;
    grow(&house, &[(1, 300), (2, 3)], "second").await;
    let [first, second] = ["first", "second"].map(|name| place(&house, name));
    // What fails: its own store, before or after the effect, or the source.
    for (own, kind) in [
        (true, Kind::Before),
        (true, Kind::After),
        (false, Kind::Before),
    ] {
        let mut at = 0;
        loop {
            let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let to = FaultStore::new(memory.clone(), kind);
            let from = FaultStore::new(local(&second).unwrap(), kind);
            let start = parts(&house, published_at(&first), to.clone());
            Replica::new(start).unwrap().pull().await.unwrap();
            let source = Arc::new(PublishedSource::new(from.clone(), "").unwrap());
            let following = Replica::new(parts(&house, source, to.clone())).unwrap();
            let faulty = if own { &to } else { &from };
            faulty.fail_from(at);
            let pulled = following.pull().await;
            let failed = faulty.heal();
            assert_eq!(pulled.is_err(), failed, "{own} {kind:?} {at}: {pulled:?}");
            // What it believes is sound at every moment.
            let own_source = PublishedSource::new(memory.clone(), "").unwrap();
            let target = tempfile::tempdir().unwrap();
            let second_hand = parts(&house, Arc::new(own_source), local(target.path()).unwrap());
            Replica::new(second_hand).unwrap().pull().await.unwrap();

            if at % 2 == 0 {
                following.pull().await.unwrap();
            } else {
                let again = parts(&house, published_at(&second), to.clone());
                Replica::new(again).unwrap().pull().await.unwrap();
            }
            let keys = [house.key()];
            let report = verify_published(memory.clone(), "", &keys, &[])
                .await
                .unwrap();
            let tenant_one = report
                .heads
                .iter()
                .find(|head| head.log == tenant(1))
                .unwrap();
            assert_eq!(tenant_one.size, 600);
            if !failed {
                break;
            }
            at += 1;
        }
        assert!(at > 12, "{at}");
    }
}

#[tokio::test]
async fn a_head_without_a_quorum_of_witnesses_is_not_believed() {
    let house = House::new();
    let (from, to) = (place(&house, "published"), place(&house, "replica"));
    grow(&house, &[(1, 3)], "published").await;
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = VerifyingKey::from_bytes(pair.public_key().as_ref().try_into().unwrap());
    let name = KeyName::parse("witness.example").unwrap();
    let witness = VerifierKey::new(name, KeyKind::Cosignature, public);
    let policy = format!(
        "log {}\nwitness w {witness}\nquorum w\n",
        house.key().vkey(&LogId::Directory)
    );
    let mut strict = parts(&house, published_at(&from), local(&to).unwrap());
    strict.policy = Some(Policy::parse(policy.as_bytes()).unwrap());
    let strict = Replica::new(strict).unwrap();
    let pulled = strict.pull().await;
    assert!(matches!(pulled, Err(ArchiveError::Trust(_))), "{pulled:?}");
    assert!(files(&to).is_empty());

    let path = from.join(format!("{}/checkpoint", LogId::Directory));
    let mut note = Note::parse(&fs::read_to_string(&path).unwrap()).unwrap();
    let message = Cosignature::message(1_800_000_000, note.text()).unwrap();
    let signature = pair.sign(message.as_bytes()).as_ref().try_into().unwrap();
    let cosignature = Cosignature::new(1_800_000_000, signature).unwrap();
    note.push(witness.line(&cosignature.to_bytes())).unwrap();
    fs::write(&path, note.to_string()).unwrap();
    strict.pull().await.unwrap();
    assert_eq!(files(&to), files(&from));
}

#[tokio::test]
async fn a_replica_says_how_far_it_is_behind() {
    let house = House::new();
    let from = place(&house, "published");
    grow(&house, &[(1, 300)], "published").await;
    let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
    let store = FaultStore::new(Arc::new(InMemory::new()), Kind::Before);
    let mut late = parts(&house, published_at(&from), store.clone());
    late.clock = clock.clone() as SharedClock;
    let late = Replica::new(late).unwrap();
    late.pull().await.unwrap();
    assert_eq!(late.lag(), Default::default());

    grow(&house, &[(1, 200), (2, 5)], "published").await;
    // It sees what there is, and can store none of it.
    let bundle = from.join(format!("{}/tile/entries/001.p/244", tenant(1)));
    let kept = fs::read(&bundle).unwrap();
    fs::remove_file(&bundle).unwrap();
    late.pull().await.unwrap_err();
    clock.advance(Duration::from_secs(60));
    late.pull().await.unwrap_err();
    let lag = late.lag();
    // The system's log grew, too, by what it says of its start and its end.
    assert_eq!((lag.entries, lag.behind), (207, Duration::from_secs(60)));
    assert!(lag.checkpoints >= 3, "{lag:?}");
    fs::write(&bundle, kept).unwrap();
    late.pull().await.unwrap();
    assert_eq!(late.lag(), Default::default());
}

/// Appends, hands over to the key in the file `name`, and publishes.
async fn rotate(house: &House, name: &str, to: &Path) -> VerifyingKey {
    let log = house.open().await;
    append(house, &log, 1, 3).await;
    let next = signer(house, name);
    let key = public(&next);
    log.rotate_key(&house.system(), next).await.unwrap();
    append(house, &log, 1, 3).await;
    log.close().await;
    move_in(house, name);
    publish(&house.log(), &[key], to).unwrap();
    key
}

#[tokio::test]
async fn a_replica_follows_changes_of_keys_whichever_key_of_the_row_it_was_given() {
    let house = House::new();
    let from = place(&house, "published");
    let mut keys = vec![house.key()];
    let following = |key, to: &str| {
        let mut parts = parts(
            &house,
            published_at(&from),
            local(&place(&house, to)).unwrap(),
        );
        parts.keys = vec![key];
        Replica::new(parts).unwrap()
    };
    grow(&house, &[(1, 300)], "published").await;
    let long = following(keys[0], "long");
    long.pull().await.unwrap();
    for name in ["second", "third"] {
        keys.push(rotate(&house, name, &from).await);
        // The one that goes on, another process with its store, and new ones.
        long.pull().await.unwrap();
        following(keys[0], "long").pull().await.unwrap();
        for (at, key) in keys.iter().enumerate() {
            let to = format!("{name}{at}");
            following(*key, &to).pull().await.unwrap();
            assert_eq!(files(&place(&house, &to)), files(&from));
            let own = local(&place(&house, &to)).unwrap();
            verify_published(own, "", &[*key], &[]).await.unwrap();
        }
        assert_eq!(files(&place(&house, "long")), files(&from));
    }
    let pulled = following(House::new().key(), "stranger").pull().await;
    assert!(
        matches!(pulled, Err(ArchiveError::Checkpoint(_))),
        "{pulled:?}"
    );
}

#[tokio::test]
async fn a_key_that_has_handed_over_leads_a_replica_no_further() {
    let house = House::new();
    let (from, to) = (place(&house, "published"), place(&house, "replica"));
    let old = house.signer();
    let first = house.key();
    grow(&house, &[(1, 3)], "published").await;
    rotate(&house, "second", &from).await;
    let following = |to: &Path| {
        let mut parts = parts(&house, published_at(&from), local(to).unwrap());
        parts.keys = vec![first];
        Replica::new(parts).unwrap()
    };
    let held = following(&to).pull().await.unwrap();
    let mut directory = leaves(&from, LogId::Directory, held.size);
    let mut entries = leaves(&from, tenant(1), 9);
    entries.push(b"one more".to_vec());
    let note = forge(&from, tenant(1), &entries, &old).await;
    directory.push(note.into_bytes());
    forge(&from, LogId::Directory, &directory, &old).await;
    for to in [to, place(&house, "new")] {
        let pulled = following(&to).pull().await;
        assert!(
            !matches!(pulled, Ok(_) | Err(ArchiveError::Stopped(_))),
            "{pulled:?}"
        );
    }
    let verified = verify_published(local(&from).unwrap(), "", &[first], &[]).await;
    assert!(verified.is_err(), "{verified:?}");

    // Nor does it sign what the other key signed.
    directory.pop();
    forge(&from, LogId::Directory, &directory, &old).await;
    let pulled = following(&place(&house, "newer")).pull().await;
    assert!(
        matches!(pulled, Err(ArchiveError::Checkpoint(_))),
        "{pulled:?}"
    );
}

#[tokio::test]
async fn a_log_that_was_pruned_before_it_was_published_is_replicated_and_verified_without_what_went()
 {
    let ages = Ages::new();
    let house = &ages.house;
    let (from, to) = (place(house, "published"), place(house, "replica"));
    let log = aged(&ages).await;
    assert_eq!(ages.prune(&log).await.unwrap().entries, 256);
    ages.views(&log, 1, 600).await;
    log.close().await;
    publish(&house.log(), &[house.key()], &from).unwrap();
    replica(house, &from, &to).pull().await.unwrap();
    assert_eq!(files(&to), files(&from));
    let report = verify_published(local(&to).unwrap(), "", &[house.key()], &[])
        .await
        .unwrap();
    let of = &report.pruned[0];
    assert_eq!(
        (report.pruned.len(), of.log, of.entries, of.minimum_index),
        (1, tenant(1), 256, 256)
    );

    // A bundle that no entry accounts for is missing.
    let bundle = format!("{}/tile/entries/002", tenant(1));
    for dir in [&from, &to] {
        fs::remove_file(dir.join(&bundle)).unwrap();
    }
    let verified = verify_published(local(&to).unwrap(), "", &[house.key()], &[]).await;
    assert!(
        matches!(&verified, Err(ArchiveError::Missing(key)) if *key == bundle),
        "{verified:?}"
    );
    let pulled = replica(house, &from, &place(house, "late")).pull().await;
    assert!(
        matches!(&pulled, Err(ArchiveError::Missing(key)) if *key == bundle),
        "{pulled:?}"
    );
}

#[tokio::test]
async fn after_a_change_of_keys_a_pruning_and_a_restart_all_goes_on() {
    let ages = Ages::new();
    let house = &ages.house;
    let first = house.key();
    let log = aged(&ages).await;
    let archiving = archive(house, &log, store(house)).await;
    archiving.run_with_tail().await.unwrap();
    log.rotate_key(&house.system(), signer(house, "second"))
        .await
        .unwrap();
    assert_eq!(ages.prune(&log).await.unwrap().entries, 256);
    log.close().await;
    move_in(house, "second");

    let log = Arc::new(house.open().await);
    ages.views(&log, 1, 300).await;
    let late: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for bucket in [store(house), late] {
        let archiving = archive(house, &log, bucket.clone()).await;
        let cut = archiving.run_with_tail().await.unwrap().cut;
        for key in [first, house.key()] {
            let report = verify_archive(bucket.clone(), "", None, &[key], &[]).await;
            assert_eq!(report.unwrap().directory.size, cut);
            let own: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let source = ArchiveSource::new(bucket.clone(), "", None).unwrap();
            let mut parts = parts(house, Arc::new(source), own.clone());
            parts.keys = vec![key];
            let pulled = Replica::new(parts).unwrap().pull().await.unwrap();
            assert_eq!(pulled.size, cut);
            verify_published(own, "", &[key], &[]).await.unwrap();
        }
        archiving.start_over().await.unwrap();
        ages.views(&log, 1, 1).await;
    }
    log.close().await;
}

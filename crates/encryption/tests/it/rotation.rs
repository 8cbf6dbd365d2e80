//! Sealed rows moved to the present key: completely, once, and past everybody who is in the way.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eonpro_core::TenantScope;
use eonpro_core::id::ActorId;
use eonpro_core::phi::{Cell, Column, IndexDef, IndexPart, Normalizer, Row, Table};
use eonpro_core::port::{RotationError, SealScope, Sealer as _};
use eonpro_core::time::Clock as _;
use eonpro_encryption::{
    CryptoError, Encryption as _, IndexColumns, IndexStatus, KeyId, KeyState, KeyType,
    LazyResealer, Phase, RotationConfig, RotationKind, RotationStatus, Rotator, RotatorParts,
    ShredApproval, Suite, Vault,
};
use eonpro_testkit::scope;
use futures_util::FutureExt as _;

use crate::rows::MemoryRows;
use crate::support::{House, RECORDS, chore};

const SSN: Column = Column::new("ssn");
const RESEAL: RotationKind = RotationKind::Reseal(KeyType {
    purpose: RECORDS,
    suite: Suite::Standard,
});

fn cell(row: &[u8]) -> Cell<'_> {
    Cell::new(Table::new("patients"), SSN, Row::named(row).unwrap())
}

fn row(number: usize) -> Vec<u8> {
    format!("row-{number:04}").into_bytes()
}

/// Polls `work` and moves the clock whenever nothing else moves.
async fn drive<T>(house: &House, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        for _ in 0..200 {
            if let Some(done) = (&mut work).now_or_never() {
                return done;
            }
            tokio::task::yield_now().await;
        }
        house.advance(Duration::from_secs(1));
    }
}

struct Bed {
    house: House,
    scope: TenantScope,
    rows: Arc<MemoryRows>,
    /// The records key that sealed the rows.
    old: KeyId,
}

impl Bed {
    /// So many rows of an epoch that is over.
    async fn with_rows(count: usize) -> Self {
        let scope = scope(1);
        let house = House::with_tenants(&[&scope, &eonpro_testkit::scope(2)]).await;
        let rows = Arc::new(MemoryRows::new("patients", &[SSN], &[]));
        for number in 0..count {
            let sealed = seal(&house.vault, &scope, number).await;
            rows.put(&scope, &row(number), "ssn", &sealed);
        }
        let ours = SealScope::from(&scope);
        let turned = house.vault.turn_epoch(&chore(), ours, RECORDS.into()).await;
        house.sink.clear();
        Self {
            house,
            scope,
            rows,
            old: turned.unwrap().old,
        }
    }

    fn rotator_of(&self, vault: &Vault, config: RotationConfig) -> Rotator {
        Rotator::new(RotatorParts {
            vault: vault.clone(),
            sources: vec![Arc::<MemoryRows>::clone(&self.rows)],
            config,
        })
        .unwrap()
    }

    fn rotator(&self) -> Rotator {
        self.rotator_of(&self.house.vault, few())
    }

    async fn run(&self, rotator: &Rotator) -> Result<RotationStatus, CryptoError> {
        drive(&self.house, rotator.run(&self.scope, &RESEAL)).await
    }

    async fn rotate(&self) -> RotationStatus {
        let rotator = self.rotator();
        rotator.plan(&self.scope, &RESEAL).await.unwrap();
        self.run(&rotator).await.unwrap()
    }

    async fn state(&self, key: KeyId) -> KeyState {
        let keys = self.house.vault.keys((&self.scope).into()).await.unwrap();
        keys.iter().find(|one| one.id == key).unwrap().state
    }

    async fn assert_all_current(&self) {
        for (row, columns) in self.rows.all(&self.scope) {
            let sealed = columns["ssn"].clone().unwrap();
            let ours = SealScope::from(&self.scope);
            let plain = self
                .house
                .vault
                .open(ours, RECORDS, &cell(&row), &sealed)
                .await;
            assert_eq!(plain.unwrap().as_slice(), row.as_slice());
            assert!(!self.house.vault.is_stale(ours, &sealed));
        }
    }
}

fn few() -> RotationConfig {
    let mut config = RotationConfig::default();
    config.batch_rows = 4;
    config
}

fn approval() -> ShredApproval {
    ShredApproval {
        approver: ActorId::new("officer").unwrap(),
        second_approver: None,
    }
}

/// The row's own name, sealed for it.
async fn seal(vault: &Vault, scope: &TenantScope, number: usize) -> Vec<u8> {
    let name = row(number);
    let sealed = vault.seal(scope.into(), RECORDS, &cell(&name), &name).await;
    sealed.unwrap()
}

#[tokio::test]
async fn every_row_moves_to_the_present_key_and_the_old_one_is_drained_then_destroyed() {
    let bed = Bed::with_rows(30).await;
    let status = bed.rotate().await;
    assert_eq!(status.phase, Phase::Completed);
    assert_eq!((status.done, status.total, status.updated), (30, 30, 30));
    assert_eq!((status.lost, status.unopened, status.remaining), (0, 0, 0));
    bed.assert_all_current().await;
    assert_eq!(bed.state(bed.old).await, KeyState::Drained);
    assert_eq!(bed.house.sink.codes(), ["KEY-006"]);

    let rotator = bed.rotator();
    rotator
        .destroy_drained(&bed.scope, bed.old, approval())
        .await
        .unwrap();
    assert_eq!(bed.state(bed.old).await, KeyState::Destroyed);
    assert_eq!(bed.house.sink.codes(), ["KEY-006", "KEY-003"]);
    bed.assert_all_current().await;
}

#[tokio::test]
async fn what_another_process_seals_under_keys_from_before_the_turn_is_found_before_the_key_is_drained()
 {
    let bed = Bed::with_rows(0).await;
    let stale = bed.house.another_process().await;
    let cipher = stale.warm(&bed.scope).await.unwrap();
    let ours = SealScope::from(&bed.scope);
    let turned = bed
        .house
        .vault
        .turn_epoch(&chore(), ours, RECORDS.into())
        .await
        .unwrap();
    let rotator = bed.rotator();
    rotator.plan(&bed.scope, &RESEAL).await.unwrap();
    let mut run = Box::pin(rotator.run(&bed.scope, &RESEAL));
    let mut poll_often = async || {
        for _ in 0..500 {
            assert!((&mut run).now_or_never().is_none(), "proven too early");
            tokio::task::yield_now().await;
        }
    };
    poll_often().await;
    // The other process goes by its keys to the last moment of their lease.
    for _ in 0..299 {
        bed.house.advance(Duration::from_secs(1));
        poll_often().await;
    }
    let late = cipher.seal(RECORDS, &cell(&row(7)), &row(7)).unwrap();
    assert_eq!(late.get(1..5), Some(&turned.old.to_be_bytes()[..]));
    bed.rows.put(&bed.scope, &row(7), "ssn", &late);

    let status = drive(&bed.house, run).await.unwrap();
    assert_eq!((status.phase, status.pass), (Phase::Completed, 2));
    assert_eq!(bed.state(turned.old).await, KeyState::Drained);
    bed.assert_all_current().await;
}

#[tokio::test]
async fn a_concurrent_writer_wins() {
    let bed = Bed::with_rows(6).await;
    let newer = bed
        .house
        .vault
        .seal((&bed.scope).into(), RECORDS, &cell(&row(2)), b"newer")
        .await;
    let (tenant, newer) = (bed.scope.tenant(), newer.unwrap());
    let written = newer.clone();
    bed.rows.meddle(move |rows| {
        let there = rows.get_mut(&(tenant, row(2))).unwrap();
        there.insert("ssn", Some(written));
        rows.remove(&(tenant, row(3)));
    });
    let status = bed.rotate().await;
    assert_eq!(status.phase, Phase::Completed);
    assert_eq!((status.updated, status.lost), (4, 2));
    assert_eq!(bed.rows.get(&bed.scope, &row(2), "ssn"), Some(newer));
}

#[tokio::test]
async fn a_value_of_the_old_epoch_that_comes_behind_the_cursor_is_found_by_the_scan() {
    let bed = Bed::with_rows(6).await;
    let rotator = bed.rotator();
    rotator.plan(&bed.scope, &RESEAL).await.unwrap();
    let late = bed.rows.get(&bed.scope, &row(0), "ssn");
    let tenant = bed.scope.tenant();
    // The first batch is through; a writer that holds the old keys overwrites its first row.
    bed.rows.meddle(move |_| {});
    let rows = Arc::<MemoryRows>::clone(&bed.rows);
    let mut run = Box::pin(rotator.run(&bed.scope, &RESEAL));
    while rows.batches.load(Ordering::SeqCst) < 2 {
        assert!((&mut run).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    rows.meddle(move |all| {
        all.get_mut(&(tenant, row(0))).unwrap().insert("ssn", late);
    });
    let status = drive(&bed.house, run).await.unwrap();
    assert_eq!((status.phase, status.pass), (Phase::Completed, 2));
    assert_eq!(status.updated, 7);
    bed.assert_all_current().await;
}

#[tokio::test]
async fn a_row_that_does_not_open_is_named_counted_and_keeps_the_key() {
    let bed = Bed::with_rows(6).await;
    let mut torn = bed.rows.get(&bed.scope, &row(3), "ssn").unwrap();
    torn[40] ^= 1;
    bed.rows.put(&bed.scope, &row(3), "ssn", &torn);
    bed.rows.put(&bed.scope, &row(5), "ssn", b"never sealed");
    let status = bed.rotate().await;
    assert_eq!(status.phase, Phase::Failed);
    assert_eq!(
        (status.updated, status.unopened, status.remaining),
        (4, 2, 1)
    );
    let positions: Vec<_> = status.failed.iter().map(|row| row.position).collect();
    assert_eq!(positions, [4, 6]);
    assert_eq!(bed.state(bed.old).await, KeyState::DecryptOnly);
    assert_eq!(bed.rows.get(&bed.scope, &row(3), "ssn"), Some(torn));
    let refused = bed
        .rotator()
        .destroy_drained(&bed.scope, bed.old, approval())
        .await;
    assert!(matches!(refused, Err(CryptoError::Phase(_))));

    // Mended, the same rotation goes through the rows once more.
    for number in [3, 5] {
        let mended = seal(&bed.house.vault, &bed.scope, number).await;
        bed.rows.put(&bed.scope, &row(number), "ssn", &mended);
    }
    let rotator = bed.rotator();
    rotator.resume(&bed.scope, &RESEAL).await.unwrap();
    assert_eq!(bed.run(&rotator).await.unwrap().phase, Phase::Completed);
    assert_eq!(bed.state(bed.old).await, KeyState::Drained);
}

#[tokio::test]
async fn a_rotation_that_only_finds_a_malformed_value_fails_too() {
    let bed = Bed::with_rows(1).await;
    bed.rows.put(&bed.scope, &row(0), "ssn", b"never sealed");
    let status = bed.rotate().await;
    assert_eq!((status.phase, status.unopened), (Phase::Failed, 1));
}

#[tokio::test]
async fn a_compromised_key_is_drained_and_a_suspended_one_keeps_its_rows() {
    for (to, phase, after) in [
        (KeyState::Compromised, Phase::Completed, KeyState::Drained),
        (KeyState::Suspended, Phase::Failed, KeyState::Suspended),
    ] {
        let bed = Bed::with_rows(3).await;
        let vault = &bed.house.vault;
        vault
            .set_key_state(&chore(), (&bed.scope).into(), bed.old, to)
            .await
            .unwrap();
        assert_eq!(bed.rotate().await.phase, phase);
        assert_eq!(bed.state(bed.old).await, after);
    }
}

#[tokio::test]
async fn a_value_that_comes_back_after_the_proof_keeps_its_key_from_being_destroyed() {
    let bed = Bed::with_rows(3).await;
    let restored = bed.rows.get(&bed.scope, &row(1), "ssn").unwrap();
    bed.rotate().await;
    bed.rows.put(&bed.scope, &row(1), "ssn", &restored);
    let refused = bed
        .rotator()
        .destroy_drained(&bed.scope, bed.old, approval())
        .await;
    assert!(matches!(refused, Err(CryptoError::Phase(_))));
    assert_eq!(bed.state(bed.old).await, KeyState::DecryptOnly);
    assert!(!bed.house.sink.codes().contains(&"KEY-003"));
}

#[tokio::test]
async fn of_two_workers_the_one_that_was_away_too_long_changes_nothing_any_more() {
    let bed = Bed::with_rows(12).await;
    let (slow, quick) = (bed.rotator(), bed.rotator());
    slow.plan(&bed.scope, &RESEAL).await.unwrap();
    let barred = bed.rows.gate.write().await;
    let mut first = Box::pin(slow.run(&bed.scope, &RESEAL));
    for _ in 0..50 {
        assert!((&mut first).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let held = quick.run(&bed.scope, &RESEAL).await;
    assert!(matches!(held, Err(CryptoError::Held { .. })), "{held:?}");
    bed.house.advance(Duration::from_secs(31));

    let mut second = Box::pin(quick.run(&bed.scope, &RESEAL));
    for _ in 0..50 {
        assert!((&mut second).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    // Both have read the first batch; the second worker has claimed.
    drop(barred);
    let fenced = drive(&bed.house, first).await;
    assert!(
        matches!(fenced, Err(CryptoError::Rotation(RotationError::Fenced))),
        "{fenced:?}"
    );
    let status = drive(&bed.house, second).await.unwrap();
    assert_eq!(
        (status.phase, status.updated, status.lost),
        (Phase::Completed, 12, 0)
    );
    bed.assert_all_current().await;
}

#[tokio::test]
async fn wherever_a_worker_is_dropped_the_next_goes_on_and_no_row_is_seen_twice() {
    for polls in (1..60).step_by(3) {
        let bed = Bed::with_rows(10).await;
        let rotator = bed.rotator();
        rotator.plan(&bed.scope, &RESEAL).await.unwrap();
        {
            let mut run = Box::pin(rotator.run(&bed.scope, &RESEAL));
            for _ in 0..polls {
                if (&mut run).now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let status = bed.run(&rotator).await.unwrap();
        assert_eq!(status.phase, Phase::Completed, "after {polls} polls");
        assert_eq!((status.done, status.pass), (10, 1), "after {polls} polls");
        // Four batches and the empty one, and perhaps one that was read and not written.
        assert!(
            bed.rows.batches.load(Ordering::SeqCst) <= 5,
            "after {polls} polls"
        );
        bed.assert_all_current().await;
    }
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_is_found_out_and_not_repeated() {
    let bed = Bed::with_rows(10).await;
    let rotator = bed.rotator();
    rotator.plan(&bed.scope, &RESEAL).await.unwrap();
    bed.rows.good.store(1, Ordering::SeqCst);
    let failed = bed.run(&rotator).await;
    assert!(matches!(failed, Err(CryptoError::Rotation(_))));
    let status = bed.run(&rotator).await.unwrap();
    assert_eq!((status.phase, status.done), (Phase::Completed, 10));
    assert_eq!(status.lost, 0);
    bed.assert_all_current().await;
}

#[tokio::test]
async fn a_paused_rotation_stays_where_it_is_until_it_is_resumed() {
    let bed = Bed::with_rows(12).await;
    let (rotator, operator) = (bed.rotator(), bed.rotator());
    rotator.plan(&bed.scope, &RESEAL).await.unwrap();
    let mut run = Box::pin(rotator.run(&bed.scope, &RESEAL));
    while bed.rows.batches.load(Ordering::SeqCst) < 2 {
        assert!((&mut run).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    operator.pause(&bed.scope, &RESEAL).await.unwrap();
    let status = run.await.unwrap();
    assert_eq!(status.phase, Phase::Paused);
    let seen = bed.rows.batches.load(Ordering::SeqCst);
    assert_eq!(bed.run(&rotator).await.unwrap().phase, Phase::Paused);
    assert_eq!(bed.rows.batches.load(Ordering::SeqCst), seen);

    operator.resume(&bed.scope, &RESEAL).await.unwrap();
    let status = bed.run(&operator).await.unwrap();
    assert_eq!((status.phase, status.done), (Phase::Completed, 12));
    assert_eq!(bed.rows.batches.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_cancelled_rotation_drains_nothing_and_another_one_begins_from_the_start() {
    let bed = Bed::with_rows(4).await;
    let rotator = bed.rotator();
    assert!(matches!(
        rotator.cancel(&bed.scope, &RESEAL).await,
        Err(CryptoError::Phase("unplanned"))
    ));
    rotator.plan(&bed.scope, &RESEAL).await.unwrap();
    rotator.cancel(&bed.scope, &RESEAL).await.unwrap();
    assert_eq!(bed.run(&rotator).await.unwrap().phase, Phase::Cancelled);
    assert!(rotator.resume(&bed.scope, &RESEAL).await.is_err());
    assert_eq!(bed.state(bed.old).await, KeyState::DecryptOnly);
    let again = bed.rotate().await;
    assert_eq!((again.phase, again.run), (Phase::Completed, 2));
}

#[tokio::test]
async fn no_more_rows_than_allowed_are_sealed_in_a_second() {
    let bed = Bed::with_rows(100).await;
    let mut config = RotationConfig::default();
    config.rows_per_second = NonZeroU32::new(10);
    let rotator = bed.rotator_of(&bed.house.vault, config);
    rotator.plan(&bed.scope, &RESEAL).await.unwrap();
    let mut run = Box::pin(rotator.run(&bed.scope, &RESEAL));
    let begun = bed.house.clock.wall();
    while bed.rows.batches.load(Ordering::SeqCst) < 10 {
        if (&mut run).now_or_never().is_some() {
            panic!("over before its last batch");
        }
        tokio::task::yield_now().await;
        let elapsed = bed.house.clock.wall().since(begun).as_millis();
        let most = 10 * (1 + elapsed as usize / 1000);
        let seen = 10 * bed.rows.batches.load(Ordering::SeqCst);
        assert!(seen <= most, "{seen} rows after {elapsed} ms");
        bed.house.advance(Duration::from_millis(20));
    }
    let status = drive(&bed.house, run).await.unwrap();
    assert_eq!((status.phase, status.updated), (Phase::Completed, 100));
}

#[tokio::test]
async fn another_tenants_rows_stay_as_they_are() {
    let bed = Bed::with_rows(3).await;
    let other = scope(2);
    let theirs = seal(&bed.house.vault, &other, 1).await;
    bed.rows.put(&other, &row(1), "ssn", &theirs);
    let vault = &bed.house.vault;
    vault
        .turn_epoch(&chore(), (&other).into(), RECORDS.into())
        .await
        .unwrap();
    let status = bed.rotate().await;
    assert_eq!((status.total, status.updated), (3, 3));
    assert_eq!(bed.rows.get(&other, &row(1), "ssn"), Some(theirs));
}

#[tokio::test]
async fn a_key_is_not_drained_while_another_source_holds_something_of_it() {
    let bed = Bed::with_rows(2).await;
    let second = Arc::new(MemoryRows::new("notes", &[SSN], &[]));
    let kept = bed.rows.get(&bed.scope, &row(1), "ssn").unwrap();
    let torn = [&kept[..5], b"torn"].concat();
    second.put(&bed.scope, &row(1), "ssn", &torn);
    let rotator = Rotator::new(RotatorParts {
        vault: bed.house.vault.clone(),
        sources: vec![Arc::<MemoryRows>::clone(&bed.rows), second],
        config: few(),
    })
    .unwrap();
    rotator.plan(&bed.scope, &RESEAL).await.unwrap();
    let status = bed.run(&rotator).await.unwrap();
    assert_eq!((status.phase, status.remaining), (Phase::Failed, 1));
    assert_eq!(bed.state(bed.old).await, KeyState::DecryptOnly);
}

#[tokio::test]
async fn a_stale_value_that_was_read_is_replaced_once_and_never_over_a_newer_one() {
    let bed = Bed::with_rows(3).await;
    let lazy = LazyResealer::start(Arc::<MemoryRows>::clone(&bed.rows) as _, 2);
    let old = |number| bed.rows.get(&bed.scope, &row(number), "ssn").unwrap();
    let new = seal(&bed.house.vault, &bed.scope, 0).await;
    // The runtime has one thread: nothing is taken from the queue before the flush.
    assert!(lazy.offer(&bed.scope, &row(0), SSN, old(0), new.clone()));
    assert!(!lazy.offer(&bed.scope, &row(0), SSN, old(0), new.clone()));
    assert!(lazy.offer(
        &bed.scope,
        &row(1),
        SSN,
        b"what was there before".to_vec(),
        new.clone()
    ));
    assert!(!lazy.offer(&bed.scope, &row(2), SSN, old(2), new.clone()));
    lazy.flush().await;
    let counts = lazy.counts();
    assert_eq!(
        (counts.replaced, counts.lost, counts.dropped, counts.failed),
        (1, 1, 2, 0)
    );
    assert_eq!(old(0), new);
    assert_ne!(old(1), new);
    assert!(lazy.offer(&bed.scope, &row(0), SSN, new.clone(), new));
}

const SSN_INDEX: IndexDef = IndexDef {
    table: Table::new("patients"),
    name: "ssn",
    bits: 64,
    version: 1,
    parts: &[IndexPart {
        column: SSN,
        normalizer: Normalizer::Exact,
    }],
};
const ODD: Column = Column::new("ssn_odd");
const EVEN: Column = Column::new("ssn_even");

#[tokio::test]
async fn an_index_gets_its_next_version_and_every_row_is_found_throughout() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let rows = Arc::new(MemoryRows::new("patients", &[SSN], &[ODD, EVEN]));
    for number in 0..9 {
        let sealed = seal(&house.vault, &ours, number).await;
        rows.put(&ours, &row(number), "ssn", &sealed);
        let cipher = house.vault.warm(&ours).await.unwrap();
        let name = String::from_utf8(row(number)).unwrap();
        let slots = cipher.index(&SSN_INDEX, &[&name]).unwrap();
        rows.put(
            &ours,
            &row(number),
            "ssn_odd",
            slots.odd.unwrap().as_bytes(),
        );
    }
    let rotator = Rotator::new(RotatorParts {
        vault: house.vault.clone(),
        sources: vec![Arc::<MemoryRows>::clone(&rows)],
        config: few(),
    })
    .unwrap();
    let kind = RotationKind::Reindex(IndexColumns::of_text(&SSN_INDEX, ODD, EVEN));
    rotator.plan(&ours, &kind).await.unwrap();
    let found_everywhere = async || {
        let cipher = house.vault.warm(&ours).await.unwrap();
        for (row, columns) in rows.all(&ours) {
            let name = String::from_utf8(row).unwrap();
            let query = cipher.query(&SSN_INDEX, &[&name]).unwrap();
            let held = |name| columns.get(name).cloned().flatten();
            let odd = query
                .odd
                .is_some_and(|token| held("ssn_odd") == Some(token.into_bytes()));
            let even = query
                .even
                .is_some_and(|token| held("ssn_even") == Some(token.into_bytes()));
            assert!(odd || even);
        }
    };
    let mut run = Box::pin(rotator.run(&ours, &kind));
    let mut polls = 0_u32;
    let status = loop {
        if let Some(done) = (&mut run).now_or_never() {
            break done.unwrap();
        }
        tokio::task::yield_now().await;
        found_everywhere().await;
        polls += 1;
        if polls.is_multiple_of(40) {
            house.advance(Duration::from_secs(5));
        }
    };
    assert_eq!(status.phase, Phase::Completed);
    found_everywhere().await;
    let index = house.vault.index_status((&ours).into(), &SSN_INDEX).await;
    assert_eq!(index.unwrap(), IndexStatus::Stable { version: 2 });
    for (_, columns) in rows.all(&ours) {
        assert_eq!(columns["ssn_odd"], None);
        assert_eq!(columns["ssn_even"].as_ref().unwrap()[0], 2);
    }
}

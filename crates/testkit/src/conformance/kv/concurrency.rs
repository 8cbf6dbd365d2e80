//! Many tasks at once: counters, histories, snapshots.

use std::sync::Arc;

use bytes::Bytes;
use eonpro_core::port::kv::{KeyValue, KvError, Transaction, Version};
use eonpro_core::task;

use super::{Bed, Outcome, key, partition};
use crate::conformance::history::{Effect, Operation, Ticker, is_linearizable};
use crate::conformance::report::{Mismatch, expect, expect_eq};

const TASKS: u64 = 8;
const INCREMENTS: u64 = 25;
/// Far more than the attempts that fair contention needs; a store beyond it makes no progress.
const ATTEMPTS: usize = 20_000;

fn number(value: &Bytes) -> Result<u64, Mismatch> {
    let bytes = value.as_ref().try_into();
    let bytes = bytes.map_err(|_| Mismatch(format!("a value of {} bytes", value.len())))?;
    Ok(u64::from_be_bytes(bytes))
}

fn value(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// Adds one by compare-and-swap; tells the version of the commit.
async fn increment(store: &dyn KeyValue) -> Result<Version, Mismatch> {
    let (at, counter) = (partition(1), key("counter")?);
    for _ in 0..ATTEMPTS {
        let found = store.get(&at, &counter).await?;
        let tx = match &found {
            None => Transaction::new()
                .require_absent(counter.clone())
                .put(counter.clone(), value(1)),
            Some(found) => Transaction::new()
                .require(counter.clone(), found.version)
                .put(counter.clone(), value(number(&found.value)? + 1)),
        };
        match store.commit(&at, tx).await {
            Ok(version) => return Ok(version),
            Err(KvError::Conflict) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Mismatch("compare-and-swap makes no progress".to_owned()))
}

pub(super) async fn counters_lose_no_increment(bed: Bed) -> Outcome {
    let tasks = (0..TASKS).map(|_| {
        let store = Arc::clone(&bed.subject.store);
        task::start(async move {
            let mut versions = Vec::new();
            for _ in 0..INCREMENTS {
                versions.push(increment(&*store).await?);
            }
            Ok::<_, Mismatch>(versions)
        })
    });
    let mut versions = Vec::new();
    for running in tasks.collect::<Vec<_>>() {
        let own = running.await??;
        expect(own.is_sorted(), "each task's versions grow")?;
        versions.extend(own);
    }
    versions.sort_unstable();
    versions.dedup();
    let total = TASKS * INCREMENTS;
    let different = versions.len() as u64;
    expect_eq(&different, &total, "different versions")?;
    let found = bed
        .subject
        .store
        .get(&partition(1), &key("counter")?)
        .await?;
    let found = found.ok_or_else(|| Mismatch("the counter is gone".to_owned()))?;
    expect_eq(&number(&found.value)?, &total, "the counter")
}

/// One task's part of a history: by turns it writes values of its own and reads.
async fn take_part(
    store: Arc<dyn KeyValue>,
    ticker: Arc<Ticker>,
    round: u64,
    task: u64,
) -> Result<Vec<Operation>, Mismatch> {
    let (at, register) = (partition(1), key(&format!("register-{round}"))?);
    let mut operations = Vec::new();
    for step in 0..6_u64 {
        let began = ticker.tick();
        let effect = if (step + task).is_multiple_of(3) {
            let written = task * 100 + step;
            let tx = Transaction::new().put(register.clone(), value(written));
            store.commit(&at, tx).await?;
            Effect::Wrote(Some(written))
        } else if step == 4 && task == 0 {
            let tx = Transaction::new().delete(register.clone());
            store.commit(&at, tx).await?;
            Effect::Wrote(None)
        } else {
            let found = store.get(&at, &register).await?;
            Effect::Saw(found.map(|found| number(&found.value)).transpose()?)
        };
        operations.push(Operation {
            began,
            ended: ticker.tick(),
            effect,
        });
    }
    Ok(operations)
}

pub(super) async fn histories_are_linearizable(bed: Bed) -> Outcome {
    for round in 0..30 {
        let ticker = Arc::new(Ticker::default());
        let tasks = (0..4).map(|task| {
            let (store, ticker) = (Arc::clone(&bed.subject.store), Arc::clone(&ticker));
            task::start(take_part(store, ticker, round, task))
        });
        let mut history = Vec::new();
        for running in tasks.collect::<Vec<_>>() {
            history.extend(running.await??);
        }
        expect(
            is_linearizable(&history),
            format!("no order explains round {round}: {history:?}"),
        )?;
    }
    Ok(())
}

pub(super) async fn a_scan_is_one_snapshot(bed: Bed) -> Outcome {
    let at = partition(1);
    let writer = Arc::clone(&bed.subject.store);
    let writing = task::start(async move {
        for round in 0..60 {
            let tx = Transaction::new()
                .put(key("a")?, value(round))
                .put(key("b")?, value(round));
            writer.commit(&at, tx).await?;
        }
        Ok::<_, Mismatch>(())
    });
    for _ in 0..60 {
        let entries = bed.subject.store.scan(&at, b"", None, 10).await?;
        let values: Vec<_> = entries.iter().map(|entry| &entry.versioned).collect();
        if let [one, other] = values.as_slice() {
            expect(one == other, "a scan saw half of a commit")?;
        } else {
            expect(values.is_empty(), "a scan saw one of two keys")?;
        }
        tokio::task::yield_now().await;
    }
    writing.await?
}

//! Hints about changes.

use eonpro_core::port::kv::{Change, Key, Transaction};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::{Bed, Outcome, key, partition, put};
use crate::conformance::report::Mismatch;

/// Waits for a hint about `key`, or for the announcement that hints were missed.
async fn hear(bed: &Bed, hints: &mut BoxStream<'static, Change>, key: &Key) -> Outcome {
    let heard = async {
        while let Some(hint) = hints.next().await {
            match hint {
                Change::Key(hint) if hint == *key => return true,
                Change::Key(_) => {}
                Change::Lagged => return true,
            }
        }
        false
    };
    match tokio::time::timeout(bed.patience, heard).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Mismatch("the watch ended".to_owned())),
        Err(_) => Err(Mismatch(format!("no hint about {key:?}"))),
    }
}

pub(super) async fn a_change_gives_a_hint(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    store.commit(&at, put("a/old", "1")?).await?;
    let mut hints = store.watch(&at, b"a/").await?;
    store.commit(&partition(2), put("a/foreign", "1")?).await?;
    store.commit(&at, put("b/outside", "1")?).await?;
    store.commit(&at, put("a/new", "1")?).await?;
    hear(&bed, &mut hints, &key("a/new")?).await?;
    let tx = put("a/one", "1")?.put(key("a/two")?, "2");
    store.commit(&at, tx).await?;
    hear(&bed, &mut hints, &key("a/two")?).await?;
    store
        .commit(&at, Transaction::new().delete(key("a/old")?))
        .await?;
    hear(&bed, &mut hints, &key("a/old")?).await
}

pub(super) async fn a_flood_is_heard_or_announced_as_lagged(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let mut hints = store.watch(&at, b"").await?;
    for commit in 0..20 {
        let mut tx = Transaction::new();
        for number in 0..500 {
            tx = tx.put(key(&format!("{commit}/{number}"))?, "");
        }
        store.commit(&at, tx).await?;
    }
    // A watcher that hears neither has lost a change without knowing it.
    hear(&bed, &mut hints, &key("0/0")?).await?;
    store.commit(&at, put("last", "1")?).await?;
    hear(&bed, &mut hints, &key("last")?).await
}

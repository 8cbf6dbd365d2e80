//! The suites that every root key and every custody of epoch keys must pass.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use eonpro_encryption::{EpochKeys, RootKey};
use eonpro_testkit::conformance::{epoch_keys, root_key};
use futures_util::FutureExt as _;

use crate::bed::Bed;

/// For one check, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_a_root_key() {
    let Some(first) = Bed::make().await else {
        return;
    };
    // A stranger's proxy must answer for as long as the stranger is asked.
    let beds = Mutex::new(Vec::new());
    let report = root_key::suite_with_patience(
        async || {
            let bed = Arc::new(first.with_a_fresh_key().await);
            beds.lock().unwrap().push(Arc::clone(&bed));
            root_key::Subject {
                root: Arc::new(bed.another_process()),
                reopen: Some(Box::new(move || {
                    let root: Arc<dyn RootKey> = Arc::new(bed.another_process());
                    async move { root }.boxed()
                })),
            }
        },
        PATIENCE,
    )
    .await;
    report.assert_conforms();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_a_custody_of_epoch_keys() {
    let Some(first) = Bed::make().await else {
        return;
    };
    let report = epoch_keys::suite_with_patience(
        async || {
            let bed = first.with_a_fresh_key().await;
            epoch_keys::Subject::new(Arc::new(bed.another_process()), move || {
                let keys: Arc<dyn EpochKeys> = Arc::new(bed.another_process());
                async move { keys }.boxed()
            })
        },
        PATIENCE,
    )
    .await;
    report.assert_conforms();
}

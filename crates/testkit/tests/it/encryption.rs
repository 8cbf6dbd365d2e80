//! The suites of `RootKey` and `EpochKeys`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{EpochKeys, RootKey};
use eonpro_testkit::MemoryEpochs;
use eonpro_testkit::broken::{BrokenEpochKeys, BrokenRoot, EpochDefect, RootDefect};
use eonpro_testkit::conformance::{epoch_keys, root_key};
use futures_util::FutureExt as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_root_in_memory_conforms() {
    let report = root_key(async || {
        root_key::Subject::volatile(Arc::new(EphemeralRoot::generate().unwrap()))
    })
    .await;
    report.assert_conforms();
    assert_eq!(report.passed.len(), root_key::checks().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_broken_root_fails_the_check_that_is_there_to_catch_it() {
    for defect in RootDefect::ALL {
        let make = async || {
            let broken = Arc::new(BrokenRoot::new(defect).unwrap());
            let again = Arc::clone(&broken);
            root_key::Subject::volatile(broken).reopened_by(move || {
                let root = Arc::new(again.reopened().unwrap()) as Arc<dyn RootKey>;
                async move { root }.boxed()
            })
        };
        let report = root_key::suite_with_patience(make, Duration::from_secs(10)).await;
        let check = defect.caught_by();
        assert!(report.fails(check), "{defect:?} passes {check}:\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_epochs_in_memory_conform() {
    let report = epoch_keys(async || {
        let custody = MemoryEpochs::new();
        let again = custody.clone();
        epoch_keys::Subject::new(Arc::new(custody), move || {
            let keys = Arc::new(again.clone()) as Arc<dyn EpochKeys>;
            async move { keys }.boxed()
        })
    })
    .await;
    report.assert_conforms();
    assert_eq!(report.passed.len(), epoch_keys::checks().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_broken_custody_fails_the_check_that_is_there_to_catch_it() {
    for defect in EpochDefect::ALL {
        let make = async || {
            let broken = Arc::new(BrokenEpochKeys::new(defect));
            let (other, later) = (Arc::clone(&broken), Arc::clone(&broken));
            epoch_keys::Subject {
                keys: broken,
                second: Arc::new(move || {
                    let keys = Arc::new(other.second()) as Arc<dyn EpochKeys>;
                    async move { keys }.boxed()
                }),
                reopen: Arc::new(move || {
                    let keys = Arc::new(later.reopened()) as Arc<dyn EpochKeys>;
                    async move { keys }.boxed()
                }),
            }
        };
        let report = epoch_keys::suite_with_patience(make, Duration::from_secs(10)).await;
        let check = defect.caught_by();
        assert!(report.fails(check), "{defect:?} passes {check}:\n{report}");
    }
}

#[test]
fn every_defect_is_caught_by_a_check_that_exists() {
    let names: BTreeSet<_> = root_key::checks().collect();
    for defect in RootDefect::ALL {
        assert!(names.contains(defect.caught_by()), "{defect:?}");
    }
    let names: BTreeSet<_> = epoch_keys::checks().collect();
    for defect in EpochDefect::ALL {
        assert!(names.contains(defect.caught_by()), "{defect:?}");
    }
}

//! The suite of `KeyValue`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::port::kv::{KeyValue, MemoryKeyValue};
use eonpro_testkit::broken::{BrokenKeyValue, KvDefect};
use eonpro_testkit::conformance::kv::{Subject, checks, suite, suite_with_patience};
use futures_util::FutureExt as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_conforms() {
    let report = suite(async |clock| Subject::volatile(Arc::new(MemoryKeyValue::new(clock)))).await;
    report.assert_conforms();
    assert_eq!(report.passed.len(), checks().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_broken_store_fails_the_check_that_is_there_to_catch_it() {
    for defect in KvDefect::ALL {
        let make = async |clock: eonpro_core::time::SharedClock| {
            let again = Arc::clone(&clock);
            Subject::volatile(Arc::new(BrokenKeyValue::new(defect, clock))).reopened_by(move || {
                let clock = Arc::clone(&again);
                async move { Arc::new(BrokenKeyValue::new(defect, clock)) as Arc<dyn KeyValue> }
                    .boxed()
            })
        };
        let report = suite_with_patience(make, Duration::from_millis(200)).await;
        let check = defect.caught_by();
        assert!(report.fails(check), "{defect:?} passes {check}:\n{report}");
    }
}

#[test]
fn every_defect_is_caught_by_a_check_that_exists() {
    let names: BTreeSet<_> = checks().collect();
    for defect in KvDefect::ALL {
        assert!(names.contains(defect.caught_by()), "{defect:?}");
    }
}

//! The suite of `RotationSource`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::phi::Column;
use eonpro_core::port::RotationSource;
use eonpro_testkit::MemoryRotation;
use eonpro_testkit::broken::{BrokenRotation, RotationDefect};
use eonpro_testkit::conformance::rotation::{self, Subject};
use futures_util::FutureExt as _;

const CELLS: [Column; 2] = [Column::new("name"), Column::new("ssn")];
const SLOTS: [Column; 1] = [Column::new("ssn_odd")];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_source_in_memory_conforms() {
    let alone: &[Column] = &CELLS[..1];
    for (cells, slots) in [(&CELLS[..], &SLOTS[..]), (alone, &[]), (alone, &SLOTS)] {
        let report = rotation::suite(async || {
            let source = MemoryRotation::new(cells, slots);
            let again = source.clone();
            Subject::volatile(source.clone(), source, cells, slots).reopened_by(move || {
                let source = Arc::new(again.clone()) as Arc<dyn RotationSource>;
                async move { source }.boxed()
            })
        })
        .await;
        report.assert_conforms();
        assert_eq!(report.passed.len(), rotation::checks().count());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_source_of_whole_records_conforms() {
    let report = rotation::suite(async || {
        let source = MemoryRotation::new(&CELLS, &SLOTS).with_head(CELLS[0]);
        Subject::volatile(source.clone(), source, &CELLS, &SLOTS)
    })
    .await;
    report.assert_conforms();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_broken_source_fails_the_check_that_is_there_to_catch_it() {
    for defect in RotationDefect::ALL {
        let make = async || {
            let sound = MemoryRotation::new(&CELLS, &SLOTS);
            let again = BrokenRotation::new(defect, sound.clone());
            let broken = BrokenRotation::new(defect, sound.clone());
            Subject::volatile(broken, sound, &CELLS, &SLOTS).reopened_by(move || {
                let source = Arc::new(again.reopened()) as Arc<dyn RotationSource>;
                async move { source }.boxed()
            })
        };
        let report = rotation::suite_with_patience(make, Duration::from_secs(10)).await;
        let check = defect.caught_by();
        assert!(report.fails(check), "{defect:?} passes {check}:\n{report}");
    }
}

#[test]
fn every_defect_is_caught_by_a_check_that_exists() {
    let names: BTreeSet<_> = rotation::checks().collect();
    for defect in RotationDefect::ALL {
        assert!(names.contains(defect.caught_by()), "{defect:?}");
    }
}

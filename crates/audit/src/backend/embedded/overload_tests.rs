//! Ten times what the disk takes: everything offered is either acknowledged and there, or refused and not
//! there, and the queue stays within its budget.
//!
//! Time is the test's own: a sync takes a tick of ten milliseconds, and a tick offers ten times the entries
//! of a batch. `cargo xtask overload` runs thirty such seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eonpro_core::task;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_testkit::tenant_id;

use super::tests::Bed;
use super::*;

const SECONDS: &str = "EONPRO_OVERLOAD_SECONDS";
const TICK: Duration = Duration::from_millis(10);
const TICKS_A_SECOND: u64 = 100;
/// What a test run without the campaign does.
const SHORT: u64 = 40;
const BATCH: usize = 8;
const QUEUE: usize = 24;
const OFFERED: usize = 10 * BATCH;
/// How many ticks a caller waits.
const PATIENCE: u32 = 3;

#[expect(clippy::disallowed_methods, reason = "how a test run is configured")]
fn ticks() -> u64 {
    let seconds = std::env::var(SECONDS).ok();
    seconds.map_or(SHORT, |text| text.parse::<u64>().unwrap() * TICKS_A_SECOND)
}

#[derive(Default)]
struct Outcome {
    acknowledged: BTreeMap<u64, String>,
    refused: BTreeSet<String>,
}

impl Outcome {
    fn take(&mut self, id: String, result: Result<Receipt, AuditError>) {
        match result {
            Ok(receipt) => {
                let before = self.acknowledged.insert(receipt.index, id);
                assert_eq!(before, None, "one index was given twice");
            }
            Err(error @ AuditError::Overloaded { .. }) => {
                assert_eq!(error.written(), Written::No);
                self.refused.insert(id);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_for_certain_and_nothing_acknowledged_is_lost() {
    let (mut bed, ticks) = (Bed::new(), ticks());
    let clock = ManualClock::at(Timestamp::EPOCH);
    bed.clock = Arc::new(clock.clone());
    bed.config.batch_entries = BATCH;
    bed.config.queue_entries = QUEUE;
    bed.config.read_limit = usize::MAX;
    let audit = Arc::new(bed.open().await);
    bed.plan.slow();
    let mut offers = Vec::new();
    let mut peak = 0;
    for _ in 0..ticks {
        let synced = bed.plan.synced.load(Ordering::SeqCst);
        let deadline = bed.clock.monotonic().plus(TICK * PATIENCE);
        for _ in 0..OFFERED {
            let (audit, event) = (Arc::clone(&audit), bed.viewed());
            let cx = bed.cx().with_deadline(deadline);
            offers.push(task::start(async move {
                let id = event.id().to_string();
                (id, audit.append(&cx, &event).await)
            }));
        }
        bed.plan.allow(1);
        while bed.plan.synced.load(Ordering::SeqCst) == synced {
            peak = peak.max(audit.0.queue.waiting());
            tokio::task::yield_now().await;
        }
        clock.advance(TICK);
    }
    bed.plan.allow(1 << 40);
    while offers.iter().any(|offer| !offer.is_finished()) {
        clock.advance(TICK);
        tokio::task::yield_now().await;
    }
    let (offered, mut outcome) = (offers.len(), Outcome::default());
    for offer in offers {
        let (id, result) = offer.await.unwrap();
        outcome.take(id, result);
    }
    let (accepted, refused) = (outcome.acknowledged.len(), outcome.refused.len());
    assert_eq!(accepted + refused, offered);
    assert!(refused > accepted, "{accepted} and {refused}: no overload");
    assert!(accepted as u64 > 2 * ticks, "{accepted}");
    assert!(peak > 0 && peak <= QUEUE, "{peak} waited");
    audit.close().await;

    let audit = bed.open().await;
    let log = LogId::Tenant(tenant_id(1));
    let views = audit.read(&bed.cx(), &log, 0..u64::MAX).await.unwrap();
    let there = (0..).zip(views.iter().map(|view| view.entry().unwrap().id));
    assert!(
        there.eq(outcome.acknowledged),
        "the log is not what was acknowledged"
    );
    audit.close().await;
    bed.verified();
    println!(
        "{offered} offered in {ticks} ticks: {accepted} acknowledged, {refused} refused, {peak} waited at most"
    );
}

//! What callers, the record and people hear of the end.

use eonpro_core::task;
use eonpro_core::time::{ManualClock, Timestamp};
use std::time::Duration;

use super::tests::Bed;
use super::*;

/// The codes of the system log, in order, after it was opened again.
async fn codes(bed: &Bed) -> Vec<String> {
    let audit = bed.open().await;
    let system = RequestContext::system("test", &*bed.clock, &*bed.parts(bed.dir.path()).entropy);
    let views = audit.read(&system, &LogId::System, 0..99).await.unwrap();
    audit.close().await;
    let codes = views.iter().map(|view| view.entry().unwrap().code);
    codes.collect()
}

#[tokio::test]
async fn the_end_is_the_last_record_is_signed_and_pages_nobody() {
    let bed = Bed::new();
    let audit = bed.open().await;
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    audit.close().await;
    audit.close().await;
    let report = bed.verified();
    assert_eq!((report.entries, report.unsigned), (3, 0));
    let audit = bed.open().await;
    let system = RequestContext::system("test", &*bed.clock, &*bed.parts(bed.dir.path()).entropy);
    let views = audit.read(&system, &LogId::System, 0..9).await.unwrap();
    audit.close().await;
    let end = views[1].entry().unwrap();
    assert_eq!(
        (&*end.code, &*views[2].entry().unwrap().code),
        ("AUD-002", "AUD-001")
    );
    let fields = serde_json::to_value(&end.fields).unwrap();
    assert_eq!(
        (&fields["reason"], &fields["last_index"]),
        (&"shutdown".into(), &0.into())
    );
    assert!(fields["by"].to_string().contains("audit"), "{fields}");
    assert!(bed.alerts.codes().is_empty());
}

#[tokio::test]
async fn a_log_that_is_down_ends_without_a_record_and_refuses_who_comes_later() {
    let bed = Bed::new();
    let audit = bed.open().await;
    bed.plan.dead.store(true, Ordering::SeqCst);
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap_err();
    audit.close().await;
    bed.plan.dead.store(false, Ordering::SeqCst);
    let later = audit.append(&bed.cx(), &bed.viewed()).await;
    assert!(matches!(later, Err(AuditError::Closed)));
    assert!(!codes(&bed).await.contains(&"AUD-002".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_behind_a_disk_that_hangs_answers_everybody_and_comes_to_its_end_later() {
    let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
    let mut bed = Bed::new();
    bed.clock = clock.clone();
    bed.config.queue_entries = 1;
    bed.config.queue_wait = Duration::from_secs(1 << 30);
    bed.config.close_wait = Duration::from_secs(60);
    let audit = Arc::new(bed.open().await);
    bed.plan.slow();
    let before = bed.plan.at_gate.load(Ordering::SeqCst);
    let append = |event: Arc<Event>| {
        let (audit, cx) = (Arc::clone(&audit), bed.cx());
        task::start(async move { audit.append(&cx, &event).await })
    };
    let event = bed.viewed();
    let in_flight = append(Arc::clone(&event));
    while bed.plan.at_gate.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
    let waiting = append(bed.viewed());
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let closing = Arc::clone(&audit);
    let closing = task::start(async move { closing.close().await });
    while !closing.is_finished() {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let error = in_flight.await.unwrap().unwrap_err();
    assert!(matches!(error, AuditError::WorkerLost), "{error:?}");
    assert_eq!(error.written(), Written::Unknown);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, AuditError::Closed), "{error:?}");
    assert!(matches!(bed.try_open().await, Err(AuditError::Locked)));

    // The disk comes back.
    bed.plan.allow(1 << 40);
    let again = loop {
        match bed.try_open().await {
            Err(AuditError::Locked) => tokio::task::yield_now().await,
            other => break other.unwrap(),
        }
    };
    let log = LogId::Tenant(eonpro_testkit::tenant_id(1));
    let views = again.read(&bed.cx(), &log, 0..9).await.unwrap();
    let ids: Vec<String> = views.iter().map(|view| view.entry().unwrap().id).collect();
    assert_eq!(ids, [event.id().to_string()]);
    again.close().await;
    bed.verified();
}

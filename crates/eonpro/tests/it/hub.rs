//! The two lanes: audit first and for all, listeners afterwards and as far as they keep up.

use std::sync::Arc;

use eonpro::core::RequestContext;
use eonpro::core::component::{Component as _, Health};
use eonpro::core::entropy::SystemEntropy;
use eonpro::core::event::{EmitError, EventSink as _};
use eonpro::core::time::SystemClock;
use eonpro::{EventHub, FoundationError, Missed};
use eonpro_testkit::RecordingSink;

use crate::house::{Broken, Slow, event};

fn system() -> RequestContext {
    RequestContext::system("test", &SystemClock::new(), &SystemEntropy::new())
}

#[tokio::test]
async fn every_event_fails_closed_until_audit_is_attached() {
    let hub = EventHub::new();
    let listener = Slow::stuck();
    hub.listen(listener.clone(), 8, None);
    let refused = hub.emit(&system(), &event(&SystemClock::new())).await;
    assert!(matches!(refused, Err(EmitError::NotAttached)));
    assert!(matches!(hub.health().await, Health::Unhealthy(_)));

    let audit = RecordingSink::new();
    hub.attach_audit(audit.clone()).unwrap();
    hub.emit(&system(), &event(&SystemClock::new()))
        .await
        .unwrap();
    assert_eq!(audit.codes(), ["SYS-002"]);
    listener.gate.add_permits(8);
    hub.settle().await;
    assert_eq!(*listener.heard.lock().unwrap(), ["SYS-002"]);
}

#[tokio::test]
async fn a_second_audit_log_is_refused_and_the_first_stays() {
    let hub = EventHub::new();
    let first = RecordingSink::new();
    hub.attach_audit(first.clone()).unwrap();
    let second = hub.attach_audit(Arc::new(Broken));
    assert!(matches!(second, Err(FoundationError::AuditAttached)));
    hub.emit(&system(), &event(&SystemClock::new()))
        .await
        .unwrap();
    assert_eq!(first.codes().len(), 1);
}

#[tokio::test]
async fn a_full_listener_drops_and_counts_and_holds_up_nobody() {
    let (hub, audit, stuck, quick) = (
        EventHub::new(),
        RecordingSink::new(),
        Slow::stuck(),
        Slow::stuck(),
    );
    quick.gate.add_permits(1_000);
    hub.attach_audit(audit.clone()).unwrap();
    hub.listen(stuck.clone(), 2, None);
    hub.listen(quick.clone(), 1_000, None);
    // The stuck listener takes one event and keeps two waiting; nothing ever lets it go on, so each
    // of these returns although it never hears of most of them.
    for _ in 0..10 {
        hub.emit(&system(), &event(&SystemClock::new()))
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(audit.codes().len(), 10);
    let missed = hub.missed();
    let of = |name| {
        missed
            .iter()
            .filter(move |one: &&Missed| one.listener == name)
    };
    assert_eq!(of("slow").map(|one| one.events).sum::<u64>(), 7);
    assert!(matches!(hub.health().await, Health::Degraded(_)));

    stuck.gate.add_permits(1_000);
    hub.close().await;
    assert_eq!(stuck.heard.lock().unwrap().len(), 3);
    assert_eq!(quick.heard.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn listeners_hear_nothing_of_what_audit_refused() {
    let hub = EventHub::new();
    let listener = Slow::stuck();
    listener.gate.add_permits(8);
    hub.attach_audit(Arc::new(Broken)).unwrap();
    hub.listen(listener.clone(), 8, None);
    let refused = hub.emit(&system(), &event(&SystemClock::new())).await;
    assert!(matches!(refused, Err(EmitError::NotWritten(_))));
    hub.settle().await;
    assert!(listener.heard.lock().unwrap().is_empty());
}

//! What an append promises: its place, its order, once and only once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::{AuditError, AuditLog as _, BatchFault, LogId, Written};
use eonpro_core::component::Component as _;
use eonpro_core::event::EventSink as _;
use eonpro_core::event::catalogue::tenant;
use eonpro_core::event::{Code, Outcome};
use eonpro_core::id::ActorId;
use eonpro_core::task;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_testkit::tenant_id;

use crate::house::House;

#[tokio::test]
async fn an_entry_says_who_did_what_for_whom_and_why() {
    let house = House::new();
    let audit = house.open().await;
    let (cx, event) = (house.cx(1), house.viewed());
    let receipt = audit.append(&cx, &event).await.unwrap();
    assert_eq!(receipt.log, LogId::Tenant(tenant_id(1)));
    assert_eq!(receipt.index, 0);

    let views = audit.read(&cx, &receipt.log, 0..10).await.unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].leaf(), receipt.leaf);
    assert_eq!(views[0].recorded(), Ok(receipt.recorded));
    let entry = views[0].entry().unwrap();
    assert_eq!(entry.id, event.id().to_string());
    assert_eq!((entry.code.as_str(), entry.aal), ("PHI-001", 2));
    assert_eq!(entry.actor.id, "clinician-1");
    assert_eq!(entry.actor.roles, ["clinician"]);
    assert_eq!(entry.purpose.as_deref(), Some("TREAT"));
    assert_eq!(entry.tenant, Some(tenant_id(1).to_string()));
    assert_eq!(entry.request, cx.request_id().to_string());
    assert_eq!(entry.fields.len(), 3);
}

#[tokio::test]
async fn events_go_to_the_log_of_their_tenant_or_to_the_system_log() {
    let house = House::new();
    let audit = house.open().await;
    let one = audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let two = audit.append(&house.cx(2), &house.viewed()).await.unwrap();
    let none = audit
        .append(&house.system(), &house.stopped())
        .await
        .unwrap();
    assert_eq!((one.index, two.index), (0, 0));
    assert_ne!(one.log, two.log);
    assert_eq!(none.log, LogId::System);

    let deleted = tenant::Deleted {
        tenant: tenant_id(1),
        export: eonpro_core::event::Digest::of(b"export"),
        keys_destroyed: 7,
        log_size: 1,
        approver: ActorId::new("a").unwrap(),
        second_approver: ActorId::new("b").unwrap(),
    };
    let deleted = audit
        .append(&house.cx(1), &house.event(deleted))
        .await
        .unwrap();
    assert_eq!(deleted.log, LogId::System);
}

#[tokio::test]
async fn a_repeated_event_gets_its_first_receipt_also_after_a_restart() {
    let house = House::new();
    let (cx, event) = (house.cx(1), house.viewed());
    let audit = house.open().await;
    let first = audit.append(&cx, &event).await.unwrap();
    audit.append(&cx, &house.viewed()).await.unwrap();
    assert_eq!(audit.append(&cx, &event).await.unwrap(), first);
    assert_eq!(audit.stats().repeats, 1);
    audit.close().await;

    let audit = house.open().await;
    assert_eq!(audit.append(&cx, &event).await.unwrap(), first);
    assert_eq!(audit.read(&cx, &first.log, 0..9).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_are_all_there_once_without_gaps_and_share_syncs() {
    let house = House::new();
    let audit = Arc::new(house.open().await);
    let mut tasks = Vec::new();
    for number in 0..64 {
        let (audit, cx) = (Arc::clone(&audit), house.cx(1 + number % 3));
        let events: Vec<_> = (0..20).map(|_| house.viewed()).collect();
        tasks.push(task::start(async move {
            let mut receipts = Vec::new();
            for event in events {
                receipts.push(audit.append(&cx, &event).await.unwrap());
            }
            receipts
        }));
    }
    let mut places = HashSet::new();
    let mut times = HashSet::new();
    for running in tasks {
        let receipts = running.await.unwrap();
        assert!(receipts.is_sorted_by(|a, b| a.index < b.index && a.recorded < b.recorded));
        for receipt in receipts {
            assert!(places.insert((receipt.log, receipt.index)));
            assert!(times.insert(receipt.recorded));
        }
    }
    for number in 1..=3 {
        let log = LogId::Tenant(tenant_id(number));
        let indexes = (0..).take_while(|index| places.contains(&(log, *index)));
        let expected = places.iter().filter(|(at, _)| *at == log).count();
        assert_eq!(indexes.count(), expected);
    }
    assert_eq!(places.len(), 64 * 20);
    let stats = audit.stats();
    assert!(stats.batches < stats.entries, "{stats:?}");
    audit.verify(&house.system()).await.unwrap();
}

#[tokio::test]
async fn a_batch_is_contiguous_and_repeats_as_a_whole_only() {
    let house = House::new();
    let audit = house.open().await;
    let cx = house.cx(1);
    let events: Vec<_> = (0..201).map(|_| house.viewed()).collect();
    let batches = audit.stats().batches;
    let receipts = audit.append_batch(&cx, &events).await.unwrap();
    assert_eq!(audit.stats().batches, batches + 1);
    let indexes: Vec<u64> = receipts.iter().map(|receipt| receipt.index).collect();
    assert_eq!(indexes, (0..201).collect::<Vec<_>>());
    assert_eq!(audit.append_batch(&cx, &events).await.unwrap(), receipts);

    let refused = |fault: BatchFault, result: Result<_, AuditError>| {
        let error: AuditError = Result::<Vec<_>, _>::unwrap_err(result);
        assert!(matches!(error, AuditError::Batch(found) if found == fault));
        let partial = fault == BatchFault::PartialRepeat;
        assert_eq!(error.written() == Written::Unknown, partial);
    };
    refused(BatchFault::Empty, audit.append_batch(&cx, &[]).await);
    let partial = [events[0].clone(), house.viewed()];
    refused(
        BatchFault::PartialRepeat,
        audit.append_batch(&cx, &partial).await,
    );
    let fresh = house.viewed();
    let twice = [fresh.clone(), fresh];
    refused(
        BatchFault::PartialRepeat,
        audit.append_batch(&cx, &twice).await,
    );
    let too_many: Vec<_> = (0..5_000).map(|_| house.viewed()).collect();
    refused(
        BatchFault::TooLarge,
        audit.append_batch(&cx, &too_many).await,
    );
    assert_eq!(audit.stats().entries, 202);
}

#[tokio::test]
async fn the_recording_time_goes_forward_where_the_wall_clock_steps_back() {
    let clock = ManualClock::at(Timestamp::from_seconds(1_000));
    let mut house = House::new();
    house.clock = Arc::new(clock.clone());
    let audit = house.open().await;
    let before = audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    clock.step_wall(Timestamp::from_seconds(10));
    let after = audit.append(&house.cx(2), &house.viewed()).await.unwrap();
    assert!(after.recorded > before.recorded);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_unwrite_its_entry() {
    let house = House::new();
    let audit = house.open().await;
    let (cx, event) = (house.cx(1), house.viewed());
    {
        let mut append = Box::pin(audit.append(&cx, &event));
        // Polled once: the entry is with the writer, the caller gives up.
        tokio::select! {
            biased;
            _ = &mut append => {}
            () = std::future::ready(()) => {}
        }
    }
    audit.barrier().await.unwrap();
    let log = LogId::Tenant(tenant_id(1));
    assert_eq!(audit.read(&cx, &log, 0..9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_can_never_have_room_is_refused_at_once() {
    let mut house = House::new();
    house.config.queue_entries = 8;
    let audit = house.open().await;
    let cx = house.cx(1);
    let nine: Vec<_> = (0..9).map(|_| house.viewed()).collect();
    let sealings = house.sealer.calls();
    let error = audit.append_batch(&cx, &nine).await.unwrap_err();
    assert!(matches!(error, AuditError::Batch(BatchFault::TooLarge)));
    assert_eq!(house.sealer.calls(), sealings);
    let log = LogId::Tenant(tenant_id(1));
    assert_eq!(audit.read(&cx, &log, 0..9).await.unwrap(), []);
}

#[tokio::test]
async fn an_event_stands_in_one_log_only() {
    let house = House::new();
    let audit = house.open().await;
    let event = house.viewed();
    audit.append(&house.cx(1), &event).await.unwrap();
    let error = audit.append(&house.cx(2), &event).await.unwrap_err();
    assert!(matches!(error, AuditError::Batch(BatchFault::OtherLog)));
}

#[tokio::test]
async fn a_range_beyond_the_end_is_empty() {
    let house = House::new();
    let audit = house.open().await;
    for range in [1..9, u64::MAX..u64::MAX, 5..u64::MAX] {
        let views = audit.read(&house.system(), &LogId::System, range).await;
        assert_eq!(views.unwrap(), []);
    }
}

#[tokio::test]
async fn a_closed_log_refuses_and_closing_twice_is_one_close() {
    let house = House::new();
    let audit = house.open().await;
    audit.close().await;
    audit.close().await;
    let error = audit
        .append(&house.cx(1), &house.viewed())
        .await
        .unwrap_err();
    assert!(matches!(error, AuditError::Closed));
    assert!(audit.barrier().await.is_err());
    assert!(audit.checkpoint().await.is_err());
}

#[tokio::test]
async fn one_writer_at_a_time() {
    let house = House::new();
    let audit = house.open().await;
    assert!(matches!(house.try_open().await, Err(AuditError::Locked)));
    audit.close().await;
    house.open().await.close().await;
}

#[tokio::test]
async fn more_logs_than_allowed_are_refused_before_anything_is_written() {
    let mut house = House::new();
    house.config.max_logs = 1;
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let error = audit.append(&house.cx(2), &house.viewed()).await;
    assert!(matches!(error, Err(AuditError::TooManyLogs)));
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.verify(&house.system()).await.unwrap();
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_is_refused() {
    let mut house = House::new();
    house.config.queue_bytes = 10;
    assert!(matches!(house.try_open().await, Err(AuditError::Config(_))));
    house.config.queue_bytes = 1 << 20;
    house.config.queue_wait = Duration::ZERO;
    house.open().await.close().await;
}

#[tokio::test]
async fn an_event_of_any_lane_is_taken_by_the_required_one() {
    let house = House::new();
    let audit = house.open().await;
    audit.emit(&house.cx(1), &house.viewed()).await.unwrap();
    let failed = eonpro_core::event::Event::new(
        eonpro_core::event::catalogue::system::Stopped {
            node: Code::constant("n1"),
            clean: false,
            last_index: 0,
        },
        Outcome::Major,
        &*house.clock,
        &*house.entropy,
    );
    audit.emit(&house.system(), &failed).await.unwrap();
    let log = LogId::System;
    let views = audit.read(&house.system(), &log, 0..9).await.unwrap();
    assert_eq!(views.last().unwrap().entry().unwrap().outcome, 12);
}

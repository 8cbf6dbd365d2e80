//! Disks that fail: what was acknowledged stands, what was not is answered as such.

mod privacy;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use eonpro_core::component::{Component as _, Health};
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::event::catalogue::{auth, authz, phi};
use eonpro_core::event::{Code, EmitError, Event, EventSink as _, ObjectRef, Outcome};
use eonpro_core::id::{PublicId as _, RowId, SessionId, SubjectId};
use eonpro_core::port::NoObserver;
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::time::{ManualClock, Monotonic, SystemClock, Timestamp};
use eonpro_core::{RequestContext, task};
use eonpro_testkit::{Actors, RecordingAlerts, TestSealer, authority, context, scope, tenant_id};

use super::faulty::{FaultyVfs, Plan};
use super::*;
use crate::backend::key_file::KeyFileSigner;
use crate::fault::{Fault, VerifyError};
use crate::scan::Cursor;
use crate::segment::{self, End, HEADER_BYTES};
use crate::spool;
use crate::verify::verify;

pub(super) struct Bed {
    pub(super) dir: tempfile::TempDir,
    pub(super) plan: Arc<Plan>,
    pub(super) config: AuditConfig,
    pub(super) clock: SharedClock,
    pub(super) alerts: Arc<RecordingAlerts>,
    pub(super) state: Arc<MemoryKeyValue>,
}

impl Bed {
    pub(super) fn new() -> Self {
        let config = AuditConfig {
            fill_bytes: 16 * 1024,
            checkpoint_every: 0,
            ..AuditConfig::default()
        };
        let clock: SharedClock = Arc::new(SystemClock::new());
        Self {
            state: Arc::new(MemoryKeyValue::new(Arc::clone(&clock))),
            dir: tempfile::tempdir().unwrap(),
            plan: Plan::resting(),
            config,
            clock,
            alerts: RecordingAlerts::new(),
        }
    }

    pub(super) fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("audit")
    }

    pub(super) fn parts(&self, folder: &Path) -> AuditParts {
        AuditParts {
            clock: Arc::clone(&self.clock),
            entropy: Arc::new(SystemEntropy::new()),
            sealer: TestSealer::ready_for(&[&scope(1)]),
            signer: Arc::new(KeyFileSigner::open_or_create(&folder.join("key")).unwrap()),
            state: self.state.clone(),
            alerts: self.alerts.clone(),
            observer: Arc::new(NoObserver),
            authority: authority(),
        }
    }

    pub(super) async fn open(&self) -> EmbeddedAudit {
        self.try_open().await.unwrap()
    }

    pub(super) async fn try_open(&self) -> Result<EmbeddedAudit, AuditError> {
        let vfs = Arc::new(FaultyVfs(Arc::clone(&self.plan)));
        let layout = Layout::through(&self.log(), vfs);
        let parts = self.parts(self.dir.path());
        let opened = opening::open(layout, parts, self.config.clone()).await;
        opened.map(EmbeddedAudit)
    }

    pub(super) fn cx(&self) -> RequestContext {
        context(1, Actors::Clinician, &*self.clock, &SystemEntropy::new())
    }

    pub(super) fn event(&self, data: impl eonpro_core::event::EventData) -> Arc<Event> {
        Event::new(data, Outcome::Success, &*self.clock, &SystemEntropy::new())
    }

    /// An event of a type that fails closed.
    pub(super) fn viewed(&self) -> Arc<Event> {
        let entropy = SystemEntropy::new();
        self.event(phi::RecordViewed {
            patient: SubjectId::random(&entropy),
            resource: ObjectRef::new(Code::constant("patient"), RowId::random(&entropy)),
            record_source: Code::constant("local"),
        })
    }

    /// An event of a type that is spooled.
    pub(super) fn logout(&self) -> Arc<Event> {
        let entropy = SystemEntropy::new();
        self.event(auth::Logout {
            session: SessionId::random(&entropy).uuid(),
        })
    }

    /// A critical event of a type that is spooled.
    pub(super) fn broken_glass(&self) -> Arc<Event> {
        let entropy = SystemEntropy::new();
        self.event(authz::BreakGlassStarted {
            grant: SessionId::random(&entropy).uuid(),
            patient: SubjectId::random(&entropy),
            justification: "unconscious".into(),
            expires_at: Timestamp::EPOCH,
        })
    }

    pub(super) fn verified(&self) -> Report {
        let key = self.parts(self.dir.path()).verifying_key();
        verify(&self.log(), &[key]).unwrap()
    }
}

#[tokio::test]
async fn one_failed_write_or_sync_moves_to_a_new_segment_and_loses_nothing() {
    for write in [true, false] {
        let bed = Bed::new();
        let audit = bed.open().await;
        audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
        let counter = if write {
            &bed.plan.write
        } else {
            &bed.plan.sync
        };
        counter.store(0, Ordering::SeqCst);
        let receipt = audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
        assert_eq!(receipt.index, 1);
        assert_eq!(audit.stats().abandoned, 1);
        assert!(matches!(audit.health().await, Health::Degraded(_)));
        audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
        audit.close().await;
        let report = bed.verified();
        assert_eq!((report.entries, report.unsigned), (4, 0));
        assert!(bed.log().join("wal/0000000002.wal").exists());

        let audit = bed.open().await;
        let log = LogId::Tenant(tenant_id(1));
        assert_eq!(audit.read(&bed.cx(), &log, 0..9).await.unwrap().len(), 3);
        audit.close().await;
        bed.verified();
    }
}

#[tokio::test]
async fn a_second_failure_fails_closed_and_the_caller_knows_that_the_outcome_is_open() {
    let bed = Bed::new();
    let audit = bed.open().await;
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    bed.plan.dead.store(true, Ordering::SeqCst);
    let in_flight = audit.append(&bed.cx(), &bed.viewed()).await.unwrap_err();
    assert!(matches!(in_flight, AuditError::Poisoned), "{in_flight:?}");
    assert_eq!(in_flight.written(), Written::Unknown);
    bed.plan.dead.store(false, Ordering::SeqCst);
    let later = audit.append(&bed.cx(), &bed.viewed()).await.unwrap_err();
    assert!(matches!(later, AuditError::Down));
    assert_eq!(later.written(), Written::No);
    assert!(matches!(audit.health().await, Health::Unhealthy(_)));
    audit.close().await;

    let audit = bed.open().await;
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    audit.close().await;
    // The one in flight may be there or not; both acknowledged ones are.
    assert!(bed.verified().entries >= 4);
}

#[tokio::test]
async fn no_room_is_a_clear_error_and_the_log_goes_on_when_there_is_room_again() {
    let bed = Bed::new();
    let audit = bed.open().await;
    bed.plan.fill.store(0, Ordering::SeqCst);
    let mut refused = 0;
    for _ in 0..40 {
        match audit.append(&bed.cx(), &bed.viewed()).await {
            Ok(_) => {}
            Err(AuditError::NoRoom(_)) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(refused, 1);
    audit.close().await;
    assert_eq!(bed.verified().entries, 1 + 39);
    // A sync that failed is not tried again in the same segment.
    assert!(bed.log().join("wal/0000000002.wal").exists());
}

#[tokio::test]
async fn a_segment_is_no_longer_written_once_the_next_may_have_its_name() {
    let mut bed = Bed::new();
    bed.config.segment_bytes = 32 * 1024;
    bed.config.fill_bytes = 1024;
    let audit = bed.open().await;
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    bed.plan.named.store(0, Ordering::SeqCst);
    let large: Vec<_> = (0..60).map(|_| bed.viewed()).collect();
    let refused = audit.append_batch(&bed.cx(), &large).await;
    assert!(matches!(refused, Err(AuditError::NoRoom(_))));
    // It would still fit into the first segment, of which a reader would not read it.
    let small = audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    assert_eq!(small.index, 1);
    audit.close().await;
    assert_eq!(bed.verified().entries, 1 + 2);
    let audit = bed.open().await;
    let log = LogId::Tenant(tenant_id(1));
    assert_eq!(audit.read(&bed.cx(), &log, 0..9).await.unwrap().len(), 2);
}

/// Changes the last leaf of a segment and gets every checksum and the chain right.
fn rewrite_last_leaf(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let mut cursor = Cursor {
        offset: HEADER_BYTES,
        batch: 0,
        chain: segment::genesis(),
    };
    let mut before = cursor;
    while cursor.offset < bytes.len() {
        let here = cursor;
        if cursor.next(&bytes).unwrap().is_none() {
            break;
        }
        before = here;
    }
    let mut last = before;
    let batch = last.next(&bytes).unwrap().unwrap();
    let (_, leaf) = batch.frames.last().unwrap();
    let changed = String::from_utf8(leaf.payload.to_vec()).unwrap();
    let changed = changed.replace("\"outcome\":0", "\"outcome\":4");
    let mut frames = Vec::new();
    for (_, frame) in &batch.frames {
        let payload = match frame.payload == leaf.payload {
            true => changed.as_bytes(),
            false => frame.payload,
        };
        segment::push_frame(&mut frames, frame.kind, frame.log, frame.index, payload);
    }
    let end = End {
        batch: before.batch,
        frames: batch.frames.len() as u64,
        chain: segment::chain(&before.chain, before.batch, &frames),
    };
    end.push(&mut frames);
    let mut forged = bytes.clone();
    forged[before.offset..before.offset + frames.len()].copy_from_slice(&frames);
    std::fs::write(path, forged).unwrap();
}

#[tokio::test]
async fn a_root_that_disk_and_memory_do_not_share_is_never_signed() {
    let bed = Bed::new();
    let audit = bed.open().await;
    let head = std::fs::read(bed.log().join("checkpoint")).unwrap();
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    rewrite_last_leaf(&bed.log().join("wal/0000000001.wal"));
    let error = audit.checkpoint().await.unwrap_err();
    assert!(
        matches!(
            error,
            AuditError::Corrupt(VerifyError::Tampered {
                fault: Fault::Root,
                ..
            })
        ),
        "{error:?}"
    );
    audit.close().await;
    let after = std::fs::read(bed.log().join("checkpoint")).unwrap();
    assert_eq!(after, head);
}

#[tokio::test]
async fn after_the_close_nothing_is_spooled() {
    let bed = Bed::new();
    let audit = bed.open().await;
    audit.close().await;
    let refused = audit.emit(&bed.cx(), &bed.logout()).await;
    assert!(matches!(refused, Err(EmitError::NotWritten(_))));
    assert_eq!(bed.verified().spooled, 0);
}

#[tokio::test]
async fn an_entry_in_doubt_stays_in_doubt_when_it_is_repeated() {
    let bed = Bed::new();
    let audit = bed.open().await;
    bed.plan.dead.store(true, Ordering::SeqCst);
    let event = bed.viewed();
    for _ in 0..2 {
        let error = audit.append(&bed.cx(), &event).await.unwrap_err();
        assert!(matches!(error, AuditError::Poisoned), "{error:?}");
    }
}

#[tokio::test]
async fn an_alert_is_raised_also_while_the_log_is_down() {
    let bed = Bed::new();
    let audit = bed.open().await;
    bed.plan.dead.store(true, Ordering::SeqCst);
    audit.emit(&bed.cx(), &bed.broken_glass()).await.unwrap();
    audit.emit(&bed.cx(), &bed.broken_glass()).await.unwrap();
    audit.close().await;
    assert_eq!(bed.alerts.codes(), ["AUTHZ-003", "AUTHZ-003"]);
}

#[tokio::test]
async fn what_may_be_spooled_is_spooled_while_the_log_is_down_and_folded_in_once() {
    let bed = Bed::new();
    let audit = bed.open().await;
    bed.plan.dead.store(true, Ordering::SeqCst);
    // In flight at the failure: it may be in the log, and goes to the spool all the same.
    let events = [bed.logout(), bed.logout(), bed.logout()];
    for event in &events {
        audit.emit(&bed.cx(), event).await.unwrap();
    }
    let strict = audit.emit(&bed.cx(), &bed.viewed()).await;
    assert!(matches!(strict, Err(EmitError::NotWritten(_))));
    assert_eq!(audit.stats().spooled, 3);
    bed.plan.dead.store(false, Ordering::SeqCst);
    audit.close().await;
    let spooled = spool::read(&Layout::new(&bed.log())).unwrap();
    assert_eq!(spooled.entries.len(), 3);

    for _ in 0..2 {
        let audit = bed.open().await;
        let log = LogId::Tenant(tenant_id(1));
        let views = audit.read(&bed.cx(), &log, 0..9).await.unwrap();
        let entries = views.iter().map(|view| view.entry().unwrap());
        // The reading before this one is on record, too.
        let spooled = entries.filter(|entry| entry.code != "AUD-003");
        let ids: Vec<String> = spooled.map(|entry| entry.id).collect();
        let expected: Vec<String> = events.iter().map(|event| event.id().to_string()).collect();
        assert_eq!(ids, expected);
        audit.close().await;
        assert_eq!(bed.verified().spooled, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_callers_wait_and_refuses_them_at_their_deadline() {
    let mut bed = Bed::new();
    bed.config.queue_entries = 4;
    bed.config.queue_wait = std::time::Duration::from_secs(1 << 40);
    let clock = ManualClock::at(Timestamp::EPOCH);
    bed.clock = Arc::new(clock.clone());
    let audit = Arc::new(bed.open().await);
    let plan = Arc::clone(&bed.plan);
    let gate = task::blocking(move || {
        // Held until the callers below have been refused.
        let (ready, wait) = std::sync::mpsc::channel::<()>();
        let (locked, is_locked) = std::sync::mpsc::channel();
        let holder = std::thread::spawn(move || {
            let guard = plan.gate.lock().unwrap();
            locked.send(()).unwrap();
            let _ = wait.recv();
            drop(guard);
        });
        is_locked.recv().unwrap();
        (ready, holder)
    });
    let (release, holder) = gate.await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let (audit, event) = (Arc::clone(&audit), bed.viewed());
        let cx = bed.cx().with_deadline(Monotonic::from_nanos(5_000_000_000));
        waiting.push(task::start(async move { audit.append(&cx, &event).await }));
    }
    let mut refused = 0;
    while waiting.iter().filter(|task| task.is_finished()).count() < 4 {
        tokio::task::yield_now().await;
        clock.advance(std::time::Duration::from_secs(1));
    }
    release.send(()).unwrap();
    for task in waiting {
        match task.await.unwrap() {
            Ok(_) => {}
            Err(AuditError::Overloaded { .. }) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    holder.join().unwrap();
    assert_eq!(refused, 4);
    audit.close().await;
    assert_eq!(bed.verified().entries, 1 + 4);
}

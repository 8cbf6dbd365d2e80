//! Pruned directories that somebody changed who gets every checksum right, in all segments.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::RequestContext;
use eonpro_core::component::Component as _;
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::catalogue::phi;
use eonpro_core::event::{Code, Event, ObjectRef, Outcome};
use eonpro_core::id::{ActorId, RowId, SubjectId};
use eonpro_core::phi::Phi;
use eonpro_core::port::NoObserver;
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_testkit::{Actors, RecordingAlerts, TestSealer, authority, context, scope, tenant_id};

use super::{HoldId, HoldScope, RetentionPolicy};
use crate::backend::embedded::{AuditParts, EmbeddedAudit};
use crate::backend::key_file::KeyFileSigner;
use crate::checkpoint::VerifyingKey;
use crate::config::AuditConfig;
use crate::fault::{Fault, VerifyError};
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::segment::{self, End, Frame, HEADER_BYTES, Header, Kind, Pruned, push_frame};
use crate::service::AuditLog as _;
use crate::verify::verify;

const HELD: u64 = 40;

struct Bed {
    dir: tempfile::TempDir,
    clock: ManualClock,
    entropy: Arc<SeededEntropy>,
    key: VerifyingKey,
}

fn tenant() -> LogId {
    LogId::Tenant(tenant_id(1))
}

impl Bed {
    /// 300 old entries, of which all that may go are gone; entry 40 is held. The last ones are signed only
    /// where `signs` says so.
    async fn pruned(signs: Signs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_seconds(1_600_000_000));
        let entropy = Arc::new(SeededEntropy::new(7));
        let signer = KeyFileSigner::open_or_create(&dir.path().join("key")).unwrap();
        let parts = AuditParts {
            clock: Arc::new(clock.clone()),
            entropy: entropy.clone(),
            sealer: TestSealer::ready_for(&[&scope(1)]),
            signer: Arc::new(signer),
            state: Arc::new(MemoryKeyValue::new(Arc::new(clock.clone()))),
            alerts: RecordingAlerts::new(),
            observer: Arc::new(NoObserver),
            authority: authority(),
        };
        let key = parts.verifying_key();
        let bed = Self {
            dir,
            clock,
            entropy,
            key,
        };
        let config = AuditConfig {
            segment_bytes: 16 * 1024,
            fill_bytes: 1024,
            checkpoint_every: 0,
            ..AuditConfig::default()
        };
        let open = bed.dir.path().join("open");
        let audit = EmbeddedAudit::open(&open, parts, config).await.unwrap();
        bed.append(&audit, 300).await;
        audit.checkpoint().await.unwrap();
        bed.clock.advance(Duration::from_secs(6 * 366 * 86_400));
        bed.append(&audit, 30).await;
        let system = RequestContext::system("test", &bed.clock, &*bed.entropy);
        let range = HoldScope::Range {
            log: tenant(),
            from: HELD,
            until: HELD + 1,
        };
        let id = HoldId::random(&*bed.entropy);
        audit
            .hold(&system, id, range, Phi::from("court"))
            .await
            .unwrap();
        let policy = RetentionPolicy::default();
        let plan = audit.plan_pruning(&system, &policy, &[]).await.unwrap();
        let [one, other] = ["a", "b"].map(|name| ActorId::new(name).unwrap());
        let done = audit
            .prune(&system, &plan, &one, Some(&other))
            .await
            .unwrap();
        assert_eq!(done.entries, 255);
        bed.append(&audit, 60).await;
        if signs == Signs::NotTheLast {
            audit.barrier().await.unwrap();
            copy(&open, &bed.log());
        }
        audit.close().await;
        if signs == Signs::All {
            copy(&open, &bed.log());
        }
        bed
    }

    async fn append(&self, audit: &EmbeddedAudit, entries: usize) {
        let cx = context(1, Actors::Clinician, &self.clock, &*self.entropy);
        for _ in 0..entries / 10 {
            let event = |_| {
                let viewed = phi::RecordViewed {
                    patient: SubjectId::random(&*self.entropy),
                    resource: ObjectRef::new(
                        Code::constant("patient"),
                        RowId::random(&*self.entropy),
                    ),
                    record_source: Code::constant("local"),
                };
                Event::new(viewed, Outcome::Success, &self.clock, &*self.entropy)
            };
            let events: Vec<_> = (0..10).map(event).collect();
            audit.append_batch(&cx, &events).await.unwrap();
        }
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("audit")
    }

    /// Puts in place of each frame what `edit` makes of it, and makes all checksums and chains right.
    fn reforge(&self, edit: impl Fn(u64, LogId, &Frame<'_>) -> Option<Vec<u8>>) -> Layout {
        let layout = Layout::new(&self.log());
        let mut logs = Vec::new();
        let (mut chain, mut before_end) = (segment::genesis(), 0);
        let last = layout.segments().unwrap();
        for number in 1..=last {
            let old = layout.read(number, 0, None).unwrap();
            let header = Header {
                chain,
                previous_end: before_end,
                ..Header::parse(&old).unwrap()
            };
            let mut new = header.encode().to_vec();
            let (mut at, mut start, mut saved) = (HEADER_BYTES, HEADER_BYTES, 0);
            while let Some(frame) = Frame::parse(&old[at..]) {
                let whole = &old[at..at + frame.length];
                at += frame.length;
                if frame.kind == Kind::Declare {
                    logs.push(LogId::parse(std::str::from_utf8(frame.payload).unwrap()).unwrap());
                }
                if let Some(end) = End::parse(&frame) {
                    chain = segment::chain(&chain, end.batch, &new[start..]);
                    End { chain, ..end }.push(&mut new);
                    start = new.len();
                    continue;
                }
                let edited = edit(number, logs[frame.log as usize], &frame);
                let edited = edited.unwrap_or_else(|| whole.to_vec());
                let pruned = Pruned::parse(&Frame::parse(&edited).unwrap());
                saved += pruned.map_or(0, |pruned| pruned.saved());
                new.extend_from_slice(&edited);
            }
            before_end = (new.len() + saved) as u64;
            new.resize(new.len() + 64, 0);
            std::fs::write(layout.segment(number), new).unwrap();
        }
        layout
    }

    /// How verification answers to the directory in which one frame is another one.
    fn judged(
        &self,
        log: LogId,
        index: u64,
        edit: impl Fn(&Frame<'_>) -> Vec<u8>,
    ) -> (String, Fault) {
        self.reforge(|_, of, frame| {
            let this = of == log && frame.index == index && frame.kind != Kind::Declare;
            this.then(|| edit(frame))
        });
        match verify(&self.log(), &[self.key]) {
            Err(VerifyError::Tampered { place, fault }) => (place.to_string(), fault),
            other => panic!("{log}#{index}: {other:?}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signs {
    All,
    NotTheLast,
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => _ = std::fs::copy(&path, &target).unwrap(),
        }
    }
}

/// The frame that pruning would put in the place of this one.
fn gone(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(frame.kind, Kind::Leaf);
    Pruned::of(frame.payload).push(&mut out, frame.log, frame.index);
    out
}

fn at(log: LogId, index: u64) -> String {
    format!("{log}#{index}")
}

#[tokio::test]
async fn what_only_gets_new_checksums_still_verifies() {
    let bed = Bed::pruned(Signs::All).await;
    bed.reforge(|_, _, _| None);
    let report = verify(&bed.log(), &[bed.key]).unwrap();
    assert_eq!(report.pruned[0].entries, 255);
}

#[tokio::test]
async fn a_signed_entry_that_was_destroyed_is_not_taken_for_one_that_was_pruned() {
    // Held, below the minimum index; behind it; and the record of the pruning itself.
    for index in [HELD, 256, 299, 331] {
        let bed = Bed::pruned(Signs::All).await;
        let found = bed.judged(tenant(), index, gone);
        assert_eq!(found, (at(tenant(), 0), Fault::Pruned), "{index}");
    }
}

#[tokio::test]
async fn an_entry_that_was_destroyed_where_nothing_was_pruned_is_named() {
    let bed = Bed::pruned(Signs::All).await;
    let found = bed.judged(LogId::System, 0, gone);
    assert_eq!(found, (at(LogId::System, 0), Fault::Pruned));
}

#[tokio::test]
async fn an_entry_that_is_not_signed_cannot_be_pruned() {
    let bed = Bed::pruned(Signs::NotTheLast).await;
    let report = verify(&bed.log(), &[bed.key]).unwrap();
    let head = report
        .heads
        .iter()
        .find(|head| head.log == tenant())
        .unwrap();
    let first = head.size - report.unsigned + 10;
    assert!(first < head.size);
    let found = bed.judged(tenant(), first, gone);
    assert_eq!(found, (at(tenant(), first), Fault::Pruned));
}

#[tokio::test]
async fn no_signed_head_can_be_pruned() {
    let bed = Bed::pruned(Signs::All).await;
    let found = bed.judged(LogId::Directory, 0, gone);
    assert_eq!(found, (at(LogId::Directory, 0), Fault::Pruned));
}

#[tokio::test]
async fn another_hash_in_the_place_of_a_pruned_leaf_is_named() {
    let other = |frame: &Frame<'_>| {
        let mut payload = frame.payload.to_vec();
        payload[0] ^= 1;
        let mut out = Vec::new();
        push_frame(&mut out, Kind::Pruned, frame.log, frame.index, &payload);
        out
    };
    let bed = Bed::pruned(Signs::All).await;
    // The held entry names the hash of the one before it.
    let found = bed.judged(tenant(), HELD - 1, other);
    assert_eq!(found, (at(tenant(), HELD - 1), Fault::Previous));
    let bed = Bed::pruned(Signs::All).await;
    // Between pruned ones only the root tells.
    let found = bed.judged(tenant(), 7, other);
    assert_eq!(found, (at(tenant(), 299), Fault::Root));
}

#[tokio::test]
async fn a_pruned_leaf_of_another_form_or_place_is_named() {
    for length in [0, 32, 35, 37, 125] {
        let bed = Bed::pruned(Signs::All).await;
        let found = bed.judged(tenant(), 7, |frame| {
            let mut payload = frame.payload.to_vec();
            payload.resize(length, 0);
            let mut out = Vec::new();
            push_frame(&mut out, Kind::Pruned, frame.log, frame.index, &payload);
            out
        });
        assert_eq!(found, (at(tenant(), 7), Fault::Pruned), "{length}");
    }
    let bed = Bed::pruned(Signs::All).await;
    let moved = bed.judged(tenant(), 7, |frame| {
        let mut out = Vec::new();
        push_frame(&mut out, Kind::Pruned, frame.log, 8, frame.payload);
        out
    });
    assert_eq!(moved, (at(tenant(), 7), Fault::Gap));
}

#[tokio::test]
async fn nothing_is_pruned_where_somebody_still_writes() {
    let bed = Bed::pruned(Signs::All).await;
    let last = Layout::new(&bed.log()).segments().unwrap();
    let layout = bed.reforge(|number, log, frame| {
        let here = number == last && log == tenant() && frame.kind == Kind::Leaf;
        here.then(|| gone(frame))
    });
    match verify(&bed.log(), &[bed.key]) {
        Err(VerifyError::Tampered { place, fault }) => {
            let name = Layout::segment_name(last);
            assert!(place.to_string().starts_with(&name), "{place}");
            assert_eq!(fault, Fault::Pruned);
        }
        other => panic!("{other:?} in {layout:?}"),
    }
}

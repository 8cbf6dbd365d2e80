//! What every [`AuditLog`] must do.
//!
//! What is checked is recomputed here from the bytes that are read: hashes, chain and roots come from
//! SHA-256 and RFC 6962 alone, not from the code under test. The log's own events (codes that begin with
//! `AUD-` or `SEC-`) may stand anywhere in a log.

mod appends;
mod batches;
mod checkpoints;
mod concurrency;
mod durability;
mod looking;
mod proofs;
mod refusals;
mod repeats;
mod tenants;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::{AuditError, AuditLog, Checkpoint, EntryView, LogId, Receipt, VerifyingKey};
use eonpro_core::RequestContext;
use eonpro_core::entropy::{SharedEntropy, SystemEntropy};
use eonpro_core::event::catalogue::{phi, system};
use eonpro_core::event::{Code, Digest, Event, EventData, ObjectRef, Outcome as EventOutcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::scope::Standing;
use eonpro_core::time::{ManualClock, SharedClock, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::report::{Mismatch, Report, expect, expect_eq};
use crate::{Actors, context, standing_context, tenant_id};

/// Opens a log once more.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn AuditLog>> + Send + Sync>;

/// A log that has just been made, and how to come back to it.
pub struct Subject {
    /// The log. It can seal for the system and for the tenants 1, 2 and 3 of testkit, signs by itself
    /// rarely or never, and takes 64 entries in one batch.
    pub audit: Arc<dyn AuditLog>,
    /// The keys that its checkpoints verify with.
    pub keys: Vec<VerifyingKey>,
    /// Opens it again after it was closed.
    pub reopen: Opener,
    /// Opens a second handle on it while the first is in use, where the backend allows it.
    pub second: Option<Opener>,
}

impl Subject {
    /// A log of which there is one handle at a time.
    #[must_use]
    pub fn new(
        audit: Arc<dyn AuditLog>,
        keys: Vec<VerifyingKey>,
        reopen: impl Fn() -> BoxFuture<'static, Arc<dyn AuditLog>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            audit,
            keys,
            reopen: Arc::new(reopen),
            second: None,
        }
    }

    /// With a way to open a second handle.
    #[must_use]
    pub fn shared_by(
        mut self,
        open: impl Fn() -> BoxFuture<'static, Arc<dyn AuditLog>> + Send + Sync + 'static,
    ) -> Self {
        self.second = Some(Arc::new(open));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("audit", &self.audit)
            .finish_non_exhaustive()
    }
}

/// What a check works with.
pub(crate) struct Bed {
    subject: Subject,
    clock: ManualClock,
    entropy: SharedEntropy,
}

type Outcome = Result<(), Mismatch>;
type Check = fn(Bed) -> BoxFuture<'static, Outcome>;

/// Every check, by name.
const CHECKS: &[(&str, Check)] = checks![
    appends::every_entry_is_read_once_at_its_receipts_index,
    appends::a_receipt_tells_the_next_index_and_the_hash_of_the_bytes,
    appends::every_leaf_names_the_one_before_it,
    appends::recorded_grows_over_all_logs_whatever_the_clock_does,
    appends::an_entry_says_what_happened_and_who_did_it,
    appends::a_read_shows_what_was_just_acknowledged,
    repeats::a_repeat_gives_the_first_receipt_and_writes_nothing,
    repeats::a_repeat_is_known_after_reopening,
    repeats::an_event_stands_in_one_log_only,
    batches::a_batch_stands_together_in_its_order,
    batches::a_refused_batch_writes_nothing,
    batches::batches_of_many_tasks_stay_together,
    tenants::every_tenant_has_a_log_of_its_own,
    tenants::the_system_log_takes_what_is_not_a_tenants,
    tenants::a_log_is_read_by_its_tenant_and_by_the_system_only,
    checkpoints::the_directory_signs_the_roots_of_what_is_read,
    checkpoints::heads_only_grow_and_agree_with_the_earlier_ones,
    checkpoints::without_growth_the_head_stays,
    checkpoints::verifying_tells_what_there_is_and_is_on_record,
    durability::what_was_acknowledged_is_there_after_reopening,
    durability::a_reopened_log_goes_on_where_it_was,
    durability::a_cancelled_append_is_never_unwritten,
    concurrency::appends_of_many_tasks_are_all_there_once_without_gaps,
    concurrency::one_event_of_many_tasks_is_one_entry,
    looking::a_query_finds_what_a_look_at_every_entry_finds,
    looking::pages_do_not_chase_the_record_of_their_own_reading,
    looking::what_was_shown_is_on_record_before_it_is_shown,
    looking::nobody_asks_for_what_he_may_not_read,
    proofs::proofs_lead_from_what_is_read_to_the_signed_head,
    proofs::growth_is_proven_between_all_sizes,
    proofs::a_signed_head_is_the_last_one_in_the_directory,
    refusals::an_entry_that_is_too_large_leaves_nothing,
    refusals::a_closed_log_refuses_and_says_so,
];

/// The names of all checks.
pub fn checks() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs every check, each on a log that `make` has just made for the given clock.
///
/// Needs a multi-threaded runtime, or concurrency is not tested, and its timers.
pub async fn suite<M>(make: M) -> Report
where
    M: AsyncFn(SharedClock) -> Subject,
{
    suite_with_patience(make, Duration::from_secs(120)).await
}

/// [`suite`], waiting no longer than `patience` for one check.
pub async fn suite_with_patience<M>(make: M, patience: Duration) -> Report
where
    M: AsyncFn(SharedClock) -> Subject,
{
    let all: Vec<&str> = checks().collect();
    suite_of(&all, make, patience).await
}

/// [`suite_with_patience`] with the named checks only.
pub async fn suite_of<M>(names: &[&str], make: M, patience: Duration) -> Report
where
    M: AsyncFn(SharedClock) -> Subject,
{
    let mut report = Report::default();
    for (name, check) in CHECKS {
        if !names.contains(name) {
            continue;
        }
        let clock = ManualClock::at(Timestamp::from_seconds(1_790_000_000));
        let bed = Bed {
            subject: make(Arc::new(clock.clone())).await,
            clock,
            entropy: Arc::new(SystemEntropy::new()),
        };
        let audit = Arc::clone(&bed.subject.audit);
        report.judge(name, patience, check(bed)).await;
        audit.close().await;
    }
    report
}

impl Bed {
    fn audit(&self) -> &dyn AuditLog {
        &*self.subject.audit
    }

    /// A clinician of tenant `number`.
    fn cx(&self, number: u128) -> RequestContext {
        context(number, Actors::Clinician, &self.clock, &*self.entropy)
    }

    fn suspended(&self, number: u128) -> RequestContext {
        let standing = Standing::Suspended;
        standing_context(
            number,
            standing,
            Actors::Clinician,
            &self.clock,
            &*self.entropy,
        )
    }

    fn system(&self) -> RequestContext {
        RequestContext::system("conformance", &self.clock, &*self.entropy)
    }

    fn event(&self, data: impl EventData) -> Arc<Event> {
        Event::new(data, EventOutcome::Success, &self.clock, &*self.entropy)
    }

    /// PHI-001, without sealed fields.
    fn viewed(&self) -> Arc<Event> {
        let row = RowId::random(&*self.entropy);
        self.event(phi::RecordViewed {
            patient: SubjectId::random(&*self.entropy),
            resource: ObjectRef::new(Code::constant("patient"), row),
            record_source: Code::constant("local"),
        })
    }

    fn views(&self, many: usize) -> Vec<Arc<Event>> {
        (0..many).map(|_| self.viewed()).collect()
    }

    fn stopped(&self) -> Arc<Event> {
        self.event(system::Stopped {
            node: Code::constant("n1"),
            clean: true,
            last_index: 1,
        })
    }

    /// Appends `many` events of tenant `number`, one after the other.
    async fn append(&self, number: u128, many: usize) -> Result<Vec<Put>, Mismatch> {
        let cx = self.cx(number);
        let mut puts = Vec::new();
        for event in self.views(many) {
            let receipt = self.audit().append(&cx, &event).await?;
            puts.push(Put { event, receipt });
        }
        Ok(puts)
    }

    /// Every entry of `log`, as the system reads it.
    async fn read(&self, log: LogId) -> Result<Vec<EntryView>, Mismatch> {
        everything(self.audit(), &self.system(), log).await
    }
}

/// An event and the receipt that it got.
#[derive(Debug, Clone)]
struct Put {
    event: Arc<Event>,
    receipt: Receipt,
}

fn log_of(tenant: u128) -> LogId {
    LogId::Tenant(tenant_id(tenant))
}

/// Every entry of `log`, which must come in order and without gaps. A log that records that it is read
/// never ends: a page that tells of nothing else is the last.
async fn everything(
    audit: &dyn AuditLog,
    cx: &RequestContext,
    log: LogId,
) -> Result<Vec<EntryView>, Mismatch> {
    let mut views: Vec<EntryView> = Vec::new();
    loop {
        let from = views.len() as u64;
        let page = audit.read(cx, &log, from..u64::MAX).await?;
        if page.is_empty() {
            return Ok(views);
        }
        for (index, view) in (from..).zip(&page) {
            expect_eq(
                &(view.log, view.index),
                &(log, index),
                "an entry that is read",
            )?;
        }
        let own = page
            .iter()
            .map(|view| view.entry().map(|entry| is_own(&entry.code)));
        let ends = !views.is_empty() && own.into_iter().all(|own| own == Ok(true));
        views.extend(page);
        if ends {
            return Ok(views);
        }
        expect(views.len() < 100_000, "reading does not end")?;
    }
}

/// RFC 6962: the hash of a leaf.
fn leaf_of(bytes: &[u8]) -> Digest {
    Digest::of(&[&[0], bytes].concat())
}

/// RFC 6962, section 2.1, word for word.
fn root_of(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            let (left, right) = (root_of(left), root_of(right));
            let node = [&[1], left.as_bytes().as_slice(), right.as_bytes()];
            Digest::of(&node.concat())
        }
    }
}

/// The hashes of the leaves that were read.
fn leaves(views: &[EntryView]) -> Vec<Digest> {
    views.iter().map(|view| leaf_of(&view.bytes)).collect()
}

/// Whether an entry is one of the log's own.
fn is_own(code: &str) -> bool {
    code.starts_with("AUD-") || code.starts_with("SEC-")
}

/// Expects that `views`, a whole log, holds each of `puts` once, at the index of its receipt, and
/// nothing else but entries of the log's own.
fn expect_once(views: &[EntryView], puts: &[Put]) -> Outcome {
    let mut places: HashMap<String, Vec<u64>> = HashMap::new();
    let mut others = 0;
    for view in views {
        let entry = view.entry()?;
        if is_own(&entry.code) {
            others += 1;
        }
        places.entry(entry.id).or_default().push(view.index);
    }
    for put in puts {
        let id = put.event.id().to_string();
        let found = places.get(&id).cloned().unwrap_or_default();
        expect_eq(&found, &vec![put.receipt.index], "the places of an entry")?;
    }
    expect_eq(&(views.len() - others), &puts.len(), "entries in the log")
}

/// Expects that each leaf of a whole log names the hash of the one before it, and that the recording time
/// grows.
fn expect_chain(log: LogId, views: &[EntryView]) -> Outcome {
    let mut before = Digest::of(log.to_string().as_bytes());
    let mut latest: Option<Timestamp> = None;
    for view in views {
        // After `{"v":1,"prev":"`.
        let named = view.bytes.get(15..79).map(String::from_utf8_lossy);
        let named = named.unwrap_or_default();
        let what = format!("what {log}#{} names as its predecessor", view.index);
        expect_eq(&named.as_ref(), &before.to_string().as_str(), &what)?;
        let recorded = view.recorded()?;
        expect(
            latest.is_none_or(|latest| latest < recorded),
            format!("{log}#{} was recorded before its predecessor", view.index),
        )?;
        before = leaf_of(&view.bytes);
        latest = Some(recorded);
    }
    Ok(())
}

/// What the directory log has signed, oldest first.
fn signed(bed: &Bed, directory: &[EntryView]) -> Result<Vec<Checkpoint>, Mismatch> {
    let notes = directory.iter().map(|view| {
        let text = String::from_utf8_lossy(&view.bytes);
        Ok(Checkpoint::open(&text, &bed.subject.keys)?)
    });
    notes.collect()
}

/// Expects the error that `is_it` describes.
fn expect_error<T>(
    done: Result<T, AuditError>,
    is_it: impl Fn(&AuditError) -> bool,
    what: &str,
) -> Result<AuditError, Mismatch> {
    match done {
        Ok(_) => Err(Mismatch(format!("{what} is no error"))),
        Err(error) if is_it(&error) => Ok(error),
        Err(error) => Err(Mismatch(format!("{what}: another error: {error}"))),
    }
}

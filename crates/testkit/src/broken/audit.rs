//! Audit logs with one defect each, around a sound one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_audit::{
    AuditError, AuditLog, BatchFault, DirectoryHead, EntryView, LogId, Receipt, Report, Stats,
};
use eonpro_core::RequestContext;
use eonpro_core::component::{Component, Fitness, Health, Posture};
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::event::catalogue::system;
use eonpro_core::event::{Code, Digest, Event, Outcome};
use eonpro_core::id::{EventId, TenantId};
use eonpro_core::time::{ManualClock, Timestamp};

use super::gap::Gap;
use crate::{Actors, context};

/// What is wrong with the log.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditDefect {
    /// Acknowledges every third entry and does not write it.
    LosesWrites,
    /// Shows the second entry before the first.
    Reorders,
    /// Shows the last entry twice.
    DoublesEntries,
    /// Acknowledges what is not there any more after reopening: a failed sync that nobody heard of.
    SwallowsSyncErrors,
    /// Shows what was there at the read before.
    ReadsStale,
    /// Tells a root that is not that of what is read.
    ForksHead,
    /// Tells its first head for ever.
    KeepsFirstHead,
    /// Has another head each time, without growth.
    GrowsIdleHead,
    /// Names another predecessor than the one that is there.
    BreaksChain,
    /// Tells another hash than that of the bytes.
    LiesInReceipts,
    /// Tells recording times by a clock that steps back.
    StepsBackInTime,
    /// Writes a repeat as a new entry.
    ForgetsRepeats,
    /// Writes a repeat as a new entry after reopening.
    ForgetsRepeatsOnReopen,
    /// Takes an event into a second log.
    TakesEventsTwice,
    /// Writes a batch entry by entry, up to the one that is refused.
    TearsBatches,
    /// Writes something else into the middle of a batch.
    SplitsBatches,
    /// Writes everything into the first tenant's log.
    MixesTenants,
    /// Says that what belongs to the system is a tenant's.
    MisplacesSystemEvents,
    /// Lets everybody read.
    AnybodyReads,
    /// Takes back an entry whose caller went away.
    UnwritesCancelled,
    /// Counts indexes by itself, with a gap between look and deed.
    RacesIndexes,
    /// Leaves it in doubt whether an entry that is too large was written.
    CallsTooLargeInDoubt,
    /// Goes on after it was closed.
    AcceptsAfterClose,
    /// Is healthy whatever happens.
    LooksHealthyWhenClosed,
    /// Verifies once and tells the same report ever after.
    VerifiesOnce,
}

impl AuditDefect {
    /// Every defect.
    pub const ALL: [Self; 25] = [
        Self::LosesWrites,
        Self::Reorders,
        Self::DoublesEntries,
        Self::SwallowsSyncErrors,
        Self::ReadsStale,
        Self::ForksHead,
        Self::KeepsFirstHead,
        Self::GrowsIdleHead,
        Self::BreaksChain,
        Self::LiesInReceipts,
        Self::StepsBackInTime,
        Self::ForgetsRepeats,
        Self::ForgetsRepeatsOnReopen,
        Self::TakesEventsTwice,
        Self::TearsBatches,
        Self::SplitsBatches,
        Self::MixesTenants,
        Self::MisplacesSystemEvents,
        Self::AnybodyReads,
        Self::UnwritesCancelled,
        Self::RacesIndexes,
        Self::CallsTooLargeInDoubt,
        Self::AcceptsAfterClose,
        Self::LooksHealthyWhenClosed,
        Self::VerifiesOnce,
    ];

    /// The check of the suite that is there to catch it.
    #[must_use]
    pub const fn caught_by(self) -> &'static str {
        match self {
            Self::LosesWrites | Self::Reorders | Self::DoublesEntries => {
                "appends::every_entry_is_read_once_at_its_receipts_index"
            }
            Self::SwallowsSyncErrors => {
                "durability::what_was_acknowledged_is_there_after_reopening"
            }
            Self::ReadsStale => "appends::a_read_shows_what_was_just_acknowledged",
            Self::ForksHead => "checkpoints::the_directory_signs_the_roots_of_what_is_read",
            Self::KeepsFirstHead => "checkpoints::heads_only_grow_and_agree_with_the_earlier_ones",
            Self::GrowsIdleHead => "checkpoints::without_growth_the_head_stays",
            Self::BreaksChain => "appends::every_leaf_names_the_one_before_it",
            Self::LiesInReceipts => {
                "appends::a_receipt_tells_the_next_index_and_the_hash_of_the_bytes"
            }
            Self::StepsBackInTime => {
                "appends::recorded_grows_over_all_logs_whatever_the_clock_does"
            }
            Self::ForgetsRepeats => "repeats::a_repeat_gives_the_first_receipt_and_writes_nothing",
            Self::ForgetsRepeatsOnReopen => "repeats::a_repeat_is_known_after_reopening",
            Self::TakesEventsTwice => "repeats::an_event_stands_in_one_log_only",
            Self::TearsBatches => "batches::a_refused_batch_writes_nothing",
            Self::SplitsBatches => "batches::a_batch_stands_together_in_its_order",
            Self::MixesTenants => "tenants::every_tenant_has_a_log_of_its_own",
            Self::MisplacesSystemEvents => "tenants::the_system_log_takes_what_is_not_a_tenants",
            Self::AnybodyReads => "tenants::a_log_is_read_by_its_tenant_and_by_the_system_only",
            Self::UnwritesCancelled => "durability::a_cancelled_append_is_never_unwritten",
            Self::RacesIndexes => {
                "concurrency::appends_of_many_tasks_are_all_there_once_without_gaps"
            }
            Self::CallsTooLargeInDoubt => "refusals::an_entry_that_is_too_large_leaves_nothing",
            Self::AcceptsAfterClose | Self::LooksHealthyWhenClosed => {
                "refusals::a_closed_log_refuses_and_says_so"
            }
            Self::VerifiesOnce => "checkpoints::verifying_tells_what_there_is_and_is_on_record",
        }
    }
}

/// What a broken log remembers, over reopenings too.
#[derive(Debug, Default)]
struct State {
    calls: u64,
    /// The last index of each log.
    last: HashMap<LogId, u64>,
    /// What reopening made disappear, or a caller that went away.
    hidden: Vec<(LogId, u64)>,
    /// How far each log was read.
    read: HashMap<LogId, u64>,
    seen: HashMap<EventId, Receipt>,
    reopened: bool,
    head: Option<DirectoryHead>,
    report: Option<Report>,
}

/// A log with one [`AuditDefect`].
#[derive(Debug)]
pub struct BrokenAudit {
    defect: AuditDefect,
    sound: Arc<dyn AuditLog>,
    state: Arc<Mutex<State>>,
    gap: Gap,
}

/// Hides an entry unless its append came to its end.
struct Unwriting<'a> {
    log: &'a BrokenAudit,
    place: Option<(LogId, u64)>,
}

impl Drop for Unwriting<'_> {
    fn drop(&mut self) {
        let place = self.place.take();
        self.log.state().hidden.extend(place);
    }
}

impl BrokenAudit {
    /// The log `sound`, with that defect.
    #[must_use]
    pub fn new(defect: AuditDefect, sound: Arc<dyn AuditLog>) -> Self {
        Self {
            defect,
            sound,
            state: Arc::default(),
            gap: Gap::default(),
        }
    }

    /// How to make the same broken log of the sound one once that was opened again.
    pub fn reopening(&self) -> impl Fn(Arc<dyn AuditLog>) -> Self + Send + Sync + use<> {
        let (defect, state) = (self.defect, Arc::clone(&self.state));
        move |sound| {
            let again = Self {
                defect,
                sound,
                state: Arc::clone(&state),
                gap: Gap::default(),
            };
            let mut state = again.state();
            state.reopened = true;
            if defect == AuditDefect::SwallowsSyncErrors {
                let last: Vec<_> = state.last.iter().map(|(log, at)| (*log, *at)).collect();
                state.hidden.extend(last);
            }
            drop(state);
            again
        }
    }

    fn has(&self, defect: AuditDefect) -> bool {
        self.defect == defect
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The context of an append as this log takes it.
    fn taken(&self, cx: &RequestContext) -> RequestContext {
        match (self.defect, cx.tenant()) {
            (AuditDefect::MixesTenants, Some(_)) => {
                let clock = ManualClock::at(Timestamp::EPOCH);
                context(1, Actors::Clinician, &clock, &SystemEntropy::new())
            }
            _ => cx.clone(),
        }
    }

    /// An entry that nobody asked for.
    async fn filler(&self, cx: &RequestContext) -> Result<Receipt, AuditError> {
        let data = system::Stopped {
            node: Code::constant("broken"),
            clean: false,
            last_index: 0,
        };
        let clock = ManualClock::at(Timestamp::EPOCH);
        let event = Event::new(data, Outcome::Success, &clock, &SystemEntropy::new());
        self.sound.append(cx, &event).await
    }

    /// A receipt for an entry that is nowhere.
    fn made_up(&self, cx: &RequestContext) -> Option<Receipt> {
        let tenant: TenantId = cx.tenant()?.id;
        let mut state = self.state();
        state.calls += 1;
        if !state.calls.is_multiple_of(3) {
            return None;
        }
        let log = LogId::Tenant(tenant);
        let next = state.last.get(&log).map_or(0, |last| last + 1);
        state.last.insert(log, next);
        let recorded = Timestamp::EPOCH;
        let leaf = Digest::of(b"nowhere");
        Some(Receipt {
            log,
            index: next,
            leaf,
            recorded,
        })
    }

    /// Whether a repeat is to be written once more.
    fn forgets(&self, event: &Event) -> bool {
        let state = self.state();
        let known = state.seen.contains_key(&event.id());
        match self.defect {
            AuditDefect::ForgetsRepeats => known,
            AuditDefect::ForgetsRepeatsOnReopen => known && state.reopened,
            _ => false,
        }
    }

    /// What this log makes of a receipt.
    fn told(&self, event: &Event, cx: &RequestContext, receipt: Receipt) -> Receipt {
        let mut state = self.state();
        state.calls += 1;
        state.last.insert(receipt.log, receipt.index);
        state.seen.insert(event.id(), receipt);
        let mut told = receipt;
        match self.defect {
            AuditDefect::LiesInReceipts => told.leaf = Digest::of(told.leaf.as_bytes()),
            AuditDefect::StepsBackInTime if state.calls.is_multiple_of(4) => {
                told.recorded = told.recorded.minus(Duration::from_secs(1_000_000));
            }
            AuditDefect::MisplacesSystemEvents => {
                if let Some(tenant) = cx.tenant() {
                    told.log = LogId::Tenant(tenant.id);
                }
            }
            _ => {}
        }
        told
    }

    fn refused(&self, error: AuditError) -> AuditError {
        match (self.defect, error) {
            (AuditDefect::CallsTooLargeInDoubt, AuditError::TooLarge) => AuditError::Poisoned,
            (_, error) => error,
        }
    }

    async fn append_one(
        &self,
        cx: &RequestContext,
        event: &Arc<Event>,
    ) -> Result<Receipt, AuditError> {
        let cx = &self.taken(cx);
        if self.has(AuditDefect::LosesWrites)
            && let Some(receipt) = self.made_up(cx)
        {
            return Ok(receipt);
        }
        if self.forgets(event) {
            return self.filler(cx).await;
        }
        if self.has(AuditDefect::RacesIndexes) {
            return self.append_racing(cx, event).await;
        }
        let receipt = match self.sound.append(cx, event).await {
            Err(AuditError::Batch(BatchFault::OtherLog))
                if self.has(AuditDefect::TakesEventsTwice) =>
            {
                self.filler(cx).await?
            }
            other => other.map_err(|error| self.refused(error))?,
        };
        Ok(self.told(event, cx, receipt))
    }

    async fn append_racing(
        &self,
        cx: &RequestContext,
        event: &Arc<Event>,
    ) -> Result<Receipt, AuditError> {
        let log = own_log(cx);
        let guess = self.state().last.get(&log).map_or(0, |last| last + 1);
        self.gap.pass().await;
        let receipt = self.sound.append(cx, event).await?;
        let receipt = Receipt {
            index: guess,
            ..receipt
        };
        Ok(self.told(event, cx, receipt))
    }

    /// Takes the entry back if the caller does not wait for the end.
    async fn append_unless_cancelled(
        &self,
        cx: &RequestContext,
        event: &Arc<Event>,
    ) -> Result<Receipt, AuditError> {
        // Whoever polls once has written; the entry is at the next index.
        let log = own_log(cx);
        let next = self.state().last.get(&log).map_or(0, |last| last + 1);
        let mut unwriting = Unwriting {
            log: self,
            place: Some((log, next)),
        };
        let done = self.sound.append(cx, event).await;
        unwriting.place = None;
        Ok(self.told(event, cx, done?))
    }

    /// What this log shows of `views`, a page of `log` from `from` on.
    fn shown(&self, log: LogId, mut views: Vec<EntryView>) -> Vec<EntryView> {
        let mut state = self.state();
        views.retain(|view| !state.hidden.contains(&(log, view.index)));
        match (self.defect, log) {
            (AuditDefect::Reorders, _) => {
                if let [one, other, ..] = views.as_mut_slice() {
                    std::mem::swap(&mut one.bytes, &mut other.bytes);
                }
            }
            (AuditDefect::DoublesEntries, _) => {
                if let Some(last) = views.last().cloned() {
                    let index = last.index + 1;
                    views.push(EntryView { index, ..last });
                }
            }
            (AuditDefect::ReadsStale, _) => {
                let before = state.read.get(&log).copied().unwrap_or(0);
                let now = views.last().map_or(before, |view| view.index + 1);
                state.read.insert(log, now.max(before));
                views.retain(|view| view.index < before);
            }
            (AuditDefect::BreaksChain, LogId::Tenant(_)) => {
                for view in views.iter_mut().filter(|view| view.index > 0) {
                    if let Some(digit) = view.bytes.get_mut(20) {
                        *digit = if *digit == b'0' { b'1' } else { b'0' };
                    }
                }
            }
            _ => {}
        }
        views
    }
}

/// The log of an event that is no system event.
fn own_log(cx: &RequestContext) -> LogId {
    let tenant = cx.tenant();
    tenant.map_or(LogId::System, |tenant| LogId::Tenant(tenant.id))
}

#[async_trait]
impl Component for BrokenAudit {
    fn name(&self) -> &'static str {
        "broken-audit"
    }

    fn posture(&self) -> Posture {
        let mut posture = self.sound.posture();
        posture.fitness = Fitness::TestOnly;
        posture
    }

    async fn health(&self) -> Health {
        match self.has(AuditDefect::LooksHealthyWhenClosed) {
            true => Health::Healthy,
            false => self.sound.health().await,
        }
    }

    async fn close(&self) {
        if !self.has(AuditDefect::AcceptsAfterClose) {
            self.sound.close().await;
        }
    }
}

#[async_trait]
impl AuditLog for BrokenAudit {
    async fn append(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<Receipt, AuditError> {
        match self.has(AuditDefect::UnwritesCancelled) {
            true => self.append_unless_cancelled(cx, event).await,
            false => self.append_one(cx, event).await,
        }
    }

    async fn append_batch(
        &self,
        cx: &RequestContext,
        events: &[Arc<Event>],
    ) -> Result<Vec<Receipt>, AuditError> {
        let mut receipts = Vec::new();
        if self.has(AuditDefect::TearsBatches) && events.len() > 1 {
            for event in events {
                receipts.push(self.append_one(cx, event).await?);
            }
            return Ok(receipts);
        }
        if self.has(AuditDefect::SplitsBatches) && events.len() > 1 {
            let (one, other) = events.split_at(events.len() / 2);
            receipts.extend(self.sound.append_batch(cx, one).await?);
            self.filler(cx).await?;
            receipts.extend(self.sound.append_batch(cx, other).await?);
            return Ok(receipts);
        }
        let appended = self.sound.append_batch(&self.taken(cx), events).await;
        let appended = appended.map_err(|error| self.refused(error))?;
        let both = events.iter().zip(appended);
        Ok(both
            .map(|(event, receipt)| self.told(event, cx, receipt))
            .collect())
    }

    async fn barrier(&self) -> Result<(), AuditError> {
        self.sound.barrier().await
    }

    async fn checkpoint(&self) -> Result<DirectoryHead, AuditError> {
        if self.has(AuditDefect::GrowsIdleHead) {
            let clock = ManualClock::at(Timestamp::EPOCH);
            let cx = RequestContext::system("broken", &clock, &SystemEntropy::new());
            self.filler(&cx).await?;
        }
        let mut head = self.sound.checkpoint().await?;
        let mut state = self.state();
        let first = *state.head.get_or_insert(head);
        match self.defect {
            AuditDefect::ForksHead => head.root = Digest::of(head.root.as_bytes()),
            AuditDefect::KeepsFirstHead => head = first,
            _ => {}
        }
        Ok(head)
    }

    async fn read(
        &self,
        cx: &RequestContext,
        log: &LogId,
        range: Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError> {
        let views = if self.has(AuditDefect::AnybodyReads) {
            let clock = ManualClock::at(Timestamp::EPOCH);
            let cx = RequestContext::system("broken", &clock, &SystemEntropy::new());
            self.sound.read(&cx, log, range).await?
        } else {
            self.sound.read(cx, log, range).await?
        };
        Ok(self.shown(*log, views))
    }

    async fn verify(&self, cx: &RequestContext) -> Result<Report, AuditError> {
        let report = self.sound.verify(cx).await?;
        let first = self.state().report.get_or_insert(report.clone()).clone();
        Ok(match self.has(AuditDefect::VerifiesOnce) {
            true => first,
            false => report,
        })
    }

    fn stats(&self) -> Stats {
        self.sound.stats()
    }
}

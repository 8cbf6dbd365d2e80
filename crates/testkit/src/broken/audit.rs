//! Audit logs with one defect each, around a sound one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_audit::{
    AuditError, AuditLog, BatchFault, DirectoryHead, EntryView, LogId, Page, Query, Receipt,
    Report, Stats,
};
use eonpro_core::RequestContext;
use eonpro_core::component::{Component, Fitness, Health, Posture};
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::event::catalogue::system;
use eonpro_core::event::{Code, Digest, Event, Outcome};
use eonpro_core::id::{EventId, TenantId};
use eonpro_core::time::{ManualClock, Timestamp};

use super::audit_defect::AuditDefect;
use super::gap::Gap;
use crate::{Actors, context};

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
    notes: HashMap<LogId, String>,
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

    /// The context of a question as this log takes it.
    fn asking(&self, cx: &RequestContext) -> RequestContext {
        match self.has(AuditDefect::AnybodyAsks) {
            true => somebody(),
            false => cx.clone(),
        }
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
            (AuditDefect::HidesViews, _) => {
                for view in &mut views {
                    let text = String::from_utf8_lossy(&view.bytes);
                    view.bytes = text.replace("AUD-003", "AUD-000").into_bytes();
                }
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

/// Somebody who may read everything.
fn somebody() -> RequestContext {
    let clock = ManualClock::at(Timestamp::EPOCH);
    RequestContext::system("broken", &clock, &SystemEntropy::new())
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
            self.filler(&somebody()).await?;
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
        if self.has(AuditDefect::ViewsAsAnother) {
            self.sound.signed_head(cx, log).await?;
        }
        let views = if self.has(AuditDefect::AnybodyReads) || self.has(AuditDefect::ViewsAsAnother)
        {
            self.sound.read(&somebody(), log, range).await?
        } else {
            self.sound.read(cx, log, range).await?
        };
        Ok(self.shown(*log, views))
    }

    async fn query(&self, cx: &RequestContext, query: &Query) -> Result<Page, AuditError> {
        let mut asked = query.clone();
        match self.defect {
            AuditDefect::QueryShowsOthers => asked.outcome = None,
            AuditDefect::QueryChasesItself => asked.size = None,
            _ => {}
        }
        let mut page = self.sound.query(&self.asking(cx), &asked).await?;
        if self.has(AuditDefect::QueryMissesHits) {
            page.hits.pop();
        }
        Ok(page)
    }

    async fn prove(
        &self,
        cx: &RequestContext,
        log: &LogId,
        index: u64,
        size: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        let index = match self.has(AuditDefect::ProvesAnotherEntry) {
            true if index + 1 < size => index + 1,
            _ => index,
        };
        self.sound.prove(&self.asking(cx), log, index, size).await
    }

    async fn prove_growth(
        &self,
        cx: &RequestContext,
        log: &LogId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        let cx = self.asking(cx);
        let mut proof = self.sound.prove_growth(&cx, log, old, new).await?;
        if self.has(AuditDefect::ForgesGrowth)
            && let Some(last) = proof.last_mut()
        {
            *last = Digest::of(last.as_bytes());
        }
        Ok(proof)
    }

    async fn signed_head(
        &self,
        cx: &RequestContext,
        log: &LogId,
    ) -> Result<Option<String>, AuditError> {
        let note = self.sound.signed_head(&self.asking(cx), log).await?;
        Ok(match note {
            Some(note) if self.has(AuditDefect::ShowsFirstHead) => {
                Some(self.state().notes.entry(*log).or_insert(note).clone())
            }
            other => other,
        })
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

//! What readers of the log are given, each entry checked against its hash, and the record of it (AUD-003),
//! which is durable before they are.

use std::ops::Range;
use std::sync::Arc;

use eonpro_audit::sequence::{self, Asked, may_read};
use eonpro_audit::{
    AuditError, Checkpoint, CheckpointError, Effort, EntryView, Fault, Hit, LogId, Order, Page,
    Proofs, Query,
};
use eonpro_core::RequestContext;
use eonpro_core::event::{Event, Outcome};
use eonpro_core::time::Timestamp;

use super::Core;
use super::database::{Entry, PAGE, tampered};
use super::signing::failed;

/// How a page is made.
#[derive(Debug)]
struct Window {
    /// What of the log was not looked at yet.
    low: u64,
    high: u64,
    order: Order,
}

impl Window {
    fn new(query: &Query, size: u64) -> Self {
        let (mut low, mut high) = (0, size);
        match (query.order, query.after) {
            (_, None) => {}
            (Order::OldestFirst, Some(after)) => low = after.saturating_add(1).min(size),
            (Order::NewestFirst, Some(after)) => high = size.min(after),
        }
        let order = query.order;
        Self { low, high, order }
    }

    fn is_empty(&self) -> bool {
        self.low >= self.high
    }

    /// The index that comes next.
    fn first(&self) -> u64 {
        match self.order {
            Order::OldestFirst => self.low,
            Order::NewestFirst => self.high.saturating_sub(1),
        }
    }

    /// Leaves what was looked at, up to `index`, behind.
    fn pass(&mut self, index: u64) {
        match self.order {
            Order::OldestFirst => self.low = index.saturating_add(1),
            Order::NewestFirst => self.high = index,
        }
    }

    fn contains(&self, index: u64) -> bool {
        (self.low..self.high).contains(&index)
    }

    /// `Query::after` for what was not looked at.
    fn rest(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        match self.order {
            Order::OldestFirst => self.low.checked_sub(1),
            Order::NewestFirst => Some(self.high),
        }
    }
}

impl Core {
    fn admit(&self, cx: &RequestContext, log: &LogId) -> Result<(), AuditError> {
        self.open()?;
        match may_read(cx, log) {
            true => Ok(()),
            false => Err(AuditError::Denied),
        }
    }

    /// The entries of `log` in `range`, once it is recorded that `cx` saw them.
    pub(super) async fn read(
        &self,
        cx: &RequestContext,
        log: &LogId,
        range: Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError> {
        self.admit(cx, log)?;
        let asked = format!("indexes {}..{}", range.start, range.end);
        let (from, limit) = (range.start, self.config.read_limit);
        let page = self
            .statements
            .entries(&self.connections, *log, from, range.end, limit);
        let page = page.await.map_err(failed)?;
        let views = (from..).zip(page).map(|(index, entry)| {
            if entry.index != index {
                return Err(tampered(*log, index, Fault::Leaf).into());
            }
            view(*log, entry)
        });
        let views = views.collect::<Result<Vec<_>, AuditError>>()?;
        self.record_view(cx, *log, asked, &views).await?;
        Ok(views)
    }

    /// One page of the answer to `query`, once it is recorded that `cx` saw it.
    pub(super) async fn query(
        &self,
        cx: &RequestContext,
        query: &Query,
    ) -> Result<Page, AuditError> {
        self.admit(cx, &query.log)?;
        let asked = Asked::of(&self.builder, query).await?;
        let size = self.size(query.log).await?.unwrap_or(0);
        let size = size.min(query.size.unwrap_or(u64::MAX));
        // The heads in the directory log say nothing that could be asked for.
        let is_vain = query.log == LogId::Directory && !asked.admits_all();
        let (mut hits, next) = match is_vain || asked.finds_nobody() {
            true => (Vec::new(), None),
            false => self.hits(&asked, size).await?,
        };
        let mut note = None;
        if query.proofs == Proofs::With
            && let Some((head, text)) = self.head(query.log).await?
        {
            self.prove_hits(&head, &mut hits).await?;
            note = Some(text);
        }
        let views: Vec<&EntryView> = hits.iter().map(|hit| &hit.view).collect();
        self.record_view(cx, query.log, asked.text(), views).await?;
        Ok(Page::new(hits, next, size, note))
    }

    /// The hits of one page, and where the next one goes on.
    async fn hits(&self, asked: &Asked, size: u64) -> Result<(Vec<Hit>, Option<u64>), AuditError> {
        let query = asked.query();
        let limit = query.limit.clamp(1, self.config.query_limit);
        let mut window = Window::new(query, size);
        if query.effort == Effort::Index && query.log != LogId::Directory {
            // Recording times grow with the indexes.
            if let Some(from) = query.from {
                window.low = window.low.max(self.since(query.log, from, size).await?);
            }
            if let Some(until) = query.until {
                window.high = window.high.min(self.since(query.log, until, size).await?);
            }
        }
        let mut steps = self.config.query_steps;
        let mut hits: Vec<Hit> = Vec::new();
        // Without conditions, or where nothing is believed, every index must be there.
        let is_every = query.effort == Effort::Entries || asked.admits_all();
        while !window.is_empty() && steps > 0 {
            let wanted = match query.effort {
                // One more shows whether this is the last page.
                Effort::Index => limit + 1 - hits.len(),
                Effort::Entries => steps,
            };
            let wanted = wanted.min(PAGE);
            let bounds = (window.low, window.high);
            let page = self
                .statements
                .found(&self.connections, asked, bounds, wanted);
            let page = page.await.map_err(failed)?;
            let ends = page.len() < wanted;
            for entry in page {
                let index = entry.index;
                if !window.contains(index) || (is_every && index != window.first()) {
                    return Err(tampered(query.log, window.first(), Fault::Gap).into());
                }
                let view = view(query.log, entry)?;
                let is_hit = asked.admits(&view);
                if is_hit && hits.len() == limit {
                    let last = hits.last().map(|hit| hit.view.index);
                    return Ok((hits, last));
                }
                window.pass(index);
                steps = steps.saturating_sub(1);
                if is_hit {
                    hits.push(Hit { view, proof: None });
                }
            }
            if ends {
                if is_every && !window.is_empty() {
                    return Err(tampered(query.log, window.first(), Fault::Gap).into());
                }
                return Ok((hits, None));
            }
        }
        Ok((hits, window.rest()))
    }

    /// The first of the first `size` indexes that was recorded at `at` or later; `size` if none was.
    async fn since(&self, log: LogId, at: Timestamp, size: u64) -> Result<u64, AuditError> {
        let found = self.statements.recorded_from(&self.connections, log, at);
        Ok(found.await.map_err(failed)?.unwrap_or(size).min(size))
    }

    /// The last signed note of `log`.
    pub(super) async fn signed_head(
        &self,
        cx: &RequestContext,
        log: LogId,
    ) -> Result<Option<String>, AuditError> {
        self.admit(cx, &log)?;
        Ok(self.head(log).await?.map(|(_, note)| note))
    }

    /// The last signed head of `log`, verified, and its note.
    pub(super) async fn head(
        &self,
        log: LogId,
    ) -> Result<Option<(Checkpoint, String)>, AuditError> {
        let Some(note) = self.database().note(log).await? else {
            return Ok(None);
        };
        let fault = match Checkpoint::open(&note, &self.keys) {
            Ok(head) if head.log == log => return Ok(Some((head, note))),
            Err(CheckpointError::Signature) => Fault::Signature,
            Ok(_) | Err(_) => Fault::Checkpoint,
        };
        Err(tampered(log, 0, fault).into())
    }

    /// How many entries `log` has; `None` if it is not there.
    async fn size(&self, log: LogId) -> Result<Option<u64>, AuditError> {
        let heads = self.statements.heads(&self.connections, &[log]).await;
        Ok(heads.map_err(failed)?.first().map(|head| head.size))
    }

    /// The inclusion proof of the entry at `index` in the tree of the first `size` entries.
    pub(super) async fn prove(
        &self,
        cx: &RequestContext,
        log: LogId,
        index: u64,
        size: u64,
    ) -> Result<Vec<eonpro_core::event::Digest>, AuditError> {
        self.admit(cx, &log)?;
        let head = self.head(log).await?.map(|(head, _)| head);
        self.inclusion(head, index, size).await
    }

    /// The proof that the first `new` entries begin with the first `old`.
    pub(super) async fn prove_growth(
        &self,
        cx: &RequestContext,
        log: LogId,
        old: u64,
        new: u64,
    ) -> Result<Vec<eonpro_core::event::Digest>, AuditError> {
        self.admit(cx, &log)?;
        let head = self.head(log).await?.map(|(head, _)| head);
        self.growth(head, old, new).await
    }

    /// Records that `cx` is about to see `views`.
    async fn record_view<'a>(
        &self,
        cx: &RequestContext,
        log: LogId,
        asked: String,
        views: impl IntoIterator<Item = &'a EntryView>,
    ) -> Result<(), AuditError> {
        if log == LogId::Directory {
            return Ok(());
        }
        let event = sequence::viewed(asked, views.into_iter());
        let event = Event::new(event, Outcome::Success, &*self.clock, &*self.entropy);
        let is_there = self.size(log).await?.is_some();
        let submit = |log, cx: RequestContext, event: Arc<Event>| async move {
            let event = std::slice::from_ref(&event);
            self.submit(log, &cx, event).await.map(drop)
        };
        sequence::record_view(&self.builder, cx, log, is_there, event, submit).await
    }
}

/// The entry as it is shown, if its bytes are those that were hashed.
fn view(log: LogId, entry: Entry) -> Result<EntryView, AuditError> {
    if !entry.is_whole() {
        return Err(tampered(log, entry.index, Fault::Leaf).into());
    }
    Ok(EntryView {
        log,
        index: entry.index,
        bytes: entry.bytes,
        pruned: None,
    })
}

//! What readers of the log are given, and the record of it (AUD-003), which is durable before they are.

use std::ops::Range;
use std::sync::Arc;

use eonpro_core::RequestContext;
use eonpro_core::event::{Digest, Event, Outcome};
use eonpro_core::identity::ActorKind;
use eonpro_core::task;

use super::heads::Head;
use super::lookup::{LookupError, Tiles};
use super::open_log::OpenLog;
use super::querying::{Sources, with_reader};
use crate::checkpoint::Checkpoint;
use crate::error::AuditError;
use crate::fault::{Fault, Place, VerifyError};
use crate::log_id::LogId;
use crate::merkle::ProofError;
use crate::page::Page;
use crate::proving::{Tree, covering};
use crate::query::{Proofs, Query};
use crate::sequence::{self, Asked};
use crate::wire::EntryView;

/// Whether the context may read `log`: every log in a system context, a tenant's own while it is active.
#[must_use]
pub fn may_read(cx: &RequestContext, log: &LogId) -> bool {
    if cx.actor().kind == ActorKind::System {
        return true;
    }
    match log {
        LogId::Tenant(id) => cx.tenant_scope().is_ok_and(|scope| scope.tenant() == *id),
        LogId::System | LogId::Directory => false,
    }
}

impl OpenLog {
    /// The entries of `log` in `range`, once it is recorded that `cx` saw them.
    pub(super) async fn read(
        self: &Arc<Self>,
        cx: &RequestContext,
        log: &LogId,
        range: Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError> {
        self.admit(cx, log)?;
        let asked = format!("indexes {}..{}", range.start, range.end);
        let (core, own) = (Arc::clone(self), *log);
        let views = task::blocking(move || core.read_spots(&own, &range)).await;
        let views = views.map_err(|_| AuditError::WorkerLost)??;
        self.record_view(cx, log, asked, views.iter()).await?;
        Ok(views)
    }

    /// One page of the answer to `query`, once it is recorded that `cx` saw it.
    pub(super) async fn query(
        self: &Arc<Self>,
        cx: &RequestContext,
        query: &Query,
    ) -> Result<Page, AuditError> {
        self.admit(cx, &query.log)?;
        let asked = Asked::of(&self.builder, query).await?;
        let (own, text) = (asked.query().clone(), asked.text());
        let page = if asked.finds_nobody() {
            self.empty_page(&own)
        } else {
            self.look_up(move |core| core.page(&own)).await?
        };
        let views = page.hits.iter().map(|hit| &hit.view);
        self.record_view(cx, &query.log, text, views).await?;
        Ok(page)
    }

    /// The inclusion proof of the entry at `index` in the tree of the first `size` entries.
    pub(super) async fn prove(
        self: &Arc<Self>,
        cx: &RequestContext,
        log: &LogId,
        index: u64,
        size: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        self.admit(cx, log)?;
        if index >= size {
            return Err(ProofError::Size.into());
        }
        let log = *log;
        let proof = move |tree: &mut Tree<Tiles>| tree.inclusion_of_any(index);
        self.look_up(move |core| core.in_tree(log, size, proof))
            .await
    }

    /// The proof that the first `new` entries begin with the first `old`.
    pub(super) async fn prove_growth(
        self: &Arc<Self>,
        cx: &RequestContext,
        log: &LogId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        self.admit(cx, log)?;
        if old == 0 || old > new {
            return Err(ProofError::Size.into());
        }
        let log = *log;
        let proof = move |tree: &mut Tree<Tiles>| tree.growth(old);
        self.look_up(move |core| core.in_tree(log, new, proof))
            .await
    }

    /// The last signed note of `log`.
    pub(super) async fn signed_head(
        self: &Arc<Self>,
        cx: &RequestContext,
        log: &LogId,
    ) -> Result<Option<String>, AuditError> {
        self.admit(cx, log)?;
        let (core, log) = (Arc::clone(self), *log);
        let note = task::blocking(move || match core.heads.get(&log) {
            Some(head) => core.note(&head).map(Some),
            None => Ok(None),
        });
        note.await.map_err(|_| AuditError::WorkerLost)?
    }

    /// Brings the index up to what is durable, in the background of whoever has time.
    pub(super) async fn follow(self: &Arc<Self>) {
        let followed = self.look_up(|core| {
            let sources = core.sources();
            with_reader(&sources, &LogId::System, 0, |_| {
                sources.lookup.follow(sources.index)
            })
        });
        match followed.await {
            Ok(()) | Err(AuditError::Closed) => {}
            Err(error) => tracing::warn!(%error, "the audit index is behind"),
        }
    }

    /// Lets go of the index.
    pub(super) async fn close_index(self: &Arc<Self>) {
        let core = Arc::clone(self);
        if task::blocking(move || core.lookup.close()).await.is_err() {
            tracing::warn!("the audit index was not closed");
        }
    }

    fn admit(&self, cx: &RequestContext, log: &LogId) -> Result<(), AuditError> {
        self.open()?;
        match may_read(cx, log) {
            true => Ok(()),
            false => Err(AuditError::Denied),
        }
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            layout: &self.layout,
            index: &self.index,
            lookup: &self.lookup,
            config: &self.config,
        }
    }

    /// Runs `work` where it may block. The store may end it if its file is changed under it: then, too, the
    /// index is built anew, once.
    async fn look_up<T, F>(self: &Arc<Self>, work: F) -> Result<T, AuditError>
    where
        T: Send + 'static,
        F: Fn(&Self) -> Result<T, AuditError> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let run = |work: Arc<F>| {
            let core = Arc::clone(self);
            task::blocking(move || work(&core))
        };
        if let Ok(done) = run(Arc::clone(&work)).await {
            return done;
        }
        let core = Arc::clone(self);
        // Ending the old one may fail as well, after its file is gone.
        let _ = task::blocking(move || core.lookup.discard(None)).await;
        run(work).await.map_err(|_| AuditError::WorkerLost)?
    }

    fn empty_page(&self, query: &Query) -> Page {
        Page {
            hits: Vec::new(),
            next: None,
            size: self.sources().size(query),
            head: None,
        }
    }

    fn page(&self, query: &Query) -> Result<Page, AuditError> {
        let sources = self.sources();
        let size = sources.size(query);
        let head = match query.proofs {
            Proofs::With => self.heads.get(&query.log),
            Proofs::Without => None,
        };
        // The proofs of the head need its whole tree.
        let covered = size.max(head.map_or(0, |head| head.point.size));
        let mut page = with_reader(&sources, &query.log, covered, |reader| {
            sources.answer(reader, query, size, head.as_ref())
        })?;
        page.head = head.map(|head| self.note(&head)).transpose()?;
        Ok(page)
    }

    fn in_tree<T>(
        &self,
        log: LogId,
        size: u64,
        work: impl Fn(&mut Tree<Tiles>) -> Result<T, LookupError>,
    ) -> Result<T, AuditError> {
        let head = covering(self.heads.get(&log).map(|head| head.point), size)?;
        with_reader(&self.sources(), &log, head.size, |reader| {
            work(&mut Tree::within(reader.tiles()?, size, &head)?)
        })
    }

    /// The signed note of `head`, read back and verified.
    fn note(&self, head: &Head) -> Result<String, AuditError> {
        let directory = LogId::Directory;
        let (note, place) = match head.at {
            None => {
                let note = self.layout.read_checkpoint()?.unwrap_or_default();
                (note, Place::file(crate::layout::CHECKPOINT, 0))
            }
            Some(at) => {
                let leaf = self.read_spots(&directory, &(at..at.saturating_add(1)))?;
                let bytes = leaf.into_iter().next().map(|view| view.bytes);
                let note = String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
                (note, Place::entry(directory, at))
            }
        };
        match Checkpoint::open(&note, &self.heads.keys()) {
            // The directory's head may have been replaced by a later one meanwhile.
            Ok(point) if point == head.point || head.at.is_none() => Ok(note),
            _ => Err(VerifyError::tampered(place, Fault::Checkpoint).into()),
        }
    }

    /// Records that `cx` is about to see `views`.
    async fn record_view<'a>(
        self: &Arc<Self>,
        cx: &RequestContext,
        log: &LogId,
        asked: String,
        views: impl Iterator<Item = &'a EntryView>,
    ) -> Result<(), AuditError> {
        if *log == LogId::Directory {
            return Ok(());
        }
        let event = sequence::viewed(asked, views);
        let event = Event::new(event, Outcome::Success, &*self.clock, &*self.entropy);
        let is_there = self.index.size(log).is_some();
        let submit = |log, cx: RequestContext, event: Arc<Event>| async move {
            let event = std::slice::from_ref(&event);
            self.submit(log, &cx, event).await.map(drop)
        };
        sequence::record_view(&self.builder, cx, *log, is_there, event, submit).await?;
        self.count_towards_checkpoint(1);
        Ok(())
    }
}

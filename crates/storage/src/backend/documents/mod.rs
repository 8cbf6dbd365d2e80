//! The document store over any object store.
//!
//! A small upload is two durable objects: one extent, then one manifest record that says "added,
//! judged, released" at once. A crash between them leaves a sealed extent that nothing refers to;
//! the version is absent. There is no state in which half of a version can be read.

mod change;
mod gate;
mod grant;
mod put;
mod read;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::TenantScope;
use eonpro_core::component::{Component, Health, Posture, Validation};
use eonpro_core::event::{Code, Emitter};
use eonpro_core::id::{DocumentId, IdTagger, PublicId as _, VersionId};
use eonpro_core::port::{KeyPurpose, Observer, Operation, SealScope, Sealer, Timer};
use eonpro_core::task;
use eonpro_core::time::Timestamp;
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::config::StorageConfig;
use crate::error::StorageError;
use crate::history::{Chain, HistoryEntry};
use crate::layout::{self, Place, TenantTag, TenantTags};
use crate::manifest::{Entry, FORMAT, MAX_RECORDS, Record};
use crate::objects::{Created, Objects};
use crate::scan::Scanner;
use crate::service::{
    DocumentRef, DocumentStore, Head, HoldChange, NewDocument, OpenDocument, Redeemed, UploadBody,
    VersionInfo,
};
use crate::signed_url::{GrantSpec, Method, SignedUrl};
use gate::Gate;

const SERVICE: &str = "storage";

/// What a document store is made of.
#[derive(Debug)]
pub struct StorageParts {
    /// Where the objects lie.
    pub objects: Objects,
    /// Whose keys seal them.
    pub sealer: Arc<dyn Sealer>,
    /// Who judges uploads.
    pub scanner: Arc<dyn Scanner>,
    /// Where events go; its clock and entropy date and name the documents.
    pub emitter: Emitter,
    /// Who measures.
    pub observer: Arc<dyn Observer>,
    /// Who mints the ids that leave the system.
    pub tagger: Arc<IdTagger>,
}

/// The document store over any object store: a bucket, a directory, memory.
///
/// The bucket is the database: everything about a document follows from its objects. A small upload
/// is two durable objects, first one extent sealed under quarantine, then one manifest record that
/// says "added, judged, released" at once. Cheap to clone; clones share one store.
#[derive(Debug, Clone)]
pub struct ObjectDocuments(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    objects: Objects,
    sealer: Arc<dyn Sealer>,
    scanner: Arc<dyn Scanner>,
    emitter: Emitter,
    observer: Arc<dyn Observer>,
    tagger: Arc<IdTagger>,
    config: StorageConfig,
    tags: TenantTags,
    gate: Gate,
}

impl ObjectDocuments {
    /// Opens the store. The system's own keys must be provisioned; each tenant's must be before
    /// its first document.
    ///
    /// # Errors
    /// [`StorageError::Config`] for settings outside their limits; [`StorageError::Unfit`] for an
    /// object store that creates an object twice; key and backend errors.
    pub async fn open(parts: StorageParts, config: StorageConfig) -> Result<Self, StorageError> {
        config.check()?;
        parts.objects.probe(&**parts.emitter.entropy()).await?;
        let key = parts
            .sealer
            .mac_key(SealScope::System, layout::TAG_LABEL)
            .await?;
        Ok(Self(Arc::new(Inner {
            objects: parts.objects,
            sealer: parts.sealer,
            scanner: parts.scanner,
            emitter: parts.emitter,
            observer: parts.observer,
            tagger: parts.tagger,
            gate: Gate::new(config.concurrent_changes),
            config,
            tags: TenantTags::new(&key),
        })))
    }

    fn timer(&self, name: &'static str) -> Timer<'_> {
        let inner = &*self.0;
        let op = Operation::new(SERVICE, name);
        Timer::start(op, &**inner.emitter.clock(), &*inner.observer)
    }

    /// Runs a change to its end even if the caller goes away, among a bounded number of them.
    async fn change<T, F, W>(&self, scope: &TenantScope, work: W) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StorageError>> + Send + 'static,
        W: FnOnce(Arc<Inner>, TenantScope) -> F,
    {
        let pass = self.0.gate.enter(scope.cx(), &**self.0.emitter.clock());
        let pass = pass.await?;
        let work = work(Arc::clone(&self.0), scope.clone());
        task::outlive(async move {
            let _pass = pass;
            work.await
        })
        .await?
    }
}

impl Inner {
    fn tag(&self, scope: &TenantScope) -> TenantTag {
        self.tags.of(scope.tenant())
    }

    /// Writes the next record of a document. Succeeds only if nobody else wrote it first.
    async fn append(
        &self,
        scope: &TenantScope,
        document: DocumentId,
        after: Option<Head>,
        at: Timestamp,
        events: Vec<Entry>,
    ) -> Result<(Appended, Vec<Entry>), StorageError> {
        let seq = after.map_or(0, |head| head.seq.saturating_add(1));
        if seq >= MAX_RECORDS as u64 {
            return Err(StorageError::LimitExceeded);
        }
        let record = Record {
            v: FORMAT,
            doc: document.uuid(),
            seq,
            prev: after.map(|head| head.digest.to_string()),
            at: at.nanos(),
            actor: scope.cx().actor().id.as_str().to_owned(),
            policy: self.config.policy.digest().to_string(),
            events,
        };
        let place = Place::manifest(document, seq);
        let plain = record.encode()?;
        let sealed = self
            .sealer
            .seal(
                SealScope::from(scope),
                KeyPurpose::FILES,
                &place.cell()?,
                &plain,
            )
            .await?;
        let sealed = Bytes::from(sealed);
        let head = Head {
            seq,
            digest: eonpro_core::event::Digest::of(&sealed),
        };
        let key = layout::manifest(&self.tag(scope), document, seq);
        let appended = match self.objects.create(&key, &sealed).await? {
            Created::Ours => Appended::Done(head),
            Created::Doubtful(error) => Appended::Doubtful(head, error),
            Created::Theirs => Appended::Lost { seq },
        };
        Ok((appended, record.events))
    }
}

/// How writing a record ended.
#[derive(Debug)]
enum Appended {
    Done(Head),
    /// It is there, but the store reported an error.
    Doubtful(Head, StorageError),
    /// Somebody else wrote this record first.
    Lost {
        seq: u64,
    },
}

#[async_trait]
impl Component for ObjectDocuments {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn posture(&self) -> Posture {
        let own = Posture {
            durability: self.0.objects.durability(),
            crypto: Validation::NotValidated,
            fitness: Posture::STRONGEST.fitness,
        };
        own.min(self.0.scanner.posture())
    }

    async fn health(&self) -> Health {
        if self.0.gate.is_closed() {
            return Health::Unhealthy("storage is closed");
        }
        if !self.0.objects.answers().await {
            return Health::Unhealthy("object store does not answer");
        }
        match self.0.scanner.health().await {
            Health::Healthy => Health::Healthy,
            Health::Degraded(_) | Health::Unhealthy(_) => {
                Health::Degraded("scanner is not well: uploads stay in quarantine")
            }
        }
    }

    async fn close(&self) {
        self.0.gate.close().await;
    }
}

#[async_trait]
impl DocumentStore for ObjectDocuments {
    async fn put(
        &self,
        scope: &TenantScope,
        new: NewDocument,
        body: Bytes,
    ) -> Result<VersionInfo, StorageError> {
        let size = Some(body.len() as u64);
        let body = stream::iter([Ok(body)]).boxed();
        let timer = self.timer("put");
        let work = move |inner, scope| put::put(inner, scope, new, body, size);
        timer.end(self.change(scope, work).await)
    }

    async fn put_stream(
        &self,
        scope: &TenantScope,
        new: NewDocument,
        body: UploadBody,
    ) -> Result<VersionInfo, StorageError> {
        let timer = self.timer("put");
        let work = move |inner, scope| put::put(inner, scope, new, body, None);
        timer.end(self.change(scope, work).await)
    }

    async fn open(
        &self,
        scope: &TenantScope,
        at: &DocumentRef,
        range: Option<Range<u64>>,
    ) -> Result<OpenDocument, StorageError> {
        let timer = self.timer("open");
        timer.end(read::open(&self.0, scope, at, range).await)
    }

    async fn stat(
        &self,
        scope: &TenantScope,
        at: &DocumentRef,
    ) -> Result<VersionInfo, StorageError> {
        let timer = self.timer("stat");
        timer.end(read::stat(&self.0, scope, at).await)
    }

    async fn history(
        &self,
        scope: &TenantScope,
        document: DocumentId,
    ) -> Result<Vec<HistoryEntry>, StorageError> {
        let timer = self.timer("history");
        let chain = self.0.load(scope, document).await;
        timer.end(chain.map(|chain: Chain| chain.entries))
    }

    async fn delete(
        &self,
        scope: &TenantScope,
        document: DocumentId,
        authority: Code,
    ) -> Result<Head, StorageError> {
        let timer = self.timer("delete");
        let work = move |inner, scope| change::delete(inner, scope, document, authority);
        timer.end(self.change(scope, work).await)
    }

    async fn restore(
        &self,
        scope: &TenantScope,
        document: DocumentId,
        from: VersionId,
    ) -> Result<VersionInfo, StorageError> {
        let timer = self.timer("restore");
        let work = move |inner, scope| change::restore(inner, scope, document, from);
        timer.end(self.change(scope, work).await)
    }

    async fn hold(
        &self,
        scope: &TenantScope,
        document: DocumentId,
        change: HoldChange,
    ) -> Result<Head, StorageError> {
        let timer = self.timer("hold");
        let work = move |inner, scope| change::hold(inner, scope, document, change);
        timer.end(self.change(scope, work).await)
    }

    async fn grant(
        &self,
        scope: &TenantScope,
        at: &DocumentRef,
        spec: GrantSpec,
    ) -> Result<SignedUrl, StorageError> {
        let timer = self.timer("grant");
        timer.end(grant::grant(&self.0, scope, at, spec).await)
    }

    async fn redeem(
        &self,
        scope: &TenantScope,
        url: &str,
        method: Method,
    ) -> Result<Redeemed, StorageError> {
        let timer = self.timer("redeem");
        timer.end(grant::redeem(&self.0, scope, url, method).await)
    }

    fn tag(&self, scope: &TenantScope, document: DocumentId) -> String {
        self.0.tagger.tag(scope, document)
    }

    async fn admit(&self, scope: &TenantScope, text: &str) -> Result<DocumentId, StorageError> {
        let timer = self.timer("admit");
        timer.end(grant::admit(&self.0, scope, text).await)
    }
}

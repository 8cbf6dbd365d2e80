//! The document store as its callers see it.
//!
//! Every method takes the proof of its tenant first. What a method changes is one create-only
//! record of the document's manifest chain, so that an operation either happened or did not.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::TenantScope;
use eonpro_core::component::Component;
use eonpro_core::event::{Code, Digest};
use eonpro_core::id::{DocumentId, SubjectId, VersionId};
use eonpro_core::phi::Phi;
use eonpro_core::secret::SecretBytes;
use eonpro_core::time::Timestamp;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use crate::category::Category;
use crate::error::StorageError;
use crate::history::{HistoryEntry, VersionState};
use crate::media::MediaType;
use crate::signed_url::{GrantSpec, Method, SignedUrl, UrlPurpose};

/// An upload's bytes. An error ends the upload; nothing of it becomes visible.
pub type UploadBody = BoxStream<'static, Result<Bytes, StorageError>>;

/// A download's bytes, extent by extent, each authenticated before it is handed out.
pub type DownloadBody = BoxStream<'static, Result<SecretBytes, StorageError>>;

/// The newest record of a document's chain: what a caller may remember to detect truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number.
    pub seq: u64,
    /// The SHA-256 of its sealed bytes. The audit log has it too.
    pub digest: Digest,
}

/// What a new version is put on top of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Nothing: a new document under a fresh id.
    #[default]
    New,
    /// A document whose newest record is `seq`; otherwise [`StorageError::Conflict`].
    Head {
        /// The document.
        document: DocumentId,
        /// The sequence number of the head that the caller saw.
        seq: u64,
    },
    /// A document, whatever its newest record is.
    Any(DocumentId),
}

/// A version to be stored.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct NewDocument {
    /// Its category; the same for all versions of a document.
    pub category: Category,
    /// The media type that the uploader claims.
    pub declared: MediaType,
    /// Its file name: 1 to 255 bytes without control characters and separators. It is PHI.
    pub name: Phi<String>,
    /// The patient it is about; the same for all versions. `None` takes over the document's.
    pub subject: Option<SubjectId>,
    /// What it is put on top of.
    pub expect: Expect,
}

impl NewDocument {
    /// A new document about nobody in particular.
    #[must_use]
    pub fn new(category: Category, declared: MediaType, name: impl Into<Phi<String>>) -> Self {
        Self {
            category,
            declared,
            name: name.into(),
            subject: None,
            expect: Expect::New,
        }
    }

    /// About this patient.
    #[must_use]
    pub fn about(mut self, subject: SubjectId) -> Self {
        self.subject = Some(subject);
        self
    }

    /// On top of this.
    #[must_use]
    pub fn on(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }
}

/// Which document, which version of it, and how much of its history must be there.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentRef {
    /// The document.
    pub document: DocumentId,
    /// The version; `None` means the current one.
    pub version: Option<VersionId>,
    /// A head that the caller knows: a chain that does not contain it is
    /// [`StorageError::Truncated`].
    pub known: Option<Head>,
    /// The signed URL that it came out of.
    pub(crate) grant: Option<Uuid>,
}

impl DocumentRef {
    /// The current version of `document`.
    #[must_use]
    pub fn current(document: DocumentId) -> Self {
        Self {
            document,
            version: None,
            known: None,
            grant: None,
        }
    }

    /// This version.
    #[must_use]
    pub fn version(self, version: VersionId) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// Whose history contains at least this record.
    #[must_use]
    pub fn known(self, head: Head) -> Self {
        Self {
            known: Some(head),
            ..self
        }
    }
}

impl From<DocumentId> for DocumentRef {
    fn from(document: DocumentId) -> Self {
        Self::current(document)
    }
}

/// What is known about one version.
#[non_exhaustive]
#[derive(Clone)]
pub struct VersionInfo {
    /// The document.
    pub document: DocumentId,
    /// The version.
    pub version: VersionId,
    /// Its category.
    pub category: Category,
    /// The patient it is about.
    pub subject: Option<SubjectId>,
    /// Whether it can be read.
    pub state: VersionState,
    /// Length of the plaintext in bytes.
    pub size: u64,
    /// The media type that the uploader claimed.
    pub declared: MediaType,
    /// What the content looks like, see [`Kind`](crate::Kind).
    pub sniffed: Code,
    /// Its file name.
    pub name: Phi<String>,
    /// SHA-256 of the plaintext. It confirms possession of the document: handle it as PHI.
    pub sha256: Phi<[u8; 32]>,
    /// When it was stored.
    pub added: Timestamp,
    /// The newest record of the document.
    pub head: Head,
}

impl fmt::Debug for VersionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionInfo")
            .field("document", &self.document)
            .field("version", &self.version)
            .field("category", &self.category)
            .field("state", &self.state)
            .field("size", &self.size)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// A document that was opened: its bytes, or the asked range of them.
#[non_exhaustive]
pub struct OpenDocument {
    /// What is known about it.
    pub info: VersionInfo,
    /// Which bytes the body holds.
    pub range: Range<u64>,
    /// The bytes. An error in the middle means that the rest must not be trusted to exist.
    pub body: DownloadBody,
}

impl OpenDocument {
    pub(crate) fn new(info: VersionInfo, range: Range<u64>, body: DownloadBody) -> Self {
        Self { info, range, body }
    }

    /// All bytes at once, at most `limit` of them.
    ///
    /// # Errors
    /// [`StorageError::ReadLimit`] before anything is read; otherwise the body's errors.
    pub async fn bytes(mut self, limit: usize) -> Result<SecretBytes, StorageError> {
        let len = self.range.end.saturating_sub(self.range.start);
        let len = usize::try_from(len).map_err(|_| StorageError::ReadLimit)?;
        if len > limit {
            return Err(StorageError::ReadLimit);
        }
        // Reserved once, so that growing never leaves an unwiped copy behind.
        let mut out = SecretBytes::with_capacity(len);
        while let Some(part) = self.body.next().await {
            out.extend_from_slice(&part?);
        }
        Ok(out)
    }
}

impl fmt::Debug for OpenDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDocument")
            .field("info", &self.info)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// A change of a document's legal holds. The name is a matter number or the like, never PHI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldChange {
    /// Sets a hold.
    Set(Code),
    /// Clears a hold that was set under the same name.
    Clear(Code),
}

/// What a signed URL allows, after it was checked.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redeemed {
    /// What it is for.
    pub purpose: UrlPurpose,
    /// The version it names; hand it to [`DocumentStore::open`].
    pub at: DocumentRef,
    /// When it ends.
    pub expires: Timestamp,
}

/// Documents of tenants: sealed, scanned, versioned, under retention.
///
/// A document is readable only after a scanner found it clean; until then its data key is wrapped
/// for quarantine, so that no reader's key opens it.
#[async_trait]
pub trait DocumentStore: Component {
    /// Stores `body` as a new version. [`Self::put_stream`] with everything in memory.
    ///
    /// # Errors
    /// As [`Self::put_stream`].
    async fn put(
        &self,
        scope: &TenantScope,
        new: NewDocument,
        body: Bytes,
    ) -> Result<VersionInfo, StorageError>;

    /// Stores `body` as a new version: guarded, sealed under quarantine, scanned, released.
    /// Memory is bounded by about three extents.
    ///
    /// Returns when the version is durable, readable and audited (`file.uploaded`). Not
    /// idempotent: each call is a version of its own; [`Expect::Head`] makes a repeat fail.
    /// Once started it runs to its end although the caller goes away, unless the deadline or the
    /// cancellation of the request ends it between two chunks of the body; then nothing of it is
    /// visible.
    ///
    /// # Errors
    /// Nothing stored: [`Rejected`](StorageError::Rejected), [`TooLarge`](StorageError::TooLarge),
    /// [`Conflict`](StorageError::Conflict), [`Body`](StorageError::Body),
    /// [`Deadline`](StorageError::Deadline), [`Mismatched`](StorageError::Mismatched).
    /// Stored but closed: [`Infected`](StorageError::Infected) (after `file.malware.detected`),
    /// [`Unscannable`](StorageError::Unscannable), [`Unscanned`](StorageError::Unscanned).
    /// Stored and readable: [`Unaudited`](StorageError::Unaudited).
    /// [`Backend`](StorageError::Backend): the version is either readable or absent.
    async fn put_stream(
        &self,
        scope: &TenantScope,
        new: NewDocument,
        body: UploadBody,
    ) -> Result<VersionInfo, StorageError>;

    /// Opens a released version, or `range` of its bytes. `file.downloaded` is recorded before the
    /// first byte is handed out. Cancel-safe.
    ///
    /// # Errors
    /// [`NotFound`](StorageError::NotFound), also for deleted documents and for another tenant's;
    /// [`Unreadable`](StorageError::Unreadable) before release;
    /// [`RangeNotSatisfiable`](StorageError::RangeNotSatisfiable);
    /// [`Corrupt`](StorageError::Corrupt), [`Truncated`](StorageError::Truncated);
    /// [`Audit`](StorageError::Audit) if the entry was not accepted.
    async fn open(
        &self,
        scope: &TenantScope,
        at: &DocumentRef,
        range: Option<Range<u64>>,
    ) -> Result<OpenDocument, StorageError>;

    /// What is known about a version, of any state. Cancel-safe. Records nothing: no content is
    /// read, but the file name is PHI that the application accounts for.
    ///
    /// # Errors
    /// As [`Self::open`], without `Unreadable` and `Audit`.
    async fn stat(
        &self,
        scope: &TenantScope,
        at: &DocumentRef,
    ) -> Result<VersionInfo, StorageError>;

    /// All records of a document, oldest first, at most
    /// [`MAX_RECORDS`](crate::MAX_RECORDS); deleted documents too. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::stat`].
    async fn history(
        &self,
        scope: &TenantScope,
        document: DocumentId,
    ) -> Result<Vec<HistoryEntry>, StorageError>;

    /// Puts a delete marker: the document is not found any more, its bytes stay. `file.deleted` is
    /// recorded first. `authority` says by which rule, as a code. Idempotent: a repeat records
    /// nothing. Runs to its end although the caller goes away.
    ///
    /// # Errors
    /// [`RetentionActive`](StorageError::RetentionActive), [`OnHold`](StorageError::OnHold),
    /// [`NotFound`](StorageError::NotFound), [`Audit`](StorageError::Audit).
    async fn delete(
        &self,
        scope: &TenantScope,
        document: DocumentId,
        authority: Code,
    ) -> Result<Head, StorageError>;

    /// Makes an earlier released version the current one, lifting a delete marker. Recorded as
    /// `file.uploaded` of that version. Runs to its end although the caller goes away.
    ///
    /// # Errors
    /// [`NotFound`](StorageError::NotFound), [`Unreadable`](StorageError::Unreadable),
    /// [`Unaudited`](StorageError::Unaudited).
    async fn restore(
        &self,
        scope: &TenantScope,
        document: DocumentId,
        from: VersionId,
    ) -> Result<VersionInfo, StorageError>;

    /// Sets or clears a legal hold, recorded as `audit.legal_hold.changed`. Idempotent: setting a
    /// set hold and clearing a cleared one change and record nothing. Runs to its end although the
    /// caller goes away.
    ///
    /// # Errors
    /// [`NotFound`](StorageError::NotFound), [`LimitExceeded`](StorageError::LimitExceeded),
    /// [`Unaudited`](StorageError::Unaudited).
    async fn hold(
        &self,
        scope: &TenantScope,
        document: DocumentId,
        change: HoldChange,
    ) -> Result<Head, StorageError>;

    /// Issues a signed URL for a released version; `file.presigned_url.issued` is recorded first.
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::open`]; [`UrlLifetime`](StorageError::UrlLifetime) beyond the category's cap.
    async fn grant(
        &self,
        scope: &TenantScope,
        at: &DocumentRef,
        spec: GrantSpec,
    ) -> Result<SignedUrl, StorageError>;

    /// Checks a signed URL in constant time before anything is looked up, and uses up a single-use
    /// one. Not cancel-safe for single-use URLs: the use may be spent.
    ///
    /// # Errors
    /// [`UrlRefused`](StorageError::UrlRefused) for every defect of the URL;
    /// [`TenantMismatch`](StorageError::TenantMismatch) for another tenant's, which is recorded.
    async fn redeem(
        &self,
        scope: &TenantScope,
        url: &str,
        method: Method,
    ) -> Result<Redeemed, StorageError>;

    /// The id in the tagged form that may leave the system.
    fn tag(&self, scope: &TenantScope, document: DocumentId) -> String;

    /// The document id in a tagged form that came from outside. One that was not minted for this
    /// tenant is recorded as `tenant.isolation.violation_blocked`. Cancel-safe.
    ///
    /// # Errors
    /// [`TenantMismatch`](StorageError::TenantMismatch), shown to outsiders as not found;
    /// [`MalformedId`](StorageError::MalformedId).
    async fn admit(&self, scope: &TenantScope, text: &str) -> Result<DocumentId, StorageError>;
}

/// Conveniences on every document store.
#[async_trait]
pub trait DocumentStoreExt: DocumentStore {
    /// Opens a document and reads all of it, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`DocumentStore::open`]; [`ReadLimit`](StorageError::ReadLimit).
    async fn read(
        &self,
        scope: &TenantScope,
        at: &DocumentRef,
        limit: usize,
    ) -> Result<SecretBytes, StorageError> {
        self.open(scope, at, None).await?.bytes(limit).await
    }
}

impl<S: DocumentStore + ?Sized> DocumentStoreExt for S {}

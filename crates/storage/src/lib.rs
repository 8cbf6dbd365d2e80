//! Documents: sealed, scanned, versioned, under retention, on any object store.
//!
//! A document is a list of extents, each sealed as a message of its own, and a chain of create-only
//! manifest records; the bucket is the database. Content is guarded against its declared type,
//! sealed under a quarantine key, scanned, and becomes readable only when a clean verdict lets its
//! data key be wrapped for readers. What each of the twelve [categories](Category) allows and
//! demands is [policy data](PolicyBook).
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use eonpro_core::id::IdTagger;
//! use eonpro_core::port::NoObserver;
//! use eonpro_core::secret::KeyBytes;
//! use eonpro_core::time::{ManualClock, Timestamp};
//! use eonpro_storage::{
//!     Category, DocumentRef, DocumentStore, DocumentStoreExt, MediaType, NewDocument,
//!     ObjectDocuments, SignatureScanner, StorageConfig, StorageParts, memory,
//! };
//! use eonpro_testkit::{RecordingSink, TestSealer, scope};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), eonpro_storage::StorageError> {
//! let scope = scope(1);
//! let audit = RecordingSink::new();
//! let parts = StorageParts {
//!     objects: memory(),
//!     sealer: TestSealer::ready_for(&[&scope]),
//!     scanner: Arc::new(SignatureScanner::built_in()?),
//!     emitter: audit.emitter(Arc::new(ManualClock::at(Timestamp::EPOCH))),
//!     observer: Arc::new(NoObserver),
//!     tagger: Arc::new(IdTagger::new(&KeyBytes::take(&mut [7; 32]))),
//! };
//! let documents = ObjectDocuments::open(parts, StorageConfig::default()).await?;
//!
//! let note = NewDocument::new(
//!     Category::ClinicalDocument,
//!     MediaType::parse("text/plain; charset=utf-8")?,
//!     "visit.txt",
//! );
//! let stored = documents.put(&scope, note, Bytes::from("Doing well.\n")).await?;
//! let at = DocumentRef::current(stored.document);
//! let text = documents.read(&scope, &at, 1 << 20).await?;
//! assert_eq!(text.as_slice(), b"Doing well.\n");
//! assert_eq!(audit.codes(), ["FILE-001", "FILE-002"]);
//! # Ok(())
//! # }
//! ```

mod archive;
mod backend;
mod category;
mod config;
mod error;
mod events;
mod guard;
mod history;
mod layout;
mod manifest;
mod media;
mod objects;
mod policy;
mod policy_page;
mod scan;
mod search;
mod service;
mod signed_url;
mod sniff;

pub use backend::documents::{ObjectDocuments, StorageParts};
pub use backend::local::local;
pub use backend::memory::memory;
pub use backend::signature::{Signature, SignatureScanner};
pub use category::Category;
pub use config::StorageConfig;
pub use error::{Held, StorageError};
pub use guard::{Guard, Rejection};
pub use history::{Change, HistoryEntry, MAX_HOLDS, VersionState};
pub use manifest::MAX_RECORDS;
pub use media::MediaType;
pub use objects::Objects;
pub use policy::{CategoryPolicy, LONGEST_URL, PolicyBook, Tightening};
pub use policy_page::policy_page;
pub use scan::{Scan, ScanError, ScanInput, Scanner, ScannerId, Verdict};
pub use service::{
    DocumentRef, DocumentStore, DocumentStoreExt, DownloadBody, Expect, Head, HoldChange,
    NewDocument, OpenDocument, Redeemed, UploadBody, VersionInfo,
};
pub use signed_url::{GrantSpec, Method, SignedUrl, UrlPurpose, Uses};
pub use sniff::{Kind, sniff};

//! A durable, hash-chained, Merkle-committed audit log that takes typed events only.
//!
//! An append returns after `fdatasync`, never before. Each tenant has a log of its own, events
//! without a tenant go to the `system` log, and the *directory log* holds the signed checkpoints of
//! all others, so that its root covers everything. Each log is an RFC 6962 Merkle tree whose leaves
//! also carry a hash chain; checkpoints are C2SP signed notes. [`verify()`] checks a directory on
//! disk without the service and names the first bad entry.
//!
//! What this proves, and what it does not, is said in `docs/formats/audit.md`: in short, it detects
//! every change of signed entries by somebody without the signing key. A rewrite by somebody who has
//! the key, or of entries since the last checkpoint, shows only against a head kept elsewhere.
//!
//! ```
//! use std::path::Path;
//!
//! use eonpro_audit::{AuditConfig, AuditError, AuditLog, AuditParts, EmbeddedAudit, verify};
//!
//! async fn last_look(dir: &Path, parts: AuditParts) -> Result<(), AuditError> {
//!     let key = parts.verifying_key();
//!     let audit = EmbeddedAudit::open(dir, parts, AuditConfig::default()).await?;
//!     let head = audit.checkpoint().await?;
//!     eonpro_core::component::Component::close(&audit).await;
//!     let report = verify(dir, &[key])?;
//!     assert!(report.entries >= head.entries);
//!     Ok(())
//! }
//! ```

mod alert;
#[cfg(feature = "archive")]
pub mod archive;
mod backend;
mod checkpoint;
mod commitment;
mod config;
mod disclosure;
mod entry;
mod erasure;
mod error;
mod events;
mod facts;
mod fault;
#[cfg(test)]
mod forgeries;
mod head;
mod hex;
mod layout;
mod log_id;
pub mod merkle;
mod page;
mod proving;
mod publish;
mod query;
mod replay;
mod retention;
mod scan;
mod sealed;
mod segment;
pub mod sequence;
mod service;
mod spool;
mod subjects;
pub mod tlog;
mod trail;
mod verify;
mod vfs;
mod viewing;
mod walk;
mod wire;
mod witness;

pub use alert::alert_for;
pub use backend::embedded::{AuditParts, EmbeddedAudit, Keeps, SealOrder, forget_head};
pub use backend::key_file::{KeyFileError, KeyFileSigner};
pub use checkpoint::{Checkpoint, CheckpointError, VerifyingKey};
pub use config::AuditConfig;
pub use disclosure::{Disclosed, Disclosure, DisclosureError, DisclosureOrder, verify_disclosure};
pub use erasure::{
    Erasure, ErasureCheck, ErasureFacts, ErasuresFinished, RetentionDuty, SubjectErased,
};
pub use error::{AuditError, BatchFault, Written};
pub use fault::{Fault, Place, VerifyError};
pub use head::{HeadConflict, Keeper};
pub use log_id::LogId;
pub use page::{Hit, Page, offline_proof};
pub use publish::{PublishError, Published, prove, publish};
pub use query::{Effort, Order, Proofs, Query, TraceId};
pub use retention::{
    Approvals, Hold, HoldError, HoldId, HoldScope, Holds, LogPlan, PrunePlan, PruneRefusal, Pruned,
    PrunedLog, RetentionClass, RetentionError, RetentionPolicy,
};
pub use sealed::SealedLog;
pub use service::{AuditLog, DirectoryHead, Receipt, Stats};
pub use subjects::{Pseudonym, Revealed, RevealedField};
pub use verify::{Report, Unanchored, claimed_keys, followed_keys, verify, verify_anchored};
pub use wire::{Entry, EntryActor, EntryValue, EntryView, WireError};
pub use witness::{Witness, WitnessError, Witnesses};

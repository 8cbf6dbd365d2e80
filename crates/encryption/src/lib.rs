//! Sealing of PHI: committing envelopes, tenant keys, blind indexes, rotation, shredding.
//!
//! A value is sealed for its [`Cell`]: tenant, table, column and row. Moved elsewhere, it does not
//! open. Keys come in three levels: a root key (a [`Keyring`](backend::Keyring) sealed by a
//! passphrase, or a KMS or HSM behind [`RootKey`]) wraps one key-encryption key per tenant, which
//! wraps data keys in epochs by purpose. Keys turn, are rewrapped and are shredded without touching
//! sealed data. `docs/formats/encryption.md` tells a stranger how to open a field.
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_encryption::backend::EphemeralRoot;
//! use eonpro_encryption::{EncryptionExt, Phi, PhiRecord, SealScope, Sealer, Vault, VaultParts};
//! use eonpro_core::id::RowId;
//! # use eonpro_core::{entropy::SeededEntropy, port::{NoObserver, kv::MemoryKeyValue}, time::SystemClock};
//!
//! #[derive(PhiRecord)]
//! #[phi(table = "patients")]
//! struct Patient {
//!     #[phi(row)]
//!     id: RowId,
//!     #[phi(seal)]
//!     name: Phi<String>,
//!     #[phi(seal, index(bits = 64, normalizer = "digits"))]
//!     ssn: Phi<String>,
//!     ward: u32,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let clock = Arc::new(SystemClock::new());
//! # let emitter = eonpro_testkit::RecordingSink::new().emitter(clock.clone());
//! # let scope = eonpro_testkit::scope(1);
//! let vault = Vault::open(VaultParts {
//!     root: Arc::new(EphemeralRoot::generate()?),
//!     state: Arc::new(MemoryKeyValue::new(clock)),
//!     emitter,
//!     observer: Arc::new(NoObserver),
//!     config: Default::default(),
//! })
//! .await?;
//! // First the system's own keys: with them a wrong root key shows when the vault is opened.
//! vault.provision(SealScope::System).await?;
//! vault.provision((&scope).into()).await?;
//!
//! let ada = Patient {
//!     id: RowId::random(&SeededEntropy::new(1)),
//!     name: "Ada Lovelace".into(),
//!     ssn: "999-12-3456".into(),
//!     ward: 7,
//! };
//! let sealed = vault.seal_record(&scope, ada).await?;
//! let query = vault.query_slots(&scope, &Patient::SSN_INDEX, &"999 12 3456".into()).await?;
//! assert!(query.finds(&sealed.ssn_index));
//!
//! let ada: Patient = vault.open_record(&scope, sealed).await?;
//! assert_eq!(ada.name.expose(), "Ada Lovelace");
//! assert_eq!(format!("{:?}", ada.ssn), "[PHI]");
//! # Ok(())
//! # }
//! ```
//!
//! # Search
//! A blind index shows which rows have equal values, and of a column with few values their
//! frequencies tell which: `docs/search.md` says which index is for what. [`IndexPlanner`] finds how
//! many bits to keep, [`Auxiliary`] runs the attack on your own column. An index is rotated while the
//! service goes on ([`Encryption::begin_index_rotation`]).
//!
//! `scope` is the proof of a tenant: an application gets it from its request's context
//! (`cx.tenant_scope()`), a test from `eonpro_testkit::scope`. `emitter` is an
//! [`Emitter`](eonpro_core::event::Emitter) over the application's event sink.
//!
//! # What a shred promises
//! There are two things to shred: a tenant ([`ShredTarget::Tenant`], or [`Encryption::shred`] for
//! callers with a governance of their own) and one patient ([`ShredTarget::Subject`]), whose fields
//! were sealed by [`EncryptionExt::seal_record_for`]. [`Shredding`] asks for two approvals, waits out
//! a deadline, obeys legal holds and signs a [`ShredReceipt`].
//!
//! - **This process**: nothing of the target opens from the moment of return, also by ciphers and data
//!   keys that are held, and by streams and whole records under way: the chunk or the field that is
//!   being opened is the last.
//! - **Another process** that runs [`Vault::watch_shreds`] does the same once the notice of the shred
//!   reaches it. Notices are hints: in the worst case, and without that call, it may go on with keys
//!   that it has unwrapped for at most [`EncryptionConfig::cache_ttl`] (default 5 minutes;
//!   [`ShredFacts::exposed_until`]), and a stream or a data key that it was handed goes on until
//!   something else in that process reads the tenant's record.
//! - **A restored backup of the key table** opens a shredded *patient* until the key of its epoch is
//!   destroyed ([`Shredding::end_shred_epoch`], [`ShredFacts::backups`]), and nobody any more after
//!   that: take a backup after each end of an epoch. It opens a shredded *tenant's* own keys as long
//!   as the backup exists, for whoever also has the root key; its patients' keys go at once, since
//!   the tenant's epochs are destroyed with it. So may free pages of the store's files, until they
//!   are overwritten.
//! - **Blind index tokens** are made with the tenant's search key and stay, as do the sealed bytes:
//!   delete a shredded patient's rows, or a guessed value can be confirmed.
//! - What the tenant's keys sealed about a patient (files, cache, the audit log, records sealed with
//!   [`EncryptionExt::seal_record`]) is not touched by the patient's shred.
//!
//! # What stays in memory
//! Keys and plaintext buffers are wiped when they are dropped. Copies on the stack while a key is
//! expanded, and what the allocator kept of the caller's own strings, are not.

mod alarm;
pub mod backend;
mod cache;
mod cipher;
mod client;
pub mod cobblestone;
mod config;
mod data_map;
mod dates;
mod envelope;
mod epoch;
mod error;
mod events;
mod fields;
mod index_status;
mod key_states;
mod key_type;
mod keyset;
mod leakage;
mod live;
mod material;
mod normalize;
mod padding;
mod phone;
mod planner;
mod primitives;
mod random;
mod record;
#[cfg(feature = "recovery")]
mod recovery;
mod repository;
mod root;
mod roots;
mod rotation;
mod schedule;
mod sealing_key;
mod search;
#[cfg(test)]
mod search_vectors;
mod service;
mod shred;
mod siv;
mod slots;
mod state;
mod streams;
mod subject;
mod tink;
mod usage;
mod vault;
#[cfg(test)]
mod vectors;
mod whole;
#[cfg(test)]
mod wycheproof;
mod xaes;

pub use cipher::TenantCipher;
pub use client::{ClientCipher, ClientKey, RecoveryKey};
pub use config::{EncryptionConfig, KdfCost};
pub use data_map::data_map_page;
pub use envelope::{HEAD_LEN, PREFIX_LEN};
pub use epoch::{Destruction, EpochId, EpochKeys};
pub use error::CryptoError;
pub use index_status::{IndexScan, IndexStatus, MAX_ROTATED_INDEXES, SETTLE_MARGIN};
pub use key_type::KeyType;
pub use keyset::{KeyId, KeyRole, KeyState, MAX_KEYS};
pub use leakage::{Auxiliary, LeakageError, LeakageReport, RankLeak, Recovered};
pub use normalize::MAX_INDEX_TEXT;
pub use planner::{IndexPlanner, PlanError, PlanReport, PlannedIndex, Recommendation, Verdict};
pub use primitives::{CryptoProfile, Primitives};
#[cfg(feature = "recovery")]
pub use recovery::{RecoveryIdentity, RecoveryRecipient};
pub use root::{Recipient, RootKey, RootKeyId, WrapContext};
pub use roots::{RootDirectory, TenantRoots};
pub use rotation::{
    FailedRow, IndexColumns, LazyCounts, LazyResealer, MAX_FAILED_ROWS, Phase, RotationConfig,
    RotationKind, RotationStatus, Rotator, RotatorParts, TextOf, text_of,
};
pub use service::{Encryption, EncryptionExt, KeyStatus, KeyTurned, ShredApproval};
pub use shred::{
    Approvers, BackupExposure, Decision, EpochEnded, EpochStatus, LegalHold, RECEIPT_VERSION,
    ShredConfig, ShredFacts, ShredReceipt, ShredRefusal, ShredRequest, ShredState, ShredTarget,
    Shredding, Subjects,
};
pub use streams::{TenantStreamOpener, TenantStreamSealer};
pub use subject::SubjectCipher;
pub use tink::{KeyExport, MAX_TINK_KEYSET};
pub use vault::{Rewraps, ShredParts, Vault, VaultOptions, VaultParts};

pub use eonpro_core::phi::{
    Binding, Cell, Column, FieldSealing, IndexDef, IndexPart, IndexSlots, IndexToken, Normalizer,
    Phi, PhiRecord, PhiRecords, PhiSchema, PhiValue, RecordHead, RecordMode, Row, Sealed, Suite,
    Table,
};
pub use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer};
pub use eonpro_derive::PhiRecord;

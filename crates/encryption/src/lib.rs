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
//! use eonpro_encryption::{EncryptionExt, Phi, PhiRecord, Sealer, Vault, VaultParts};
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
//! # What a shred promises
//! [`Encryption::shred`] replaces the scope's wrapped keys by a tombstone. In this process nothing
//! of the scope opens from then on. Another process may go on with keys that it has unwrapped for at
//! most [`EncryptionConfig::cache_ttl`] (default 5 minutes, reported in
//! [`DestroyedScope::exposure`](eonpro_core::port::DestroyedScope::exposure)); so may, if its scope
//! was evicted from a full cache before, a [`TenantCipher`] of this process. A restored backup of
//! the key store still holds the wrapped keys, and so may free pages of its files, until they are
//! overwritten: whoever has such a copy *and* the root key can open the scope. Rotate backups
//! accordingly.
//!
//! # What stays in memory
//! Keys and plaintext buffers are wiped when they are dropped. Copies on the stack while a key is
//! expanded, and what the allocator kept of the caller's own strings, are not.

mod alarm;
pub mod backend;
mod cache;
mod cipher;
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
mod repository;
mod root;
mod rotation;
mod schedule;
mod sealing_key;
mod search;
#[cfg(test)]
mod search_vectors;
mod service;
mod siv;
mod state;
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
pub use root::{RootKey, RootKeyId, WrapContext};
pub use rotation::{
    FailedRow, IndexColumns, LazyCounts, LazyResealer, MAX_FAILED_ROWS, Phase, RotationConfig,
    RotationKind, RotationStatus, Rotator, RotatorParts, TextOf, text_of,
};
pub use service::{Encryption, EncryptionExt, KeyStatus, KeyTurned, ShredApproval};
pub use tink::{KeyExport, MAX_TINK_KEYSET};
pub use vault::{Vault, VaultParts};

pub use eonpro_core::phi::{
    Binding, Cell, Column, FieldSealing, IndexDef, IndexPart, IndexSlots, IndexToken, Normalizer,
    Phi, PhiRecord, PhiRecords, PhiSchema, PhiValue, RecordHead, RecordMode, Row, Sealed, Suite,
    Table,
};
pub use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer};
pub use eonpro_derive::PhiRecord;

//! A root key and shred epochs in AWS KMS.
//!
//! [`KmsRoot`] implements `RootKey` and `EpochKeys` of eonpro-encryption with Amazon's own SDK: the
//! root key never leaves KMS. `docs/runbooks/kms.md` tells the key policy it needs and what its
//! encryption context shows to whoever reads CloudTrail.
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_aws::{Credentials, KmsConfig, KmsRoot, KmsRootParts, StaticCredentials};
//! use eonpro_core::secret::SecretText;
//! use eonpro_core::time::SystemClock;
//! use eonpro_encryption::RootKey as _;
//!
//! # fn main() -> Result<(), eonpro_encryption::CryptoError> {
//! # let (access, secret) = ("id".to_owned(), SecretText::new("secret".to_owned()));
//! let root = KmsRoot::new(KmsRootParts {
//!     config: KmsConfig {
//!         region: "eu-central-1".to_owned(),
//!         key: "1234abcd-12ab-34cd-56ef-1234567890ab".to_owned(),
//!         ..KmsConfig::default()
//!     },
//!     credentials: Arc::new(StaticCredentials::new(Credentials::long_lived(access, secret))),
//!     clock: Arc::new(SystemClock::new()),
//! })?;
//! assert_eq!(root.id().as_str(), "kms:1234abcd-12ab-34cd-56ef-1234567890ab");
//! # Ok(())
//! # }
//! ```
//!
//! # What stays in memory
//! The key that KMS returned is wiped once it was copied into `KeyBytes`, and credentials are wiped
//! when they are dropped. Out of reach are the bytes of the request and of the answer: the SDK and
//! its HTTP client hold the key there in base64, inside of TLS records and outside, and free those
//! buffers without wiping them.

mod client;
mod config;
mod credentials;
mod endpoint;
mod epochs;
mod failure;
mod root;
mod wire;

pub use config::{KmsConfig, MAX_DELETION_DAYS, MIN_DELETION_DAYS};
pub use credentials::{CredentialError, CredentialSource, Credentials, StaticCredentials};
pub use epochs::EPOCHS_TAG;
pub use failure::KmsFailure;
pub use root::{KmsRoot, KmsRootParts};

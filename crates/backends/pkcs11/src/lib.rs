//! A root key and epoch keys inside an HSM, over PKCS #11 v2.40.
//!
//! [`Pkcs11Root`] is a `RootKey` and a custody of `EpochKeys`. Its keys are AES-256 objects of one
//! token, sensitive and not extractable: they wrap and unwrap inside and never leave.
//! `docs/runbooks/hsm.md` tells how to set a token up, `docs/formats/encryption.md` what is stored.
//!
//! ```no_run
//! use eonpro_core::secret::SecretText;
//! use eonpro_pkcs11::{Pkcs11Config, Pkcs11Root};
//!
//! # async fn example(pin: SecretText) -> Result<(), Box<dyn std::error::Error>> {
//! let config = Pkcs11Config {
//!     module: "/usr/lib/softhsm/libsofthsm2.so".into(),
//!     token: "eonpro".to_owned(),
//!     key: "eonpro-root".to_owned(),
//!     ..Pkcs11Config::with_pin(pin)
//! };
//! // Once, when the installation is made; afterwards only `open`.
//! let root = Pkcs11Root::create(config.clone()).await?;
//! # let _ = root;
//! let root = Pkcs11Root::open(config).await?;
//! # let _ = root;
//! # Ok(())
//! # }
//! ```
//!
//! # Bounds
//! Every wrap uses AES-GCM with a random 96-bit IV, so one key wraps at most 2^32 times in its life
//! (NIST SP 800-38D section 8.3), counted over all processes. A root key wraps once for each tenant
//! and each rewrap, an epoch key once for each subject: no installation comes near, and nothing
//! counts.
//!
//! # Modules and processes
//! A module is loaded and initialised once in a process and never finalised, whatever opens it. It
//! must not be used across a fork. SoftHSM 2.6.1 is known to crash under concurrent calls (its
//! issues 426 and 688), hence [`Pkcs11Config::serialize`].

mod config;
mod failure;
mod keys;
mod module;
mod pool;
mod root;
mod wire;

pub use config::{MAX_SESSIONS, Pkcs11Config};
pub use root::Pkcs11Root;

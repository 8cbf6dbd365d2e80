//! Backends that are broken on purpose, one defect each. A suite that passes one is a defect itself.

#[cfg(feature = "audit")]
mod audit;
#[cfg(feature = "audit")]
mod audit_defect;
#[cfg(feature = "encryption")]
mod epoch_keys;
mod gap;
mod kv;
#[cfg(feature = "encryption")]
mod root_key;
mod rotation;

#[cfg(feature = "audit")]
pub use audit::BrokenAudit;
#[cfg(feature = "audit")]
pub use audit_defect::AuditDefect;
#[cfg(feature = "encryption")]
pub use epoch_keys::{BrokenEpochKeys, EpochDefect};
pub use kv::{BrokenKeyValue, KvDefect};
#[cfg(feature = "encryption")]
pub use root_key::{BrokenRoot, RootDefect};
pub use rotation::{BrokenRotation, RotationDefect};

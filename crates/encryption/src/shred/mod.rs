//! Shredding: who may destroy which keys and when, legal holds, epochs and receipts.
//!
//! Everything here is pure but the store. The tombstone, the request's last state and the count of
//! its epoch are one commit, which a legal hold set in between makes fail.

mod config;
mod epochs;
pub(crate) mod events;
mod facts;
mod hold;
mod notice;
mod receipt;
mod request;
mod service;
mod store;
pub(crate) mod wire;

pub use config::{Approvers, ShredConfig};
pub(crate) use epochs::{Epochs, Pending};
pub use facts::{BackupExposure, ShredFacts, ShredTarget};
pub(crate) use hold::Holds;
pub use hold::LegalHold;
pub(crate) use notice::Notice;
pub use receipt::{RECEIPT_VERSION, ShredReceipt};
pub use request::{Decision, ShredRefusal, ShredRequest, ShredState};
pub use service::{EpochEnded, EpochStatus, Shredding, Subjects};
pub(crate) use store::{Found, Shreds, require};

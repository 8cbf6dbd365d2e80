//! Keys of single patients: one random key each, behind two locks.
//!
//! Whoever wants a subject's key needs the tenant's data key *and* the shred epoch's key. So neither
//! a stolen key table with the root, nor the custody of the epochs alone, opens anything; and once
//! the epoch's key is destroyed no copy of the table does.

mod cipher;
mod live;
mod locks;
mod record;

use eonpro_core::port::KeyPurpose;
use eonpro_core::time::Timestamp;

use crate::epoch::EpochId;
use crate::keyset::KeyId;

pub use cipher::SubjectCipher;
pub(crate) use live::{LiveSubject, SubjectSlot};
pub(crate) use locks::{Owner, lock, unlock};
pub(crate) use record::{decode, encode};

/// The purpose of the tenant's lock on its subjects' keys, and the purpose in the context of what
/// these keys seal.
pub(crate) const SUBJECT: KeyPurpose = KeyPurpose::new("subject");

/// A subject's key behind its two locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Locked {
    /// The epoch whose key wraps `secret`.
    pub(crate) epoch: EpochId,
    /// The tenant's data key under which the inner lock lies.
    pub(crate) dek: KeyId,
    /// The wrapping secret, wrapped in the epoch's custody.
    pub(crate) secret: Vec<u8>,
    /// The subject's key, sealed under the data key, then under the wrapping secret.
    pub(crate) key: Vec<u8>,
}

/// A subject's key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubjectKey {
    pub(crate) id: KeyId,
    pub(crate) created: Timestamp,
    /// Whether its creation is in the audit log.
    pub(crate) announced: bool,
    pub(crate) locked: Locked,
}

/// A subject's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SubjectRecord {
    Live(SubjectKey),
    /// What remains of a shredded subject; no id if it never had a key.
    Shredded {
        id: Option<KeyId>,
        at: Timestamp,
    },
}

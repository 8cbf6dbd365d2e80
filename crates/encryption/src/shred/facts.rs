//! What was shredded, and what that is worth.

use eonpro_core::id::SubjectId;
use eonpro_core::time::Timestamp;

use crate::epoch::EpochId;
use crate::keyset::KeyId;

/// Whose keys are to be destroyed, within a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShredTarget {
    /// The tenant as a whole, its patients included.
    Tenant,
    /// One patient.
    Subject(SubjectId),
}

impl ShredTarget {
    /// The patient, if it is one.
    #[must_use]
    pub fn subject(self) -> Option<SubjectId> {
        match self {
            Self::Tenant => None,
            Self::Subject(subject) => Some(subject),
        }
    }
}

/// How long a restored backup of the key table still opens the target, for whoever also has the
/// root key and the custody of the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupExposure {
    /// Not any more.
    Ended,
    /// Until the epoch's key is gone: its planned end, or the deletion that its provider scheduled.
    Until(Timestamp),
    /// As long as such a backup exists: no epoch covers these keys.
    WhileBackupsExist,
}

/// What a shred did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShredFacts {
    /// When the tombstone was written.
    pub at: Timestamp,
    /// The keys that were destroyed. Empty if there were none.
    pub keys: Vec<KeyId>,
    /// The epoch that covered a patient's key.
    pub epoch: Option<EpochId>,
    /// The end of ciphers' leases: until then a cipher in another process opens and seals with a key that
    /// it fetched before, if no notice reached that process. One that listens
    /// ([`Vault::watch_shreds`](crate::Vault::watch_shreds)) lets go earlier as a rule, which nobody can
    /// know here.
    ///
    /// **Not the end of everything.** A stream that was begun and a data key that was handed out have no
    /// lease: in a process that heard no notice they go on beyond it, until they are dropped or something
    /// else in that process reads the record.
    pub exposed_until: Timestamp,
    /// What was known about backups at that moment.
    pub backups: BackupExposure,
    /// The kind of custody of the epochs' keys, or of the root key for a tenant.
    pub custody: Box<str>,
}

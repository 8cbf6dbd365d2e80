//! Heads of the directory log that somebody keeps outside of the directory, and what it means if they
//! are not ours.

use std::fmt;

use eonpro_core::event::Digest;

use crate::checkpoint::Checkpoint;

/// Who keeps a head outside of the directory.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// The checkpoint store, `AuditParts::state`.
    Store,
    /// A witness, by the name of its key.
    Witness(String),
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("checkpoint-store"),
            Self::Witness(name) => f.write_str(name),
        }
    }
}

/// The directory log is not the one of which a head was kept.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadConflict {
    /// Who kept it.
    pub keeper: Keeper,
    /// Its size there.
    pub kept_size: u64,
    /// Its root there. A witness that only refuses does not tell it.
    pub kept_root: Option<Digest>,
    /// The last signed head of the directory.
    pub own: Checkpoint,
}

impl HeadConflict {
    /// The store keeps `kept`, and the directory has `own`.
    pub(crate) fn with_store(kept: &Checkpoint, own: &Checkpoint) -> Box<Self> {
        Box::new(Self {
            keeper: Keeper::Store,
            kept_size: kept.size,
            kept_root: Some(kept.root),
            own: *own,
        })
    }
}

impl fmt::Display for HeadConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, own) = (self.kept_size, self.own.size);
        write!(f, "{} knows size {kept}, ours is {own}", self.keeper)
    }
}

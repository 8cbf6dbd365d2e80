//! Why encryption failed. No variant tells plaintext, key bytes, cells, file names or passphrases.

use std::time::Duration;

use eonpro_core::error::Source;
use eonpro_core::event::EmitError;
use eonpro_core::port::{KvError, RotationError, SealError, SignError};
use eonpro_core::task::TaskLost;
use eonpro_core::time::Timestamp;
use eonpro_core::{Classify, ErrorKind, Status};

use crate::keyset::KeyId;
use crate::shred::ShredRefusal;
use crate::state::KeyState;

/// The errors of this crate.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// Sealing or opening failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Other writers kept changing the keys; nothing was written.
    #[error("keys were changed by other writers")]
    Conflict,
    /// The audit log did not take the entry that must come first; nothing was changed.
    #[error("change of keys could not be recorded and did not happen")]
    Unrecorded(#[source] EmitError),
    /// The change stands, but its audit entry is missing or in doubt.
    #[error("change of keys stands but is not recorded")]
    Unaudited(#[source] EmitError),
    /// The store of the keys failed.
    #[error("key store failed")]
    Store(#[source] KvError),
    /// The root key's backend failed.
    #[error("root key failed")]
    Root(#[source] Source),
    /// The root key does not open what it should have wrapped: it is another root key, or the
    /// wrapped key was changed.
    #[error("root key does not open the wrapped key")]
    RootMismatch,
    /// The root key exists, but its provider refuses to use it: disabled, or about to be destroyed.
    #[error("root key is disabled")]
    RootDisabled,
    /// The provider of the root key wants fewer calls.
    #[error("root key is throttled")]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// Patients' keys still lie under this key: end the shred epoch first, which moves them.
    #[error("key is in use")]
    KeyInUse,
    /// The epoch key was destroyed, or never was.
    #[error("epoch key is gone")]
    EpochGone,
    /// The epoch was made in another custody, which alone can destroy it; nothing was destroyed.
    #[error("epoch key lies in another custody")]
    ForeignCustody,
    /// A step towards a shred was refused; nothing was destroyed.
    #[error("shred refused: {0}")]
    Refused(#[from] ShredRefusal),
    /// The keys are destroyed, but the receipt could not be signed: repeat the call for it.
    #[error("receipt could not be signed")]
    Unsigned(#[source] SignError),
    /// The receipt is none, or is not what was signed; the text says why.
    #[error("receipt is not valid: {0}")]
    Receipt(&'static str),
    /// A wrapped key did not come back as it went in; nothing was committed.
    #[error("rewrapped keys differ from the originals")]
    Unverified,
    /// The blind index is in another phase of its rotation; the text says what the move needs.
    #[error("blind index is in another phase: {0}")]
    IndexPhase(&'static str),
    /// Other processes may still act by the phase before; nothing was changed.
    #[error("blind index is not settled in its phase yet")]
    IndexUnsettled {
        /// When it is.
        settled_at: Timestamp,
        /// How long that is.
        retry_after: Duration,
    },
    /// The scan does not prove what the next phase of the blind index needs; nothing was changed.
    #[error("scan does not prove that the blind index may move on: {0}")]
    IndexScan(&'static str),
    /// A stored key record is not one, or contradicts itself.
    #[error("key record is malformed: {0}")]
    Record(&'static str),
    /// A stored key record was written by a newer release.
    #[error("key record has unknown version {0}")]
    Version(u32),
    /// A Tink keyset cannot be read as keys of the type that was asked for; the text says why.
    #[error("tink keyset is refused: {0}")]
    Tink(&'static str),
    /// A Tink keyset holds a key of another type, which is named.
    #[error("tink keyset holds a key of another type: {0}")]
    TinkType(Box<str>),
    /// A key of that id is in the scope already.
    #[error("key id is taken: {0}")]
    KeyIdTaken(KeyId),
    /// The passphrase is wrong, or the keyring was changed. One error on purpose.
    #[error("keyring does not open with this passphrase")]
    Passphrase,
    /// The keyring or key file cannot be used; the text says why.
    #[error("root key file is unusable: {0}")]
    File(&'static str),
    /// Reading or writing the keyring or key file failed.
    #[error("root key file failed")]
    Io(#[source] std::io::Error),
    /// The configuration is wrong; the text names the setting.
    #[error("configuration is wrong: {0}")]
    Config(&'static str),
    /// The operating system gave no randomness.
    #[error("no randomness")]
    Randomness,
    /// The key may not go from the one state to the other, or not by this call.
    #[error("key may not go from {} to {} by this call", from.name(), to.name())]
    KeyState {
        /// As it is.
        from: KeyState,
        /// As it was to become.
        to: KeyState,
    },
    /// Another worker runs this rotation.
    #[error("rotation is run by another worker")]
    Held {
        /// When its lease is over, unless it is renewed.
        retry_after: Duration,
    },
    /// The rotation is in a phase that does not allow this.
    #[error("rotation is {0}")]
    Phase(&'static str),
    /// The rows of a rotation could not be read or written.
    #[error("rotation source failed")]
    Rotation(#[source] RotationError),
    /// The vault was closed.
    #[error("vault is closed")]
    Closed,
    /// A background task ended without a result.
    #[error("task ended early")]
    Lost(#[from] TaskLost),
}

impl From<RotationError> for CryptoError {
    fn from(error: RotationError) -> Self {
        Self::Rotation(error)
    }
}

impl From<KvError> for CryptoError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Conflict => Self::Conflict,
            other => Self::Store(other),
        }
    }
}

impl From<CryptoError> for SealError {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::Seal(error) => error,
            other => Self::Backend(Box::new(other)),
        }
    }
}

impl Classify for CryptoError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Seal(error) => error.kind(),
            Self::Conflict
            | Self::KeyInUse
            | Self::KeyIdTaken(_)
            | Self::IndexPhase(_)
            | Self::IndexUnsettled { .. }
            | Self::IndexScan(_)
            | Self::KeyState { .. }
            | Self::Held { .. }
            | Self::Phase(_) => ErrorKind::Conflict,
            Self::Rotation(error) => error.kind(),
            Self::Unrecorded(error) | Self::Unaudited(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Root(_) | Self::Io(_) | Self::Randomness | Self::Closed => ErrorKind::Unavailable,
            Self::RootMismatch | Self::Unverified | Self::Record(_) => ErrorKind::Integrity,
            Self::Version(_) | Self::TinkType(_) => ErrorKind::Unsupported,
            Self::Tink(_) => ErrorKind::InvalidInput,
            Self::Passphrase | Self::RootDisabled => ErrorKind::PermissionDenied,
            Self::Throttled { .. } => ErrorKind::RateLimited,
            Self::EpochGone => ErrorKind::NotFound,
            Self::Refused(ShredRefusal::NotRequested) => ErrorKind::NotFound,
            Self::Refused(_) => ErrorKind::PermissionDenied,
            Self::Unsigned(error) => error.kind(),
            Self::Receipt(_) => ErrorKind::Integrity,
            Self::File(_) | Self::Config(_) | Self::ForeignCustody => ErrorKind::Config,
            Self::Lost(_) => ErrorKind::Internal,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Seal(error) => error.status(),
            Self::Store(error) => error.status(),
            Self::Rotation(error) => error.status(),
            Self::Throttled { .. }
            | Self::IndexUnsettled { .. }
            | Self::Held { .. }
            | Self::Unsigned(_)
            | Self::Conflict
            | Self::Root(_)
            | Self::Io(_)
            | Self::Randomness => Status::Temporary,
            Self::Unrecorded(error) => error.status(),
            // The change stands: repeating it would change the keys once more.
            _ => Status::Permanent,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Seal(error) => error.retry_after(),
            Self::Throttled { retry_after }
            | Self::Held { retry_after }
            | Self::IndexUnsettled { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

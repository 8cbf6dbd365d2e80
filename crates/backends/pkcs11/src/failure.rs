//! Why a call into the module failed, in words without paths, labels or key material.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use eonpro_encryption::CryptoError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The module answered with an error.
    #[error("HSM answered {call:?} with {code:?}")]
    Call {
        /// The function of PKCS #11.
        call: Function,
        /// Its return value.
        code: RvError,
    },
    /// The module is not what it should be.
    #[error("HSM module misbehaves: {0}")]
    Module(&'static str),
    /// The token, its login or the root key object is away.
    #[error("HSM token is away: {0}")]
    Away(&'static str),
    /// What was asked for is refused, and the session is sound.
    #[error(transparent)]
    Refused(#[from] CryptoError),
}

impl Failure {
    /// Whether the module returned one of `codes`.
    pub(crate) fn is_one_of(&self, codes: &[RvError]) -> bool {
        matches!(self, Self::Call { code, .. } if codes.contains(code))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(code, call) => Self::Call { call, code },
            // These name the module's path.
            Error::LibraryLoading(_) => Self::Module("it cannot be loaded"),
            _ => Self::Module("a value is out of range"),
        }
    }
}

impl From<Failure> for CryptoError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error,
            other => Self::Root(Box::new(other)),
        }
    }
}

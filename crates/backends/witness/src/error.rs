//! Why a witness cannot be asked at all.

use eonpro_core::error::{Classify, ErrorKind};

/// The settings of a witness are wrong.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpWitnessError {
    /// The policy names no address of a witness.
    #[error("witness has no address")]
    NoAddress,
    /// The address is no `http` or `https` URL without a query.
    #[error("address of a witness is no URL that can be used")]
    Address,
    /// `http` goes to loopback addresses only: on a network anybody could speak for the witness.
    #[error("witness on a network must be reached by https")]
    Clear,
    /// `https` needs roots.
    #[error("certificates of authorities are missing, or are none")]
    Roots,
    /// The key is none that cosigns.
    #[error("key of a witness makes no cosignatures")]
    Key,
}

impl Classify for HttpWitnessError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }
}

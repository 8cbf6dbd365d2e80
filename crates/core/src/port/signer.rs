//! Signing: what audit checkpoints and development tokens need.

use async_trait::async_trait;

use crate::component::Component;
use crate::error::{Classify, ErrorKind, Source};

/// An Ed25519 signing key (RFC 8032) that its user never sees.
#[async_trait]
pub trait Signer: Component {
    /// The 32-byte public key.
    fn public_key(&self) -> [u8; 32];

    /// Signs `message` as it is. Cancel-safe.
    ///
    /// # Errors
    /// [`SignError`] if the key is out of reach.
    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// Signing failed.
#[derive(Debug, thiserror::Error)]
#[error("signing key is out of reach")]
pub struct SignError(#[source] pub Source);

impl Classify for SignError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

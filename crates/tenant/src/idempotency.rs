//! What makes a repeated command the same command.

use eonpro_core::event::Digest;

use crate::error::TenantError;

/// The caller's name for one command: 1 to 128 visible ASCII characters. Only its digest is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`TenantError::MalformedIdempotencyKey`].
    pub fn new(text: &str) -> Result<Self, TenantError> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(TenantError::MalformedIdempotencyKey)
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_short_visible_ascii() {
        assert!(IdempotencyKey::new("onboard:7f3a").is_ok());
        for bad in ["", "a b", "ä", "\n", &"x".repeat(129)] {
            assert!(IdempotencyKey::new(bad).is_err(), "{bad:?}");
        }
    }
}

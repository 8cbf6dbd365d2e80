//! Settings of the vault and of the passphrase keyring, with their bounds.

use std::time::Duration;

use crate::error::CryptoError;
use crate::shred::ShredConfig;

/// Settings of a [`Vault`](crate::Vault).
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct EncryptionConfig {
    /// How long unwrapped keys are used before they are fetched and unwrapped again; also the worst
    /// case for which *another* process may still read a shredded scope. 1 second to 1 hour.
    pub cache_ttl: Duration,
    /// How many scopes have their keys unwrapped at one time. At least 1.
    pub cache_scopes: u64,
    /// How many key ids that do not exist are remembered, so that forged ciphertexts cost no read
    /// of the key store each. At least 1.
    pub unknown_keys: u64,
    /// How long such an id is remembered.
    pub unknown_key_ttl: Duration,
    /// The longest value that is sealed or opened in one piece. At most 1 GiB; longer values are
    /// streamed.
    pub max_message_bytes: usize,
    /// How many failures to open wait for the audit log when they come from synchronous calls.
    pub alarm_queue: usize,
    /// Shredding and patients' keys.
    pub shred: ShredConfig,
}

impl Default for EncryptionConfig {
    fn default() -> Self {
        Self {
            cache_ttl: Duration::from_secs(300),
            cache_scopes: 10_000,
            unknown_keys: 4096,
            unknown_key_ttl: Duration::from_secs(5),
            max_message_bytes: 64 * 1024 * 1024,
            alarm_queue: 1024,
            shred: ShredConfig::default(),
        }
    }
}

impl EncryptionConfig {
    /// Checks the bounds.
    ///
    /// # Errors
    /// [`CryptoError::Config`] naming the setting.
    pub fn check(&self) -> Result<(), CryptoError> {
        let ttl = Duration::from_secs(1)..=Duration::from_secs(3600);
        let rules = [
            (ttl.contains(&self.cache_ttl), "cache_ttl of 1 s to 1 h"),
            (self.cache_scopes > 0, "cache_scopes of at least 1"),
            (self.unknown_keys > 0, "unknown_keys of at least 1"),
            (
                (1..=1 << 30).contains(&self.max_message_bytes),
                "max_message_bytes of 1 byte to 1 GiB",
            ),
            (
                (1..=1 << 20).contains(&self.alarm_queue),
                "alarm_queue of 1 to 1048576",
            ),
        ];
        let rules = rules.into_iter().chain(self.shred.rules());
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(CryptoError::Config(rule)),
            None => Ok(()),
        }
    }
}

/// What one guess at a keyring's passphrase costs: Argon2id (RFC 9106) parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCost {
    /// Memory in KiB: 1,024 to 1,048,576 (1 GiB).
    pub memory_kib: u32,
    /// Passes over the memory: 1 to 64.
    pub passes: u32,
    /// Lanes: 1 to 16.
    pub lanes: u32,
}

impl KdfCost {
    /// 64 MiB and three passes, the second recommended option of RFC 9106 with one lane. A keyring
    /// that costs less is not fit for production.
    pub const RECOMMENDED: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 1,
    };

    /// The least that is accepted: 1 MiB and one pass. For tests.
    pub const FLOOR: Self = Self {
        memory_kib: 1024,
        passes: 1,
        lanes: 1,
    };

    /// Checks the bounds. Applied to what is asked and to what a keyring file says, because the
    /// file may be hostile.
    ///
    /// # Errors
    /// [`CryptoError::Config`].
    pub fn check(self) -> Result<(), CryptoError> {
        let fits = (1024..=1024 * 1024).contains(&self.memory_kib)
            && (1..=64).contains(&self.passes)
            && (1..=16).contains(&self.lanes);
        if fits {
            Ok(())
        } else {
            Err(CryptoError::Config("cost of the passphrase out of bounds"))
        }
    }

    /// Whether a guess costs at least what production needs.
    #[must_use]
    pub fn is_recommended(self) -> bool {
        self.memory_kib >= Self::RECOMMENDED.memory_kib && self.passes >= Self::RECOMMENDED.passes
    }
}

impl Default for KdfCost {
    fn default() -> Self {
        Self::RECOMMENDED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert!(EncryptionConfig::default().check().is_ok());
        assert!(KdfCost::default().check().is_ok());
        assert!(KdfCost::default().is_recommended());
        assert!(KdfCost::FLOOR.check().is_ok());
        assert!(!KdfCost::FLOOR.is_recommended());
    }

    #[test]
    fn a_setting_out_of_bounds_is_named() {
        let config = EncryptionConfig {
            cache_ttl: Duration::ZERO,
            ..EncryptionConfig::default()
        };
        assert!(matches!(
            config.check(),
            Err(CryptoError::Config("cache_ttl of 1 s to 1 h"))
        ));
    }

    #[test]
    fn costs_beyond_the_bounds_are_refused() {
        for (memory_kib, passes, lanes) in [
            (1023, 3, 1),
            (1024 * 1024 + 1, 3, 1),
            (u32::MAX, 1, 1),
            (65536, 0, 1),
            (65536, 65, 1),
            (65536, 3, 0),
            (65536, 3, 17),
        ] {
            let cost = KdfCost {
                memory_kib,
                passes,
                lanes,
            };
            assert!(cost.check().is_err(), "{cost:?}");
        }
    }
}

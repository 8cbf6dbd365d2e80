//! Settings of the vault and of the passphrase keyring, with their bounds.

use std::time::Duration;

use crate::error::CryptoError;
use crate::primitives::Primitives;
use crate::shred::ShredConfig;

/// Settings of a [`Vault`](crate::Vault).
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct EncryptionConfig {
    /// How long unwrapped keys are used before they are fetched and unwrapped again; also the worst
    /// case for which *another* process may still read a shredded scope, if no notice of the shred
    /// reaches it ([`Vault::watch_shreds`](crate::Vault::watch_shreds)). 1 second to 1 hour.
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
    /// How long before the end of a lease the keys are fetched and unwrapped again in the background,
    /// while everybody goes on with those at hand. No more than half of `cache_ttl` counts; zero for
    /// never.
    pub cache_grace: Duration,
    /// How many key ids that are not at hand may send somebody to the key store in one second, for
    /// each scope; beyond that they count as unknown. At least 1.
    pub unknown_key_rate: u32,
    /// The library at work. Values are the same with each.
    pub primitives: Primitives,
    /// How many failures to open wait for the audit log when they come from synchronous calls.
    pub alarm_queue: usize,
    /// The age at which [`Vault::turn_due`](crate::Vault::turn_due) begins a new epoch: 1 hour to 10
    /// years.
    pub max_key_age: Duration,
    /// How many messages one epoch seals in one process before the next begins by itself: 8 to 2^40.
    /// An estimate, because other processes and restarts are not counted; the suite itself is safe to
    /// 2^77 (C2SP chunked-encryption).
    pub max_key_messages: u64,
    /// How many bytes of plaintext one epoch seals likewise: 1 MiB to 2^50.
    pub max_key_bytes: u64,
    /// Shredding and patients' keys.
    pub shred: ShredConfig,
}

/// The most messages that one epoch may be allowed.
const MOST_MESSAGES: u64 = 1 << 40;
/// The most bytes that one epoch may be allowed.
const MOST_BYTES: u64 = 1 << 50;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for EncryptionConfig {
    fn default() -> Self {
        Self {
            cache_ttl: Duration::from_secs(300),
            cache_scopes: 10_000,
            unknown_keys: 4096,
            unknown_key_ttl: Duration::from_secs(5),
            max_message_bytes: 64 * 1024 * 1024,
            cache_grace: Duration::from_secs(30),
            unknown_key_rate: 50,
            primitives: Primitives::Ring,
            alarm_queue: 1024,
            max_key_age: DAY * 90,
            max_key_messages: MOST_MESSAGES,
            max_key_bytes: MOST_BYTES,
            shred: ShredConfig::default(),
        }
    }
}

impl EncryptionConfig {
    /// The longest `cache_ttl`.
    pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(3600);

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`CryptoError::Config`] naming the setting.
    pub fn check(&self) -> Result<(), CryptoError> {
        let ttl = Duration::from_secs(1)..=Self::LONGEST_TTL;
        let age = Duration::from_secs(3600)..=DAY * 3653;
        let rules = [
            (ttl.contains(&self.cache_ttl), "cache_ttl of 1 s to 1 h"),
            (self.unknown_key_rate > 0, "unknown_key_rate of at least 1"),
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
            (
                age.contains(&self.max_key_age),
                "max_key_age of 1 h to 10 years",
            ),
            (
                (8..=MOST_MESSAGES).contains(&self.max_key_messages),
                "max_key_messages of 8 to 2^40",
            ),
            (
                (1 << 20..=MOST_BYTES).contains(&self.max_key_bytes),
                "max_key_bytes of 1 MiB to 2^50",
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
    fn no_setting_lets_an_epoch_seal_beyond_its_upper_bounds() {
        type Change = fn(&mut EncryptionConfig);
        let changes: [(&str, Change); 5] = [
            ("max_key_messages", |config| {
                config.max_key_messages = (1 << 40) + 1
            }),
            ("max_key_messages", |config| config.max_key_messages = 7),
            ("max_key_bytes", |config| {
                config.max_key_bytes = (1 << 50) + 1
            }),
            ("max_key_age", |config| {
                config.max_key_age = Duration::from_secs(3599)
            }),
            ("max_key_age", |config| config.max_key_age = DAY * 3654),
        ];
        for (name, change) in changes {
            let mut config = EncryptionConfig::default();
            change(&mut config);
            let Err(CryptoError::Config(rule)) = config.check() else {
                panic!("{name} is taken");
            };
            assert!(rule.starts_with(name), "{rule}");
        }
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

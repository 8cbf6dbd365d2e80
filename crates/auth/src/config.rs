//! What an operator may set, with defaults that satisfy NIST SP 800-63B at AAL2.

use std::time::Duration;

use eonpro_core::port::Rate;

use crate::error::ConfigError;

/// How long a session lives. NIST SP 800-63B section 4.2.3, 45 CFR 164.312(a)(2)(iii).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    /// Ends a session without activity for so long. Default 15 minutes.
    pub idle: Duration,
    /// Ends a session so long after sign-in, whatever happens. Default 12 hours; at most 24.
    pub absolute: Duration,
    /// How many sessions one actor may have in one tenant; the next one is refused, for "last one
    /// wins" favours the thief. Default 16; at most 64.
    pub per_actor: usize,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15 * 60),
            absolute: Duration::from_secs(12 * 3600),
            per_actor: 16,
        }
    }
}

/// How failed attempts are slowed down. Counted per actor and tenant, kept in the store.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// From how many failures in a row on an actor is locked. Default 5.
    pub threshold: u32,
    /// The first lock; each further failure doubles it. Default 30 seconds.
    pub first: Duration,
    /// The longest lock. Default 15 minutes.
    pub longest: Duration,
    /// Failures are forgotten after so long without another. Default 24 hours.
    pub forget: Duration,
    /// Attempts per actor. Default 10 at once, whole again in a minute.
    pub per_actor: Rate,
    /// Attempts per network address (IPv6: per /64). A failure takes ten. Default 300 at once,
    /// whole again in a minute.
    pub per_address: Rate,
}

impl Default for LockoutPolicy {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            threshold: 5,
            first: Duration::from_secs(30),
            longest: 15 * minute,
            forget: Duration::from_secs(24 * 3600),
            per_actor: Rate {
                burst: 10,
                period: minute,
            },
            per_address: Rate {
                burst: 300,
                period: minute,
            },
        }
    }
}

/// When signing in takes a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecondFactor {
    /// Once the actor has confirmed one.
    #[default]
    WhenEnrolled,
    /// Always: an actor without one cannot sign in.
    Always,
}

/// How verified tokens are remembered.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCachePolicy {
    /// How many tokens at most. Default 10,000.
    pub entries: u64,
    /// After so long a token is verified again. Default 60 seconds.
    pub ttl: Duration,
}

impl Default for TokenCachePolicy {
    fn default() -> Self {
        Self {
            entries: 10_000,
            ttl: Duration::from_secs(60),
        }
    }
}

/// How passwords are stretched: argon2id (RFC 9106).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Memory per hash, in KiB. Default 19,456 (19 MiB); at least 8.
    pub memory_kib: u32,
    /// Passes over the memory. Default 2.
    pub passes: u32,
    /// How many hashes run at once; others wait. Default 2.
    pub concurrency: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            passes: 2,
            concurrency: 2,
        }
    }
}

/// All settings of the service.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// How long a session lives.
    pub sessions: SessionPolicy,
    /// How failed attempts are slowed down.
    pub lockout: LockoutPolicy,
    /// When signing in takes a second factor.
    pub second_factor: SecondFactor,
    /// How verified tokens are remembered.
    pub token_cache: TokenCachePolicy,
    /// How passwords are stretched.
    pub passwords: PasswordPolicy,
}

impl AuthConfig {
    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`ConfigError`] naming the rule.
    pub fn check(&self) -> Result<(), ConfigError> {
        let sessions = &self.sessions;
        let lockout = &self.lockout;
        let day = Duration::from_secs(24 * 3600);
        let rules = [
            (
                sessions.idle >= Duration::from_secs(30),
                "idle timeout of at least 30 s",
            ),
            (
                sessions.idle <= sessions.absolute,
                "idle timeout within the absolute timeout",
            ),
            (
                sessions.absolute <= day,
                "absolute timeout of at most 24 hours",
            ),
            (
                (1..=64).contains(&sessions.per_actor),
                "1 to 64 sessions per actor",
            ),
            (
                (1..=100).contains(&lockout.threshold),
                "lockout threshold of 1 to 100",
            ),
            (
                !lockout.first.is_zero() && lockout.first <= lockout.longest,
                "first lock within the longest",
            ),
            (
                lockout.longest <= lockout.forget,
                "longest lock within the time to forget",
            ),
            (
                self.token_cache.ttl <= Duration::from_secs(300),
                "token cache of at most 5 minutes",
            ),
            (
                self.passwords.memory_kib >= 8 && self.passwords.passes >= 1,
                "argon2id of at least 8 KiB and 1 pass",
            ),
            (
                (1..=64).contains(&self.passwords.concurrency),
                "1 to 64 password hashes at once",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => Err(ConfigError(rule)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_obey_the_rules_and_a_senseless_setting_does_not() {
        assert_eq!(AuthConfig::default().check(), Ok(()));
        let mut config = AuthConfig::default();
        config.sessions.idle = Duration::from_secs(13 * 3600);
        assert_eq!(
            config.check(),
            Err(ConfigError("idle timeout within the absolute timeout"))
        );
    }
}

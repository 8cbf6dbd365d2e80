//! What every part of the system tells about itself: its name, its posture, its health.

use std::fmt;

use async_trait::async_trait;

/// Whether what a part was told survives a crash. Ordered from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Lost with the process.
    Volatile,
    /// On stable storage before it is acknowledged.
    Durable,
    /// The part remembers nothing, so nothing can be lost.
    Stateless,
}

/// Whether the cryptography a part uses is a validated module. Ordered from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Validation {
    /// No certificate covers it.
    NotValidated,
    /// A certificate covers it.
    Validated,
    /// The part uses no cryptography.
    NoCrypto,
}

/// What a part may be used for. Ordered from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fitness {
    /// An emulator, a fake, an ephemeral key: tests only.
    TestOnly,
    /// Sound, with a convenience that production must not have, such as a key file beside its data.
    Development,
    /// Fit for production.
    Production,
}

/// What a part is, in the terms that a profile decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Posture {
    /// Whether its state survives a crash.
    pub durability: Durability,
    /// Whether its cryptography is validated.
    pub crypto: Validation,
    /// What it may be used for.
    pub fitness: Fitness,
}

impl Posture {
    /// The strongest posture: the neutral element of [`Self::min`].
    pub const STRONGEST: Self = Self {
        durability: Durability::Stateless,
        crypto: Validation::NoCrypto,
        fitness: Fitness::Production,
    };

    /// The weaker of two, aspect by aspect.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            durability: self.durability.min(other.durability),
            crypto: self.crypto.min(other.crypto),
            fitness: self.fitness.min(other.fitness),
        }
    }
}

/// How a part is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Healthy,
    /// It works with less; the text is a short, PHI-free reason.
    Degraded(&'static str),
    /// It does not work; the text is a short, PHI-free reason.
    Unhealthy(&'static str),
}

/// A part of the system: a service or a backend.
#[async_trait]
pub trait Component: fmt::Debug + Send + Sync + 'static {
    /// A short stable name, such as `audit` or `redb`.
    fn name(&self) -> &'static str;

    /// What it is. Constant for the lifetime of the part.
    fn posture(&self) -> Posture;

    /// How it is doing. Cheap enough to be asked every second; cancel-safe.
    async fn health(&self) -> Health;

    /// Finishes what was accepted, makes it durable, releases everything. Idempotent; operations
    /// after it fail with kind `Unavailable`. Not cancel-safe: await it.
    async fn close(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_weak_aspect_makes_the_whole_weak_in_that_aspect_only() {
        let weak = Posture {
            fitness: Fitness::TestOnly,
            ..Posture::STRONGEST
        };
        let volatile = Posture {
            durability: Durability::Volatile,
            ..Posture::STRONGEST
        };
        let whole = weak.min(volatile);
        assert_eq!(whole.fitness, Fitness::TestOnly);
        assert_eq!(whole.durability, Durability::Volatile);
        assert_eq!(whole.crypto, Validation::NoCrypto);
    }
}

//! What a foundation is run for, and what that demands of every part.

use std::fmt;

use eonpro_core::component::{Durability, Fitness, Posture, Validation};

/// What a foundation is run for. [`build`](crate::Builder::build) refuses parts below its demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Real patients. Every part is durable and fit for production: no volatile audit log, no
    /// ephemeral root key, no key file beside its data, no emulator.
    Production,
    /// One machine, for development and small installations that accept its conveniences: every
    /// part is durable, and keys may lie in files. Says so in the log, loudly.
    Embedded,
    /// Automated tests: anything goes.
    Test,
}

impl Profile {
    /// The weakest posture that a part may have.
    #[must_use]
    pub const fn demands(self) -> Posture {
        let (durability, fitness) = match self {
            Self::Production => (Durability::Durable, Fitness::Production),
            Self::Embedded => (Durability::Durable, Fitness::Development),
            Self::Test => (Durability::Volatile, Fitness::TestOnly),
        };
        Posture {
            durability,
            crypto: Validation::NotValidated,
            fitness,
        }
    }

    /// A stable name for errors, logs and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Embedded => "embedded",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

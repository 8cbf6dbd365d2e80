//! Where verification keys come from: a set with a generation, replaced as a whole.
//!
//! Reading the present set takes no lock. Whatever was verified with an older generation is
//! verified again, so a removed key stops working at once.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::error::Source;
use eonpro_core::{Classify, ErrorKind};

use super::Reject;
use super::algorithm::{Algorithm, VerifyKey};
use super::jwks::Jwks;

/// Keys that were in force together.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<VerifyKey>,
    by_kid: HashMap<Box<str>, usize>,
    generation: u64,
}

impl KeySet {
    /// The keys of `jwks` as generation `generation` of their source.
    #[must_use]
    pub fn new(jwks: Jwks, generation: u64) -> Self {
        let keys = jwks.into_keys();
        let by_kid = keys
            .iter()
            .enumerate()
            .filter_map(|(at, key)| Some((key.kid()?.into(), at)))
            .collect();
        Self {
            keys,
            by_kid,
            generation,
        }
    }

    /// Which generation of its source it is; it only grows.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key for a token that names `kid` and `algorithm`. Without a name, the only key of that
    /// algorithm.
    pub(crate) fn select(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&VerifyKey, Reject> {
        if let Some(kid) = kid {
            let at = self.by_kid.get(kid).ok_or(Reject::KidUnknown)?;
            let key = self.keys.get(*at).ok_or(Reject::KidUnknown)?;
            return if key.algorithm() == algorithm {
                Ok(key)
            } else {
                Err(Reject::AlgMismatch)
            };
        }
        let mut fitting = self.keys.iter().filter(|key| key.algorithm() == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) if self.keys.is_empty() => Err(Reject::KidUnknown),
            (None, _) => Err(Reject::AlgMismatch),
            (Some(_), Some(_)) => Err(Reject::KidMissing),
        }
    }
}

/// The keys are out of reach: our outage, not the caller's fault.
#[derive(Debug, thiserror::Error)]
#[error("verification keys are out of reach")]
pub struct KeysUnavailable(#[source] pub Source);

impl Classify for KeysUnavailable {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// Where verification keys come from.
#[async_trait]
pub trait KeySource: Component {
    /// The present keys. Lock-free.
    fn current(&self) -> Arc<KeySet>;

    /// A token names a key that [`Self::current`] does not have. A source that can look for newer
    /// keys does so, rarely and for all waiters at once, and answers with what is then current.
    /// Cancel-safe, idempotent.
    ///
    /// # Errors
    /// [`KeysUnavailable`] if the source cannot tell whether the key exists.
    async fn on_unknown_kid(&self) -> Result<Arc<KeySet>, KeysUnavailable>;
}

/// Keys from configuration, replaced only by hand.
#[derive(Debug)]
pub struct StaticKeys {
    set: ArcSwap<KeySet>,
    fitness: Fitness,
}

impl StaticKeys {
    /// A source of the keys of `jwks`.
    #[must_use]
    pub fn new(jwks: Jwks) -> Self {
        Self::with_fitness(jwks, Fitness::Production)
    }

    pub(crate) fn with_fitness(jwks: Jwks, fitness: Fitness) -> Self {
        Self {
            set: ArcSwap::from_pointee(KeySet::new(jwks, 1)),
            fitness,
        }
    }

    /// Puts the keys of `jwks` in the place of all earlier ones, as the next generation.
    pub fn replace(&self, jwks: &Jwks) {
        self.set
            .rcu(|old| KeySet::new(jwks.clone(), old.generation() + 1));
    }
}

#[async_trait]
impl Component for StaticKeys {
    fn name(&self) -> &'static str {
        "static-keys"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Stateless,
            crypto: Validation::NotValidated,
            fitness: self.fitness,
        }
    }

    async fn health(&self) -> Health {
        if self.set.load().is_empty() {
            Health::Unhealthy("no verification key")
        } else {
            Health::Healthy
        }
    }

    async fn close(&self) {}
}

#[async_trait]
impl KeySource for StaticKeys {
    fn current(&self) -> Arc<KeySet> {
        self.set.load_full()
    }

    async fn on_unknown_kid(&self) -> Result<Arc<KeySet>, KeysUnavailable> {
        Ok(self.current())
    }
}

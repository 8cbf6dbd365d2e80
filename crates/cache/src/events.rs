//! What the cache announces: TEN-004 when a key of another tenant is used.

use eonpro_core::TenantScope;
use eonpro_core::event::catalogue::tenant::IsolationViolationBlocked;
use eonpro_core::event::{Code, EmitError, Emitter, ObjectRef, Outcome};
use ring::hmac;
use ring::rand::SystemRandom;
use uuid::Uuid;

use crate::error::CacheError;
use crate::key::Key;

const ENTRY: Code = Code::constant("cache-entry");
const LAYER: Code = Code::constant("cache");

/// Announces refusals.
#[derive(Debug)]
pub(crate) struct Refusals {
    emitter: Emitter,
    // Random per process: the digest of a key could be guessed, so the log must not hold it.
    pseudonyms: hmac::Key,
}

impl Refusals {
    pub(crate) fn new(emitter: Emitter) -> Result<Self, CacheError> {
        let pseudonyms = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| CacheError::Config("no randomness from the system"))?;
        Ok(Self {
            emitter,
            pseudonyms,
        })
    }

    /// TEN-004: `scope` used a key of another tenant and was refused.
    pub(crate) async fn foreign_key(
        &self,
        scope: &TenantScope,
        key: &Key,
    ) -> Result<(), EmitError> {
        let event = IsolationViolationBlocked {
            actor_tenant: scope.tenant(),
            target_tenant: Some(key.tenant()),
            object: ObjectRef {
                kind: ENTRY,
                id: self.pseudonym(key),
                version: None,
            },
            layer: LAYER,
        };
        self.emitter
            .emit_as(scope.cx(), event, Outcome::Minor)
            .await
    }

    fn pseudonym(&self, key: &Key) -> Uuid {
        let mac = hmac::sign(&self.pseudonyms, key.digest().as_bytes());
        let mut bits = [0; 16];
        for (to, from) in bits.iter_mut().zip(mac.as_ref()) {
            *to = *from;
        }
        uuid::Builder::from_random_bytes(bits).into_uuid()
    }
}

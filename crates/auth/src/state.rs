//! Typed records on `KeyValue`: a version byte and JSON, in the tenant's own partition.
//!
//! A record of an unknown version is an error, never "absent": taking it for absent would forget
//! a lock or bring a session back.

use std::sync::Arc;

use eonpro_core::digest::Digest;
use eonpro_core::id::{ActorId, TenantId};
use eonpro_core::pae;
use eonpro_core::port::KeyValue;
use eonpro_core::port::kv::{Key, Partition, Transaction, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::AuthError;

/// How often a write is tried again after somebody else came first.
pub(crate) const MAX_ATTEMPTS: usize = 16;

/// A record that can be written, apart from its domain type.
pub(crate) trait Wire: Sized {
    /// What is written.
    type Form: Serialize + DeserializeOwned;
    /// The version of that form.
    const VERSION: u8;

    fn to_form(&self) -> Self::Form;

    fn from_form(form: Self::Form) -> Option<Self>;
}

/// The bytes of `record`.
pub(crate) fn encode<W: Wire>(record: &W) -> Result<Vec<u8>, AuthError> {
    let mut out = vec![W::VERSION];
    serde_json::to_writer(&mut out, &record.to_form()).map_err(|_| AuthError::Record)?;
    Ok(out)
}

fn decode<W: Wire>(bytes: &[u8]) -> Result<W, AuthError> {
    let (version, body) = bytes.split_first().ok_or(AuthError::Record)?;
    if *version != W::VERSION {
        return Err(AuthError::Record);
    }
    let form = serde_json::from_slice(body).map_err(|_| AuthError::Record)?;
    W::from_form(form).ok_or(AuthError::Record)
}

/// Auth's part of the store.
#[derive(Debug, Clone)]
pub(crate) struct State(Arc<dyn KeyValue>);

impl State {
    pub(crate) fn new(store: Arc<dyn KeyValue>) -> Self {
        Self(store)
    }

    pub(crate) fn store(&self) -> &Arc<dyn KeyValue> {
        &self.0
    }

    /// The record at `key` and the commit that wrote it.
    pub(crate) async fn load<W: Wire>(
        &self,
        tenant: TenantId,
        key: &Key,
    ) -> Result<Option<(W, Version)>, AuthError> {
        match self.0.get(&partition(tenant), key).await? {
            None => Ok(None),
            Some(found) => Ok(Some((decode(&found.value)?, found.version))),
        }
    }

    /// Commits `tx` in the tenant's partition.
    ///
    /// # Errors
    /// [`AuthError::Contended`] if a precondition does not hold.
    pub(crate) async fn commit(
        &self,
        tenant: TenantId,
        tx: Transaction,
    ) -> Result<Version, AuthError> {
        Ok(self.0.commit(&partition(tenant), tx).await?)
    }
}

/// `tx`, requiring that `key` is as it was read.
pub(crate) fn unchanged(tx: Transaction, key: &Key, read: Option<Version>) -> Transaction {
    match read {
        None => tx.require_absent(key.clone()),
        Some(version) => tx.require(key.clone(), version),
    }
}

/// The key of the record `kind` named by `name`.
pub(crate) fn key(kind: &'static str, name: &str) -> Result<Key, AuthError> {
    Ok(Key::new(format!("{kind}/{name}"))?)
}

/// The key of an actor's record `kind`: a digest, for actor names may be e-mail addresses.
pub(crate) fn actor_key(kind: &'static str, actor: &ActorId) -> Result<Key, AuthError> {
    key(kind, &actor_digest(actor).to_string())
}

pub(crate) fn actor_digest(actor: &ActorId) -> Digest {
    let parts: [&[u8]; 2] = [b"eonpro/auth/actor/v1", actor.as_str().as_bytes()];
    Digest::of(&pae::encode(&parts))
}

fn partition(tenant: TenantId) -> Partition {
    Partition::tenant(tenant, "auth")
}

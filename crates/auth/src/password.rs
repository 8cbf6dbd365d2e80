//! Passwords: argon2id digests on record (RFC 9106), compared in constant time.
//!
//! Hashing is deliberately slow, so a bounded number runs at once; an unknown actor costs the same
//! work as a known one, so time does not tell who exists.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version as Argon2Version};
use eonpro_core::TenantScope;
use eonpro_core::id::ActorId;
use eonpro_core::port::kv::Transaction;
use eonpro_core::secret::{SecretBytes, SecretText};
use eonpro_core::task;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::config::PasswordPolicy;
use crate::error::AuthError;
use crate::state::{State, Wire, actor_key, encode};
use crate::token::{decode_base64url, encode_base64url};

const KIND: &str = "password";
/// The fewest characters of a password: above what SP 800-63B section 5.1.1.2 demands.
pub const MIN_PASSWORD_CHARS: usize = 12;
/// The most characters of a password.
pub const MAX_PASSWORD_CHARS: usize = 256;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// A password on record, with the cost that it was hashed at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PasswordRecord {
    memory_kib: u32,
    passes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// Format version 1: argon2id, version 0x13, one lane.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordWire {
    memory_kib: u32,
    passes: u32,
    salt: String,
    hash: String,
}

impl Wire for PasswordRecord {
    type Form = PasswordWire;
    const VERSION: u8 = 1;

    fn to_form(&self) -> PasswordWire {
        PasswordWire {
            memory_kib: self.memory_kib,
            passes: self.passes,
            salt: encode_base64url(&self.salt),
            hash: encode_base64url(&self.hash),
        }
    }

    fn from_form(form: PasswordWire) -> Option<Self> {
        Some(Self {
            memory_kib: form.memory_kib,
            passes: form.passes,
            salt: decode_base64url(&form.salt)?,
            hash: decode_base64url(&form.hash)?,
        })
    }
}

/// The passwords of a tenant's actors.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    state: State,
    policy: PasswordPolicy,
    running: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(state: State, policy: PasswordPolicy) -> Self {
        Self {
            state,
            policy,
            running: Arc::new(Semaphore::new(policy.concurrency)),
        }
    }

    /// Puts a password on record, in the place of an earlier one.
    pub(crate) async fn set(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
    ) -> Result<(), AuthError> {
        let length = password.expose().chars().count();
        if length < MIN_PASSWORD_CHARS {
            return Err(AuthError::WeakPassword("at least 12 characters"));
        }
        if length > MAX_PASSWORD_CHARS {
            return Err(AuthError::WeakPassword("at most 256 characters"));
        }
        let mut record = self.blank()?;
        record.hash = self.hash(&record, password).await?.to_vec();
        let at = actor_key(KIND, actor)?;
        let tx = Transaction::new().put(at, encode(&record)?);
        self.state.commit(scope.tenant(), tx).await.map(|_| ())
    }

    /// Whether `password` is that of `actor`. An unknown actor costs the same work.
    pub(crate) async fn check(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
    ) -> Result<bool, AuthError> {
        let at = actor_key(KIND, actor)?;
        let found = self
            .state
            .load::<PasswordRecord>(scope.tenant(), &at)
            .await?;
        let known = found.is_some();
        let record = match found {
            Some((record, _)) => record,
            None => self.blank()?,
        };
        let hash = self.hash(&record, password).await?;
        let equal = bool::from(hash.as_slice().ct_eq(&record.hash));
        Ok(known && equal)
    }

    fn blank(&self) -> Result<PasswordRecord, AuthError> {
        let mut salt = vec![0; SALT_BYTES];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| AuthError::Primitive("no randomness".into()))?;
        Ok(PasswordRecord {
            memory_kib: self.policy.memory_kib,
            passes: self.policy.passes,
            salt,
            hash: vec![0; HASH_BYTES],
        })
    }

    async fn hash(
        &self,
        record: &PasswordRecord,
        password: &SecretText,
    ) -> Result<SecretBytes, AuthError> {
        let permit = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| AuthError::Closed)?;
        let params = Params::new(record.memory_kib, record.passes, 1, Some(HASH_BYTES))
            .map_err(|_| AuthError::Record)?;
        let (salt, password) = (record.salt.clone(), password.clone());
        let stretched = task::blocking(move || {
            // Held until the work is done, also if the caller goes away.
            let _permit = permit;
            let mut out = SecretBytes::new(vec![0; HASH_BYTES]);
            Argon2::new(Algorithm::Argon2id, Argon2Version::V0x13, params)
                .hash_password_into(password.expose().as_bytes(), &salt, &mut out)
                .map(|()| out)
        });
        stretched
            .await
            .map_err(|lost| AuthError::Primitive(lost.into()))?
            .map_err(|_| AuthError::Primitive("argon2id failed".into()))
    }
}

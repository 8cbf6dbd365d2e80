//! A root key in AWS KMS.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyMetadata, KeyState};
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::SharedClock;
use eonpro_encryption::{CryptoError, EpochId, RootKey, RootKeyId, WrapContext};

use crate::client::Kms;
use crate::config::KmsConfig;
use crate::credentials::CredentialSource;
use crate::endpoint::Endpoint;
use crate::failure::{KmsFailure, Verdict};
use crate::wire;

/// What a [`KmsRoot`] is made of.
#[derive(Debug, Clone)]
pub struct KmsRootParts {
    /// Its settings.
    pub config: KmsConfig,
    /// Who asks.
    pub credentials: Arc<dyn CredentialSource>,
    /// Signs calls with its wall time, which must be within five minutes of Amazon's, and ends them
    /// by its monotonic time.
    pub clock: SharedClock,
}

/// A root key in AWS KMS, and epoch keys beside it.
///
/// Its id is `kms:` and the id of the key. Every call binds an encryption context of ids, which KMS
/// logs in clear; every `Decrypt` names the key, so that a wrapped key of another account does not
/// unwrap. The key may rotate its material inside KMS at any time.
///
/// Failed calls are retried by the SDK where that can help; what remains is
/// [`CryptoError::RootMismatch`], [`CryptoError::RootDisabled`] for a key that is disabled, about to be
/// destroyed or unavailable, [`CryptoError::Throttled`], and [`CryptoError::Root`] with a
/// [`KmsFailure`](crate::KmsFailure) as its source for all else: no answer, no permission, no such key.
pub struct KmsRoot {
    pub(crate) id: RootKeyId,
    pub(crate) key: String,
    pub(crate) kms: Kms,
    pub(crate) deletion_days: u8,
    /// Destroyed through this root: KMS may take minutes until all of its servers know.
    pub(crate) destroyed: Mutex<HashSet<EpochId>>,
    fitness: Fitness,
}

impl KmsRoot {
    /// A root on the configured key. Asks nothing of KMS: a key that is not there or cannot encrypt
    /// shows at the first use, and in [`Component::health`].
    ///
    /// # Errors
    /// [`CryptoError::Config`] naming the setting.
    pub fn new(parts: KmsRootParts) -> Result<Self, CryptoError> {
        let KmsRootParts {
            config,
            credentials,
            clock,
        } = parts;
        config.check()?;
        let endpoint = config
            .endpoint
            .as_deref()
            .map(Endpoint::parse)
            .transpose()?;
        let fitness = endpoint
            .as_ref()
            .map_or(Fitness::Production, |endpoint| endpoint.fitness);
        Ok(Self {
            id: config.root_id()?,
            kms: Kms::new(&config, endpoint.as_ref(), credentials, clock),
            key: config.key,
            deletion_days: config.deletion_days,
            destroyed: Mutex::default(),
            fitness,
        })
    }

    /// The encryption context: ids only, KMS logs it in clear.
    pub(crate) fn context(
        &self,
        context: &WrapContext,
        epoch: Option<&EpochId>,
    ) -> HashMap<String, String> {
        let scope = match context.scope.tenant() {
            None => "system".to_owned(),
            Some(tenant) => tenant.to_string(),
        };
        let mut pairs = HashMap::from([
            ("eonpro:root".to_owned(), self.id.to_string()),
            ("eonpro:scope".to_owned(), scope),
            ("eonpro:kek".to_owned(), context.key.to_string()),
        ]);
        if let Some(epoch) = epoch {
            pairs.insert("eonpro:epoch".to_owned(), epoch.to_string());
        }
        pairs
    }

    /// Encrypts under `key` and gives the wire form.
    pub(crate) async fn encrypt(
        &self,
        key: &str,
        plaintext: &KeyBytes<32>,
        context: HashMap<String, String>,
    ) -> Result<Vec<u8>, KmsFailure> {
        let call = self
            .kms
            .client
            .encrypt()
            .key_id(key)
            .set_encryption_context(Some(context))
            .plaintext(Blob::new(plaintext.expose().as_slice()));
        let answer = self.kms.call("Encrypt", call.send()).await?;
        answer
            .ciphertext_blob
            .and_then(|blob| wire::encode(blob.as_ref()))
            .ok_or_else(|| KmsFailure::garbled("Encrypt"))
    }

    /// Decrypts `blob` with `key` and no other. `Ok(None)` if what came out is no key of ours.
    pub(crate) async fn decrypt(
        &self,
        key: &str,
        blob: &[u8],
        context: HashMap<String, String>,
    ) -> Result<Option<KeyBytes<32>>, KmsFailure> {
        let call = self
            .kms
            .client
            .decrypt()
            .key_id(key)
            .set_encryption_context(Some(context))
            .ciphertext_blob(Blob::new(blob));
        let answer = self.kms.call("Decrypt", call.send()).await?;
        let plaintext = answer.plaintext.map(Blob::into_inner);
        Ok(plaintext.and_then(wire::key))
    }

    /// What KMS says of a key.
    pub(crate) async fn describe(&self, key: &str) -> Result<KeyMetadata, KmsFailure> {
        let call = self.kms.client.describe_key().key_id(key);
        let answer = self.kms.call("DescribeKey", call.send()).await?;
        answer
            .key_metadata
            .ok_or_else(|| KmsFailure::garbled("DescribeKey"))
    }
}

impl fmt::Debug for KmsRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsRoot")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for KmsRoot {
    fn name(&self) -> &'static str {
        "kms"
    }

    /// Amazon's side is a validated module, our side of the TLS connection that carries the unwrapped
    /// keys is ring, which is not: the whole is as validated as its weaker part.
    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NotValidated,
            fitness: self.fitness,
        }
    }

    /// Asks KMS about the key: one call.
    async fn health(&self) -> Health {
        let about = match self.describe(&self.key).await {
            Ok(about) => about,
            Err(failure) => {
                return match failure.verdict() {
                    Verdict::Throttled => Health::Degraded("KMS throttles us"),
                    Verdict::Missing => Health::Unhealthy("KMS has no such key"),
                    Verdict::Denied => Health::Unhealthy("KMS does not let us see the key"),
                    _ => Health::Unhealthy("KMS does not answer"),
                };
            }
        };
        match about.key_state {
            Some(KeyState::Enabled) => Health::Healthy,
            Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
                Health::Unhealthy("root key is about to be destroyed")
            }
            _ => Health::Unhealthy("root key is disabled"),
        }
    }

    async fn close(&self) {
        self.kms.close();
    }
}

#[async_trait]
impl RootKey for KmsRoot {
    fn id(&self) -> &RootKeyId {
        &self.id
    }

    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let pairs = self.context(context, None);
        self.encrypt(&self.key, key, pairs)
            .await
            .map_err(KmsFailure::of_root)
    }

    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let blob = wire::decode(wrapped).ok_or(CryptoError::RootMismatch)?;
        let pairs = self.context(context, None);
        let key = self.decrypt(&self.key, blob, pairs).await;
        key.map_err(KmsFailure::of_root)?
            .ok_or(CryptoError::RootMismatch)
    }
}

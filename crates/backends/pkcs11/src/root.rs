//! The root key and its epoch keys, as the traits of encryption see them.

use async_trait::async_trait;
use cryptoki::session::Session;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::secret::KeyBytes;
use eonpro_core::task;
use eonpro_encryption::{
    CryptoError, Destruction, EpochId, EpochKeys, RootKey, RootKeyId, WrapContext,
};

use crate::config::Pkcs11Config;
use crate::failure::Failure;
use crate::keys::{self, RootName};
use crate::pool::Pool;

/// A root key inside an HSM, and a custody of epoch keys beside it.
///
/// Both traits have a `wrap` and an `unwrap`: with both in scope, name the trait.
///
/// The root key's id is `pkcs11:` and the 16 hexadecimal digits of its object's `CKA_ID`, which are
/// random. Each epoch key is an object of its own, labelled `eonpro-epoch/<root>/<epoch>`. Destroying
/// one is `C_DestroyObject`, after which the token is asked whether it is gone: it is then gone in
/// every process, at once. A backup that was taken of the token, and a copy in a cluster that was
/// away meanwhile, may still have it.
///
/// # Failures
/// A token that is away, or a login that is lost, is [`CryptoError::Root`], which is temporary: the
/// next call opens a new session and logs in again. A PIN that the token refused is not offered
/// again. What does not authenticate is [`CryptoError::RootMismatch`]. An epoch is called gone only
/// while the root key in the same token is seen.
///
/// # Posture
/// Never `Validated`: a certificate covers one model with one firmware in one mode, which PKCS #11
/// does not tell. SoftHSM, whose keys lie in files, is fit for tests only.
#[derive(Debug)]
pub struct Pkcs11Root {
    id: RootKeyId,
    name: RootName,
    pool: Pool,
    max_sessions: usize,
    fitness: Fitness,
}

impl Pkcs11Root {
    /// Makes a root key with the label that `config` names, and opens it. Not idempotent.
    ///
    /// # Errors
    /// [`CryptoError::Config`] for a setting out of bounds, a module that does not exist, a PIN that
    /// the token refuses or a label that a key has already; [`CryptoError::Root`] if the token is
    /// away, has no AES-GCM or fails.
    pub async fn create(config: Pkcs11Config) -> Result<Self, CryptoError> {
        Self::with(config, keys::create_root).await
    }

    /// Opens the root key with the label that `config` names.
    ///
    /// # Errors
    /// As [`Self::create`]; [`CryptoError::Config`] if no key or more than one has the label, or if
    /// the key could leave the token.
    pub async fn open(config: Pkcs11Config) -> Result<Self, CryptoError> {
        Self::with(config, keys::open_root).await
    }

    async fn with(
        config: Pkcs11Config,
        find: fn(&Session, &str) -> Result<RootName, Failure>,
    ) -> Result<Self, CryptoError> {
        config.check()?;
        let max_sessions = config.max_sessions;
        let label = config.key.clone();
        let (pool, soft) = task::blocking(move || Pool::open(&config)).await??;
        let name = pool.run(move |session| find(session, &label)).await?;
        let id = RootKeyId::new(&format!("pkcs11:{}", name.hex()));
        let id = id.ok_or(CryptoError::Config(
            "key label of a key without an id of ours",
        ))?;
        Ok(Self {
            id,
            name,
            pool,
            max_sessions,
            fitness: if soft {
                Fitness::TestOnly
            } else {
                Fitness::Production
            },
        })
    }
}

#[async_trait]
impl Component for Pkcs11Root {
    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NotValidated,
            fitness: self.fitness,
        }
    }

    async fn health(&self) -> Health {
        if self.pool.is_closed() {
            Health::Unhealthy("closed")
        } else if self.pool.is_ailing() {
            Health::Unhealthy("the HSM failed the last call")
        } else {
            Health::Healthy
        }
    }

    async fn close(&self) {
        self.pool.close(self.max_sessions).await;
    }
}

#[async_trait]
impl RootKey for Pkcs11Root {
    fn id(&self) -> &RootKeyId {
        &self.id
    }

    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let (name, key, aad) = (self.name.clone(), key.clone(), context.encode(&self.id));
        let call = move |session: &Session| {
            let root = keys::find_root(session, &name)?;
            keys::wrap(session, root, &key, &aad)
        };
        self.pool.run(call).await
    }

    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        // Before a megabyte of garbage is copied.
        crate::wire::decode(wrapped)?;
        let (name, wrapped) = (self.name.clone(), wrapped.to_vec());
        let aad = context.encode(&self.id);
        let call = move |session: &Session| {
            let root = keys::find_root(session, &name)?;
            keys::unwrap(session, root, &wrapped, &aad)
        };
        self.pool.run(call).await
    }
}

#[async_trait]
impl EpochKeys for Pkcs11Root {
    fn custody_id(&self) -> &str {
        self.id.as_str()
    }

    async fn create(&self) -> Result<EpochId, CryptoError> {
        let name = self.name.clone();
        self.pool
            .run(move |session| keys::create_epoch(session, &name))
            .await
    }

    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let (key, aad) = (key.clone(), context.encode_for_epoch(epoch));
        self.with_epoch(epoch, move |session, epoch| {
            keys::wrap(session, epoch, &key, &aad)
        })
        .await
    }

    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        // What is too long is as good as its beginning: neither is one, and the epoch comes first.
        let wrapped: Vec<u8> = wrapped.iter().take(crate::wire::LEN + 1).copied().collect();
        let aad = context.encode_for_epoch(epoch);
        self.with_epoch(epoch, move |session, epoch| {
            keys::unwrap(session, epoch, &wrapped, &aad)
        })
        .await
    }

    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        let (name, epoch) = (self.name.clone(), epoch.clone());
        self.pool
            .run(move |session| keys::destroy_epoch(session, &name, &epoch))
            .await?;
        Ok(Destruction::Done)
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        let name = self.name.clone();
        self.pool
            .run(move |session| keys::epochs(session, &name))
            .await
    }
}

impl Pkcs11Root {
    /// Runs `call` with the key of `epoch`; one that is destroyed meanwhile is gone.
    async fn with_epoch<T: Send + 'static>(
        &self,
        epoch: &EpochId,
        call: impl FnOnce(&Session, cryptoki::object::ObjectHandle) -> Result<T, Failure>
        + Send
        + 'static,
    ) -> Result<T, CryptoError> {
        let (name, epoch) = (self.name.clone(), epoch.clone());
        let call = move |session: &Session| {
            let key = keys::find_epoch(session, &name, &epoch)?;
            match call(session, key) {
                // Destroyed between the two; looking again tells it from a token that is away.
                Err(failure) if keys::is_gone(&failure) => {
                    keys::find_epoch(session, &name, &epoch)?;
                    Err(failure)
                }
                other => other,
            }
        };
        self.pool.run(call).await
    }
}

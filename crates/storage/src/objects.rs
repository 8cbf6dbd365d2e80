//! The object store underneath, used in the one way that every backend really has: create-only.

use std::sync::Arc;

use bytes::Bytes;
use eonpro_core::component::Durability;
use eonpro_core::entropy::Entropy;
use eonpro_core::id::{PublicId as _, RowId};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, PutMode, PutOptions, PutPayload};

use crate::error::StorageError;

/// An object store, and whether what it acknowledged survives a crash.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    durability: Durability,
}

/// How an attempt to create an object ended.
#[derive(Debug)]
pub(crate) enum Created {
    /// It is there, as we wrote it.
    Ours,
    /// Somebody else created it first.
    Theirs,
    /// It is there, but the store reported an error: perhaps not durably.
    Doubtful(StorageError),
}

impl Objects {
    /// A store. [`local`](crate::local) and [`memory`](crate::memory) make the embedded ones.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, durability: Durability) -> Self {
        Self { store, durability }
    }

    /// Whether what it acknowledged survives a crash.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Creates an object that must not exist. A client that retries inside may meet its own first
    /// attempt: what is there is compared, and ours counts as success.
    pub(crate) async fn create(&self, key: &Path, bytes: &Bytes) -> Result<Created, StorageError> {
        let failed = match self.create_once(key, bytes).await {
            Ok(()) => return Ok(Created::Ours),
            Err(failed) => failed,
        };
        let exists = matches!(failed, object_store::Error::AlreadyExists { .. });
        match self.read(key, bytes.len() as u64).await {
            Ok(found) if found != *bytes => Ok(Created::Theirs),
            Ok(_) if exists => Ok(Created::Ours),
            Ok(_) => Ok(Created::Doubtful(failed.into())),
            // Another length is another object.
            Err(StorageError::Corrupt) => Ok(Created::Theirs),
            Err(_) => Err(failed.into()),
        }
    }

    /// Creates an object; whatever was there first wins, our own earlier attempt included.
    pub(crate) async fn create_once(
        &self,
        key: &Path,
        bytes: &Bytes,
    ) -> Result<(), object_store::Error> {
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let payload = PutPayload::from(bytes.clone());
        self.store.put_opts(key, payload, options).await.map(drop)
    }

    /// An object of at most `limit` bytes; a longer one is [`StorageError::Corrupt`].
    pub(crate) async fn read(&self, key: &Path, limit: u64) -> Result<Bytes, StorageError> {
        let found = self.store.get_opts(key, GetOptions::default()).await;
        let found = match found {
            Err(object_store::Error::NotFound { .. }) => return Err(StorageError::NotFound),
            other => other?,
        };
        if found.meta.size > limit {
            return Err(StorageError::Corrupt);
        }
        Ok(found.bytes().await?)
    }

    /// The keys and sizes under `folder`, at most `limit` and one more.
    pub(crate) async fn list(
        &self,
        folder: &Path,
        limit: usize,
    ) -> Result<Vec<(Path, u64)>, StorageError> {
        let mut found = Vec::new();
        let mut listing = self.store.list(Some(folder)).take(limit.saturating_add(1));
        while let Some(object) = listing.next().await {
            let object = object?;
            found.push((object.location, object.size));
        }
        Ok(found)
    }

    /// Deletes what nothing refers to, as far as it goes: leftovers are sealed and unreachable.
    pub(crate) async fn abandon(&self, keys: Vec<Path>) {
        let keys: BoxStream<'static, _> = stream::iter(keys.into_iter().map(Ok)).boxed();
        let mut deleted = self.store.delete_stream(keys);
        while deleted.next().await.is_some() {}
    }

    /// Whether the store answers.
    pub(crate) async fn answers(&self) -> bool {
        let probe = Path::from("probe/health");
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        matches!(
            self.store.get_opts(&probe, options).await,
            Ok(_) | Err(object_store::Error::NotFound { .. })
        )
    }

    /// Proves at start that creating twice fails: some servers ignore the condition, and then two
    /// writers would overwrite each other's records.
    pub(crate) async fn probe(&self, entropy: &dyn Entropy) -> Result<(), StorageError> {
        let name = RowId::random(entropy).uuid().simple().to_string();
        let key = Path::from_iter(["probe", name.as_str()]);
        self.create_once(&key, &Bytes::from_static(b"1")).await?;
        let second = self.create_once(&key, &Bytes::from_static(b"2")).await;
        let read = self.read(&key, 1).await;
        self.abandon(vec![key]).await;
        match second {
            Ok(()) => Err(StorageError::Unfit {
                probe: "an object was created twice",
            }),
            Err(object_store::Error::AlreadyExists { .. }) if read?.as_ref() == b"1" => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => Err(StorageError::Unfit {
                probe: "a refused creation changed the object",
            }),
            Err(other) => Err(other.into()),
        }
    }
}

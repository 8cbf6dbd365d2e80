//! A document store on memory, with everything around it at hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eonpro_core::TenantScope;
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::Emitter;
use eonpro_core::id::IdTagger;
use eonpro_core::port::NoObserver;
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_storage::{
    Category, DocumentRef, DocumentStore, DocumentStoreExt, MediaType, NewDocument,
    ObjectDocuments, Objects, Scanner, SignatureScanner, StorageConfig, StorageError, StorageParts,
    VersionInfo,
};
use eonpro_testkit::{RecordingSink, TestSealer, scope};
use futures_util::StreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

pub(crate) const NOTE: &[u8] = b"# Visit\nPatient is doing well. Marker 7f3a9c.\n";
pub(crate) const EXTENT: usize = 4096;
pub(crate) const YEAR: Duration = Duration::from_hours(24 * 366);

pub(crate) struct World {
    pub(crate) documents: ObjectDocuments,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) sealer: Arc<TestSealer>,
    pub(crate) audit: Arc<RecordingSink>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ours: TenantScope,
    pub(crate) theirs: TenantScope,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(Arc::new(InMemory::new())).await
    }

    pub(crate) async fn on(store: Arc<dyn ObjectStore>) -> Self {
        let scanner = Arc::new(SignatureScanner::built_in().unwrap());
        Self::with(store, scanner).await
    }

    pub(crate) async fn with(store: Arc<dyn ObjectStore>, scanner: Arc<dyn Scanner>) -> Self {
        let (ours, theirs) = (scope(1), scope(2));
        let sealer = TestSealer::ready_for(&[&ours, &theirs]);
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
        let audit = RecordingSink::new();
        let documents = open(&store, &sealer, scanner, audit.emitter(clock.clone()))
            .await
            .unwrap();
        Self {
            documents,
            store,
            sealer,
            audit,
            clock,
            ours,
            theirs,
        }
    }

    /// The same store after a restart, with other ids to come.
    pub(crate) async fn restarted(&self, store: Arc<dyn ObjectStore>) -> ObjectDocuments {
        let scanner = Arc::new(SignatureScanner::built_in().unwrap());
        let entropy = Arc::new(SeededEntropy::new(0xdead));
        let emitter = Emitter::new(self.audit.clone(), self.clock.clone(), entropy);
        open(&store, &self.sealer, scanner, emitter).await.unwrap()
    }

    pub(crate) async fn note(&self, content: &[u8]) -> Result<VersionInfo, StorageError> {
        let content = Bytes::copy_from_slice(content);
        self.documents.put(&self.ours, note(), content).await
    }

    pub(crate) async fn read(&self, at: impl Into<DocumentRef>) -> Result<Vec<u8>, StorageError> {
        let bytes = self.documents.read(&self.ours, &at.into(), 1 << 20).await?;
        Ok(bytes.to_vec())
    }

    /// All object keys, sorted.
    pub(crate) async fn keys(&self) -> Vec<String> {
        keys(&*self.store).await
    }

    /// The only key that contains `part`.
    pub(crate) async fn key(&self, part: &str) -> Path {
        let keys = self.keys().await;
        let mut matching = keys.iter().filter(|key| key.contains(part));
        let key = matching.next().unwrap();
        assert!(matching.next().is_none(), "{part} in {keys:?}");
        Path::parse(key).unwrap()
    }

    /// The only extent whose key ends so.
    pub(crate) async fn extent(&self, end: &str) -> Path {
        let keys = self.keys().await;
        let found: Vec<_> = keys
            .iter()
            .filter(|key| key.contains("/c/") && key.ends_with(end))
            .collect();
        assert_eq!(found.len(), 1, "{end} in {keys:?}");
        Path::parse(found[0]).unwrap()
    }

    pub(crate) async fn bytes(&self, key: &Path) -> Bytes {
        self.store.get(key).await.unwrap().bytes().await.unwrap()
    }
}

pub(crate) async fn keys(store: &dyn ObjectStore) -> Vec<String> {
    let listed = store
        .list(None)
        .map(|object| object.unwrap().location.to_string());
    let mut keys: Vec<String> = listed.collect().await;
    keys.sort();
    keys
}

pub(crate) async fn open(
    store: &Arc<dyn ObjectStore>,
    sealer: &Arc<TestSealer>,
    scanner: Arc<dyn Scanner>,
    emitter: Emitter,
) -> Result<ObjectDocuments, StorageError> {
    let parts = StorageParts {
        objects: Objects::new(store.clone(), eonpro_core::component::Durability::Volatile),
        sealer: sealer.clone(),
        scanner,
        emitter,
        observer: Arc::new(NoObserver),
        tagger: Arc::new(IdTagger::new(&KeyBytes::take(&mut [7; 32]))),
    };
    let mut config = StorageConfig::default();
    config.extent_size = EXTENT;
    ObjectDocuments::open(parts, config).await
}

pub(crate) fn media(text: &str) -> MediaType {
    MediaType::parse(text).unwrap()
}

pub(crate) fn note() -> NewDocument {
    NewDocument::new(
        Category::ClinicalDocument,
        media("text/plain; charset=utf-8"),
        "miller_hiv_result.txt",
    )
}

/// The EICAR test file, in parts so that no scanner stops at this source.
pub(crate) fn eicar() -> Vec<u8> {
    let parts = [
        "X5O!P%@AP[4\\PZX54(P^)7",
        "CC)7}$EICAR-STANDARD-",
        "ANTIVIRUS-TEST-FILE!$H+H*",
    ];
    parts.concat().into_bytes()
}

/// Text that fills several extents and ends in the middle of one.
pub(crate) fn long_text() -> Vec<u8> {
    let line = |n: usize| format!("line {n} of a long note\n");
    (0..600).map(line).collect::<String>().into_bytes()
}

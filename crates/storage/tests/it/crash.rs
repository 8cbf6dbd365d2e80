//! Whatever write the store fails at, a version is afterwards whole or absent.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::id::{DocumentId, PublicId as _};
use eonpro_storage::{DocumentStore, DocumentStoreExt, Expect, StorageError};
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::support::{World, keys, long_text, note};

/// What goes wrong, counted from [`FaultyStore::arm`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// From this put on, the machine is dead; that put had no effect.
    DiesBefore { put: usize },
    /// This put takes effect, but its answer is lost with the machine.
    DiesAfter { put: usize },
    /// This put fails once, without effect.
    FailsOnce { put: usize },
    /// This put takes effect and reports an error, once.
    LosesAnswer { put: usize },
    /// This put takes effect, and is then repeated by the client, as cloud clients do.
    Repeats { put: usize },
    /// This put waits until it is let go.
    Waits { put: usize },
    /// The condition of a create is ignored.
    CreatesTwice,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub(crate) inner: Arc<InMemory>,
    fault: Fault,
    armed: AtomicBool,
    puts: AtomicUsize,
    dead: AtomicBool,
    reached: Semaphore,
    released: Semaphore,
}

impl FaultyStore {
    pub(crate) fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(InMemory::new()),
            fault,
            armed: AtomicBool::new(false),
            puts: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            reached: Semaphore::new(0),
            released: Semaphore::new(0),
        })
    }

    pub(crate) fn arm(&self) {
        self.puts.store(0, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    pub(crate) async fn waiting(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    pub(crate) fn let_go(&self) {
        self.released.add_permits(1);
    }

    fn alive(&self) -> Result<()> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(lost());
        }
        Ok(())
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "connection lost".into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        self.alive()?;
        let now = self.puts.fetch_add(1, Ordering::SeqCst);
        let armed = self.armed.load(Ordering::SeqCst);
        let put = |opts| self.inner.put_opts(location, payload.clone(), opts);
        match self.fault {
            Fault::DiesBefore { put } if armed && put == now => {
                self.dead.store(true, Ordering::SeqCst);
                Err(lost())
            }
            Fault::DiesAfter { put: at } if armed && at == now => {
                put(opts).await?;
                self.dead.store(true, Ordering::SeqCst);
                Err(lost())
            }
            Fault::FailsOnce { put } if armed && put == now => Err(lost()),
            Fault::LosesAnswer { put: at } if armed && at == now => {
                put(opts).await?;
                Err(lost())
            }
            Fault::Repeats { put: at } if armed && at == now => {
                put(opts.clone()).await?;
                put(opts).await
            }
            Fault::Waits { put: at } if armed && at == now => {
                self.reached.add_permits(1);
                self.released.acquire().await.unwrap().forget();
                put(opts).await
            }
            Fault::CreatesTwice => {
                opts.mode = PutMode::Overwrite;
                put(opts).await
            }
            _ => put(opts).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        panic!("no multipart in the core protocol")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.alive()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if self.dead.load(Ordering::SeqCst) {
            return Box::pin(futures_util::stream::empty());
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The documents that the store's keys name.
async fn documents(store: &InMemory) -> Vec<DocumentId> {
    let keys = keys(store).await;
    let mut ids: Vec<_> = keys
        .iter()
        .filter_map(|key| key.split("/d/").nth(1)?.split('/').next())
        .map(|id| DocumentId::from_uuid(Uuid::parse_str(id).unwrap()))
        .collect();
    ids.dedup();
    ids
}

#[tokio::test]
async fn after_a_crash_at_any_write_a_new_document_is_whole_or_absent() {
    let text = long_text();
    let (mut absent, mut whole) = (0, 0);
    for put in 0..6 {
        for fault in [Fault::DiesBefore { put }, Fault::DiesAfter { put }] {
            let store = FaultyStore::new(fault);
            let world = World::on(store.clone()).await;
            store.arm();
            let stored = world.note(&text).await;
            let reborn = world.restarted(store.inner.clone()).await;
            let found = documents(&store.inner).await;
            for document in &found {
                let read = reborn
                    .read(&world.ours, &(*document).into(), 1 << 20)
                    .await
                    .unwrap();
                assert_eq!(read.as_slice(), text, "{fault:?}");
            }
            if stored.is_ok() {
                assert_eq!(found.len(), 1, "{fault:?}");
            }
            absent += usize::from(found.is_empty());
            whole += found.len();
        }
    }
    // Four extents and one record: nine faults leave nothing, the record's own leave all.
    assert_eq!((absent, whole), (9, 3));
}

#[tokio::test]
async fn after_a_crash_at_any_write_the_old_version_or_the_whole_new_one_is_current() {
    for put in 0..6 {
        for fault in [Fault::DiesBefore { put }, Fault::DiesAfter { put }] {
            let store = FaultyStore::new(fault);
            let world = World::on(store.clone()).await;
            let first = world.note(b"old").await.unwrap();
            let text = long_text();
            store.arm();
            let new = note().on(Expect::Any(first.document));
            let stored = world
                .documents
                .put(&world.ours, new, text.clone().into())
                .await;
            let reborn = world.restarted(store.inner.clone()).await;
            let at = first.document.into();
            let read = reborn.read(&world.ours, &at, 1 << 20).await.unwrap();
            assert!(
                read.as_slice() == b"old" || read.as_slice() == text,
                "{fault:?}"
            );
            assert!(stored.is_err() || read.as_slice() == text, "{fault:?}");
            // And the chain goes on.
            let new = note().on(Expect::Any(first.document));
            reborn
                .put(&world.ours, new, Bytes::from("next"))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_write_that_fails_leaves_no_leftovers_if_the_store_lives() {
    for put in 0..4 {
        let store = FaultyStore::new(Fault::FailsOnce { put });
        let world = World::on(store.clone()).await;
        store.arm();
        let failed = world.note(&long_text()).await;
        assert!(matches!(failed, Err(StorageError::Backend(_))), "{put}");
        assert_eq!(world.keys().await, Vec::<String>::new(), "{put}");
        assert_eq!(world.audit.codes(), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn a_record_whose_answer_was_lost_is_audited_and_reported_as_an_error() {
    let store = FaultyStore::new(Fault::LosesAnswer { put: 1 });
    let world = World::on(store.clone()).await;
    store.arm();
    let failed = world.note(b"perhaps").await;
    assert!(matches!(failed, Err(StorageError::Backend(_))));
    let [document] = documents(&store.inner).await[..] else {
        panic!("not there");
    };
    assert_eq!(world.read(document).await.unwrap(), b"perhaps");
    assert_eq!(world.audit.codes(), ["FILE-001", "FILE-002"]);
}

#[tokio::test]
async fn a_client_that_meets_its_own_first_attempt_has_succeeded() {
    for put in 0..2 {
        let store = FaultyStore::new(Fault::Repeats { put });
        let world = World::on(store.clone()).await;
        store.arm();
        let stored = world.note(b"once").await.unwrap();
        assert_eq!(world.read(stored.document).await.unwrap(), b"once");
        assert_eq!(world.keys().await.len(), 2);
    }
}

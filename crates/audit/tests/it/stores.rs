//! Object stores that fail on demand, and forged logs in the published form.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use eonpro_audit::merkle::{CompactRange, leaf_hash};
use eonpro_audit::tlog::{TileHashes, bundles_added, tiles_added, write_bundle};
use eonpro_audit::{Checkpoint, KeyFileSigner, LogId};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Fails from one call on, whether the call had its effect before or not.
#[derive(Debug)]
pub(crate) struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    calls: AtomicU64,
    puts: AtomicU64,
    fails_at: AtomicU64,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The failing call does nothing.
    Before,
    /// The failing call is done all the same.
    After,
    /// Never fails, but writes over what is there.
    Careless,
}

impl FaultStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            inner,
            calls: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            fails_at: AtomicU64::new(u64::MAX),
            kind,
        })
    }

    /// From the call `at`, counted from now, everything fails.
    pub(crate) fn fail_from(&self, at: u64) {
        self.calls.store(0, Ordering::SeqCst);
        self.fails_at.store(at, Ordering::SeqCst);
    }

    /// Whether it has failed, and it never will again.
    pub(crate) fn heal(&self) -> bool {
        let at = self.fails_at.swap(u64::MAX, Ordering::SeqCst);
        self.calls.load(Ordering::SeqCst) > at
    }

    pub(crate) fn puts(&self) -> u64 {
        self.puts.load(Ordering::SeqCst)
    }

    fn fails(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        call >= self.fails_at.load(Ordering::SeqCst)
    }
}

fn failure() -> object_store::Error {
    object_store::Error::Generic {
        store: "fault",
        source: "told to fail".into(),
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultStore")
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let fails = self.fails();
        if fails && self.kind == Kind::Before {
            return Err(failure());
        }
        if self.kind == Kind::Careless {
            options.mode = PutMode::Overwrite;
        }
        self.puts.fetch_add(1, Ordering::SeqCst);
        let put = self.inner.put_opts(location, payload, options).await;
        if fails { Err(failure()) } else { put }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fails() {
            true => Err(failure()),
            false => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.fails() {
            true => stream::iter([Err(failure())]).boxed(),
            false => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fails() {
            true => stream::iter([Err(failure())]).boxed(),
            false => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Every file below `dir`, by its path.
pub(crate) fn files(dir: &FilePath) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Writes a log of these leaves in the published form below `dir`, signed by `signer`.
pub(crate) async fn forge(
    dir: &FilePath,
    log: LogId,
    leaves: &[Vec<u8>],
    signer: &KeyFileSigner,
) -> String {
    let root = dir.join(log.to_string());
    fs::create_dir_all(&root).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let size = leaves.len() as u64;
    let mut tree = CompactRange::new();
    let mut level: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    level.iter().for_each(|leaf| tree.append(*leaf));
    for bundle in bundles_added(0, size) {
        let from = usize::try_from(bundle.start().unwrap()).unwrap();
        let entries = &leaves[from..from + usize::from(bundle.width())];
        write(&bundle.to_string(), &write_bundle(entries).unwrap());
    }
    for number in 0..2 {
        for tile in tiles_added(0, size).filter(|tile| tile.level() == number) {
            let from = usize::try_from(tile.index()).unwrap() * 256;
            let hashes = level[from..from + usize::from(tile.width())].to_vec();
            let tile_bytes = TileHashes::new(hashes).unwrap().to_bytes();
            write(&tile.to_string(), &tile_bytes);
        }
        let full = level.chunks_exact(256);
        level = full
            .map(|part| TileHashes::new(part.to_vec()).unwrap().root().unwrap())
            .collect();
    }
    let head = Checkpoint {
        log,
        size,
        root: tree.root(),
    };
    let note = head.sign(signer).await.unwrap();
    write("checkpoint", note.as_bytes());
    note
}

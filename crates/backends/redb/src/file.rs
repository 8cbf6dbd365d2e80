//! The file: created private, its tables, its format.
//!
//! Format 1. Table `entries`: partition, a zero byte, key → [row](crate::row). Table `counters`:
//! partition → commits. Table `expiry`: instant (8 bytes, in time order), then the key of the entry.
//! Table `meta`: `format`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use eonpro_core::entropy::{Entropy as _, SystemEntropy};
use eonpro_core::error::Source;
use eonpro_core::port::KvError;
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableTable as _, TableDefinition};

use crate::config::RedbConfig;

pub(crate) const ENTRIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");
pub(crate) const COUNTERS: TableDefinition<'static, &[u8], u64> = TableDefinition::new("counters");
pub(crate) const EXPIRY: TableDefinition<'static, &[u8], ()> = TableDefinition::new("expiry");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

/// Only the owner may read or write.
const MODE: u32 = 0o600;

/// The file holds a format that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("store has format {0}, this version reads format 1")]
struct UnknownFormat(u64);

pub(crate) fn backend(error: impl Into<Source>) -> KvError {
    KvError::Backend(error.into())
}

/// Opens or creates the store at `path`; once it returns, the file's name is durable too.
pub(crate) fn open(path: &Path, config: &RedbConfig) -> Result<Database, KvError> {
    if !path.try_exists().map_err(backend)? {
        create(path, config)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
        .map_err(backend)?;
    // The mode above is for a new file; one that was copied here may be open to others.
    file.set_permissions(Permissions::from_mode(MODE))
        .map_err(backend)?;
    let store = build(file, config)?;
    prepare(&store)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(backend)?;
    Ok(store)
}

/// Makes the store under another name and links it to `path` when it is whole. redb refuses a file
/// whose creation was cut short, so a crash in the middle would otherwise bar every later start.
fn create(path: &Path, config: &RedbConfig) -> Result<(), KvError> {
    let mut random = [0; 8];
    SystemEntropy::new().fill(&mut random);
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{:016x}", u64::from_be_bytes(random)));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&aside)
        .map_err(backend)?;
    let made = build(file, config).and_then(|store| prepare(&store));
    if made.is_ok() {
        // A link never replaces what another process made meanwhile. Where the file system has no
        // links the store is made in place.
        let _ = fs::hard_link(&aside, path);
    }
    fs::remove_file(&aside).map_err(backend)?;
    made
}

fn build(file: File, config: &RedbConfig) -> Result<Database, KvError> {
    Builder::new()
        .set_cache_size(config.page_cache_bytes)
        .create_with_backend(FileBackend::new(file).map_err(backend)?)
        .map_err(backend)
}

fn prepare(store: &Database) -> Result<(), KvError> {
    let made = || -> Result<u64, redb::Error> {
        let write = store.begin_write()?;
        let format = {
            let mut meta = write.open_table(META)?;
            let found = meta.get("format")?.map(|format| format.value());
            match found {
                Some(format) => format,
                None => {
                    meta.insert("format", FORMAT)?;
                    FORMAT
                }
            }
        };
        if format == FORMAT {
            write.open_table(ENTRIES)?;
            write.open_table(COUNTERS)?;
            write.open_table(EXPIRY)?;
        }
        write.commit()?;
        Ok(format)
    };
    match made().map_err(backend)? {
        FORMAT => Ok(()),
        other => Err(backend(UnknownFormat(other))),
    }
}

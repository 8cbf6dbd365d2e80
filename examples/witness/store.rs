//! What the witness remembers: for each log the size and the root that it cosigned last, a file each.
//!
//! A file is replaced whole and is durable before a signature is made. One that does not read back is
//! never taken for none: that would let the log begin again.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use eonpro::audit::tlog::{AddCheckpoint, KnownLog, Refusal, TreeHead, VerifierKey};
use eonpro::core::event::Digest;

/// The first line of a file; the text of a checkpoint follows.
const FORMAT: &str = "eonpro-witness-state-v1\n";
const MAX_BYTES: u64 = 64 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    logs: Vec<VerifierKey>,
    /// One decision at a time: compare, store, answer.
    deciding: Mutex<()>,
    /// Held as long as the process lives, against a second one.
    _lock: File,
}

/// Why a request was not granted.
#[derive(Debug)]
pub(crate) enum Denied {
    Refused(Refusal),
    /// The state could not be read or made durable.
    Broken(io::Error),
}

impl Store {
    /// Opens the state in `dir`, which is made if it is missing, of the logs that `logs` are keys of.
    pub(crate) fn open(dir: &Path, logs: Vec<VerifierKey>) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("LOCK"))?;
        lock.try_lock().map_err(io::Error::from)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            logs,
            deciding: Mutex::new(()),
            _lock: lock,
        })
    }

    /// Decides whether the checkpoint may be cosigned, and if so stores it as the last, durably.
    pub(crate) fn decide(&self, request: &AddCheckpoint) -> Result<(), Denied> {
        let _deciding = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        let head = request.head();
        let keys = self.logs.iter();
        let keys: Vec<VerifierKey> = keys
            .filter(|key| key.name().as_str() == head.origin())
            .cloned()
            .collect();
        if keys.is_empty() {
            return Err(Denied::Refused(Refusal::UnknownLog));
        }
        let path = self.path(head.origin());
        let last = last(&path, head.origin()).map_err(Denied::Broken)?;
        let known = KnownLog { keys, last };
        request.check(Some(&known)).map_err(Denied::Refused)?;
        let plain = TreeHead::new(head.origin(), head.size(), *head.root());
        let plain = plain.ok_or(Denied::Refused(Refusal::Malformed))?;
        replace(&path, &format!("{FORMAT}{plain}")).map_err(Denied::Broken)
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.dir
            .join(format!("{}.head", Digest::of(origin.as_bytes())))
    }
}

/// Size and root that were cosigned last.
fn last(path: &Path, origin: &str) -> io::Result<Option<(u64, Digest)>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    let head = text.strip_prefix(FORMAT).and_then(TreeHead::parse);
    let head = head.filter(|head| head.origin() == origin);
    let head = head.ok_or_else(|| io::Error::other("the state is malformed"))?;
    Ok(Some((head.size(), *head.root())))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

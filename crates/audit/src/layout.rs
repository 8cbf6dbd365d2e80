//! The files of a log directory: where they are, what they are called, how they are read.
//!
//! `LOCK`, `checkpoint` (the directory log's signed head), `keys` (who signs, as the log says), `wal/<ten digits>.wal`, `spool`,
//! `torn/` with what recoveries dropped, `pruning` while entries are being pruned, and `sealed/` with logs
//! that were given up. `index/` is derived from the others. Names ending in `.tmp` are leftovers of a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fault::{Fault, Place, VerifyError};
use crate::sealed::{SEALED, SEALING};
use crate::segment::{HEADER_BYTES, Header};
use crate::vfs::{self, RealVfs, SharedVfs, Vfs};

pub(crate) use crate::vfs::temporary;

/// The name of the file with the directory log's signed head.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// The name of the file that says whose signatures the log carries.
pub(crate) const KEYS: &str = "keys";
/// The name of the file with entries that the log could not take.
pub(crate) const SPOOL: &str = "spool";
/// The name of the file that says what is being pruned.
pub(crate) const PRUNING: &str = "pruning";
/// The name of the directory with the index, whose contents nobody looks at who verifies.
pub(crate) const INDEX: &str = "index";
/// No segment is longer; a longer file is no segment.
const MAX_SEGMENT_BYTES: u64 = 2 << 30;
/// No checkpoint file and no file of keys is longer.
const MAX_SMALL_BYTES: u64 = 64 * 1024;

/// A log directory, and the seam through which it is changed.
#[derive(Debug, Clone)]
pub(crate) struct Layout(PathBuf, SharedVfs);

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self::through(root, Arc::new(RealVfs))
    }

    /// The directory as another seam changes it.
    pub(crate) fn through(root: &Path, vfs: SharedVfs) -> Self {
        Self(root.to_owned(), vfs)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// Where logs lie that were sealed.
    pub(crate) fn sealed_logs(&self) -> PathBuf {
        self.0.join(SEALED)
    }

    pub(crate) fn sealed(&self, number: u64) -> PathBuf {
        self.sealed_logs().join(number.to_string())
    }

    /// The statement of a log that is being sealed.
    pub(crate) fn sealing(&self) -> PathBuf {
        self.0.join(SEALING)
    }

    pub(crate) fn vfs(&self) -> &dyn Vfs {
        &*self.1
    }

    /// Puts `bytes` at `path`, whole or not at all, durable when it returns.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        vfs::place(self.vfs(), path, bytes).map(drop)
    }

    /// As the free function, through the seam.
    pub(crate) fn private_dir(&self, path: &Path) -> io::Result<()> {
        vfs::private_dir(self.vfs(), path)
    }

    /// The name of a segment inside the directory.
    pub(crate) fn segment_name(number: u64) -> String {
        format!("wal/{number:010}.wal")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.0.join(Self::segment_name(number))
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.0.join("wal")
    }

    pub(crate) fn torn(&self) -> PathBuf {
        self.0.join("torn")
    }

    /// The file of the index, which is no evidence and may be removed while the log is closed.
    pub(crate) fn index(&self) -> PathBuf {
        self.0.join(INDEX).join("index.redb")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("LOCK")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.0.join(CHECKPOINT)
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join(KEYS)
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.0.join(SPOOL)
    }

    pub(crate) fn pruning(&self) -> PathBuf {
        self.0.join(PRUNING)
    }

    /// Creates what is missing of the directories, durably, and closes them to others.
    pub(crate) fn create(&self) -> io::Result<()> {
        self.private_dir(&self.0)?;
        self.private_dir(&self.wal())
    }

    /// Makes all names durable: an earlier process may have renamed and then failed to sync.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        vfs::sync_parent(self.vfs(), &self.0)?;
        self.vfs().sync_dir(&self.0)?;
        self.vfs().sync_dir(&self.wal())
    }

    /// How many segments there are; they are numbered from 1 without gaps.
    pub(crate) fn segments(&self) -> Result<u64, VerifyError> {
        let entries = match fs::read_dir(self.wal()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(VerifyError::NoLog),
            other => other?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".tmp") {
                continue;
            }
            let Some(number) = segment_number(&name) else {
                let place = Place::file("wal", 0);
                return Err(VerifyError::tampered(place, Fault::Stray));
            };
            numbers.push(number);
        }
        numbers.sort_unstable();
        for (expected, number) in (1..).zip(&numbers) {
            if *number != expected {
                let place = Place::file(&Self::segment_name(expected), 0);
                return Err(VerifyError::tampered(place, Fault::Segment));
            }
        }
        Ok(numbers.len() as u64)
    }

    /// The header of a segment.
    pub(crate) fn header(&self, number: u64) -> Result<Header, VerifyError> {
        let bytes = self.read(number, 0, Some(HEADER_BYTES))?;
        Header::parse(&bytes)
            .filter(|header| header.number == number)
            .ok_or_else(|| {
                let place = Place::file(&Self::segment_name(number), 0);
                VerifyError::tampered(place, Fault::Header)
            })
    }

    /// How long a segment's file is.
    pub(crate) fn length(&self, number: u64) -> Result<u64, VerifyError> {
        Ok(fs::metadata(self.segment(number))?.len())
    }

    /// The bytes of a segment from `from` up to `until`, or up to its end.
    pub(crate) fn read(
        &self,
        number: u64,
        from: usize,
        until: Option<usize>,
    ) -> Result<Vec<u8>, VerifyError> {
        let mut file = File::open(self.segment(number))?;
        let length = file.metadata()?.len();
        if length > MAX_SEGMENT_BYTES {
            let place = Place::file(&Self::segment_name(number), 0);
            return Err(VerifyError::tampered(place, Fault::Segment));
        }
        let until = until.map_or(length, |until| length.min(until as u64));
        file.seek(SeekFrom::Start(from as u64))?;
        let wanted = until.saturating_sub(from as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        file.take(wanted).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The text of the checkpoint file, if there is one.
    pub(crate) fn read_checkpoint(&self) -> Result<Option<String>, VerifyError> {
        let fault = || VerifyError::tampered(Place::file(CHECKPOINT, 0), Fault::Checkpoint);
        let text = read_up_to(MAX_SMALL_BYTES, &self.checkpoint())?.map(String::from_utf8);
        text.transpose().map_err(|_| fault())
    }

    /// The text of the file of keys, if there is one.
    pub(crate) fn read_keys(&self) -> Result<Option<String>, VerifyError> {
        let fault = || VerifyError::tampered(Place::file(KEYS, 0), Fault::Keys);
        let text = read_up_to(MAX_SMALL_BYTES, &self.keys())?.map(String::from_utf8);
        text.transpose().map_err(|_| fault())
    }

    /// What lies in the directory and belongs to nothing.
    pub(crate) fn stray(&self) -> Result<(), VerifyError> {
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let known = [
                "LOCK", "wal", "torn", SEALED, CHECKPOINT, KEYS, SPOOL, PRUNING, INDEX,
            ];
            let name = name.to_string_lossy();
            if name == SEALING {
                let place = Place::file(SEALING, 0);
                return Err(VerifyError::tampered(place, Fault::Sealing));
            }
            if !known.contains(&&*name) && !name.ends_with(".tmp") {
                let place = Place::file(".", 0);
                return Err(VerifyError::tampered(place, Fault::Stray));
            }
        }
        Ok(())
    }
}

/// The first bytes of a file, at most so many, if there is one.
pub(crate) fn read_up_to(most: u64, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Options that create files which only their owner may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// A directory that only its owner may enter: created durably with what is missing above it, or
/// closed to others if it is there.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    vfs::private_dir(&RealVfs, path)
}

/// Puts `bytes` at `path`, whole or not at all, durable when it returns.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    vfs::place(&RealVfs, path, bytes).map(drop)
}

/// Makes a name durable, not only the bytes behind it.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    vfs::sync_parent(&RealVfs, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_numbered_from_one_without_gaps() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert!(matches!(layout.segments(), Err(VerifyError::NoLog)));
        layout.create().unwrap();
        assert_eq!(layout.segments().unwrap(), 0);
        for number in [1, 2, 4] {
            fs::write(layout.segment(number), b"").unwrap();
        }
        let error = layout.segments().unwrap_err().to_string();
        assert!(error.starts_with("wal/0000000003.wal"), "{error}");
        fs::rename(layout.segment(4), layout.segment(3)).unwrap();
        assert_eq!(layout.segments().unwrap(), 3);
        fs::write(layout.wal().join("left.tmp"), b"").unwrap();
        assert_eq!(layout.segments().unwrap(), 3);
        fs::write(layout.wal().join("3.wal"), b"").unwrap();
        assert!(layout.segments().is_err());
    }
}

//! The seam to the disk: every call that durability rests on, so that each can be made to fail in a test.
//!
//! Reading has no seam: what a read returns proves nothing about what is durable, and the tests of power
//! cuts build the directory that a machine would find afterwards and read that.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A seam that handles share.
pub(crate) type SharedVfs = Arc<dyn Vfs>;

/// What a log changes on disk.
pub(crate) trait Vfs: std::fmt::Debug + Send + Sync {
    /// Opens a file that is there, for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;

    /// Creates a file that only its owner may read, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;

    /// Creates a directory in one that is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or directory another name; a file that had it is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns once the names in a directory are on stable storage.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// One file, open for writing.
pub(crate) trait VfsFile: std::fmt::Debug + Send {
    /// How long the file is.
    fn length(&self) -> io::Result<u64>;

    /// Writes the first of `bytes` at `offset`, and says how many (`pwrite`).
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the file so long.
    fn set_len(&mut self, length: u64) -> io::Result<()>;

    /// Returns once what was written is on stable storage (`fdatasync`).
    fn sync_data(&mut self) -> io::Result<()>;

    /// As [`Self::sync_data`], with all that the file system knows of the file (`fsync`).
    fn sync_all(&mut self) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&mut self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    offset += written as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The real disk.
#[derive(Debug)]
pub(crate) struct RealVfs;

impl Vfs for RealVfs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let file = File::options().write(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut options = crate::layout::private();
        let file = options.write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

#[derive(Debug)]
struct RealFile(File);

impl VfsFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Puts a file with `bytes` at `path`, whole or not at all, durable when it returns; open for writing on.
pub(crate) fn place(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn VfsFile>> {
    let (temporary, file) = prepare(vfs, path, bytes)?;
    vfs.rename(&temporary, path)?;
    sync_parent(vfs, path)?;
    Ok(file)
}

/// Puts a file with `bytes` durably beside `path`, under a temporary name.
pub(crate) fn prepare(
    vfs: &dyn Vfs,
    path: &Path,
    bytes: &[u8],
) -> io::Result<(PathBuf, Box<dyn VfsFile>)> {
    let temporary = temporary(path);
    let mut file = vfs.create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    Ok((temporary, file))
}

/// The name under which a file is written before it gets its own.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Makes a name durable, not only the bytes behind it.
pub(crate) fn sync_parent(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => vfs.sync_dir(parent),
        _ => vfs.sync_dir(Path::new(".")),
    }
}

/// A directory that only its owner may enter: created durably with what is missing above it, or
/// closed to others if it is there.
pub(crate) fn private_dir(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !above.is_dir())
        .collect();
    for dir in missing.iter().rev() {
        match vfs.create_dir(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
        sync_parent(vfs, dir)?;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

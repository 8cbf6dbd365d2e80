//! Small secret files: mode 0600, replaced atomically, durable before the call returns.
//!
//! What is replaced is overwritten afterwards, so a reader looks once more whether it has read the
//! file that the path leads to.

use eonpro_core::secret::SecretBytes;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};

use crate::error::CryptoError;
use crate::random::fill_random;

/// The longest file that is read.
const MAX_BYTES: u64 = 256 * 1024;
/// Why a file was not created.
pub(super) const EXISTS: &str = "exists already";
/// Why a file was not opened.
pub(super) const MISSING: &str = "does not exist";
/// How often a file that is replaced while it is read is read anew.
const MAX_READS: usize = 16;

/// What is in a file, wiped from memory on drop.
type Content = SecretBytes;

/// What is in the file; `None` if there is none.
///
/// # Errors
/// [`CryptoError::File`] if others may read it, or it is no small regular file.
pub(super) fn read(path: &Path) -> Result<Option<Content>, CryptoError> {
    Ok(read_held(path)?.map(|(_, bytes)| bytes))
}

/// A file that was read, held open. As long as it is, its inode number is given to no other file, so
/// a path that leads to that number leads to this file.
#[derive(Debug)]
pub(super) struct Held {
    #[cfg_attr(not(unix), expect(dead_code, reason = "never current there"))]
    about: fs::Metadata,
    _open: File,
}

impl Held {
    /// Whether `path` still leads to this file, as it was read.
    pub(super) fn is_current(&self, path: &Path) -> Result<bool, CryptoError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(CryptoError::Io(error)),
            Ok(now) => Ok(self.is(&now)),
        }
    }

    #[cfg(unix)]
    fn is(&self, now: &fs::Metadata) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        // Lengths and times are for files that somebody changed in place.
        let identity = |about: &fs::Metadata| (about.dev(), about.ino(), about.len());
        let times = |about: &fs::Metadata| {
            let (changed, modified) = (about.ctime(), about.mtime());
            (changed, about.ctime_nsec(), modified, about.mtime_nsec())
        };
        identity(&self.about) == identity(now) && times(&self.about) == times(now)
    }

    /// Without inode numbers every use reads the file.
    #[cfg(not(unix))]
    fn is(&self, _: &fs::Metadata) -> bool {
        false
    }
}

/// [`read`], with the file that was read.
pub(super) fn read_held(path: &Path) -> Result<Option<(Held, Content)>, CryptoError> {
    for _ in 0..MAX_READS {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(CryptoError::Io)?,
        };
        let about = file.metadata().map_err(CryptoError::Io)?;
        if !about.is_file() || about.len() > MAX_BYTES {
            return Err(CryptoError::File("no small regular file"));
        }
        check_private(&about)?;
        let length = usize::try_from(about.len()).unwrap_or(0);
        let mut bytes = SecretBytes::with_capacity(length.saturating_add(1));
        Read::by_ref(&mut &file)
            .take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(CryptoError::Io)?;
        let held = Held { about, _open: file };
        // What was replaced meanwhile may have been overwritten under the reader.
        if cfg!(not(unix)) || held.is_current(path)? {
            return Ok(Some((held, bytes)));
        }
    }
    let error = std::io::Error::new(ErrorKind::ResourceBusy, "replaced while it is read");
    Err(CryptoError::Io(error))
}

/// Creates the file; one that is there already is left alone.
///
/// # Errors
/// [`CryptoError::File`] if there is one.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), CryptoError> {
    let temporary = write_beside(path, bytes)?;
    // A hard link appears whole or not at all, and unlike a rename never replaces.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(CryptoError::Io)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(CryptoError::File(EXISTS)),
        Err(error) => Err(CryptoError::Io(error)),
        Ok(()) => sync_parent(path),
    }
}

/// Replaces the file: readers see the old one or the new one. Once the new one is durable, the old
/// one's content is overwritten, as well as the disk allows.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CryptoError> {
    let old = OpenOptions::new().write(true).open(path);
    let temporary = write_beside(path, bytes)?;
    if let Err(error) = fs::rename(&temporary, path) {
        let _the_first_error_counts = fs::remove_file(&temporary);
        return Err(CryptoError::Io(error));
    }
    sync_parent(path)?;
    match old.and_then(wipe) {
        Ok(true) => {}
        Ok(false) => tracing::warn!("a hard link keeps a root key file that was replaced"),
        Err(error) => tracing::warn!(
            kind = ?error.kind(),
            "a root key file was replaced, but its old content could not be overwritten"
        ),
    }
    Ok(())
}

/// Overwrites a file that no name leads to any more; whether there was none.
fn wipe(mut old: File) -> std::io::Result<bool> {
    let about = old.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        // Somebody's backup: to overwrite it would take the root key from it.
        if about.nlink() > 0 {
            return Ok(false);
        }
    }
    let length = usize::try_from(about.len().min(MAX_BYTES)).unwrap_or(0);
    old.write_all(&vec![0; length])?;
    old.sync_data()?;
    Ok(true)
}

/// Removes and overwrites what a process left that was killed between writing a file and putting it in
/// place of the one at `path`. Nobody may be writing it meanwhile.
pub(super) fn clear_leftovers(path: &Path) -> Result<(), CryptoError> {
    let prefix = temporary_prefix(path)?;
    let prefix = prefix.as_encoded_bytes();
    for entry in fs::read_dir(parent(path)).map_err(CryptoError::Io)? {
        let entry = entry.map_err(CryptoError::Io)?;
        let name = entry.file_name();
        let rest = name.as_encoded_bytes().strip_prefix(prefix);
        let random = rest.and_then(|rest| rest.strip_suffix(TEMPORARY));
        let is_ours =
            random.is_some_and(|hex| hex.len() == 16 && hex.iter().all(u8::is_ascii_hexdigit));
        if is_ours {
            let old = OpenOptions::new().write(true).open(entry.path());
            fs::remove_file(entry.path()).map_err(CryptoError::Io)?;
            let _best_effort = old.and_then(wipe);
        }
    }
    Ok(())
}

/// How the names of files end that are not yet in place.
const TEMPORARY: &[u8] = b".tmp";

/// How they begin: `.<name>.`, followed by 16 random hexadecimal digits.
fn temporary_prefix(path: &Path) -> Result<OsString, CryptoError> {
    let name = path
        .file_name()
        .ok_or(CryptoError::File("path names no file"))?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    Ok(prefix)
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, CryptoError> {
    let mut random = [0; 8];
    fill_random(&mut random)?;
    let mut beside = temporary_prefix(path)?;
    beside.push(format!("{:016x}.tmp", u64::from_be_bytes(random)));
    let temporary = path.with_file_name(beside);

    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _the_first_error_counts = fs::remove_file(&temporary);
        return Err(CryptoError::Io(error));
    }
    Ok(temporary)
}

/// The folder of the file.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the name durable, not only the bytes.
pub(super) fn sync_parent(path: &Path) -> Result<(), CryptoError> {
    File::open(parent(path))
        .and_then(|directory| directory.sync_all())
        .map_err(CryptoError::Io)
}

#[cfg(unix)]
fn check_private(about: &fs::Metadata) -> Result<(), CryptoError> {
    use std::os::unix::fs::PermissionsExt as _;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(CryptoError::File("others may read it: set mode 0600"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_: &fs::Metadata) -> Result<(), CryptoError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_file_is_private_and_never_replaced_by_creating() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(read(&path).unwrap().is_none());
        create(&path, b"one").unwrap();
        assert!(matches!(
            create(&path, b"two"),
            Err(CryptoError::File(EXISTS))
        ));
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_was_replaced_is_overwritten_unless_it_has_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"one").unwrap();
        let mut old = File::open(&path).unwrap();
        replace(&path, b"two").unwrap();
        let mut content = Vec::new();
        old.read_to_end(&mut content).unwrap();
        assert_eq!(content, [0; 3]);

        let backup = dir.path().join("backup");
        fs::hard_link(&path, &backup).unwrap();
        replace(&path, b"three").unwrap();
        assert_eq!(fs::read(&backup).unwrap(), b"two");
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"three");
    }

    #[cfg(unix)]
    #[test]
    fn a_held_file_is_current_until_it_is_replaced_changed_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"one").unwrap();
        let held = || read_held(&path).unwrap().unwrap().0;
        let first = held();
        assert!(first.is_current(&path).unwrap());
        // Same length, and perhaps within one tick of the clock.
        replace(&path, b"two").unwrap();
        replace(&path, b"six").unwrap();
        assert!(!first.is_current(&path).unwrap());
        let second = held();
        fs::write(&path, b"seven").unwrap();
        assert!(!second.is_current(&path).unwrap());
        let third = held();
        fs::remove_file(&path).unwrap();
        assert!(!third.is_current(&path).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"one").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path), Err(CryptoError::File(_))));
    }

    #[test]
    fn a_huge_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, &vec![0; 256 * 1024 + 1]).unwrap();
        assert!(matches!(read(&path), Err(CryptoError::File(_))));
    }
}

//! Small secret files: mode 0600, replaced atomically, durable before the call returns.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::CryptoError;
use crate::random::fill_random;

/// The longest file that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// What is in the file; `None` if there is none.
///
/// # Errors
/// [`CryptoError::File`] if others may read it, or it is no small regular file.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CryptoError> {
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
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.saturating_add(1)));
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(CryptoError::Io)?;
    Ok(Some(bytes))
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
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(CryptoError::File("exists already"))
        }
        Err(error) => Err(CryptoError::Io(error)),
        Ok(()) => sync_parent(path),
    }
}

/// Replaces the file: readers see the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CryptoError> {
    let temporary = write_beside(path, bytes)?;
    if let Err(error) = fs::rename(&temporary, path) {
        let _the_first_error_counts = fs::remove_file(&temporary);
        return Err(CryptoError::Io(error));
    }
    sync_parent(path)
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, CryptoError> {
    let name = path
        .file_name()
        .ok_or(CryptoError::File("path names no file"))?;
    let mut random = [0; 8];
    fill_random(&mut random)?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{:016x}.tmp", u64::from_be_bytes(random)));
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

/// Makes the name durable, not only the bytes.
fn sync_parent(path: &Path) -> Result<(), CryptoError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
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
            Err(CryptoError::File("exists already"))
        ));
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
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
        create(&path, &vec![0; 64 * 1024 + 1]).unwrap();
        assert!(matches!(read(&path), Err(CryptoError::File(_))));
    }
}

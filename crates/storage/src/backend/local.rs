//! Objects as files of a directory that only this user may enter, each synced before it counts.

use std::path::Path;
use std::sync::Arc;

use eonpro_core::component::Durability;
use object_store::local::LocalFileSystem;

use crate::error::StorageError;
use crate::objects::Objects;

/// The store in `dir`, which is created with mode 0700 if it is missing and set to it if it is not.
/// Blocks on the file system.
///
/// # Errors
/// [`StorageError::Backend`] if the directory cannot be made or opened.
pub fn local(dir: &Path) -> Result<Objects, StorageError> {
    make_private(dir).map_err(|error| StorageError::Backend(Box::new(error)))?;
    let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
    Ok(Objects::new(Arc::new(store), Durability::Durable))
}

#[cfg(unix)]
fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    const OWNER_ONLY: u32 = 0o700;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(OWNER_ONLY)
        .create(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(OWNER_ONLY))
}

#[cfg(not(unix))]
fn make_private(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_directory_is_the_owners_alone_even_if_it_was_open_before() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let fresh = dir.path().join("a/b");
        for path in [dir.path(), &fresh] {
            local(path).unwrap();
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }
}

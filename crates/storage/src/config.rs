//! How a document store is set up: its policy, its sizes, its bounds.

use std::sync::Arc;

use crate::error::StorageError;
use crate::policy::PolicyBook;

const SMALLEST_EXTENT: usize = 4 << 10;
const LARGEST_EXTENT: usize = 64 << 20;
const MOST_UPLOADS: usize = 1024;

/// The settings of a document store.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// What each category allows and demands.
    pub policy: Arc<PolicyBook>,
    /// Plaintext bytes per extent, 4 KiB to 64 MiB. A version remembers its own; changing it
    /// concerns new versions only. An upload holds about three of them in memory.
    pub extent_size: usize,
    /// Uploads and changes in progress at once, 1 to 1024; more wait until their deadline.
    pub concurrent_changes: usize,
}

impl Default for StorageConfig {
    /// The built-in policy, 8 MiB, 64 changes.
    fn default() -> Self {
        Self {
            policy: PolicyBook::built_in(),
            extent_size: 8 << 20,
            concurrent_changes: 64,
        }
    }
}

impl StorageConfig {
    /// Whether the values lie within their limits.
    ///
    /// # Errors
    /// [`StorageError::Config`].
    pub fn check(&self) -> Result<(), StorageError> {
        if !(SMALLEST_EXTENT..=LARGEST_EXTENT).contains(&self.extent_size) {
            return Err(StorageError::Config(
                "extent size lies outside 4 KiB to 64 MiB",
            ));
        }
        if !(1..=MOST_UPLOADS).contains(&self.concurrent_changes) {
            return Err(StorageError::Config(
                "concurrent changes lie outside 1 to 1024",
            ));
        }
        Ok(())
    }
}

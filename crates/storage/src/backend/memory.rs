//! Objects in memory: lost with the process.

use std::sync::Arc;

use eonpro_core::component::Durability;
use object_store::memory::InMemory;

use crate::objects::Objects;

/// An empty store in memory.
#[must_use]
pub fn memory() -> Objects {
    Objects::new(Arc::new(InMemory::new()), Durability::Volatile)
}

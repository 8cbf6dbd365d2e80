//! What is embedded: the document store over any object store, two stores, one scanner.

pub(crate) mod documents;
pub(crate) mod local;
pub(crate) mod memory;
pub(crate) mod signature;

//! Backends that are broken on purpose, one defect each. A suite that passes one is a defect itself.

mod kv;

pub use kv::{BrokenKeyValue, KvDefect};

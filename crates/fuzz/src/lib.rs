//! The bodies of the fuzz targets, in files that ordinary tests include as well.

pub mod audit;
pub mod encryption;

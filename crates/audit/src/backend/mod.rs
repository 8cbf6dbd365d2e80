//! What audit runs on without a server: a log in a directory, and a signing key in a file.

pub(crate) mod embedded;
pub(crate) mod key_file;

//! Root keys that need no server.

mod ephemeral;
mod epochs;
mod file;
mod key_file;
mod key_file_epochs;
mod keyring;
mod local;

pub use ephemeral::EphemeralRoot;
pub use epochs::EphemeralEpochs;
pub use key_file::KeyFile;
pub use key_file_epochs::KeyFileEpochs;
pub use keyring::Keyring;

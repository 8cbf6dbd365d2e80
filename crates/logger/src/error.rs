//! What can go wrong with the logger. Logging itself never fails the caller: it counts.

use std::io;

use eonpro_core::error::Source;
use eonpro_core::{Classify, ErrorKind};

/// Why the logger did not start, flush or write. No variant tells a path or a logged value.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A number in the configuration is out of range; the text names it.
    #[error("logger configuration is out of range: {0}")]
    Config(&'static str),
    /// The content patterns could not be built: too many or too long field names.
    #[error("redaction patterns could not be built")]
    Patterns(#[source] Source),
    /// A log file's prefix is not 1 to 64 characters of `a-z 0-9 _ -`.
    #[error("log file prefix is malformed")]
    Prefix,
    /// The directory of the log files cannot be used.
    #[error("log directory cannot be used")]
    Directory(#[source] io::Error),
    /// The writer's thread could not be started.
    #[error("log writer could not be started")]
    Thread(#[source] io::Error),
    /// A sink failed; lines since the last flush may be lost and are counted.
    #[error("log sink failed: {sink}")]
    Sink {
        /// The sink's name.
        sink: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The logger was closed.
    #[error("logger is closed")]
    Closed,
}

impl Classify for LogError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Patterns(_) | Self::Prefix | Self::Directory(_) => {
                ErrorKind::Config
            }
            Self::Thread(_) | Self::Sink { .. } | Self::Closed => ErrorKind::Unavailable,
        }
    }
}

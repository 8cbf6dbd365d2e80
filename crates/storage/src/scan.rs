//! Scanners: who judges content, what the verdict may be, and that a failure is never a verdict.

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::component::Component;
use eonpro_core::error::{Classify, ErrorKind, Source};
use eonpro_core::event::Code;

/// Which engine judged, with which signatures: part of every verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannerId {
    /// The engine and its version, such as `clamav:1.4.6`.
    pub engine: Code,
    /// The version of its signatures.
    pub signatures: Code,
}

/// What a scanner is told about the content before it sees any of it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanInput {
    /// The length in bytes, where it is known.
    pub size: Option<u64>,
}

impl ScanInput {
    /// Content of that length.
    #[must_use]
    pub fn sized(size: Option<u64>) -> Self {
        Self { size }
    }
}

/// What a scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All of it was looked at and nothing was found.
    Clean,
    /// Malware, by the name of the signature.
    Infected(Code),
    /// It cannot be judged: encrypted, nested too deeply, beyond a limit.
    Refused(Code),
}

/// Why there is no verdict. None of these means clean.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The scanner cannot be reached.
    #[error("scanner is not available")]
    Unavailable(#[source] Source),
    /// It did not answer in time.
    #[error("scanner did not answer in time")]
    Timeout,
    /// Its answer makes no sense.
    #[error("scanner answered nonsense")]
    Protocol,
    /// It has too much to do.
    #[error("scanner is saturated")]
    Saturated,
}

impl Classify for ScanError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout => ErrorKind::Timeout,
            Self::Unavailable(_) | Self::Protocol | Self::Saturated => ErrorKind::Unavailable,
        }
    }
}

/// Judges content. A backend: clamd, ICAP, the built-in signatures.
#[async_trait]
pub trait Scanner: Component {
    /// Which engine with which signatures judges now.
    fn id(&self) -> ScannerId;

    /// Begins to scan one piece of content. Cancel-safe: a dropped scan has no effect.
    ///
    /// # Errors
    /// [`ScanError`]; the content then stays in quarantine.
    async fn begin(&self, input: ScanInput) -> Result<Box<dyn Scan>, ScanError>;
}

/// One scan in progress. Dropped before [`finish`](Scan::finish), it has no verdict.
#[async_trait]
pub trait Scan: Send {
    /// Hands over the next bytes, in order. Never called with an empty chunk, which clamd would
    /// take for the end of the content. Not cancel-safe: drop the scan afterwards.
    ///
    /// # Errors
    /// [`ScanError`]; the scan is over.
    async fn feed(&mut self, chunk: Bytes) -> Result<(), ScanError>;

    /// The verdict over everything that was fed.
    ///
    /// # Errors
    /// [`ScanError`]; never to be read as clean.
    async fn finish(self: Box<Self>) -> Result<Verdict, ScanError>;
}

//! What applications and the facade see of the logger.

use async_trait::async_trait;
use eonpro_core::component::Component;

use crate::error::LogError;
use crate::stats::LogStats;

/// The log of one process. Lines come in through the layer, not through this trait.
///
/// Closing drains the queue, makes the files durable and ends the writer; lines that come later
/// are dropped and counted. Close it last, so that the others can still tell how they ended.
#[async_trait]
pub trait Logger: Component {
    /// The counters since the start. Synchronous and lock-free.
    fn stats(&self) -> LogStats;

    /// Returns once every line logged before the call is written and, where a sink has stable
    /// storage, durable.
    ///
    /// Cancel-safe and idempotent; a dropped future does not stop the flush.
    ///
    /// # Errors
    /// [`LogError::Sink`] with the first sink that failed, [`LogError::Closed`] after `close`.
    async fn flush(&self) -> Result<(), LogError>;
}

//! The seam between the writer and what keeps the lines.

use std::fmt;
use std::io;

use eonpro_core::component::Durability;
use eonpro_core::time::Timestamp;
use tracing::Level;

/// A finished line, redacted already.
#[derive(Debug, Clone)]
pub struct LogLine {
    at: Timestamp,
    level: Level,
    json: String,
}

impl LogLine {
    pub(crate) fn new(at: Timestamp, level: Level, json: String) -> Self {
        Self { at, level, json }
    }

    /// When the event happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Its level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// One JSON object and its line break, the only one.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// What keeps lines. Called from the writer's thread alone, so it may block; while it does, the
/// queue fills, and beyond its bounds lines are dropped.
///
/// A sink must not log through `tracing`: its own lines would come back to it.
pub trait LogSink: fmt::Debug + Send + 'static {
    /// A short stable name, such as `console`.
    fn name(&self) -> &'static str;

    /// Whether what [`Self::sync`] acknowledged survives a crash. Constant.
    fn durability(&self) -> Durability;

    /// Hands the lines to the operating system, in order.
    ///
    /// # Errors
    /// Whatever the system says. A part of the lines may be written; none is tried again.
    fn write(&mut self, lines: &[LogLine]) -> io::Result<()>;

    /// Makes all lines written so far durable, as far as the sink can.
    ///
    /// # Errors
    /// Whatever the system says; what is durable is then unknown.
    fn sync(&mut self) -> io::Result<()>;
}

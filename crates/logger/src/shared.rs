//! What the layer and the handle of one logger share.

use eonpro_core::time::{SharedClock, Timestamp};
use std::sync::Arc;
use tracing::Level;

use crate::backend::{LogLine, Queue};
use crate::config::LoggerConfig;
use crate::field::Limits;
use crate::filter::LevelRules;
use crate::redact::Redactor;
use crate::stats::Tallies;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: LoggerConfig,
    pub(crate) clock: SharedClock,
    pub(crate) rules: LevelRules,
    pub(crate) redactor: Redactor,
    pub(crate) tallies: Arc<Tallies>,
    pub(crate) queue: Queue,
}

impl Shared {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            value_bytes: self.config.max_value_bytes,
            fields: self.config.max_fields,
        }
    }

    /// Counts a finished line and hands it to the writer, without ever waiting.
    pub(crate) fn accept(&self, at: Timestamp, level: Level, (json, truncated): (String, bool)) {
        self.tallies.accepted.add(1);
        self.tallies.truncated.add(u64::from(truncated));
        if !self.queue.offer(LogLine::new(at, level, json)) {
            self.tallies.dropped(level).add(1);
        }
    }
}

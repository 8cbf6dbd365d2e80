//! The logger: started once, held as a cheap handle, closed last.

use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::phi::PhiSchema;
use eonpro_core::time::SharedClock;

use crate::backend::{LogSink, Queue};
use crate::config::LoggerConfig;
use crate::error::LogError;
use crate::filter::LevelRules;
use crate::layer::JsonLayer;
use crate::redact::Redactor;
use crate::service::Logger;
use crate::shared::Shared;
use crate::stats::{LogStats, Tallies};

/// What a logger is made of.
#[derive(Debug)]
pub struct LoggerParts {
    /// Where lines take their time from.
    pub clock: SharedClock,
    /// The schemas whose PHI fields are redacted by name.
    pub schemas: Vec<&'static PhiSchema>,
    /// Where lines go. Each line goes to every sink; with none, lines are counted and gone,
    /// and the logger is volatile.
    pub sinks: Vec<Box<dyn LogSink>>,
}

/// A handle on a running logger; clones are the same logger. When the last handle and the layer
/// are gone, the writer drains its queue and ends.
#[derive(Debug, Clone)]
pub struct JsonLogger {
    shared: Arc<Shared>,
    durability: Durability,
}

impl JsonLogger {
    /// Starts the writer's thread, `eonpro-logger`. The application installs the layer; nothing is
    /// global.
    ///
    /// # Errors
    /// [`LogError::Config`] and [`LogError::Patterns`] for a configuration out of its limits,
    /// [`LogError::Thread`] if there is no thread to be had.
    pub fn start(config: LoggerConfig, parts: LoggerParts) -> Result<(JsonLayer, Self), LogError> {
        config.check()?;
        let redactor = Redactor::new(&parts.schemas, &config)?;
        // A log that goes nowhere is as good as lost.
        let durability = parts
            .sinks
            .iter()
            .map(|sink| sink.durability())
            .min()
            .unwrap_or(Durability::Volatile);
        let tallies = Arc::new(Tallies::default());
        let queue = Queue::start(&config, parts.clock.clone(), parts.sinks, tallies.clone())?;
        let shared = Arc::new(Shared {
            rules: LevelRules::new(&config),
            config,
            clock: parts.clock,
            redactor,
            tallies,
            queue,
        });
        Ok((JsonLayer::new(shared.clone()), Self { shared, durability }))
    }

    /// The redactor of this logger, for texts that leave by another way, such as alerts.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.shared.redactor
    }
}

#[async_trait]
impl Component for JsonLogger {
    fn name(&self) -> &'static str {
        "logger"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: self.durability,
            crypto: Validation::NoCrypto,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        self.shared.queue.health()
    }

    async fn close(&self) {
        self.shared.queue.close().await;
    }
}

#[async_trait]
impl Logger for JsonLogger {
    fn stats(&self) -> LogStats {
        self.shared.tallies.read(self.shared.redactor.counts())
    }

    async fn flush(&self) -> Result<(), LogError> {
        self.shared.queue.flush().await
    }
}

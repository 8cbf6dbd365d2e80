//! A logger with a sink that tests can read, fail and hold.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use eonpro_core::component::Durability;
use eonpro_core::phi::{Column, FieldSealing, PhiField, PhiSchema, RecordMode, Table};
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_logger::{
    JsonLayer, JsonLogger, LogLine, LogSink, LogStats, Logger as _, LoggerConfig, LoggerParts,
};
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

/// A record with a sealed and a plain field.
pub(crate) const CHART: &PhiSchema = &PhiSchema {
    name: "Chart",
    table: Table::new("charts"),
    mode: RecordMode::Fields,
    fields: &[
        PhiField {
            name: "chief_complaint",
            column: Column::new("complaint"),
            sealing: Some(FieldSealing::STANDARD),
            indexes: &[],
        },
        PhiField {
            name: "ward",
            column: Column::new("ward"),
            sealing: None,
            indexes: &[],
        },
    ],
    compounds: &[],
};

/// Thursday, 5 January 2023, shortly before noon.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_672_919_000);

#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    text: String,
    down: bool,
    syncs: usize,
}

impl Memory {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().text.clone()
    }

    pub(crate) fn syncs(&self) -> usize {
        self.0.lock().unwrap().syncs
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }
}

impl LogSink for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    fn write(&mut self, lines: &[LogLine]) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap();
        if kept.down {
            return Err(io::ErrorKind::StorageFull.into());
        }
        kept.text.extend(lines.iter().map(LogLine::json));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap();
        kept.syncs += 1;
        if kept.down {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

/// A sink whose next write waits until the test lets it go on.
#[derive(Debug)]
pub(crate) struct Gate {
    entered: Sender<()>,
    released: Receiver<()>,
}

/// The test's side of a [`Gate`].
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) entered: Receiver<()>,
    pub(crate) release: Sender<()>,
}

pub(crate) fn gate() -> (Gate, Keeper) {
    let ((entered, has_entered), (release, released)) = (channel(), channel());
    (
        Gate { entered, released },
        Keeper {
            entered: has_entered,
            release,
        },
    )
}

impl LogSink for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    fn write(&mut self, _: &[LogLine]) -> io::Result<()> {
        // Both fail once the test has let go of the gate; then it stands open.
        let _ = self.entered.send(());
        let _ = self.released.recv();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Bed {
    pub(crate) layer: JsonLayer,
    pub(crate) logger: JsonLogger,
    pub(crate) memory: Memory,
    pub(crate) clock: ManualClock,
}

pub(crate) fn bed() -> Bed {
    bed_with(LoggerConfig::default(), Vec::new())
}

pub(crate) fn bed_with(config: LoggerConfig, mut sinks: Vec<Box<dyn LogSink>>) -> Bed {
    let (memory, clock) = (Memory::default(), ManualClock::at(NOW));
    sinks.push(Box::new(memory.clone()));
    let parts = LoggerParts {
        clock: Arc::new(clock.clone()),
        schemas: vec![CHART],
        sinks,
    };
    let (layer, logger) = JsonLogger::start(config, parts).unwrap();
    Bed {
        layer,
        logger,
        memory,
        clock,
    }
}

pub(crate) fn config(change: impl FnOnce(&mut LoggerConfig)) -> LoggerConfig {
    let mut config = LoggerConfig::default();
    change(&mut config);
    config
}

impl Bed {
    /// Runs `work` with the logger as this thread's subscriber.
    pub(crate) fn log(&self, work: impl FnOnce()) {
        let subscriber = registry().with(self.layer.clone().filtered());
        tracing::subscriber::with_default(subscriber, work);
    }

    /// Every line so far.
    pub(crate) async fn lines(&self) -> Vec<Value> {
        self.logger.flush().await.unwrap();
        let text = self.memory.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The only line of `work`.
    pub(crate) async fn line(&self, work: impl FnOnce()) -> Value {
        self.log(work);
        let mut lines = self.lines().await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    pub(crate) fn stats(&self) -> LogStats {
        self.logger.stats()
    }
}

//! The log of the process: one subscriber, whose layer is that of the foundation which is open.
//!
//! A process has one subscriber for all its life, and this one opens two foundations after each
//! other. Whose log is closed has left before, so no line goes to a logger that drops it.

use eonpro::logger::{JsonLayer, LevelFilter};
use tracing::Subscriber;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

use crate::site::{Failure, Site};

/// Filtered out here, so that what is not logged costs nothing; single targets are for the layer
/// itself to judge.
type Socket = Filtered<reload::Layer<Option<JsonLayer>, Registry>, LevelFilter, Registry>;

/// See the [module](self).
#[derive(Debug)]
pub struct ProcessLog(reload::Handle<Option<JsonLayer>, Registry>);

impl ProcessLog {
    /// Becomes the log of the process, without a layer yet.
    pub fn install() -> Result<Self, Failure> {
        let (log, subscriber) = Self::made(LevelFilter::INFO);
        tracing::subscriber::set_global_default(subscriber)?;
        Ok(log)
    }

    fn made(level: LevelFilter) -> (Self, impl Subscriber) {
        let (layer, handle) = reload::Layer::new(None);
        let socket: Socket = layer.with_filter(level);
        (Self(handle), tracing_subscriber::registry().with(socket))
    }

    /// From now on lines go to the log of `site`.
    pub fn lead_to(&self, site: &Site) -> Result<(), Failure> {
        self.turn(Some(site.foundation.log_layer()))
    }

    /// From now on lines go nowhere.
    pub fn rest(&self) -> Result<(), Failure> {
        self.turn(None)
    }

    fn turn(&self, layer: Option<JsonLayer>) -> Result<(), Failure> {
        Ok(self.0.reload(layer)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use eonpro::core::component::Component as _;
    use eonpro::core::time::SystemClock;
    use eonpro::logger::{DailyFile, JsonLogger, Logger as _, LoggerConfig, LoggerParts};

    use super::*;

    fn logger(dir: &Path) -> (JsonLayer, JsonLogger) {
        let parts = LoggerParts {
            clock: Arc::new(SystemClock::new()),
            schemas: Vec::new(),
            sinks: vec![Box::new(DailyFile::open(dir, "test").unwrap())],
        };
        JsonLogger::start(LoggerConfig::default(), parts).unwrap()
    }

    fn text(dir: &Path) -> String {
        let files = std::fs::read_dir(dir).unwrap();
        files
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn each_line_goes_to_the_log_that_is_open_and_none_to_one_that_is_closed() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (log, subscriber) = ProcessLog::made(LevelFilter::INFO);
        let _installed = tracing::subscriber::set_default(subscriber);
        // One place in the source, whose interest is asked for once.
        let say = |what: &str| tracing::info!("{what}");
        say("before");
        let mut loggers = Vec::new();
        for (dir, what) in dirs.iter().zip(["first", "second"]) {
            let (layer, logger) = logger(dir.path());
            log.turn(Some(layer)).unwrap();
            say(what);
            tracing::debug!("too fine");
            log.rest().unwrap();
            logger.close().await;
            say("between");
            loggers.push(logger);
        }
        for ((dir, what), logger) in dirs.iter().zip(["first", "second"]).zip(loggers) {
            let (text, stats) = (text(dir.path()), logger.stats());
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains(&format!("\"message\":\"{what}\"")), "{text}");
            assert_eq!((stats.accepted, stats.written, stats.dropped()), (1, 1, 0));
        }
    }
}

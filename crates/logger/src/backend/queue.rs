//! The callers' side of the writer: a queue bounded by lines and by bytes that never waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use crossbeam_channel::{Sender, TrySendError};
use eonpro_core::component::Health;
use eonpro_core::time::SharedClock;
use tokio::sync::{oneshot, watch};

use super::sink::{LogLine, LogSink};
use super::writer::{Condition, Flush, State, Writer};
use crate::config::LoggerConfig;
use crate::error::LogError;
use crate::stats::Tallies;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Queue {
    // Taken out when the logger closes: the writer sees both channels end and drains them.
    inlets: RwLock<Option<Inlets>>,
    queued_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
    state: Arc<State>,
    ended: watch::Receiver<()>,
}

#[derive(Debug)]
struct Inlets {
    lines: Sender<LogLine>,
    flushes: Sender<Flush>,
}

impl Queue {
    /// Starts the writer.
    pub(crate) fn start(
        config: &LoggerConfig,
        clock: SharedClock,
        sinks: Vec<Box<dyn LogSink>>,
        tallies: Arc<Tallies>,
    ) -> Result<Self, LogError> {
        let (lines, line_queue) = crossbeam_channel::bounded(config.queue_lines);
        // Few at a time, each by a caller that waits for it.
        let (flushes, flush_queue) = crossbeam_channel::unbounded();
        let (alive, ended) = watch::channel(());
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let state = Arc::new(State::default());
        let writer = Writer {
            lines: line_queue,
            flushes: flush_queue,
            queued_bytes: queued_bytes.clone(),
            sinks,
            clock,
            tallies,
            state: state.clone(),
            reported: Default::default(),
            alive,
        };
        thread::Builder::new()
            .name("eonpro-logger".to_owned())
            .spawn(move || writer.run())
            .map_err(LogError::Thread)?;
        Ok(Self {
            inlets: RwLock::new(Some(Inlets { lines, flushes })),
            queued_bytes,
            max_bytes: config.queue_bytes,
            state,
            ended,
        })
    }

    /// Queues `line`; returns `false` if it had to be dropped. The lock is only ever held for
    /// writing while the logger closes.
    pub(crate) fn offer(&self, line: LogLine) -> bool {
        let inlets = self.inlets.read().unwrap_or_else(PoisonError::into_inner);
        let Some(inlets) = inlets.as_ref() else {
            return false;
        };
        let bytes = line.json().len();
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = if before + bytes > self.max_bytes {
            Err(TrySendError::Full(line))
        } else {
            inlets.lines.try_send(line)
        };
        if sent.is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent.is_ok()
    }

    pub(crate) async fn flush(&self) -> Result<(), LogError> {
        let (done, flushed) = oneshot::channel();
        {
            let inlets = self.inlets.read().unwrap_or_else(PoisonError::into_inner);
            let inlets = inlets.as_ref().ok_or(LogError::Closed)?;
            inlets.flushes.send(done).map_err(|_| LogError::Closed)?;
        }
        flushed.await.map_err(|_| LogError::Closed)?
    }

    pub(crate) async fn close(&self) {
        drop(
            self.inlets
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        // An error is what is waited for: the writer ended and dropped its side.
        while self.ended.clone().changed().await.is_ok() {}
    }

    pub(crate) fn health(&self) -> Health {
        let closed = self
            .inlets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none();
        match self.state.read() {
            _ if closed => Health::Unhealthy("logger is closed"),
            _ if self.ended.has_changed().is_err() => Health::Unhealthy("log writer has ended"),
            Condition::Failing => Health::Degraded("a log sink fails"),
            Condition::Dropping => Health::Degraded("log lines are being dropped"),
            Condition::Fine => Health::Healthy,
        }
    }
}

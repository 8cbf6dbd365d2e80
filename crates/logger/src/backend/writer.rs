//! The writer's thread: takes lines from the queue and gives them to every sink.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, select};
use eonpro_core::time::SharedClock;
use tokio::sync::{oneshot, watch};
use tracing::Level;

use super::sink::{LogLine, LogSink};
use crate::error::LogError;
use crate::field::{Fields, Value};
use crate::line::Line;
use crate::stats::Tallies;

/// A caller that waits for a flush.
pub(super) type Flush = oneshot::Sender<Result<(), LogError>>;

const LEVELS: [(Level, &str); 5] = [
    (Level::ERROR, "error"),
    (Level::WARN, "warn"),
    (Level::INFO, "info"),
    (Level::DEBUG, "debug"),
    (Level::TRACE, "trace"),
];

// Lines given to the sinks at once.
const BATCH: usize = 256;
const REPORT_BYTES: usize = 1024;

/// How the last batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Fine,
    Dropping,
    Failing,
}

/// The condition, as other threads see it.
#[derive(Debug, Default)]
pub(super) struct State(AtomicU8);

impl State {
    fn set(&self, condition: Condition) {
        self.0.store(condition as u8, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Condition {
        match self.0.load(Ordering::Relaxed) {
            0 => Condition::Fine,
            1 => Condition::Dropping,
            _ => Condition::Failing,
        }
    }
}

/// Lost lines that a line of the log tells of already.
#[derive(Debug, Default)]
pub(super) struct Reported {
    dropped: [u64; LEVELS.len()],
    failed: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) lines: Receiver<LogLine>,
    pub(super) flushes: Receiver<Flush>,
    pub(super) queued_bytes: Arc<AtomicUsize>,
    pub(super) sinks: Vec<Box<dyn LogSink>>,
    pub(super) clock: SharedClock,
    pub(super) tallies: Arc<Tallies>,
    pub(super) state: Arc<State>,
    pub(super) reported: Reported,
    // Dropped last, when all is written: whoever closes the logger waits for that.
    pub(super) alive: watch::Sender<()>,
}

impl Writer {
    /// Runs until the callers' side is gone and everything is written.
    pub(super) fn run(mut self) {
        let (lines, flushes) = (self.lines.clone(), self.flushes.clone());
        loop {
            select! {
                recv(lines) -> line => match line {
                    Ok(first) => {
                        self.write_batch(first);
                    }
                    Err(_) => break,
                },
                recv(flushes) -> flush => match flush {
                    Ok(done) => self.flush(done),
                    Err(_) => break,
                },
            }
        }
        while let Ok(first) = lines.recv() {
            self.write_batch(first);
        }
        // One sync for all: after one that failed, a second may succeed and mean nothing.
        let outcome = self.sync();
        for done in flushes.try_iter() {
            let _ = done.send(same(&outcome));
        }
        drop(self.alive);
    }

    /// Writes what is queued now, then makes it durable. Lines were queued before their flush, so
    /// they are among those.
    fn flush(&mut self, done: Flush) {
        let mut left = self.lines.len();
        while left > 0 {
            let Ok(first) = self.lines.try_recv() else {
                break;
            };
            left = left.saturating_sub(self.write_batch(first));
        }
        let _ = done.send(self.sync());
    }

    fn write_batch(&mut self, first: LogLine) -> usize {
        let mut batch = Vec::with_capacity(BATCH.min(self.lines.len() + 1));
        batch.push(first);
        batch.extend(self.lines.try_iter().take(BATCH - 1));
        let count = batch.len();
        let bytes: usize = batch.iter().map(|line| line.json().len()).sum();
        let failed = self.write(&batch, bytes);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let lost = self.report_losses(failed);
        self.state.set(match (failed, lost) {
            (true, _) => Condition::Failing,
            (false, true) => Condition::Dropping,
            (false, false) => Condition::Fine,
        });
        count
    }

    /// Returns whether a sink failed.
    fn write(&mut self, batch: &[LogLine], bytes: usize) -> bool {
        let errors = self.give(batch);
        self.tallies.write_errors.add(errors as u64);
        if errors > 0 {
            self.tallies.failed.add(batch.len() as u64);
            return true;
        }
        self.tallies.written.add(batch.len() as u64);
        self.tallies.bytes.add(bytes as u64);
        false
    }

    /// Tells in the log itself what is missing from it; what failed, once it works again. Returns
    /// whether there was anything to tell.
    fn report_losses(&mut self, failing: bool) -> bool {
        let mut fields = Fields::default();
        let mut now = Reported {
            dropped: [0; LEVELS.len()],
            failed: if failing {
                self.reported.failed
            } else {
                self.tallies.failed.read()
            },
        };
        for ((level, name), (was, is)) in LEVELS
            .iter()
            .zip(self.reported.dropped.iter().zip(&mut now.dropped))
        {
            *is = self.tallies.dropped(*level).read();
            push_count(&mut fields, name, is.saturating_sub(*was));
        }
        push_count(
            &mut fields,
            "failed",
            now.failed.saturating_sub(self.reported.failed),
        );
        if fields.list.is_empty() {
            return false;
        }
        let at = self.clock.wall();
        let mut line = Line::open(REPORT_BYTES, at, Level::WARN, "eonpro_logger");
        line.push_message(&Value::Text("log lines are missing".to_owned()));
        line.push_fields(&fields);
        let report = LogLine::new(at, Level::WARN, line.close().0);
        let errors = self.give(std::slice::from_ref(&report));
        self.tallies.write_errors.add(errors as u64);
        // A report that no sink took is made again.
        if errors == 0 || errors < self.sinks.len() {
            self.reported = now;
        }
        true
    }

    /// Gives the lines to every sink; returns how many sinks failed.
    fn give(&mut self, lines: &[LogLine]) -> usize {
        let give = |sink: &mut Box<dyn LogSink>| guarded(|| sink.write(lines)).is_err();
        self.sinks
            .iter_mut()
            .map(give)
            .filter(|failed| *failed)
            .count()
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let mut outcome = Ok(());
        for sink in &mut self.sinks {
            if let Err(source) = guarded(|| sink.sync()) {
                self.tallies.write_errors.add(1);
                self.state.set(Condition::Failing);
                outcome = outcome.and(Err(LogError::Sink {
                    sink: sink.name(),
                    source,
                }));
            }
        }
        outcome
    }
}

/// The outcome of a sync, for one more caller that waits for it.
fn same(outcome: &Result<(), LogError>) -> Result<(), LogError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(LogError::Sink { sink, source }) => Err(LogError::Sink {
            sink,
            source: io::Error::new(source.kind(), source.to_string()),
        }),
        Err(_) => Err(LogError::Closed),
    }
}

/// A sink that panics has failed; the writer and the other sinks go on.
fn guarded(call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(io::Error::other("sink panicked")))
}

fn push_count(fields: &mut Fields, name: &'static str, count: u64) {
    if count > 0 {
        fields.list.push((name, Value::Literal(count.to_string())));
    }
}

//! Measuring: every service reports each operation once.

use std::time::Duration;

use crate::error::{Classify, ErrorKind};
use crate::time::{Clock, Monotonic};

/// An operation of a service, named in the source: `Operation::new("cache", "get")`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The service.
    pub service: &'static str,
    /// What it does.
    pub name: &'static str,
}

impl Operation {
    /// The operation `name` of `service`.
    #[must_use]
    pub const fn new(service: &'static str, name: &'static str) -> Self {
        Self { service, name }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It did what was asked.
    Ok,
    /// It failed.
    Failed(ErrorKind),
}

/// Takes measurements. Synchronous and cheap; never blocks, never fails.
pub trait Observer: std::fmt::Debug + Send + Sync + 'static {
    /// Operation `op` ended with `verdict` after `elapsed`.
    fn observe(&self, op: Operation, verdict: Verdict, elapsed: Duration);
}

/// Measures nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn observe(&self, _: Operation, _: Verdict, _: Duration) {}
}

/// One running operation. Dropped without [`Timer::end`], it reports a timeout: the caller went
/// away.
#[derive(Debug)]
pub struct Timer<'a> {
    op: Operation,
    started: Monotonic,
    clock: &'a dyn Clock,
    observer: &'a dyn Observer,
    ended: bool,
}

impl<'a> Timer<'a> {
    /// Starts to measure.
    #[must_use]
    pub fn start(op: Operation, clock: &'a dyn Clock, observer: &'a dyn Observer) -> Self {
        Self {
            op,
            started: clock.monotonic(),
            clock,
            observer,
            ended: false,
        }
    }

    /// Reports how it ended and hands the result back.
    pub fn end<T, E: Classify>(mut self, result: Result<T, E>) -> Result<T, E> {
        self.report(match &result {
            Ok(_) => Verdict::Ok,
            Err(error) => Verdict::Failed(error.kind()),
        });
        result
    }

    fn report(&mut self, verdict: Verdict) {
        self.ended = true;
        let elapsed = self.clock.monotonic().since(self.started);
        self.observer.observe(self.op, verdict, elapsed);
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.report(Verdict::Failed(ErrorKind::Timeout));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ManualClock, Timestamp};
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<(Verdict, Duration)>>);

    impl Observer for Recorder {
        fn observe(&self, _: Operation, verdict: Verdict, elapsed: Duration) {
            self.0.lock().unwrap().push((verdict, elapsed));
        }
    }

    #[test]
    fn each_operation_is_reported_once_with_its_time() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let recorder = Recorder::default();
        let op = Operation::new("test", "op");
        let timer = Timer::start(op, &clock, &recorder);
        clock.advance(Duration::from_millis(3));
        let _ = timer.end(Err::<(), _>(crate::port::KvError::Conflict));
        drop(Timer::start(op, &clock, &recorder));
        assert_eq!(
            *recorder.0.lock().unwrap(),
            [
                (
                    Verdict::Failed(ErrorKind::Conflict),
                    Duration::from_millis(3)
                ),
                (Verdict::Failed(ErrorKind::Timeout), Duration::ZERO),
            ]
        );
    }
}

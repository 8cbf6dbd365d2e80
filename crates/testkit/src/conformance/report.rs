//! What a suite found.

use std::fmt;
use std::future::Future;
use std::time::Duration;

/// A check did not find what it expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(pub String);

impl<E: std::error::Error> From<E> for Mismatch {
    fn from(error: E) -> Self {
        let mut text = format!("unexpected error: {error}");
        let mut source = error.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        Self(text)
    }
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The check.
    pub check: &'static str,
    /// What it found.
    pub found: Mismatch,
}

/// The outcome of a suite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks that passed.
    pub passed: Vec<&'static str>,
    /// The checks that failed.
    pub failed: Vec<Failure>,
}

impl Report {
    pub(crate) fn add(&mut self, check: &'static str, outcome: Result<(), Mismatch>) {
        match outcome {
            Ok(()) => self.passed.push(check),
            Err(found) => self.failed.push(Failure { check, found }),
        }
    }

    /// Runs one check; a panic and a check that takes longer than `patience` are failures.
    pub(crate) async fn judge(
        &mut self,
        check: &'static str,
        patience: Duration,
        running: impl Future<Output = Result<(), Mismatch>> + Send + 'static,
    ) {
        let outcome = tokio::time::timeout(patience, eonpro_core::task::outlive(running)).await;
        let outcome = match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Mismatch("it panicked".to_owned())),
            Err(_) => Err(Mismatch("it hangs".to_owned())),
        };
        self.add(check, outcome);
    }

    /// Whether `check` failed.
    #[must_use]
    pub fn fails(&self, check: &str) -> bool {
        self.failed.iter().any(|failure| failure.check == check)
    }

    /// Ends the test if anything failed, or if nothing was checked.
    ///
    /// # Panics
    /// With the report.
    #[expect(clippy::panic, reason = "the end of a failed test")]
    pub fn assert_conforms(&self) {
        if !self.failed.is_empty() || self.passed.is_empty() {
            panic!("{self}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed) = (self.passed.len(), self.failed.len());
        writeln!(f, "{passed} checks passed, {failed} failed")?;
        for failure in &self.failed {
            writeln!(f, "  {}: {}", failure.check, failure.found.0)?;
        }
        Ok(())
    }
}

/// Expects that something holds.
pub(crate) fn expect(holds: bool, otherwise: impl Into<String>) -> Result<(), Mismatch> {
    if holds {
        Ok(())
    } else {
        Err(Mismatch(otherwise.into()))
    }
}

/// Expects that two things are equal.
pub(crate) fn expect_eq<T: PartialEq + fmt::Debug>(
    found: &T,
    expected: &T,
    what: &str,
) -> Result<(), Mismatch> {
    expect(
        found == expected,
        format!("{what}: found {found:?}, expected {expected:?}"),
    )
}

//! Lines on standard error, standard output, or any other writer.

use std::fmt;
use std::io::{self, Write};

use eonpro_core::component::Durability;

use super::sink::{LogLine, LogSink};

/// Prints the same JSON lines as every sink. They hold no control characters, so a value cannot
/// steer the terminal.
pub struct Console {
    out: Box<dyn Write + Send>,
}

impl Console {
    /// Standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::to(Box::new(io::stderr()))
    }

    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::to(Box::new(io::stdout()))
    }

    /// Any writer.
    #[must_use]
    pub fn to(out: Box<dyn Write + Send>) -> Self {
        Self { out }
    }
}

impl LogSink for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn durability(&self) -> Durability {
        Durability::Stateless
    }

    fn write(&mut self, lines: &[LogLine]) -> io::Result<()> {
        // One call for all lines, so that those of other processes come between, not within.
        let text: String = lines.iter().map(LogLine::json).collect();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

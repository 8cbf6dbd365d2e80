//! What is logged, what is redacted, and how much memory it may take.

use tracing::level_filters::LevelFilter;

use crate::error::LogError;

/// Levels, names and limits. The defaults suit one service process.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct LoggerConfig {
    /// The most verbose level that is logged. Default `INFO`.
    pub level: LevelFilter,
    /// Levels of single targets, such as `("hyper", WARN)`: the target and all modules below it.
    /// The longest match decides. Default none.
    pub targets: Vec<(String, LevelFilter)>,
    /// Field names that are redacted beside those of the schemas and the built-in list, in any
    /// spelling: `chart_note` also means `chartNote` and `old-chart-note`.
    pub redact_fields: Vec<String>,
    /// Field names that are logged although the built-in list names them, or although a schema's
    /// name is a part of them: `token_count`. Content patterns still apply, and the exact name of a
    /// schema's field is redacted all the same.
    pub allow_fields: Vec<String>,
    /// Bytes of one line with its line break. Default 16 KiB; 1 KiB to 1 MiB.
    pub max_line_bytes: usize,
    /// Bytes of one value before it is escaped. Default 8 KiB; 64 bytes to 1 MiB.
    pub max_value_bytes: usize,
    /// Fields of one event, and of one span. Default 64; 1 to 1,024.
    pub max_fields: usize,
    /// Nested spans that a line shows, innermost first to stay. Default 16; 0 to 128.
    pub max_spans: usize,
    /// Lines that wait to be written. Default 8,192; 1 to 2^20.
    pub queue_lines: usize,
    /// Bytes that wait to be written. Default 8 MiB; at least one line.
    pub queue_bytes: usize,
}

impl Default for LoggerConfig {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            targets: Vec::new(),
            redact_fields: Vec::new(),
            allow_fields: Vec::new(),
            max_line_bytes: 16 * 1024,
            max_value_bytes: 8 * 1024,
            max_fields: 64,
            max_spans: 16,
            queue_lines: 8 * 1024,
            queue_bytes: 8 * 1024 * 1024,
        }
    }
}

impl LoggerConfig {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let mib = 1024 * 1024;
        let rules = [
            (
                (1024..=mib).contains(&self.max_line_bytes),
                "max_line_bytes outside of 1 KiB to 1 MiB",
            ),
            (
                (64..=mib).contains(&self.max_value_bytes),
                "max_value_bytes outside of 64 B to 1 MiB",
            ),
            (
                (1..=1024).contains(&self.max_fields),
                "max_fields outside of 1 to 1,024",
            ),
            (self.max_spans <= 128, "max_spans above 128"),
            (
                (1..=1 << 20).contains(&self.queue_lines),
                "queue_lines outside of 1 to 2^20",
            ),
            (
                self.queue_bytes >= self.max_line_bytes,
                "queue_bytes below max_line_bytes",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(LogError::Config(rule)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_limits() {
        assert!(LoggerConfig::default().check().is_ok());
    }

    #[test]
    fn a_limit_out_of_range_is_named() {
        let config = LoggerConfig {
            queue_bytes: 10,
            ..LoggerConfig::default()
        };
        let error = config.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "logger configuration is out of range: queue_bytes below max_line_bytes"
        );
    }
}

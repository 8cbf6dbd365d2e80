//! Which events and spans are logged: a level for all, and levels of single targets.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::config::LoggerConfig;

/// The levels of a logger, as a filter of its layer. They are decided by metadata alone, so once for
/// each place in the source.
#[derive(Debug, Clone)]
pub struct LevelRules {
    // The longest target first.
    targets: Vec<(String, LevelFilter)>,
    rest: LevelFilter,
}

impl LevelRules {
    pub(crate) fn new(config: &LoggerConfig) -> Self {
        let mut targets = config.targets.clone();
        targets.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        Self {
            targets,
            rest: config.level,
        }
    }

    pub(crate) fn admit(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level_of(metadata.target())
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        let covers = |rule: &str| {
            target
                .strip_prefix(rule)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        self.targets
            .iter()
            .find(|(rule, _)| covers(rule))
            .map_or(self.rest, |(_, level)| *level)
    }
}

impl<S: Subscriber> Filter<S> for LevelRules {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.admit(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.admit(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.targets
            .iter()
            .map(|(_, level)| *level)
            .chain([self.rest])
            .max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_target_decides_and_only_whole_modules_count() {
        let rules = LevelRules::new(&LoggerConfig {
            targets: vec![
                ("hyper".to_owned(), LevelFilter::WARN),
                ("hyper::client".to_owned(), LevelFilter::TRACE),
            ],
            ..LoggerConfig::default()
        });
        assert_eq!(rules.level_of("hyper::server"), LevelFilter::WARN);
        assert_eq!(rules.level_of("hyper::client::pool"), LevelFilter::TRACE);
        assert_eq!(rules.level_of("hyperion"), LevelFilter::INFO);
    }
}

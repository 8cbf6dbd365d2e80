//! A label: a name from the source and a short token.

use eonpro_core::event::Code;
use opentelemetry::KeyValue;

use crate::error::MetricsError;

/// One label of a series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    name: &'static str,
    value: Code,
}

impl Label {
    /// The label `name="value"`.
    ///
    /// # Errors
    /// [`MetricsError::Name`] unless the name is `[a-z][a-z0-9_]*`, or if it is `le` or `quantile`,
    /// which the format gives a meaning; [`MetricsError::LabelValue`] unless the value is a
    /// [`Code`].
    pub fn new(name: &'static str, value: &str) -> Result<Self, MetricsError> {
        check_name(name)?;
        if matches!(name, "le" | "quantile") {
            return Err(MetricsError::Name);
        }
        let value = Code::new(value).map_err(|_| MetricsError::LabelValue)?;
        Ok(Self { name, value })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn attribute(&self) -> KeyValue {
        KeyValue::new(self.name, self.value.as_str().to_owned())
    }
}

/// `[a-z][a-z0-9_]*`, at most 100 characters: valid for Prometheus and OpenTelemetry alike.
pub(crate) fn check_name(name: &str) -> Result<(), MetricsError> {
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    let rest = name
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if first && rest && name.len() <= 100 {
        Ok(())
    } else {
        Err(MetricsError::Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_that_would_break_the_format_are_refused() {
        for name in [
            "", "Name", "1st", "a-b", "a b", "a\"", "ä", "le", "quantile",
        ] {
            assert_eq!(Label::new(name, "x"), Err(MetricsError::Name), "{name}");
        }
        for value in ["", "two words", "quo\"te", "line\nbreak"] {
            assert_eq!(
                Label::new("ok", value),
                Err(MetricsError::LabelValue),
                "{value:?}"
            );
        }
    }
}

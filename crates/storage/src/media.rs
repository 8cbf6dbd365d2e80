//! Media types as uploaders declare them (RFC 6838), parsed once and then comparable.

use std::fmt;
use std::sync::Arc;

use crate::error::StorageError;

const LONGEST: usize = 127;

/// A media type without parameters, in lower case: `application/pdf`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Arc<str>);

impl MediaType {
    /// Parses `text`. Parameters are dropped, but a `charset` other than UTF-8 or ASCII is refused:
    /// the content would not be what the type promises.
    ///
    /// # Errors
    /// [`StorageError::InvalidMediaType`].
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        let mut parts = text.split(';');
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let well_formed = match essence.split_once('/') {
            Some((kind, subtype)) => is_name(kind) && is_name(subtype),
            None => false,
        };
        if !well_formed || !parts.all(is_harmless_parameter) {
            return Err(StorageError::InvalidMediaType);
        }
        Ok(Self(essence.into()))
    }

    /// `type/subtype`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 6838 section 4.2: the characters of a restricted name.
fn is_name(text: &str) -> bool {
    let starts = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    starts && text.len() <= LONGEST && text.bytes().all(allowed)
}

fn is_harmless_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    if !name.trim().eq_ignore_ascii_case("charset") {
        return true;
    }
    let value = value.trim().trim_matches('"');
    ["utf-8", "utf8", "us-ascii", "ascii"]
        .iter()
        .any(|known| value.eq_ignore_ascii_case(known))
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_its_essence_in_lower_case() {
        for (text, essence) in [
            ("application/pdf", "application/pdf"),
            (" Text/Plain ; charset=UTF-8", "text/plain"),
            (
                "text/plain; charset=\"us-ascii\"; format=flowed",
                "text/plain",
            ),
            ("application/fhir+json", "application/fhir+json"),
        ] {
            assert_eq!(MediaType::parse(text).unwrap().as_str(), essence, "{text}");
        }
    }

    #[test]
    fn what_is_no_media_type_or_promises_another_charset_is_refused() {
        for text in [
            "",
            "pdf",
            "text/",
            "/plain",
            "text/pla in",
            "text/plain\r\nX: y",
            "text/plain; charset=utf-16",
            "text/plain; nonsense",
            "../etc/passwd",
            "text/../x",
        ] {
            let refused = MediaType::parse(text);
            assert!(
                matches!(refused, Err(StorageError::InvalidMediaType)),
                "{text}"
            );
        }
    }
}

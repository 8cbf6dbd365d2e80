//! The names of a tenant: its slug, which may stand in a host name, and its display name.
//!
//! A slug is one label of RFC 1123 in lower case. It never changes and is never given twice, so an
//! old bookmark can never lead to another tenant.

use std::fmt;

use eonpro_core::{Classify, ErrorKind};

/// Labels that products keep for themselves.
const RESERVED: [&str; 21] = [
    "admin",
    "api",
    "app",
    "assets",
    "auth",
    "cdn",
    "console",
    "docs",
    "eonpro",
    "ftp",
    "health",
    "help",
    "localhost",
    "login",
    "mail",
    "root",
    "static",
    "status",
    "support",
    "system",
    "www",
];

/// Why a name was refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not 1 to 63 characters of `a-z 0-9 -` without a hyphen at either end.
    #[error("slug is not a lowercase label of RFC 1123")]
    NotALabel,
    /// The label is reserved: by IDNA (`??--`), by products (`www`), or it reads as a number or an id.
    #[error("slug is reserved")]
    Reserved,
    /// Not 1 to 200 characters without control characters.
    #[error("name is empty, too long or has control characters")]
    NotAName,
}

impl Classify for NameError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// The short name of a tenant: one label of a host name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantSlug(Box<str>);

impl TenantSlug {
    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`NameError::NotALabel`], [`NameError::Reserved`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !fits {
            return Err(NameError::NotALabel);
        }
        // RFC 5890: labels with "--" as third and fourth character are reserved, "xn--" among them.
        let reserved_by_idna = text.as_bytes().get(2..4) == Some(b"--");
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit());
        let an_id = uuid::Uuid::try_parse(text).is_ok();
        if reserved_by_idna || numeric || an_id || RESERVED.contains(&text) {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The display name of an organization. Never the name of a patient: it is stored in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantName(Box<str>);

impl TenantName {
    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`NameError::NotAName`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        let length = text.chars().count();
        if !(1..=200).contains(&length) || text.chars().any(char::is_control) {
            return Err(NameError::NotAName);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_one_lowercase_label_of_rfc_1123() {
        for good in ["a", "clinic-7", "7th-street", "st-mary", &"x".repeat(63)] {
            assert!(TenantSlug::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a_b",
            "a b",
            "ä",
            "a\0",
            "a.",
            &"x".repeat(64),
        ] {
            assert_eq!(TenantSlug::new(bad), Err(NameError::NotALabel), "{bad:?}");
        }
    }

    #[test]
    fn a_slug_that_reads_as_something_else_is_reserved() {
        for bad in [
            "xn--mnchen-3ya",
            "ab--c",
            "www",
            "42",
            "0d1f2e3a4b5c6d7e8f90a1b2c3d4e5f6",
            "0d1f2e3a-4b5c-6d7e-8f90-a1b2c3d4e5f6",
        ] {
            assert_eq!(TenantSlug::new(bad), Err(NameError::Reserved), "{bad}");
        }
    }

    #[test]
    fn a_display_name_has_no_control_characters() {
        assert!(TenantName::new("St. Mary's Städtische Klinik").is_ok());
        for bad in ["", "a\nb", "a\u{7}", &"x".repeat(201)] {
            assert_eq!(TenantName::new(bad), Err(NameError::NotAName), "{bad:?}");
        }
    }
}

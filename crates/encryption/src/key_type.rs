//! What a data key is for and how it seals: together they name its role.
//!
//! The suite is part of the role's name, the name is part of what the key is wrapped for, and a
//! sealed value names its key alone: so nothing that an attacker can write chooses an algorithm.

use std::fmt;

use eonpro_core::phi::Suite;
use eonpro_core::port::KeyPurpose;

const COMPACT: &str = "+compact";
const DETERMINISTIC: &str = "+deterministic";

/// The type of a data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyType {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// How it seals.
    pub suite: Suite,
}

impl KeyType {
    /// The name of its role in the key record: the purpose, and the suite behind a plus if it is not
    /// the standard one.
    #[must_use]
    pub fn role(self) -> String {
        self.to_string()
    }
}

/// A key of the standard suite.
impl From<KeyPurpose> for KeyType {
    fn from(purpose: KeyPurpose) -> Self {
        Self {
            purpose,
            suite: Suite::Standard,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.purpose.as_str())?;
        f.write_str(match self.suite {
            Suite::Standard => "",
            Suite::Compact => COMPACT,
            Suite::Deterministic => DETERMINISTIC,
        })
    }
}

/// Purpose and suite of a role's name. No purpose has a plus in its own name.
pub(crate) fn split_role(name: &str) -> (&str, Suite) {
    if let Some(purpose) = name.strip_suffix(COMPACT) {
        (purpose, Suite::Compact)
    } else if let Some(purpose) = name.strip_suffix(DETERMINISTIC) {
        (purpose, Suite::Deterministic)
    } else {
        (name, Suite::Standard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_tells_purpose_and_suite() {
        for suite in Suite::ALL {
            let of = KeyType {
                purpose: KeyPurpose::RECORDS,
                suite,
            };
            assert_eq!(split_role(&of.role()), ("records", suite));
        }
        assert_eq!(KeyType::from(KeyPurpose::FILES).role(), "files");
        assert_eq!(
            split_role("records+other"),
            ("records+other", Suite::Standard)
        );
    }
}

//! Normalizers: the rules by which search terms become comparable.

use std::borrow::Cow;
use std::fmt;

/// How a value is normalized before it is indexed. Id and version are part of the MAC, so that a
/// changed rule can never silently lose hits.
///
/// `docs/formats/encryption.md` defines each rule. A text that does not fit its rule is refused
/// with [`SealError::Unindexable`](crate::port::SealError::Unindexable); one that normalizes to
/// nothing has no token.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Normalizer {
    /// As it is. Id `exact`.
    Exact,
    /// Unicode NFKC, lower case, inner white space folded to one space, trimmed. Id `folded`.
    Folded,
    /// ASCII digits only; everything else is dropped. Id `digits`.
    Digits,
    /// ASCII letters and digits only, upper case. Id `alphanumeric`.
    Alphanumeric,
    /// A telephone number in the international form of ITU-T E.164, `+` and 7 to 15 digits. Id
    /// `e164:<country>`.
    E164 {
        /// The calling code that a national number gets: 1 to 999, such as 1 or 44.
        country: u16,
    },
    /// The last characters of what [`Normalizer::Alphanumeric`] keeps; all of them if there are
    /// fewer. Id `last:<count>`.
    Last {
        /// How many: 1 to 32.
        count: u8,
    },
    /// The first characters of what [`Normalizer::Folded`] gives; all of them if there are fewer. Id
    /// `prefix:<length>`.
    Prefix {
        /// How many Unicode scalar values: 1 to 32.
        length: u8,
    },
    /// The year of an ISO 8601 date: `1985`. Id `year`.
    Year,
    /// The year and month of an ISO 8601 date: `1985-04`. Id `year_month`.
    YearMonth,
    /// The month and day of an ISO 8601 date: `--04-12`. Id `month_day`.
    MonthDay,
    /// The bucket in which a whole number lies, named by its least number. Id `bucket:<width>`.
    Bucket {
        /// How many numbers a bucket holds: at least 1.
        width: i64,
    },
}

impl Normalizer {
    /// The most characters that `last` and `prefix` keep.
    pub const MAX_CHARS: u8 = 32;

    /// The stable id: the rule's name, and its parameter after a colon.
    #[must_use]
    pub fn id(self) -> Cow<'static, str> {
        match self {
            Self::Exact => "exact".into(),
            Self::Folded => "folded".into(),
            Self::Digits => "digits".into(),
            Self::Alphanumeric => "alphanumeric".into(),
            Self::Year => "year".into(),
            Self::YearMonth => "year_month".into(),
            Self::MonthDay => "month_day".into(),
            Self::E164 { country } => format!("e164:{country}").into(),
            Self::Last { count } => format!("last:{count}").into(),
            Self::Prefix { length } => format!("prefix:{length}").into(),
            Self::Bucket { width } => format!("bucket:{width}").into(),
        }
    }

    /// The rule with that id, its parameter within bounds and in decimal without leading zeros;
    /// `None` if there is none.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let (name, parameter) = match id.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter.parse::<i64>().ok()?)),
            None => (id, None),
        };
        let rule = match (name, parameter) {
            ("exact", None) => Self::Exact,
            ("folded", None) => Self::Folded,
            ("digits", None) => Self::Digits,
            ("alphanumeric", None) => Self::Alphanumeric,
            ("year", None) => Self::Year,
            ("year_month", None) => Self::YearMonth,
            ("month_day", None) => Self::MonthDay,
            ("e164", Some(country)) => Self::E164 {
                country: country.try_into().ok()?,
            },
            ("last", Some(count)) => Self::Last {
                count: count.try_into().ok()?,
            },
            ("prefix", Some(length)) => Self::Prefix {
                length: length.try_into().ok()?,
            },
            ("bucket", Some(width)) => Self::Bucket { width },
            _ => return None,
        };
        // The comparison refuses `last:04` and `last:+4`: one rule has one id.
        (rule.is_possible() && rule.id() == id).then_some(rule)
    }

    /// Whether the parameter is within its bounds.
    #[must_use]
    pub const fn is_possible(self) -> bool {
        match self {
            Self::E164 { country } => country >= 1 && country <= 999,
            Self::Last { count: chars } | Self::Prefix { length: chars } => {
                chars >= 1 && chars <= Self::MAX_CHARS
            }
            Self::Bucket { width } => width >= 1,
            _ => true,
        }
    }

    /// The version of its rule.
    #[must_use]
    pub const fn version(self) -> u8 {
        1
    }
}

/// The id.
impl fmt::Display for Normalizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Normalizer; 11] = [
        Normalizer::Exact,
        Normalizer::Folded,
        Normalizer::Digits,
        Normalizer::Alphanumeric,
        Normalizer::E164 { country: 44 },
        Normalizer::Last { count: 4 },
        Normalizer::Prefix { length: 3 },
        Normalizer::Year,
        Normalizer::YearMonth,
        Normalizer::MonthDay,
        Normalizer::Bucket { width: 10 },
    ];

    #[test]
    fn every_rule_is_the_one_with_its_id_and_no_two_share_one() {
        for rule in ALL {
            assert_eq!(Normalizer::parse(&rule.id()), Some(rule), "{rule}");
            assert_eq!(
                ALL.iter().filter(|other| other.id() == rule.id()).count(),
                1
            );
        }
    }

    #[test]
    fn a_rule_that_does_not_exist_has_no_id() {
        for id in [
            "",
            "soundex",
            "last",
            "exact:1",
            "last:0",
            "last:33",
            "last:04",
            "last:+4",
            "last:256",
            "last:-1",
            "prefix:0",
            "prefix:",
            "e164",
            "e164:0",
            "e164:1000",
            "bucket:0",
            "bucket:-5",
            "bucket:9223372036854775808",
            "Folded",
            "folded ",
        ] {
            assert_eq!(Normalizer::parse(id), None, "{id:?}");
        }
    }
}

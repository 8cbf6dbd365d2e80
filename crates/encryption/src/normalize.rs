//! Normalizers: equal search terms become equal bytes before they are indexed.
//!
//! A rule never changes under its version: id and version are part of the MAC. Every rule is
//! idempotent, so that what it gives can be asked for as it stands: `1985` by `year`, `3456` by
//! `last:4`.

use std::ops::Deref;

use eonpro_core::phi::Normalizer;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::{dates, phone};

/// The longest text that is normalized, in bytes.
pub const MAX_INDEX_TEXT: usize = 64 * 1024;

/// Why a text has no normalized form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The text does not fit the rule.
    Text,
    /// The rule is of a newer release, or its parameter out of bounds.
    Rule,
}

/// A text in its normal form: the text itself where the rule changes nothing, or a copy that is wiped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Normal<'a> {
    As(&'a str),
    Changed(Zeroizing<String>),
}

impl Default for Normal<'_> {
    fn default() -> Self {
        Self::As("")
    }
}

impl Deref for Normal<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::As(text) => text,
            Self::Changed(text) => text,
        }
    }
}

/// `text` by the rule of `normalizer`; empty if nothing of it is left.
pub(crate) fn normalize(normalizer: Normalizer, text: &str) -> Result<Normal<'_>, Misfit> {
    if !normalizer.is_possible() {
        return Err(Misfit::Rule);
    }
    match normalizer {
        Normalizer::Exact => Ok(Normal::As(text)),
        other => changed(other, text).map(Normal::Changed),
    }
}

fn changed(normalizer: Normalizer, text: &str) -> Result<Zeroizing<String>, Misfit> {
    match normalizer {
        Normalizer::Digits => {
            // Reserved once, so that growing leaves no copies behind.
            let mut out = Zeroizing::new(String::with_capacity(text.len()));
            out.extend(text.chars().filter(char::is_ascii_digit));
            Ok(out)
        }
        Normalizer::Alphanumeric => Ok(alphanumeric(text)),
        Normalizer::Folded => Ok(fold(text)),
        Normalizer::Last { count } => Ok(last(&alphanumeric(text), count)),
        Normalizer::Prefix { length } => Ok(prefix(&fold(text), length)),
        // What is only white space is absent, as it is for `folded`; nothing else may be missing.
        _ if text.trim_ascii().is_empty() => Ok(Zeroizing::default()),
        Normalizer::E164 { country } => phone::e164(text, country).ok_or(Misfit::Text),
        Normalizer::Year => dates::year(text).ok_or(Misfit::Text),
        Normalizer::YearMonth => dates::year_month(text).ok_or(Misfit::Text),
        Normalizer::MonthDay => dates::month_day(text).ok_or(Misfit::Text),
        Normalizer::Bucket { width } => bucket(text, width).ok_or(Misfit::Text),
        _ => Err(Misfit::Rule),
    }
}

fn alphanumeric(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    out.extend(
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|char| char.to_ascii_uppercase()),
    );
    out
}

/// The last `count` characters of ASCII text.
fn last(text: &str, count: u8) -> Zeroizing<String> {
    let from = text.len().saturating_sub(usize::from(count));
    Zeroizing::new(text.get(from..).unwrap_or_default().to_owned())
}

/// The first `length` scalar values of folded text, without a space at the end.
fn prefix(text: &str, length: u8) -> Zeroizing<String> {
    let end = text.char_indices().nth(usize::from(length));
    let end = end.map_or(text.len(), |(at, _)| at);
    Zeroizing::new(text.get(..end).unwrap_or_default().trim_end().to_owned())
}

/// The least number of the bucket, but none below the least `i64`, so that it is a number itself.
fn bucket(text: &str, width: i64) -> Option<Zeroizing<String>> {
    let number = whole_number(text)?;
    let least = i128::from(number).div_euclid(i128::from(width)) * i128::from(width);
    let least = i64::try_from(least).unwrap_or(i64::MIN);
    Some(Zeroizing::new(least.to_string()))
}

/// An optional sign and ASCII digits, white space around them.
fn whole_number(text: &str) -> Option<i64> {
    text.trim_ascii().parse().ok()
}

/// NFKC, lower case, NFKC once more because lowering may decompose, white space folded, trimmed.
fn fold(text: &str) -> Zeroizing<String> {
    let composed = collect(text.len(), text.nfkc());
    let lower = Zeroizing::new(composed.to_lowercase());
    let composed = collect(lower.len(), lower.nfkc());
    let mut out = Zeroizing::new(String::with_capacity(composed.len()));
    for word in composed.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

fn collect(hint: usize, chars: impl Iterator<Item = char> + Clone) -> Zeroizing<String> {
    let length = chars.clone().map(char::len_utf8).sum::<usize>().max(hint);
    let mut out = Zeroizing::new(String::with_capacity(length));
    out.extend(chars);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(normalizer: Normalizer, text: &str) -> String {
        normalize(normalizer, text).unwrap().to_owned()
    }

    #[test]
    fn each_rule_does_what_its_page_says() {
        let rules = [
            (Normalizer::Exact, " Ab-1 ", " Ab-1 "),
            (Normalizer::Digits, "999-12-3456", "999123456"),
            (Normalizer::Digits, "\u{0663}9", "9"),
            (Normalizer::Alphanumeric, "mrn: a-12 b", "MRNA12B"),
            (Normalizer::Alphanumeric, "é1", "1"),
            (
                Normalizer::Folded,
                "  O\u{2019}Brien \t SMITH\n",
                "o\u{2019}brien smith",
            ),
            (Normalizer::Folded, "Mu\u{0308}ller", "m\u{fc}ller"),
            (Normalizer::Folded, "\u{ff21}da", "ada"),
            (Normalizer::Folded, "\u{fb01}n", "fin"),
            (Normalizer::Folded, "a\u{a0}b", "a b"),
            (Normalizer::Folded, "", ""),
            (Normalizer::Last { count: 4 }, "999-12-3456", "3456"),
            (Normalizer::Last { count: 4 }, "a-1", "A1"),
            (Normalizer::Last { count: 4 }, "--", ""),
            (Normalizer::Prefix { length: 3 }, " LOVElace", "lov"),
            (Normalizer::Prefix { length: 3 }, "Li", "li"),
            (Normalizer::Prefix { length: 2 }, "M\u{fc}ller", "m\u{fc}"),
            (Normalizer::Prefix { length: 3 }, "de Gaulle", "de"),
            (Normalizer::Year, "1985-04-12", "1985"),
            (Normalizer::YearMonth, "1985-04-12", "1985-04"),
            (Normalizer::MonthDay, "1985-04-12", "--04-12"),
            (
                Normalizer::E164 { country: 1 },
                "(415) 555-0132",
                "+14155550132",
            ),
            (Normalizer::Year, " ", ""),
            (Normalizer::E164 { country: 1 }, "", ""),
            (Normalizer::Bucket { width: 10 }, "", ""),
            (Normalizer::Bucket { width: 10 }, "19", "10"),
            (Normalizer::Bucket { width: 10 }, "20", "20"),
            (Normalizer::Bucket { width: 10 }, "+007 ", "0"),
            (Normalizer::Bucket { width: 10 }, "-1", "-10"),
            (Normalizer::Bucket { width: 10 }, "-10", "-10"),
            (Normalizer::Bucket { width: 1 }, "-0", "0"),
            (
                Normalizer::Bucket { width: 1000 },
                "-9223372036854775808",
                "-9223372036854775808",
            ),
            (
                Normalizer::Bucket { width: i64::MAX },
                "9223372036854775807",
                "9223372036854775807",
            ),
        ];
        for (normalizer, text, expected) in rules {
            assert_eq!(of(normalizer, text), expected, "{normalizer:?} {text:?}");
        }
    }

    #[test]
    fn a_text_that_does_not_fit_its_rule_and_a_rule_that_cannot_be_are_told_apart() {
        for (normalizer, text) in [
            (Normalizer::Year, "last year"),
            (Normalizer::YearMonth, "1985"),
            (Normalizer::MonthDay, "1985-04"),
            (Normalizer::E164 { country: 1 }, "555-0132"),
            (Normalizer::Bucket { width: 10 }, "1.5"),
            (Normalizer::Bucket { width: 10 }, "9223372036854775808"),
            (Normalizer::Bucket { width: 10 }, "ten"),
        ] {
            assert_eq!(normalize(normalizer, text), Err(Misfit::Text), "{text}");
        }
        for normalizer in [
            Normalizer::Last { count: 0 },
            Normalizer::Prefix { length: 33 },
            Normalizer::Bucket { width: 0 },
            Normalizer::E164 { country: 0 },
        ] {
            assert_eq!(
                normalize(normalizer, "1"),
                Err(Misfit::Rule),
                "{normalizer}"
            );
        }
    }

    fn rules() -> impl Strategy<Value = Normalizer> {
        prop_oneof![
            Just(Normalizer::Exact),
            Just(Normalizer::Folded),
            Just(Normalizer::Digits),
            Just(Normalizer::Alphanumeric),
            Just(Normalizer::Year),
            Just(Normalizer::YearMonth),
            Just(Normalizer::MonthDay),
            (1_u16..=999).prop_map(|country| Normalizer::E164 { country }),
            (1_u8..=32).prop_map(|count| Normalizer::Last { count }),
            (1_u8..=32).prop_map(|length| Normalizer::Prefix { length }),
            (1_i64..=i64::MAX).prop_map(|width| Normalizer::Bucket { width }),
        ]
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            any::<i64>().prop_map(|number| number.to_string()),
            "[+]?(\\(0\\))?[0-9 ()-]{4,18}",
            "[12][0-9]{3}(-[01][0-9](-[0-3][0-9])?)?",
            "--[01][0-9]-[0-3][0-9]",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn normalizing_twice_changes_nothing_more(normalizer in rules(), text in texts()) {
            if let Ok(once) = normalize(normalizer, &text) {
                let twice = normalize(normalizer, &once).map(|twice| twice.to_owned());
                prop_assert_eq!(twice, Ok(once.to_owned()), "{:?}", normalizer);
            }
        }
    }
}

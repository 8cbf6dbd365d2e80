//! Normalizers: equal search terms become equal bytes before they are indexed.
//!
//! A rule never changes under its version: id and version are part of the MAC.

use eonpro_core::phi::Normalizer;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// The longest text that is normalized, in bytes.
pub const MAX_INDEX_TEXT: usize = 64 * 1024;

/// `text` by the rule of `normalizer`; `None` for a rule of a newer release.
pub(crate) fn normalize(normalizer: Normalizer, text: &str) -> Option<Zeroizing<String>> {
    // Reserved once, so that growing leaves no copies behind.
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    match normalizer {
        Normalizer::Exact => out.push_str(text),
        Normalizer::Digits => out.extend(text.chars().filter(char::is_ascii_digit)),
        Normalizer::Alphanumeric => out.extend(
            text.chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|char| char.to_ascii_uppercase()),
        ),
        Normalizer::Folded => return Some(fold(text)),
        _ => return None,
    }
    Some(out)
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
        normalize(normalizer, text).unwrap().to_string()
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
        ];
        for (normalizer, text, expected) in rules {
            assert_eq!(of(normalizer, text), expected, "{normalizer:?} {text:?}");
        }
    }

    proptest! {
        #[test]
        fn normalizing_twice_changes_nothing_more(text in any::<String>()) {
            for normalizer in [
                Normalizer::Exact,
                Normalizer::Digits,
                Normalizer::Alphanumeric,
                Normalizer::Folded,
            ] {
                let once = of(normalizer, &text);
                prop_assert_eq!(of(normalizer, &once), once, "{:?}", normalizer);
            }
        }
    }
}

//! Telephone numbers in the international form of ITU-T E.164, as `e164:<country>` indexes them.
//!
//! A few fixed rules and no numbering plans, so that the same text gives the same number for ever.

use zeroize::Zeroizing;

/// The most digits of a number with its calling code (E.164, section 6.2.1), and the least that is
/// taken for one.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// Calling codes whose national numbers keep their leading zero: Italy, San Marino, Vatican, Ivory
/// Coast, Congo.
const KEEP_ZERO: [u16; 5] = [39, 378, 379, 225, 242];

/// The North American Numbering Plan: `1` before ten digits, abroad by `011`.
const NANP: u16 = 1;

/// `+` and the digits of the international number; `None` if `text` is no telephone number.
pub(crate) fn e164(text: &str, country: u16) -> Option<Zeroizing<String>> {
    let text = text.trim_ascii();
    let (international, rest) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    // `+44 (0)20 ...`: the zero in brackets is dialled at home only.
    let (before, after) = match rest.split_once("(0)") {
        Some((before, after)) if international => (before, after),
        _ => (rest, ""),
    };
    let mut digits = Zeroizing::new(String::with_capacity(text.len()));
    for char in before.chars().chain(after.chars()) {
        match char {
            '0'..='9' => digits.push(char),
            ' ' | '\t' | '\u{a0}' | '-' | '.' | '/' | '(' | ')' => {}
            _ => return None,
        }
    }
    if international {
        return whole("", &digits);
    }
    let abroad = if country == NANP { "011" } else { "00" };
    if let Some(number) = digits.strip_prefix(abroad) {
        return whole("", number);
    }
    let national = match country {
        NANP if digits.len() == 11 => digits.strip_prefix('1')?,
        NANP => &digits,
        _ if KEEP_ZERO.contains(&country) => &digits,
        _ => digits.strip_prefix('0').unwrap_or(&digits),
    };
    whole(&country.to_string(), national)
}

fn whole(country: &str, number: &str) -> Option<Zeroizing<String>> {
    let length = country.len() + number.len();
    let mut out = Zeroizing::new(String::with_capacity(1 + length));
    out.push('+');
    out.push_str(country);
    out.push_str(number);
    // No calling code begins with 0, and code 1 has numbers of ten digits only.
    let fits = match out.as_bytes() {
        [_, b'1', ..] => length == 11,
        [_, b'2'..=b'9', ..] => DIGITS.contains(&length),
        _ => false,
    };
    (fits && !number.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(country: u16, text: &str) -> Option<String> {
        e164(text, country).map(|number| number.as_str().to_owned())
    }

    #[test]
    fn one_number_has_one_form_however_it_is_written() {
        for (country, texts, number) in [
            (
                1,
                &[
                    "(415) 555-0132",
                    "415.555.0132",
                    "1-415-555-0132",
                    "+1 415 555 0132",
                    "+1 (415) 555\u{a0}0132 ",
                    "011 1 415 555 0132",
                ][..],
                "+14155550132",
            ),
            (
                44,
                &[
                    "020 7946 0958",
                    "20 7946 0958",
                    "+44 20 7946 0958",
                    "+44 (0)20 7946 0958",
                    "0044 20 7946 0958",
                ],
                "+442079460958",
            ),
            (49, &["030/123456", "+49 30 123456"], "+4930123456"),
            (39, &["06 6982 1234", "+39 06 6982 1234"], "+390669821234"),
            (1, &["+44 20 7946 0958", "011442079460958"], "+442079460958"),
        ] {
            for text in texts {
                assert_eq!(
                    of(country, text).as_deref(),
                    Some(number),
                    "{country} {text}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_number_has_no_form() {
        for (country, text) in [
            (1, "555-0132"),
            (1, "2-415-555-0132"),
            (1, "415-555-0132 x7"),
            (1, "+1415555013"),
            (1, "+0 415 555 0132"),
            (1, "unknown"),
            (1, "+"),
            (1, "++14155550132"),
            (1, "\u{0664}155550132"),
            (44, "0"),
            (44, "00"),
            (44, "+44 2079 4609 5812 345"),
            (44, "1234"),
            (999, "+12"),
        ] {
            assert_eq!(of(country, text), None, "{country} {text}");
        }
    }
}

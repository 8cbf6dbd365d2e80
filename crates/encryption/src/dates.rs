//! Parts of ISO 8601 calendar dates, as `year`, `year_month` and `month_day` index them.
//!
//! A date may be less exact than a day, as FHIR has it (`1985`, `1985-04`), as long as it holds the
//! part that is asked for. Days are those of the proleptic Gregorian calendar.

use zeroize::Zeroizing;

/// `YYYY` of a date.
pub(crate) fn year(text: &str) -> Option<Zeroizing<String>> {
    let (year, _) = parts(text)?;
    Some(Zeroizing::new(year.to_owned()))
}

/// `YYYY-MM` of a date that has a month.
pub(crate) fn year_month(text: &str) -> Option<Zeroizing<String>> {
    let (year, rest) = parts(text)?;
    let month = rest?.0;
    Some(Zeroizing::new(format!("{year}-{month}")))
}

/// `--MM-DD` of a date that has a day, or of that form itself, with 29 February among them.
pub(crate) fn month_day(text: &str) -> Option<Zeroizing<String>> {
    let leap;
    let text = text.trim_ascii();
    let text = match text.strip_prefix("--") {
        Some(rest) => {
            leap = Zeroizing::new(format!("2000-{rest}"));
            leap.as_str()
        }
        None => text,
    };
    let (_, rest) = parts(text)?;
    let (month, day) = rest?;
    let day = day?;
    Some(Zeroizing::new(format!("--{month}-{day}")))
}

type Rest<'a> = (&'a str, Option<&'a str>);

/// The year, and the month and day as far as they are there; `None` if it is no date.
fn parts(text: &str) -> Option<(&str, Option<Rest<'_>>)> {
    let mut fields = text.trim_ascii().split('-');
    let year = fields.next().filter(|year| are_digits(year, 4))?;
    let month = fields.next();
    let day = fields.next();
    if fields.next().is_some() {
        return None;
    }
    let Some(month) = month else {
        return Some((year, None));
    };
    let sizes = are_digits(month, 2) && day.is_none_or(|day| are_digits(day, 2));
    let exists = jiff::civil::Date::new(
        year.parse().ok()?,
        month.parse().ok()?,
        day.map_or(Ok(1), str::parse).ok()?,
    );
    (sizes && exists.is_ok()).then_some((year, Some((month, day))))
}

fn are_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> [Option<String>; 3] {
        [year(text), year_month(text), month_day(text)]
            .map(|part| part.map(|part| part.as_str().to_owned()))
    }

    #[test]
    fn a_date_gives_its_parts_as_far_as_it_has_them() {
        for (text, parts) in [
            ("1985-04-12", ["1985", "1985-04", "--04-12"]),
            (" 2024-02-29\n", ["2024", "2024-02", "--02-29"]),
            ("1985-04", ["1985", "1985-04", ""]),
            ("1985", ["1985", "", ""]),
            ("--02-29", ["", "", "--02-29"]),
        ] {
            let expected = parts.map(|part| (!part.is_empty()).then(|| part.to_owned()));
            assert_eq!(all(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_date_has_no_parts() {
        for text in [
            "12.04.1985",
            "1985-4-12",
            "1985-13-01",
            "2023-02-29",
            "1985-04-31",
            "19850412",
            "1985-04-12T10:00:00",
            "85-04-12",
            "+1985-04-12",
            "-1985",
            "1985-",
            "1985-04-",
            "1985-00",
            "1985-04-12-1",
            "--02-30",
            "--13-01",
            "--2-9",
            "\u{0661}985",
            "unknown",
            "--",
        ] {
            assert_eq!(all(text), [None, None, None], "{text:?}");
        }
    }
}

//! Which field names give their values away, in whatever spelling they are written.
//!
//! `birthDate`, `birth-date` and `patient.birth_date` are the same three-part question: what words
//! are in the name, and do they form a sensitive term between word boundaries?

use std::collections::HashSet;

use eonpro_core::phi::PhiSchema;

use super::kind::Redaction;

/// Sensitive wherever they stand in a name, between word boundaries; their words may be joined.
pub(super) const TERMS: &[&str] = &[
    "ssn",
    "social security",
    "mrn",
    "mbi",
    "dob",
    "vin",
    "birth",
    "birth date",
    "birth day",
    "birth place",
    "death date",
    "first name",
    "last name",
    "full name",
    "given name",
    "family name",
    "middle name",
    "maiden name",
    "nick name",
    "patient name",
    "person name",
    "surname",
    "display name",
    "user name",
    "medical record",
    "record number",
    "chart number",
    "member id",
    "subscriber id",
    "beneficiary",
    "account number",
    "policy number",
    "card number",
    "credit card",
    "cvv",
    "iban",
    "passport",
    "licence",
    "license",
    "tel",
    "mobile",
    "fax",
    "street",
    "address line",
    "post code",
    "postal code",
    "zip code",
    "pwd",
    "pin",
    "otp",
    "totp",
    "jwt",
    "cookie",
    "bearer",
    "api key",
    "private key",
    "signing key",
    "token",
    "voiceprint",
    "biometric",
    "photo",
    "diagnosis",
];

/// Sensitive as any part of a name, boundaries or not: too long to occur by chance.
pub(super) const PARTS: &[&str] = &[
    "phone",
    "email",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "authorization",
    "credential",
];

/// Sensitive as the whole name, or as its last part after a dot.
pub(super) const WHOLE: &[&str] = &[
    "name",
    "names",
    "given",
    "family",
    "address",
    "addresses",
    "addr",
    "city",
    "zip",
    "contact",
    "note",
    "notes",
    "body",
    "payload",
];

/// Sensitive only in text, and only before a text in quotes: names that FHIR gives to lines of
/// addresses, to narratives and to what a code or a reference means. Alone they are ordinary words.
pub(super) const QUOTED: &[&str] = &["line", "district", "text", "div", "display"];

/// See the [module](self).
#[derive(Debug)]
pub(super) struct FieldPolicy {
    whole: HashSet<String>,
    terms: HashSet<String>,
    schema: HashSet<String>,
    allowed: HashSet<String>,
}

impl FieldPolicy {
    pub(super) fn new(
        schemas: &[&'static PhiSchema],
        named: &[String],
        allowed: &[String],
    ) -> Self {
        let joined = |names: &[&str]| names.iter().map(|name| Words::of(name).joined).collect();
        let mut terms: HashSet<String> = joined(TERMS);
        terms.extend(named.iter().map(|name| Words::of(name).joined));
        Self {
            whole: joined(WHOLE),
            terms,
            schema: schema_names(schemas)
                .map(|name| Words::of(name).joined)
                .collect(),
            allowed: allowed.iter().map(|name| Words::of(name).joined).collect(),
        }
    }

    /// Why a field of that name is redacted; `None` if its value may be looked at.
    pub(super) fn judge(&self, name: &str) -> Option<Redaction> {
        let last = name.rsplit('.').next().unwrap_or(name);
        let (words, last) = (Words::of(name), Words::of(last));
        if self.schema.contains(&words.joined) || self.schema.contains(&last.joined) {
            return Some(Redaction::Phi);
        }
        if self.allowed.contains(&words.joined) {
            return None;
        }
        // Schema names are ordinary words: they count at the end, as in `patient_given`, so that
        // `note` does not take `note_count` with it.
        if words.tails().any(|tail| self.schema.contains(tail)) {
            return Some(Redaction::Phi);
        }
        let named = self.whole.contains(&words.joined)
            || self.whole.contains(&last.joined)
            || PARTS.iter().any(|part| words.joined.contains(part))
            || words.spans().any(|span| self.names(span));
        named.then_some(Redaction::Field)
    }

    fn names(&self, span: &str) -> bool {
        self.terms.contains(span)
            || span
                .strip_suffix('s')
                .is_some_and(|singular| self.terms.contains(singular))
    }
}

/// The names and columns of every sealed field.
pub(super) fn schema_names(schemas: &[&'static PhiSchema]) -> impl Iterator<Item = &'static str> {
    schemas
        .iter()
        .flat_map(|schema| schema.sealed_fields())
        .flat_map(|field| [field.name, field.column.as_str()])
}

/// Whether a number under that name is a measure: `elapsed_ns`, `size_bytes`. Such a number may
/// have as many digits as a card and means nobody.
pub(super) fn is_measure(name: &str) -> bool {
    let unit = name.rsplit(['_', '.']).next().unwrap_or(name);
    matches!(
        unit,
        "bytes" | "nanos" | "ns" | "micros" | "us" | "millis" | "ms" | "seconds" | "secs"
    )
}

/// A name in lower case without separators, and where its words begin.
struct Words {
    joined: String,
    starts: Vec<usize>,
}

impl Words {
    fn of(name: &str) -> Self {
        let chars: Vec<char> = name.chars().collect();
        let mut words = Self {
            joined: String::with_capacity(name.len()),
            starts: Vec::new(),
        };
        let mut before = ' ';
        for (at, &char) in chars.iter().enumerate() {
            let next = chars.get(at + 1).copied().unwrap_or(' ');
            if char.is_alphanumeric() {
                if begins_word(before, char, next) {
                    words.starts.push(words.joined.len());
                }
                words.joined.extend(char.to_lowercase());
            }
            before = char;
        }
        words
    }

    /// Every run of whole words.
    fn spans(&self) -> impl Iterator<Item = &str> {
        let ends = self
            .starts
            .iter()
            .copied()
            .skip(1)
            .chain([self.joined.len()]);
        self.starts.iter().flat_map(move |&from| {
            ends.clone()
                .filter(move |&to| to > from)
                .filter_map(move |to| self.joined.get(from..to))
        })
    }

    /// Every run of whole words that ends the name.
    fn tails(&self) -> impl Iterator<Item = &str> {
        self.starts
            .iter()
            .filter_map(|&from| self.joined.get(from..))
    }
}

fn begins_word(before: char, char: char, next: char) -> bool {
    if !before.is_alphanumeric() || before.is_numeric() != char.is_numeric() {
        return true;
    }
    // `birthDate` has two words, and so has `SSNLast`.
    char.is_uppercase() && (before.is_lowercase() || next.is_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(name: &str) -> Option<Redaction> {
        FieldPolicy::new(&[], &["chart_note".to_owned()], &["token_count".to_owned()]).judge(name)
    }

    #[test]
    fn a_sensitive_name_is_found_in_any_spelling() {
        for name in [
            "ssn",
            "SSN",
            "patientSSN",
            "SSNLast4",
            "patient.ssn",
            "ssns",
            "mrn",
            "mother_mrn",
            "name",
            "patient.name",
            "first_name",
            "firstName",
            "dob",
            "birth_date",
            "birthDate",
            "birthdate",
            "date-of-birth",
            "phone",
            "homephone",
            "phone2",
            "email",
            "e_mail_email",
            "address",
            "address.line",
            "street_address",
            "password",
            "userpassword",
            "db.password",
            "api_key",
            "apiKey",
            "access_token",
            "authorization",
            "client_secret",
            "r#pin",
            "chartNote",
            "old_chart_note",
            "zip",
        ] {
            assert_eq!(judge(name), Some(Redaction::Field), "{name}");
        }
    }

    #[test]
    fn an_ordinary_name_is_left_alone() {
        for name in [
            "classname",
            "file_name",
            "tenant",
            "request",
            "rows",
            "elapsed_ms",
            "status",
            "opinion",
            "hotel",
            "token_count",
            "table",
            "address_count",
            "spin",
            "outcome",
            "line",
            "text",
        ] {
            assert_eq!(judge(name), None, "{name}");
        }
    }

    #[test]
    fn a_measure_is_known_by_its_unit() {
        assert!(is_measure("elapsed_ns"));
        assert!(is_measure("bytes"));
        assert!(!is_measure("columns"));
        assert!(!is_measure("patient"));
    }
}
